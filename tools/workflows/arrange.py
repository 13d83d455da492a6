"""Where the nodes of a workflow stand: columns from left to right, a frame around each stage of the work."""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

# What the frame around a column is called; everything else is in "Prompt and settings".
STAGES = {
    "Model": "Loader|GSNDemoModel|Note",
    "Nursing": "GSNNursing|GSNRefineModel|GSNGuidanceModel|GSNObjective",
    "Prompt and settings": "",
    "Sampling": "^KSampler(Advanced)?$|GSNLatentRefine|GSNSeedPicker|^SamplerCustom",
    "Result": "VAEDecode|ImageStitch|SaveImage|PreviewAny|GSNReport|GSNAttentionMaps|GSNJudge|ComfySwitch",
}
OTHER = "Prompt and settings"
BELOW = (  # these stand below the node that they follow
    "GSNRegion",
    "ImageStitch",
    "SaveImage",
    "VAEEncode",
    "FluxGuidance",
    "ConditioningZeroOut",
    "ModelSamplingAuraFlow",
    "SamplerCustomAdvanced",
    "GSNApplyLayout",
    "DualCFGGuider",
    "SetLatentNoiseMask",
)
FIRST = re.compile("Loader|^Empty|^Primitive|RandomNoise|KSamplerSelect")
EARLY = ("SaveImage", "PreviewAny", "GSNNursing")  # as far left as their links allow
VIEW = (1216, 771)  # of a window of 1600 x 1000, what the front end fills with a workflow that it opens
READABLE = 0.6
"""Below this scale the front end draws no text."""
ROW_GAP, COLUMN_GAP = 36, 40
NOTE_WIDTH, LINE, LETTER = 290, 20, 7  # of the note and its text, in pixels
FRAME_TOP, FRAME_SIDE, FRAME_BELOW = -70, 20, 42


@dataclass(frozen=True)
class Node:
    """A node as the browser measures it: size is (width, height)."""

    id: int
    type: str
    size: tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A rectangle in the graph, with a title if it is a frame."""

    left: float
    top: float
    width: float
    height: float
    title: str = ""


@dataclass(frozen=True)
class Arrangement:
    """positions: node id -> (left, top). note: where it stands. frames: per stage, from left to right."""

    positions: dict[int, tuple[float, float]]
    note: Box
    frames: tuple[Box, ...]


def arrange(
    nodes: Sequence[Node],
    links: Iterable[tuple[int, int]],
    note: str,
    by_hand: Mapping[str, Sequence[int]] | None = None,
) -> Arrangement:
    """Nodes in columns, rows in the order of the ids, the note below the first column, or below the second
    where the text could else not be read.

    links: (id of the source, id of the target). by_hand: title of a frame -> ids of the column in it, for a
    graph that is too large for these rules; the note then stands where most room is. Raises ValueError for a
    graph without nodes.
    """
    if not nodes:
        raise ValueError("There is nothing to arrange: the graph has no nodes.")
    if by_hand:
        column = {node: n for n, members in enumerate(by_hand.values()) for node in members}
        tried = [in_columns(nodes, column, note, n, list(by_hand)) for n in range(len(by_hand))]
        return max(tried, key=scale)
    links = list(links)
    ways = itertools.product(
        *(
            ((), (name,))
            for name in (
                "KSampler",
                "KSamplerAdvanced",
                "PreviewAny",
                "CreateBoundingBoxes",
                "VAEDecode",
                "GSNReport",
            )
        )
    )
    found = [
        columns(nodes, links, (*BELOW, *itertools.chain(*below)), (*EARLY, *left)) for *below, left in ways
    ]
    best = max((in_columns(nodes, column, note) for column in found), key=scale)
    if scale(best) >= READABLE or len(best.frames) == 1:
        return best
    others = [in_columns(nodes, column, note, note_column=1) for column in found]
    return max([best, *others], key=scale)


def scale(arranged: Arrangement) -> float:
    """How large the front end shows a workflow that it opens."""
    frames = arranged.frames
    width = frames[-1].left + frames[-1].width - frames[0].left
    return min(VIEW[0] / width, VIEW[1] / max(frame.height for frame in frames))


def in_columns(
    nodes: Sequence[Node],
    column: dict[int, int],
    note: str,
    note_column: int = 0,
    titles: Sequence[str] = (),
) -> Arrangement:
    """The nodes in these columns, from the top down. titles: of their frames, if not those of the stages."""
    positions, frames, x = {}, [], 0.0
    for number in range(max(column.values()) + 1):
        members = sorted((node for node in nodes if column[node.id] == number), key=lambda node: node.id)
        y = 0.0
        for node in members:
            positions[node.id] = (x, y)
            y += node.size[1] + ROW_GAP
        width = max((node.size[0] for node in members), default=0)
        if number == note_column:
            width = max(width, NOTE_WIDTH)
            placed = Box(x, y, width, note_height(note, width))
            y += placed.height + ROW_GAP
        stage = titles[number] if titles else ", ".join(stages_of(members))
        if frames and frames[-1].title == stage:
            last = frames.pop()
            frames.append(replace(last, width=x + width - last.left, height=max(last.height, y)))
        else:
            frames.append(Box(x, 0, width, y, stage))
        x += width + COLUMN_GAP
    return Arrangement(positions, placed, tuple(map(framed, frames)))


def columns(
    nodes: Sequence[Node], links: Sequence[tuple[int, int]], below: Sequence[str], left: Sequence[str]
) -> dict[int, int]:
    """Node id -> column. A node stands next to what waits for it; loaders, seeds and empty latents
    come first.
    """
    types = {node.id: node.type for node in nodes}
    early: dict[int, int] = {}
    found: dict[int, int] = {}

    def depth(node: int) -> int:
        """The longest way from a source."""
        if node not in early:
            early[node] = max((depth(s) + gap(t) for s, t in links if t == node), default=0)
        return early[node]

    def gap(target: int) -> int:
        return 0 if types[target] in below else 1

    def late(node: int) -> int:
        if node not in found:
            users = [target for source, target in links if source == node]
            if FIRST.search(types[node]):
                found[node] = 0
            elif types[node] in left:
                found[node] = depth(node)
            else:
                found[node] = min((late(user) - gap(user) for user in users), default=last)
        return found[node]

    last = max(depth(node.id) for node in nodes)
    used = sorted({late(node.id) for node in nodes})
    return {node.id: used.index(late(node.id)) for node in nodes}


def stages_of(members: Sequence[Node]) -> list[str]:
    """The stages that stand in a column, in the order of STAGES; the first one with a capital."""
    inside = {stage_of(node.type) for node in members}
    names = [stage for stage in STAGES if stage in inside]
    return [name.lower() if i else name for i, name in enumerate(names)]


def stage_of(node_type: str) -> str:
    """The stage of the work that a type of node belongs to."""
    fitting = (stage for stage, pattern in STAGES.items() if pattern and re.search(pattern, node_type))
    return next(fitting, OTHER)


def note_height(text: str, width: float) -> float:
    """The height of a note of this width, lines broken by the browser, addresses of links not shown."""
    text = re.sub(r"\]\(\S+\)", "]", text)
    lines = sum(1 + int(len(line) / (width / LETTER)) for line in text.split("\n"))
    return 50 + LINE * lines


def framed(stage: Box) -> Box:
    """The frame around the columns of a stage, with room for its title."""
    sides = stage.width + 2 * FRAME_SIDE
    return Box(stage.left - FRAME_SIDE, FRAME_TOP, sides, stage.height + FRAME_BELOW, stage.title)
