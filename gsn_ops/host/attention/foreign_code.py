"""Code of other packs that runs around the network in our passes: kept as it is, or left out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch

from ...torch_ops.unreadable import UnreadablePass
from .isolation import kept_state
from .other_packs import is_cache, is_of_a_pack, name_of, replaced_forwards

WRAPPER = "model_function_wrapper"
"""ComfyUI's place for one function around each call of the network."""


class ForeignCode:
    """What other packs run around the network, for one recipe in one run. Holds names only.

    left_out: our passes run without it: the wrapper around the network is a cache, or with it the attention
    could not be read. Otherwise it sees every pass in full, and what it remembers is put back after each.
    """

    def __init__(self) -> None:
        self.left_out = False
        self.names: tuple[str, ...] = ()

    def begin(self, model_options: Mapping[str, Any], network: torch.nn.Module) -> None:
        """Look at what is there before the passes of a step."""
        wrapper = model_options.get(WRAPPER)
        if wrapper is not None and is_of_a_pack(wrapper) and is_cache(wrapper):
            self.leave_out(model_options, network)

    def surrounds(self, model_options: Mapping[str, Any], network: torch.nn.Module) -> bool:
        """Is there any, and is it kept? Then a pass must not end early: it may have something to undo."""
        if self.left_out:
            return False
        wrapper = model_options.get(WRAPPER)
        return (wrapper is not None and is_of_a_pack(wrapper)) or bool(replaced_forwards(network))

    def leave_out(self, model_options: Mapping[str, Any], network: torch.nn.Module) -> None:
        """From now on, passes run without it."""
        self.left_out = True
        wrapper = model_options.get(WRAPPER)
        found = [function for _, _, function in replaced_forwards(network)]
        found += [wrapper] if wrapper is not None else []
        self.names = tuple(dict.fromkeys(map(name_of, found)))

    def adapt(self, options: dict) -> None:
        """Change a private copy of the model options of one pass."""
        wrapper = options.get(WRAPPER)
        if wrapper is None or not is_of_a_pack(wrapper):
            return
        if self.left_out:
            del options[WRAPPER]
        else:
            options[WRAPPER] = _one_whole_call(wrapper)

    @contextlib.contextmanager
    def around_pass(self, model_options: Mapping[str, Any], network: torch.nn.Module) -> Generator[None]:
        """Surround a pass: what kept code remembers is put back."""
        kept: AbstractContextManager = contextlib.nullcontext()
        if self.surrounds(model_options, network):
            kept = remembered(model_options, network)
        with kept:
            yield


def remembered(model_options: Mapping[str, Any], network: torch.nn.Module) -> AbstractContextManager[None]:
    """Surround calls of the network that no other pack's code shall remember."""
    roots = [function for _, _, function in replaced_forwards(network)]
    return kept_state(network, [*roots, *filter(None, [model_options.get(WRAPPER)])])


def _one_whole_call(wrapper: Callable) -> Callable:
    """The wrapper, which must run the network once on the whole latent: maps of parts would be mixed up."""

    def wrapped(apply: Callable, args: dict):
        calls = 0

        def once(x: torch.Tensor, *more: Any, **conds: Any):
            nonlocal calls
            calls += 1
            if calls > 1 or x.shape != args["input"].shape:
                raise UnreadablePass("the model is run in several parts, whose attention cannot be joined")
            return apply(x, *more, **conds)

        return wrapper(once, args)

    return wrapped
