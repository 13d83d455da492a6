"""The shapes world: 32x32 images of one to three flat shapes on a light ground.

Everything is drawn from a numpy Generator and nothing else, so the same seed gives the same bytes. Whole
batches are drawn at once: the training set of 80,000 images takes seconds. Lengths are in pixels, x to the
right, y down.
"""

from dataclasses import dataclass

import numpy as np

from gsn_ops.judge.demo_shapes import COLOURS, PALETTE, SHAPES, SIDE, coverage

SLOTS = 3  # at most three objects in an image
# These pairs never share a caption in training: what the model does with them is composition, not memory.
HOLD_OUT = (frozenset(("circle", "star")), frozenset(("square", "heart")), frozenset(("triangle", "cross")))
SIZES = (9.0, 13.0)
GAP = 1.0  # clear pixels between two boxes, and between a box and the edge
TINT = 0.05  # colour jitter per channel


def has_hold_out(shapes) -> bool:
    """True when the shape names contain a pair that training never showed together."""
    names = set(shapes)
    return any(pair <= names for pair in HOLD_OUT)


@dataclass(frozen=True)
class Scenes:
    """A batch of n scenes. Slot j of scene i is named in the caption when j < named[i], drawn when drawn[i,
    j].

    shapes, colours [n, 3]: indices into SHAPES and COLOURS; size, cx, cy [n, 3] pixels; background [n, 3] and
    paint [n, 3, 3] (the jittered colour of every slot): RGB in [0, 1].
    """

    named: np.ndarray
    drawn: np.ndarray
    shapes: np.ndarray
    colours: np.ndarray
    size: np.ndarray
    cx: np.ndarray
    cy: np.ndarray
    background: np.ndarray
    paint: np.ndarray

    def objects(self, i: int, drawn_only: bool = False) -> list[tuple[str, str]]:
        """(colour, shape) of scene i, in the order of the caption."""
        return [
            (COLOURS[self.colours[i, j]], SHAPES[self.shapes[i, j]])
            for j in range(self.named[i])
            if self.drawn[i, j] or not drawn_only
        ]


def _redraw(n: int, draw, good) -> np.ndarray:
    """Rejection sampling of n rows: draw(m) -> [m, ...]; good(rows, indices) -> [m] bool."""
    rows, todo = draw(n), np.arange(n)
    while True:
        todo = todo[~good(rows[todo], todo)]
        if not len(todo):
            return rows
        rows[todo] = draw(len(todo))


def _pick_shapes(rng, named, hold_out):
    apart = np.zeros((len(SHAPES), len(SHAPES)), bool)
    for pair in HOLD_OUT:
        a, b = sorted(SHAPES.index(s) for s in pair)
        apart[a, b] = apart[b, a] = not hold_out

    def good(rows, at):
        bad = np.zeros(len(rows), bool)
        for j, k in ((0, 1), (0, 2), (1, 2)):
            bad |= apart[rows[:, j], rows[:, k]] & (named[at] > k)
        return ~bad

    return _redraw(len(named), lambda m: rng.permuted(np.tile(np.arange(6), (m, 1)), axis=1)[:, :SLOTS], good)


def _place(rng, named):
    """Boxes that keep GAP pixels apart -> [n, 3 slots, (size, cx, cy)]."""

    def draw(m):
        size = rng.uniform(*SIZES, (m, SLOTS))
        margin = size / 2 + GAP
        centre = margin[..., None] + rng.uniform(size=(m, SLOTS, 2)) * (SIDE - 2 * margin[..., None])
        return np.concatenate([size[..., None], centre], -1)

    def good(rows, at):
        bad = np.zeros(len(rows), bool)
        for j, k in ((0, 1), (0, 2), (1, 2)):
            need = (rows[:, j, 0] + rows[:, k, 0]) / 2 + GAP
            bad |= (abs(rows[:, j, 1:] - rows[:, k, 1:]).max(-1) < need) & (named[at] > k)
        return ~bad

    return _redraw(len(named), draw, good)


def sample_scenes(
    rng: np.random.Generator, n: int, share=(0.45, 0.45, 0.10), neglect: float = 0.0, hold_out: bool = False
) -> Scenes:
    """n scenes; `share` = fractions with one, two, three named objects.

    neglect: in scenes of several objects each one is left out of the image with this probability (at least
    one stays): the caption noise that teaches a model to neglect. hold_out: allow the pairs that training
    never shows. Shapes and colours of one scene all differ.
    """
    named = 1 + rng.choice(SLOTS, size=n, p=np.asarray(share))
    shapes = _pick_shapes(rng, named, hold_out)
    colours = rng.permuted(np.tile(np.arange(len(COLOURS)), (n, 1)), axis=1)[:, :SLOTS]
    box = _place(rng, named)
    named_slots = np.arange(SLOTS) < named[:, None]  # [n, 3]
    score = rng.uniform(size=(n, SLOTS))  # the named slot with the best score always stays
    best = np.where(named_slots, score, -1).argmax(1)[:, None] == np.arange(SLOTS)
    drawn = named_slots & ((score >= neglect) | best)
    background = rng.uniform(0.86, 0.97, (n, 1)) + rng.uniform(-0.03, 0.03, (n, 3))
    paint = np.array(list(PALETTE.values()))[colours] + rng.uniform(-TINT, TINT, (n, SLOTS, 3))
    return Scenes(
        named, drawn, shapes, colours, box[..., 0], box[..., 1], box[..., 2], background, np.clip(paint, 0, 1)
    )


def render(scenes: Scenes) -> tuple[np.ndarray, np.ndarray]:
    """Images [n, 32, 32, 3] uint8 and object masks [n, 3, 32, 32] uint8 (coverage x 255; empty if not
    drawn).
    """
    n = len(scenes.named)
    masks = np.zeros((n, SLOTS, SIDE, SIDE), np.float32)
    for index, shape in enumerate(SHAPES):
        i, j = np.nonzero(scenes.drawn & (scenes.shapes == index))
        if len(i):
            masks[i, j] = coverage(shape, scenes.size[i, j], scenes.cx[i, j], scenes.cy[i, j])
    image = np.broadcast_to(scenes.background[:, None, None].astype(np.float32), (n, SIDE, SIDE, 3)).copy()
    for j in range(SLOTS):
        alpha = masks[:, j, :, :, None]  # [n, 32, 32, 1]
        image += alpha * (scenes.paint[:, j, None, None].astype(np.float32) - image)
    return (image * 255).round().astype(np.uint8), (masks * 255).round().astype(np.uint8)
