"""What a node asks to be changed in the forward passes of a run, without gradients."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TypeVar

from torch import Tensor

from ..maps import MapNeeds, block_range, parse_levels
from ..prompt import SubjectPhrase
from . import taca, vsf
from .word_weights import KAPPA, factors

AnyEdit = TypeVar("AnyEdit", bound="Edit")


@dataclass(frozen=True, kw_only=True)
class Edit(ABC):
    """method: the name shown to users. The other numbers and words are settings."""

    method: str

    @property
    @abstractmethod
    def disabled(self) -> bool:
        """Whether it changes nothing in any run."""

    @abstractmethod
    def scaled(self: AnyEdit, strength: float) -> AnyEdit:
        """With an effect of this size: 1 = as it is, 0 = disabled."""

    @abstractmethod
    def check(self: AnyEdit) -> AnyEdit:
        """Itself. Raises ValueError, with the cure, for settings that no run can have."""

    @abstractmethod
    def describe(self) -> str:
        """Its settings in a few words."""


@dataclass(frozen=True, kw_only=True)
class WordWeights(Edit):
    """Weights of single words of the prompt.

    weights: (phrase, weight) each. kappa: how strongly a weight acts (`word_weights.factors`). start, end:
    when, as shares of the noise schedule. blocks: which text-to-image layers, "auto" = all, or "5-12".
    text_rows: the text's own queries are changed too, in joint attention.
    """

    weights: tuple[tuple[SubjectPhrase, float], ...]
    kappa: float = KAPPA
    start: float = 0.0
    end: float = 1.0
    blocks: str = "auto"
    text_rows: bool = False
    method: str = "Word Weight"

    @property
    def disabled(self) -> bool:
        return all(factors(weight, self.kappa) == (1.0, 1.0) for _, weight in self.weights)

    def scaled(self, strength: float) -> WordWeights:
        return replace(self, kappa=self.kappa * strength)

    def check(self) -> WordWeights:
        if not (math.isfinite(self.kappa) and self.kappa >= 0):
            raise ValueError(f"strength is {self.kappa:g}: choose 0 (weights above 0 do nothing) or more.")
        _check_window(self.start, self.end)
        block_range(self.blocks)
        return self

    def describe(self) -> str:
        return ", ".join(f"{phrase.label} {weight:g}" for phrase, weight in self.weights)


@dataclass(frozen=True, kw_only=True)
class TextTemperature(Edit):
    """TACA without its LoRA: scores of the text times gamma for the image's queries, at the highest noise.

    threshold: the lowest sigma of a flow model at which this is done.
    """

    gamma: float = taca.GAMMA
    threshold: float = taca.THRESHOLD
    method: str = "TACA (2025)"

    @property
    def disabled(self) -> bool:
        return self.gamma == 1

    def scaled(self, strength: float) -> TextTemperature:
        return replace(self, gamma=1 + strength * (self.gamma - 1))

    def check(self) -> TextTemperature:
        if not 0 < self.gamma <= 10:
            raise ValueError(f"gamma is {self.gamma:g}: choose more than 0, up to 10; 1.2 is published.")
        if not 0 <= self.threshold <= 1:
            raise ValueError(
                f"threshold is {self.threshold:g}: it is a sigma from 0 to 1; 0.97 is published."
            )
        return self

    def describe(self) -> str:
        return f"text scores times {self.gamma:.3g}"


LOOKS = ("once", "every pass")


@dataclass(frozen=True, kw_only=True)
class WordBoost(Edit):
    """More attention for the subjects that lack it, in the passes after a look at the attention.

    threshold: the highest attention from which on a subject lacks nothing. gain: its words' probability is
    multiplied by exp(gain * lack). start_percent, end_percent: when the first look is and when it ends, as
    shares of the noise schedule. look: one of LOOKS. levels, blocks, encoders: of the attention looked at, as
    in `MapNeeds`. subjects: () = found in the prompt.
    """

    gain: float = 2.0
    threshold: float = 0.8
    start_percent: float = 0.0
    end_percent: float = 0.4
    look: str = "every pass"
    levels: str = "auto"
    blocks: str = "auto"
    encoders: str = "all"
    subjects: tuple[SubjectPhrase, ...] = ()
    method: str = "Word boost (no gradients)"

    @property
    def disabled(self) -> bool:
        return self.gain == 0

    @property
    def needs(self) -> MapNeeds:
        """The attention looked at. Raises ValueError for text that names none."""
        return MapNeeds(levels=parse_levels(self.levels), blocks=self.blocks, encoders=self.encoders)

    def scaled(self, strength: float) -> WordBoost:
        return replace(self, gain=self.gain * strength)

    def check(self) -> WordBoost:
        if not 0 <= self.gain <= 20:
            raise ValueError(f"gain is {self.gain:g}: choose 0 (off) to 20.")
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold is {self.threshold:g}: choose more than 0, up to 1.")
        _check_window(self.start_percent, self.end_percent)
        if self.look not in LOOKS:
            raise ValueError(f"look is '{self.look}': choose {' or '.join(LOOKS)}.")
        block_range(self.needs.blocks)
        return self

    def describe(self) -> str:
        return f"gain {self.gain:.3g}"


@dataclass(frozen=True, kw_only=True, eq=False)
class FlippedNegative(Edit):
    """VSF: a negative prompt as further keys of cross-attention, whose values are subtracted.

    rows [N, C]: its words' rows of the conditioning. words: as text. alpha: size of the subtraction. beta:
    less attention for its words, in scores (`vsf`). start, end: as in `WordWeights`.
    """

    rows: Tensor
    words: str
    alpha: float = vsf.ALPHA
    beta: float = vsf.BETA
    start: float = 0.0
    end: float = 1.0
    method: str = "VSF, value sign flip (2026)"

    @property
    def disabled(self) -> bool:
        return self.alpha == 0 or not len(self.rows)

    def scaled(self, strength: float) -> FlippedNegative:
        return replace(self, alpha=self.alpha * strength)

    def check(self) -> FlippedNegative:
        if not 0 <= self.alpha <= 10:
            raise ValueError(f"alpha is {self.alpha:g}: choose 0 (off) to 10; 1.8 is published.")
        if not -5 <= self.beta <= 5:
            raise ValueError(f"beta is {self.beta:g}: choose -5 to 5; -0.1 is in the authors' code.")
        _check_window(self.start, self.end)
        return self

    def describe(self) -> str:
        return f"'{self.words}' subtracted, alpha {self.alpha:.3g}"


def _check_window(start: float, end: float) -> None:
    if not 0 <= start <= end <= 1:
        raise ValueError(
            f"The window is {start:g} to {end:g}: choose start_percent and end_percent between "
            "0 and 1, start first."
        )


FORMS = ("anchored", "base", "aligned")


@dataclass(frozen=True, kw_only=True)
class PromptReinjection(Edit):
    """The prompt's features of an early block, added to those before later blocks.

    w: how much. origin: the block, counted over all blocks that see the text, whose input is added. last: the
    last block that gets it, -1 = the network's last. form: "anchored" (independent of the features' size),
    "base" or "aligned" (anchored, rotated by matrices of this model). file: where these are, for "aligned".
    """

    w: float = 0.05
    origin: int = 1
    last: int = -1
    form: str = "anchored"
    file: str = ""
    method: str = "Prompt Reinjection (2026)"

    @property
    def disabled(self) -> bool:
        return self.w == 0

    def scaled(self, strength: float) -> PromptReinjection:
        return replace(self, w=self.w * strength)

    def check(self) -> PromptReinjection:
        if not (math.isfinite(self.w) and self.w >= 0):
            raise ValueError(f"w is {self.w:g}: choose 0 (off) or more; 0.025 to 0.1 are the authors'.")
        if self.origin < 0:
            raise ValueError(f"origin is {self.origin}: choose a block, counted from 0; 1 is the authors'.")
        if self.form not in FORMS:
            raise ValueError(f"form is '{self.form}': choose one of {', '.join(FORMS)}.")
        if self.form == "aligned" and not self.file:
            raise ValueError(
                "form=aligned needs matrices that were fitted to this model, and no file was named. Put one "
                "into models/gsn and add file=NAME.safetensors, or choose form=anchored, which needs none."
            )
        if self.file and self.form != "aligned":
            raise ValueError(f"file is for form=aligned, and form is '{self.form}': set one of the two.")
        return self

    def describe(self) -> str:
        return f"block {self.origin}'s text features, {self.form}, w {self.w:.3g}"
