"""What Prompt-to-Prompt asks to be changed in a run of a source and a target prompt."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..maps import block_range
from ..prompt import SubjectPhrase
from . import local_blend
from .edits import Edit
from .prompt_alignment import AUTO, KINDS

CROSS_SHARE = 0.8
SELF_SHARE = 0.4
FOLLOW_SHARE = 0.2
"""Of the steps, where image and text attend together (MM-DiT Prompt-to-Prompt, ICCV 2025)."""
OWN = -1.0
"""`self_share` that means the published one of the model's kind."""
BLEND_START = 0.2

Weighted = tuple[tuple[SubjectPhrase, float], ...]


@dataclass(frozen=True, kw_only=True)
class PromptToPrompt(Edit):
    """The target image follows the source image of the same noise.

    kind: "replace", "refine" or "auto" (`prompt_alignment.aligned`). weights: factors of words' attention.
    cross_share: of the steps, in which the target takes the source's attention to the text; word_shares:
    other shares for single words of the target prompt. self_share: of the steps, in which it takes the
    source's attention of the image to itself; -1 = as published. blend: words; elsewhere than at these, the
    image stays the source's, from blend_start of the steps on. threshold: of their mask, relative to its
    maximum. blocks: which text-to-image layers. published: the paper's code where it differs.
    """

    kind: str = AUTO
    weights: Weighted = ()
    cross_share: float = CROSS_SHARE
    word_shares: Weighted = ()
    self_share: float = OWN
    blend: tuple[SubjectPhrase, ...] = ()
    blend_start: float = BLEND_START
    threshold: float = local_blend.THRESHOLD
    blocks: str = "auto"
    published: bool = False
    method: str = "Prompt-to-Prompt"

    @property
    def disabled(self) -> bool:
        shares = [self.cross_share, self.self_share, *(share for _, share in self.word_shares)]
        return not any(shares) and not self.blend

    def scaled(self, strength: float) -> PromptToPrompt:
        return replace(self, cross_share=self.cross_share * strength)

    def check(self) -> PromptToPrompt:
        shares = {"cross_share": self.cross_share, "blend_start": self.blend_start}
        shares |= {f"word_shares: '{p.label}'": share for p, share in self.word_shares}
        if self.self_share != OWN:
            shares["self_share"] = self.self_share
        for name, share in shares.items():
            if not 0 <= share <= 1:
                own = " (-1 = as published)" if name == "self_share" else ""
                raise ValueError(f"{name} is {share:g}: it is a share of the steps, from 0 to 1{own}.")
        if not 0 < self.threshold < 1:
            raise ValueError(
                f"blend_threshold is {self.threshold:g}: choose between 0 (mask everywhere) and 1 (nowhere); "
                "0.3 is published."
            )
        if self.kind not in KINDS:
            raise ValueError(f"edit is '{self.kind}': choose one of {', '.join(KINDS)}.")
        block_range(self.blocks)
        return self

    def describe(self) -> str:
        return self.kind

    def self_share_on(self, unet: bool) -> float:
        """The share of steps in which self-attention follows, on a UNet or another network."""
        if self.self_share != OWN:
            return self.self_share
        return SELF_SHARE if unet else FOLLOW_SHARE
