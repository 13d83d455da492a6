"""All scores of images that can be had with what is connected, as numbers, a line and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from statistics import fmean

from torch import Tensor

from .scorers import Aesthetic, ClipScore, FullPrompt, MinimumObject, Scorer, ScoreRequest, TextText, Towers

Scores = dict[str, list[float]]
"""Name -> the score of each image."""
NOTHING_TO_DO = (
    "There is nothing to measure with: connect clip, the text encoder of the same CLIP (for similarities to "
    "the prompt), or choose an aesthetic_head."
)
NO_PROMPT = "prompt is empty: type what the images are compared with."
DECIMALS = {"CLIPScore": 1, "aesthetic": 2}


def scores_of(
    images: Tensor,
    towers: Towers,
    with_texts: bool,
    request: ScoreRequest,
    head: Mapping[str, Tensor] | None = None,
) -> Scores:
    """Scores of images [B, H, W, 3].

    with_texts: towers embed texts too. What has no subjects or captions is left out. Raises ValueError where
    nothing can be measured, or for what the scorers refuse.
    """
    if not with_texts and head is None:
        raise ValueError(NOTHING_TO_DO)
    if with_texts and not request.prompt.strip():
        raise ValueError(NO_PROMPT)
    scorers: list[Scorer] = []
    if with_texts:
        scorers += [FullPrompt(towers)]
        scorers += [MinimumObject(towers)] if any(p.role == "wanted" for p in request.subjects) else []
        scorers += [ClipScore(towers)]
        scorers += [TextText(towers)] if request.captions else []
    if head is not None:
        scorers += [Aesthetic(towers, head)]
    return {scorer.name: scorer.score(images, request) for scorer in scorers}


def mean_of(scores: Scores, name: str) -> float:
    """The mean of a score over the images; 0 where it was not measured."""
    return fmean(scores[name]) if name in scores else 0.0


def scores_to_text(scores: Scores) -> str:
    """ "full prompt 0.331, minimum object 0.240, CLIPScore 31.2": means over the images."""
    return ", ".join(f"{name} {fmean(values):.{DECIMALS.get(name, 3)}f}" for name, values in scores.items())


def scores_to_json(scores: Scores) -> str:
    """The mean and the score of each image, by name."""
    means = {name: fmean(values) for name, values in scores.items()}
    return json.dumps({"schema": 1, "mean": means, "images": scores})
