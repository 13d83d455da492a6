"""A case of a golden file as maps, subjects, context and objective.

Words are given as `subjects` (with `attributes`), as `entities` with `modifiers`, or as `groups` with the noun last;
places as `boxes`, `boxes_px512` or `G_cell`; other keys are options of the objective, by the name of its field.
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections import ChainMap
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from gsn_ops.maps import AttentionMaps, MapOptions, StepContext
from gsn_ops.objectives.per_encoder import ByEncoder
from gsn_ops.prompt import Span, SubjectColumns, SubjectPhrase
from gsn_ops.regions import Region

_spec = importlib.util.spec_from_file_location(
    "gsn_golden_formulas", Path(__file__).parent / "golden_formulas.py"
)
formulas = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(formulas)

LEVEL = 2
SMOOTHING = {
    "legacy": MapOptions(),
    "none": MapOptions(kernel_size=0),
    "true": MapOptions(legacy_sigma=False),
}


@dataclass(frozen=True)
class Case:
    """leaves: input name -> the tensor that the gradient is taken for."""

    leaves: dict[str, torch.Tensor]
    maps: AttentionMaps
    subjects: list[SubjectColumns]
    context: StepContext


def parts_of(case: dict) -> list[tuple[str, ChainMap]]:
    """(input name, what the case says about it) per encoder; `combine` may leave only one of several encoders."""
    if isinstance(case["input"], str):
        return [(case["input"], ChainMap(case))]
    parts = {key: v for key, v in case.items() if isinstance(v, dict) and "input" in v}
    only = re.fullmatch("(.*)_only", case.get("combine", "average"))
    return [
        (v["input"], ChainMap(v, case))
        for key, v in parts.items()
        if v["input"] in case["input"] and (not only or only[1] == key)
    ]


def listed(columns) -> tuple[int, ...]:
    return () if columns is None else (columns,) if isinstance(columns, int) else tuple(columns)


def words_of(part: ChainMap) -> list[tuple[tuple[int, ...], list[tuple[int, ...]]]]:
    """(columns of the noun, columns of each modifier) of every subject."""
    if "groups" in part:
        return [(listed(noun), [listed(m) for m in modifiers]) for *modifiers, noun in part["groups"]]
    if "entities" in part:
        modifiers = part.get("modifiers") or [[]] * len(part["entities"])
        return [
            (listed(noun), [listed(m) for m in ms or ()])
            for noun, ms in zip(part["entities"], modifiers, strict=True)
        ]
    attributes = part.get("attributes") or [None] * len(part["subjects"])
    return [
        (listed(noun), [listed(a)] if a else []) for noun, a in zip(part["subjects"], attributes, strict=True)
    ]


def regions_of(case: dict, height: int, width: int) -> list[Region]:
    """The region of each subject, as far as the case has any."""
    boxes, unit = case.get("boxes"), 1
    for key in case:
        if pixels := re.fullmatch(r"boxes_px(\d+)", key):
            boxes, unit = case[key], int(pixels[1])
    if boxes:
        several = [b if isinstance(b[0], (list, tuple)) else [b] for b in boxes]
        return [Region(boxes=tuple(tuple(x / unit for x in box) for box in each)) for each in several]
    points = case.get("G_cell", [])
    points = [points] if isinstance(points, dict) else points
    return [Region(point=(p["x"] / max(1, width - 1), p["y"] / max(1, height - 1))) for p in points]


def build(inputs: dict, case: dict, cls: type) -> Case:
    leaves, blocks, spans, prompt, first = {}, [], [], [], 0
    nouns: list[dict] = []
    modifiers: list[list[dict]] = []
    for name, part in parts_of(case):
        leaves[name], a = formulas.attention(inputs, name)
        a = a if a.ndim == 4 else a[None]  # [heads, h, w, n]
        start, stop = part.get("span", (0, a.shape[-1]))
        blocks.append(a)
        spans.append(Span(name, first + start, first + stop))
        if "prompt_tokens" in part:
            start, last = part["prompt_tokens"]
            prompt.append(Span(name, first + start, first + last + 1))
        words = words_of(part)
        nouns, modifiers = nouns or [{} for _ in words], modifiers or [[{} for _ in ms] for _, ms in words]
        for j, (noun, ms) in enumerate(words):
            nouns[j][name] = tuple(first + c for c in noun)
            for m, columns in enumerate(ms):
                modifiers[j][m][name] = tuple(first + c for c in columns)
        first += a.shape[-1]
    heads = torch.cat(blocks, -1)
    height, width = heads.shape[1:3]

    def maps(a: torch.Tensor) -> AttentionMaps:
        rows = {}
        if "self_map" in case:
            own = formulas.self_attention(inputs, case["self_map"], height, width)
            rows = {LEVEL: lambda cells: own[cells].unflatten(-1, (height, width))}
        return AttentionMaps(
            {LEVEL: a.mean(0)[None]},
            tuple(range(first)),
            tuple(spans),
            {LEVEL: (a[None],)},
            rows,
            tuple(prompt),
        )

    role = getattr(cls, "role", "wanted")
    subjects = [
        SubjectColumns(SubjectPhrase(f"s{j}", f"s{j}", role=role), noun, tuple(ms))
        for j, (noun, ms) in enumerate(zip(nouns, modifiers, strict=True))
    ]
    regions = {s.label: r for s, r in zip(subjects, regions_of(case, height, width), strict=False)}
    previous = None
    if case.get("previous"):
        a = formulas.attention(inputs, case["previous"])[1].detach()
        previous = maps(a if a.ndim == 4 else a[None])
    context = StepContext(case.get("step", 0), 50, 1.0, math.sqrt(2), previous, regions)
    return Case(leaves, maps(heads), subjects, context)


def objective_of(case: dict, cls: type, height: int, width: int):
    """The objective with the options that the case states."""
    given = {key.lower(): value for key, value in case.items()}
    if "sigma_cells" in case:
        given["sigma"] = case["sigma_cells"] / max(height, width)
    names = {f.name for f in fields(cls)}
    chosen = {
        key: given[key]
        for key in names & set(given)
        if key not in ("maps", "needs") and given[key] is not None
    }
    if "smoothing" in case and "maps" in names:
        chosen["maps"] = SMOOTHING[case["smoothing"]]
    objective = cls(**chosen)
    return ByEncoder(objective) if case.get("combine") == "separate" else objective
