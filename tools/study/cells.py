"""The cells of a study through a server: one image each, as a workflow in API form with explicit seeds."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .prompt_sets import AskedPrompt

SEED_INPUTS = ("seed", "noise_seed")
TEXT_INPUTS = ("text", "prompt")
CONDITIONING_INPUTS = ("positive", "conditioning", "conditioning_1", "cond1", "conditioning_to")
JUDGE_JSON, SCORES_JSON = "gsn_study_judge", "gsn_study_scores"
REPORT, REPORT_JSON = "gsn_study_report", "gsn_study_run"
"""Ids of the nodes that a study adds."""
Workflow = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Cell:
    """One image: which prompt and seed, and what is done to it. method "" = plain; step: of a method."""

    set: str
    prompt: str
    subjects: str
    coloured: bool
    seed: int
    method: str = ""
    step: int | None = None
    overrides: str = ""

    @property
    def key(self) -> str:
        """What identifies the cell, 16 hex digits."""
        return digest(asdict(self))

    @property
    def way(self) -> tuple[str, int | None]:
        """The row of tables that it belongs to."""
        return self.method, self.step


def digest(data: Any) -> str:
    """A hash of JSON data, 16 hex digits."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Grid:
    """All cells of a study: prompts x seeds x (plain and every method at every candidate step).

    round_size: prompts per round. All ways of a round are made before the next one begins.
    """

    prompts: tuple[AskedPrompt, ...]
    seeds: tuple[int, ...]
    methods: tuple[str, ...]
    candidates: tuple[int, ...]
    overrides: str = ""
    round_size: int = 10

    @property
    def ways(self) -> list[tuple[str, int | None]]:
        """Plain, then (method, step)."""
        moved = [(method, step) for method in self.methods for step in self.candidates]
        return [("", None), *moved]

    def rounds(self) -> Iterator[list[Cell]]:
        """The cells in the order in which they are made. Sets take turns, so that all grow alike."""
        by_set: dict[str, list[AskedPrompt]] = {}
        for prompt in self.prompts:
            by_set.setdefault(prompt.set, []).append(prompt)
        longest = max(map(len, by_set.values()))
        for seed in self.seeds:
            for start in range(0, longest, self.round_size):
                chunk = [p for some in by_set.values() for p in some[start : start + self.round_size]]
                yield [self._cell(prompt, seed, way) for prompt in chunk for way in self.ways]

    def _cell(self, prompt: AskedPrompt, seed: int, way: tuple[str, int | None]) -> Cell:
        method, step = way
        overrides = self.overrides if method else ""
        return Cell(prompt.set, prompt.text, prompt.subjects, prompt.coloured, seed, method, step, overrides)


@dataclass(frozen=True)
class Task:
    """A cell, and its prompt for the queue."""

    cell: Cell
    workflow: Workflow


class Template:
    """A person's workflow in API form, in which one cell after the other is put.

    Needs one Semantic Nursing, one Subject Judge, and a sampler with a seed. Raises ValueError, with the
    cure, for a workflow that has no such thing.
    """

    def __init__(self, workflow: Workflow):
        if not isinstance(workflow, dict) or not all(
            isinstance(node, dict) and "class_type" in node and isinstance(node.get("inputs"), dict)
            for node in workflow.values()
        ):
            raise ValueError("This is no workflow in API form: save it with Workflow > Export (API).")
        self.workflow = copy.deepcopy(workflow)
        self.nursing = self._only("GSNNursing", "Semantic Nursing", "in front of the sampler")
        self.judge = self._only("GSNJudge", "Subject Judge", "behind VAE Decode")
        self.scores = [i for i, node in workflow.items() if node["class_type"] == "GSNScores"][:1]
        self.text = self._text_node()
        self.latent = self._latent()
        self.seeds = self._seed_inputs()

    @property
    def steps(self) -> int | None:
        """The sampler's number of steps, None if no node or several have one."""
        found = {
            node["inputs"]["steps"]
            for node in self.workflow.values()
            if isinstance(node["inputs"].get("steps"), int)
        }
        return found.pop() if len(found) == 1 else None

    @property
    def digest(self) -> str:
        """A hash of what all cells have in common."""
        return digest({i: [node["class_type"], node["inputs"]] for i, node in self.workflow.items()})

    def of(self, cell: Cell) -> Workflow:
        """The prompt for the queue."""
        made = copy.deepcopy(self.workflow)
        text_node, text_input = self.text
        made[text_node]["inputs"][text_input] = cell.prompt
        for node, name in self.seeds:
            made[node]["inputs"][name] = cell.seed
        for node in made.values():
            if isinstance(node["inputs"].get("batch_size"), int):
                node["inputs"]["batch_size"] = 1
        made[self.nursing]["inputs"] |= nursing_inputs(cell)
        made[self.judge]["inputs"] |= {
            "subjects": cell.subjects,
            "conditioning": [text_node, 0],
            "colours": cell.coloured,
        }
        made[JUDGE_JSON] = node_of("PreviewAny", source=[self.judge, 3])
        shown = [JUDGE_JSON]
        for node in self.scores:
            made[node]["inputs"] |= {"prompt": cell.prompt, "subjects": cell.subjects}
            made[SCORES_JSON] = node_of("PreviewAny", source=[node, 3])
            shown.append(SCORES_JSON)
        if cell.method:
            made[REPORT] = node_of("GSNReport", latent=self.latent, report=[self.nursing, 2])
            made[REPORT_JSON] = node_of("PreviewAny", source=[REPORT, 2])
            shown.append(REPORT_JSON)
        return needed(made, shown)

    def _only(self, kind: str, name: str, where: str) -> str:
        found = [i for i, node in self.workflow.items() if node["class_type"] == kind]
        if len(found) != 1:
            raise ValueError(f"The workflow has {len(found)} nodes {name}, and needs one: put it {where}.")
        return found[0]

    def _link(self, node: str, name: str) -> list | None:
        value = self.workflow.get(node, {}).get("inputs", {}).get(name)
        return value if isinstance(value, list) and len(value) == 2 else None

    def _text_node(self) -> tuple[str, str]:
        """(node, input) with the positive prompt: up from whatever has a positive input or a guider."""
        others = [i for i in self.workflow if i != self.judge]
        starts = [link for i in others for name in CONDITIONING_INPUTS[:2] if (link := self._link(i, name))]
        for link in starts:
            node, seen = link[0], set()
            while node not in seen:
                seen.add(node)
                inputs = self.workflow.get(node, {}).get("inputs", {})
                for name in TEXT_INPUTS:
                    if isinstance(inputs.get(name), str):
                        return node, name
                further = next((up for name in CONDITIONING_INPUTS if (up := self._link(node, name))), None)
                node = further[0] if further else node
        raise ValueError(
            "The workflow has no text node with a typed prompt behind the sampler's positive input: connect "
            "one (CLIP Text Encode)."
        )

    def _latent(self) -> list:
        """The link of the latent that the judged images are decoded from."""
        link = self._link(self.judge, "images")
        for _ in range(len(self.workflow)):
            if link is None:
                break
            samples = self._link(link[0], "samples")
            if samples:
                return samples
            further = [self._link(link[0], name) for name in ("images", "image", "on_true")]
            link = next((one for one in further if one), None)
        raise ValueError("The Subject Judge's images come from no VAE Decode: connect one to it.")

    def _seed_inputs(self) -> list[tuple[str, str]]:
        """(node, input) of every seed; a linked seed is that of the node it comes from."""
        found = []
        for i, node in self.workflow.items():
            for name in SEED_INPUTS:
                link = self._link(i, name)
                source = self.workflow.get(str(link[0]), {}) if link else {}
                if link and isinstance(source.get("inputs", {}).get("value"), int):
                    found.append((str(link[0]), "value"))
                elif isinstance(node["inputs"].get(name), int):
                    found.append((i, name))
        if not found:
            raise ValueError(
                "The workflow has no seed to set: it needs a sampler with a seed (or RandomNoise)."
            )
        return list(dict.fromkeys(found))


def nursing_inputs(cell: Cell) -> dict[str, Any]:
    """What a cell sets on Semantic Nursing. Plain is strength 0; everything about the step is explicit."""
    if not cell.method:
        return {"strength": 0.0, "subjects": cell.subjects}
    return {
        "method": cell.method,
        "subjects": cell.subjects,
        "strength": 1.0,
        "at_percent": -1.0,
        "at_sigma": 0.0,
        "at_step": -1 if cell.step is None else cell.step,
        "overrides": cell.overrides,
        "report_level": "numbers only",
    }


def node_of(kind: str, **inputs: Any) -> dict[str, Any]:
    """A node in API form."""
    return {"class_type": kind, "inputs": inputs}


def needed(workflow: Workflow, ends: Sequence[str]) -> Workflow:
    """The nodes that these end nodes depend on, and those."""
    keep, todo = set(), list(ends)
    while todo:
        node = todo.pop()
        if node in keep or node not in workflow:
            continue
        keep.add(node)
        links = workflow[node]["inputs"].values()
        todo += [str(link[0]) for link in links if isinstance(link, list) and len(link) == 2]
    return {i: node for i, node in workflow.items() if i in keep}


def check_different(template: Template, grid: Grid) -> int:
    """How many cells there are. Raises ValueError if two of them would be the same prompt for the queue."""
    seen: dict[str, Cell] = {}
    for cells in grid.rounds():
        for cell in cells:
            same = seen.setdefault(digest(template.of(cell)), cell)
            if same is not cell:
                raise ValueError(f"Two cells of the study are the same: {same} and {cell}.")
    return len(seen)
