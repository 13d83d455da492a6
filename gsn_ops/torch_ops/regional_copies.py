"""Regional prompts that attend once per region: copies of an image in one call, each with another text."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .unreadable import UnreadablePass

SAME_TEXT = 0.9999
"""Cosine from which two texts are one: a pack may scale its copy."""


class CopiesOfImages:
    """Which rows of a UNet's attention to text belong to which image, and see the text that is read.

    Between its two functions in the list of "attn2_patch", other packs repeat images and add texts.
    batch: images.
    """

    def __init__(self, batch: int):
        self.batch = batch
        self.text: Tensor | None = None  # [B, T, C], as the conditioning has it
        self.texts: Tensor | None = None  # [copies B, T', C], as the attention gets them
        self.others: Tensor | None = None  # [copies, T', C] of one image: the texts that are not read

    def patches(self, others: list) -> list:
        """The list of patches with one before and one after the others."""

        def before(n: Tensor, context: Tensor, value: Tensor, options: Any):
            self.text = context
            return n, context, value

        def after(n: Tensor, context: Tensor, value: Tensor, options: Any):
            self.texts = context
            return n, context, value

        return [before, *others, after]

    def joined(self, p: Tensor) -> Tensor:
        """Probabilities [copies B, ...] -> [B, ...]: the mean over an image's copies that see its text.

        Raises UnreadablePass if none does.
        """
        if len(p) == self.batch:
            return p
        if self.text is None or self.texts is None or len(p) % self.batch or len(self.texts) != len(p):
            raise UnreadablePass(f"the attention has {len(p)} images instead of {self.batch}")
        copies, text = len(p) // self.batch, self.text[:1]
        if self.texts.shape[1] % text.shape[1]:
            text = text[:, 0::2]  # rows of keys and of values in turn, taken apart by now (NegPip)
        rows = text.shape[1]
        first = self.texts.unflatten(0, (copies, self.batch))[:, 0, :rows]  # one image's, copy by copy
        same = torch.cosine_similarity(first.flatten(1).float(), text.flatten(1).float()) > SAME_TEXT
        if not same.any():
            raise UnreadablePass("no region of the image attends to the prompt that has the subjects")
        if not same.all():
            self.others = self.texts.unflatten(0, (copies, self.batch))[~same, 0].detach()
        times = self.texts.shape[1] // rows  # repeated to the length of a longer one, which shares its weight
        return times * p.unflatten(0, (copies, self.batch))[same].mean(0)
