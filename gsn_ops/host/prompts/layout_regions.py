"""A layout on a conditioning: a region for every box at once, and GLIGEN boxes for its first part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from comfy.model_management import throw_exception_if_processing_interrupted
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP

from ...layout.layout import Layout, in_pixels
from ...prompt import PromptTokens
from ...regions import Region
from ...subjects.described import phrases_of
from .conditioning import KEY, Conditioning
from .entry_tokens import read_entry

MOST_GLIGEN = 30
"""Boxes that a GLIGEN model takes."""
CELL = 8
"""Pixels of a cell of the latent, as in GLIGENTextBoxApply."""
OTHER_CLIP = (
    "gligen does not fit this CLIP: it wants SD1's text embedding of {wanted} numbers. Disconnect gligen, or "
    "use an SD1 model."
)


def with_layout(conditioning: Conditioning, layout: Layout) -> tuple[list[list[Any]], tuple[str, ...]]:
    """The conditioning with a region for each box, and "box -> word of the prompt" for each.

    Of combined prompts each takes the boxes whose words it has. Raises ValueError for a box whose words no
    prompt has, or if the text tokens are not known.
    """
    names = [placed.name for placed in layout.objects]
    out: list[list[Any]] = []
    matched: dict[int, str] = {}
    missing: dict[int, ValueError] = {}
    for rows, extra in conditioning:
        throw_exception_if_processing_interrupted()
        tokens, _ = read_entry(rows, extra.get(KEY))
        phrases, errors = phrases_of(names, tokens)
        missing |= errors
        matched |= {n: phrase.label for n, phrase in phrases.items()}
        regions = tuple((phrase, _region(layout, n)) for n, phrase in phrases.items())
        out.append([rows, {**extra, KEY: _with_regions(tokens, regions)}])
    for n, error in missing.items():
        if n not in matched:
            raise error
    return out, tuple(f"{names[n]} -> {matched[n]}" for n in sorted(matched))


def _region(layout: Layout, n: int) -> Region:
    x1, y1, x2, y2 = layout.objects[n].box
    return Region(boxes=((x1, y1, x2, y2),), point=((x1 + x2) / 2, (y1 + y2) / 2))


def _with_regions(tokens: PromptTokens, regions: tuple) -> PromptTokens:
    return replace(tokens, regions=(*tokens.regions, *regions))


def with_gligen(
    conditioning: Conditioning, layout: Layout, gligen: ModelPatcher, clip: CLIP, end: float
) -> list[list[Any]]:
    """The conditioning with GLIGEN boxes from its start to `end`, a share of the noise schedule.

    Each entry becomes two in time. Raises ValueError for more boxes than the model takes, and for a CLIP of
    another family.
    """
    if len(layout.objects) > MOST_GLIGEN:
        raise ValueError(
            f"The layout has {len(layout.objects)} boxes, and a GLIGEN model takes {MOST_GLIGEN}: remove "
            "some, or disconnect gligen."
        )
    positions = _positions(layout, clip)
    wanted = getattr(gligen.model, "key_dim", None)
    if wanted and any(found is None or found.shape[-1] != wanted for found, *_ in positions):
        raise ValueError(OTHER_CLIP.format(wanted=wanted))
    out: list[list[Any]] = []
    for rows, extra in split_in_time(conditioning, end):
        if extra["end_percent"] <= end:
            before: Sequence = extra["gligen"][2] if "gligen" in extra else ()
            extra = {**extra, "gligen": ("position", gligen, [*before, *positions])}
        out.append([rows, extra])
    return out


def size_of_gligen(layout: Layout) -> str:
    """For which image the boxes are: ComfyUI gives them to GLIGEN in cells of the latent."""
    return f"GLIGEN's boxes are for an image of {layout.canvas[0]} x {layout.canvas[1]} pixels"


def split_in_time(conditioning: Conditioning, at: float) -> list[list[Any]]:
    """Each entry that is active before and behind `at` as two entries, one for each part."""
    out: list[list[Any]] = []
    for rows, extra in conditioning:
        start, end = _window(extra)
        for low, high in ((start, min(end, at)), (max(start, at), end)):
            if low < high:
                out.append([rows, {**extra, "start_percent": low, "end_percent": high}])
    return out


def _window(extra: Mapping[str, Any]) -> tuple[float, float]:
    return float(extra.get("start_percent", 0.0)), float(extra.get("end_percent", 1.0))


def _positions(layout: Layout, clip: CLIP) -> list[tuple]:
    """(text embedding, height, width, y, x) of each box, in cells of the latent, as GLIGENTextBoxApply."""
    found = []
    embeddings: dict[str, Any] = {}
    for placed in layout.objects:
        throw_exception_if_processing_interrupted()
        if placed.name not in embeddings:
            tokens = clip.tokenize(placed.name)
            embeddings[placed.name] = clip.encode_from_tokens(tokens, return_pooled="unprojected")[1]
        x, y, width, height = (round(side / CELL) for side in in_pixels(placed.box, layout.canvas))
        found.append((embeddings[placed.name], max(1, height), max(1, width), y, x))
    return found
