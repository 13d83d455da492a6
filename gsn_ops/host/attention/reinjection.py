"""Prompt Reinjection in a forward pass: hooks on the network's blocks, for the duration of the pass."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping

import torch
from torch import Tensor

from ...modulate.edits import PromptReinjection
from ...modulate.prompt_reinjection import reinject, reinject_anchored
from ..architectures.family import TextStream
from ..rotations import check_size


class Reinjection:
    """One pass: keeps the text's features before one block, adds them before the later ones.

    n_text: tokens of the text's part of the sequence, for networks without blocks that get it apart.
    rotations: block -> [D, D] of the aligned form. changed: blocks whose input was changed.
    """

    def __init__(
        self, settings: PromptReinjection, n_text: int, rotations: Mapping[int, Tensor] | None = None
    ) -> None:
        self.settings = settings
        self.n_text = n_text
        self.rotations = rotations or {}
        self.origin: Tensor | None = None
        self.changed = 0

    @contextlib.contextmanager
    def on(self, network: torch.nn.Module, stream: TextStream) -> Generator[None]:
        """Inside, the blocks of this network get changed text. Undone on every exit."""
        double = list(getattr(network, stream.double)) if stream.double else []
        single = list(getattr(network, stream.single)) if stream.single else []
        handles = []
        try:
            for number, block in enumerate([*double, *single]):
                apart = number < len(double)
                hook = self._hook(number, stream.argument if apart else 0, whole=apart)
                handles.append(block.register_forward_pre_hook(hook, with_kwargs=True))
            yield
        finally:
            for handle in handles:
                handle.remove()
            self.origin = None

    def _hook(self, number: int, argument: str | int, whole: bool):
        """Before block `number`. whole: the argument is the text alone, no sequence that begins with it."""

        def before(_block, args: tuple, kwargs: dict):
            named = isinstance(argument, str)
            given = kwargs[argument] if named else args[argument]
            n = given.shape[1] if whole else self.n_text
            changed = self._changed(number, given[:, :n])
            self.n_text = n
            if changed is None:
                return None
            put = changed if whole else torch.cat((changed, given[:, n:]), 1)
            if named:
                return args, {**kwargs, argument: put}
            return (*args[:argument], put, *args[argument + 1 :]), kwargs

        return before

    def _changed(self, number: int, text: Tensor) -> Tensor | None:
        """The text's features [B, tokens, D] before a block, changed; None = as they are."""
        settings = self.settings
        if number == settings.origin:
            self.origin = text.clone()  # some blocks write into their input
        if number <= settings.origin or self.origin is None or number > settings.last >= 0:
            return None
        if self.origin.shape != text.shape:
            return None
        self.changed += 1
        target, origin = text.float(), self.origin.float()
        if settings.form == "base":
            return reinject(target, origin, settings.w).to(text.dtype)
        rotation = self.rotations.get(number)
        if rotation is not None:
            check_size(rotation, number, text.shape[-1])
            rotation = rotation.to(target)
        return reinject_anchored(target, origin, settings.w, rotation).to(text.dtype)
