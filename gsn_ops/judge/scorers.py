"""Scores of images that studies report, behind one interface: TIAM, similarities of CLIP, aesthetics.

Full prompt, minimum object and text-text similarity are those of Attend-and-Excite (Chefer et al., SIGGRAPH
2023, section 4), published with CLIP ViT-B/16 and captions of BLIP; CLIPScore is 100 cos with the same CLIP.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..prompt import SubjectPhrase
from .detection import phrase_of
from .prompt_templates import filled
from .sources import Source, judge
from .verdict import CONFIDENCE

OPENING = re.compile(r"^\s*an?\s+photo\s+of\s+", re.IGNORECASE)
TWO_TOWERS = (
    "a CLIP Vision file in models/clip_vision (Load CLIP Vision) and the text encoder of the same CLIP with "
    "its projection in models/text_encoders (Load CLIP); published with ViT-B/16"
)
HEAD_FILE = (
    "the head of the LAION aesthetic predictor v2 (sac+logos+ava1-l14-linearMSE) and a CLIP Vision file, "
    "ViT-L/14, in models/clip_vision"
)
NO_CAPTION = "Text-text similarity compares the prompt with a caption of the image: connect a caption."
ONE_CAPTION = "There are {captions} captions for {images} images: give one caption for each image."
NOT_A_HEAD = (
    "This file is not the head of the LAION aesthetic predictor: it has no layers.N.weight that end in one "
    "number. Choose sac+logos+ava1-l14-linearMSE.pth."
)
WRONG_WIDTH = (
    "The aesthetic head reads {wanted} numbers, but this CLIP Vision gives {found}: the LAION head needs "
    "ViT-L/14."
)


class Towers(Protocol):
    """A CLIP: images and texts as embeddings in one space."""

    def images(self, images: Tensor) -> Tensor:
        """[B, H, W, 3] in 0 ... 1 -> [B, d]."""

    def texts(self, texts: Sequence[str]) -> Tensor:
        """[n, d]."""


@dataclass(frozen=True)
class ScoreRequest:
    """What images are compared with: the prompt, its subjects, and captions that a model wrote, one each."""

    prompt: str
    subjects: tuple[SubjectPhrase, ...] = ()
    captions: tuple[str, ...] = ()


class Scorer(Protocol):
    """One number per image."""

    @property
    def name(self) -> str:
        """In tables."""

    @property
    def needs(self) -> str:
        """The files it needs, and where they go."""

    def score(self, images: Tensor, request: ScoreRequest) -> list[float]:
        """The score of each image [B, H, W, 3]. Raises ValueError, with the cure, for what is missing."""


def mean_embedding(texts: Tensor) -> Tensor:
    """The normalised mean [d] of normalised embeddings [n, d]."""
    return F.normalize(F.normalize(texts.double(), dim=-1).mean(0), dim=-1)


def templated(towers: Towers, text: str) -> Tensor:
    """The embedding [d] of a text in CLIP's 80 templates, without its own "a photo of"."""
    bare = OPENING.sub("", text).strip()
    return mean_embedding(towers.texts(filled(bare)))


def cosine(images: Tensor, text: Tensor) -> Tensor:
    """cos of image embeddings [B, d] with one of a text [d]: [B]."""
    return F.normalize(images.double(), dim=-1) @ F.normalize(text.double(), dim=-1)


@dataclass(frozen=True)
class Tiam:
    """1 where all subjects are right, else 0; the mean over images is TIAM."""

    sources: tuple[Source, ...]
    colours: bool = False
    confidence: float = CONFIDENCE
    name: str = "TIAM"
    needs: str = "a detector: RT-DETR in models/diffusion_models or SAM 3 in models/checkpoints"

    def score(self, images: Tensor, request: ScoreRequest) -> list[float]:
        found = judge(images, request.subjects, self.sources, self.confidence)
        return [float(verdict.right(self.colours)) for verdict in found.images]


@dataclass(frozen=True)
class FullPrompt:
    """cos(image, mean embedding of the prompt in 80 templates)."""

    towers: Towers
    name: str = "full prompt"
    needs: str = TWO_TOWERS

    def score(self, images: Tensor, request: ScoreRequest) -> list[float]:
        return cosine(self.towers.images(images), templated(self.towers, request.prompt)).tolist()


@dataclass(frozen=True)
class MinimumObject:
    """The same for each subject; the lowest."""

    towers: Towers
    name: str = "minimum object"
    needs: str = TWO_TOWERS

    def score(self, images: Tensor, request: ScoreRequest) -> list[float]:
        embedded = self.towers.images(images)
        phrases = dict.fromkeys(phrase_of(s) for s in request.subjects if s.role == "wanted")
        labels = [_with_article(phrase) for phrase in phrases]
        each = [cosine(embedded, templated(self.towers, label)) for label in labels]
        return torch.stack(each).amin(0).tolist()


def _with_article(label: str) -> str:
    return f"{'an' if label[:1].lower() in 'aeiou' else 'a'} {label}"


@dataclass(frozen=True)
class TextText:
    """cos(caption of the image, mean embedding of the prompt in 80 templates)."""

    towers: Towers
    name: str = "text-text"
    needs: str = TWO_TOWERS + "; captions, published with BLIP"

    def score(self, images: Tensor, request: ScoreRequest) -> list[float]:
        if not request.captions:
            raise ValueError(NO_CAPTION)
        if len(request.captions) != len(images):
            raise ValueError(ONE_CAPTION.format(captions=len(request.captions), images=len(images)))
        prompt = templated(self.towers, request.prompt)
        return cosine(self.towers.texts(request.captions), prompt).tolist()


@dataclass(frozen=True)
class ClipScore:
    """100 cos(image, prompt), not below 0."""

    towers: Towers
    name: str = "CLIPScore"
    needs: str = TWO_TOWERS

    def score(self, images: Tensor, request: ScoreRequest) -> list[float]:
        (prompt,) = self.towers.texts([request.prompt])
        return (100 * cosine(self.towers.images(images), prompt)).clamp(min=0).tolist()


@dataclass(frozen=True)
class Aesthetic:
    """LAION's predictor v2: linear layers on the normalised image embedding, about 1 to 10.

    head: the file's tensors, "layers.0.weight" and so on.
    """

    towers: Towers
    head: Mapping[str, Tensor]
    name: str = "aesthetic"
    needs: str = HEAD_FILE

    def score(self, images: Tensor, request: ScoreRequest) -> list[float]:
        layers = head_layers(self.head)
        x = F.normalize(self.towers.images(images).float(), dim=-1)
        if x.shape[-1] != layers[0][0].shape[1]:
            raise ValueError(WRONG_WIDTH.format(wanted=layers[0][0].shape[1], found=x.shape[-1]))
        for weight, bias in layers:
            x = F.linear(x, weight.to(x), bias.to(x))
        return x[:, 0].tolist()


def head_layers(head: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of each linear layer, in order. Raises ValueError for another file."""
    numbers = sorted(int(found[1]) for key in head if (found := re.fullmatch(r"layers\.(\d+)\.weight", key)))
    keys = [f"layers.{n}" for n in numbers]
    if not keys or any(f"{key}.bias" not in head for key in keys) or len(head[f"{keys[-1]}.weight"]) != 1:
        raise ValueError(NOT_A_HEAD)
    layers = [(head[f"{key}.weight"], head[f"{key}.bias"]) for key in keys]
    sizes = [tuple(weight.shape) for weight, _ in layers]
    if any(len(size) != 2 for size in sizes) or any(a[0] != b[1] for a, b in pairwise(sizes)):
        raise ValueError(NOT_A_HEAD)
    return layers
