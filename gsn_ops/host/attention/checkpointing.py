"""Activation checkpointing: blocks keep only their inputs, and run again when the gradient needs the rest.

Like torch.utils.checkpoint, but the version check of saved tensors stays in force, other packs' options are
those of the first run, and the Capture inside a block sees its calls once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Generator, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from ...torch_ops.unreadable import UnreadablePass
from ..autograd.differentiable import pack_saved, storages, unpack_saved
from .capture import AllCaptured, Capture

NOT_THE_SAME = (
    "a block of this model computed something else when it was run once more to save memory, as a patch that "
    "changes from call to call does (a smaller image or batch, or --lowvram, avoids the second run)"
)


class _RecomputeDone(BaseException):
    """Raised when recomputation has produced every saved tensor."""


def blocks_of(network: torch.nn.Module) -> list[torch.nn.Module]:
    """The outermost modules whose class is called a block.

    These are the residual and attention blocks of ComfyUI's networks.
    """
    blocks: list[torch.nn.Module] = []
    inside: set[torch.nn.Module] = set()
    for module in network.modules():
        if "Block" in type(module).__name__ and module is not network and module not in inside:
            blocks.append(module)
            inside.update(module.modules())
    return blocks


@dataclass(frozen=True)
class Recomputation:
    """How the blocks of one pass run again.

    capture: of this pass. context: makes what surrounds the pass, for the time after it. weights: addresses
    of storages that are not counted. on_measured(bytes, bytes of its inputs): told what a block would have
    stored; None = nobody.
    """

    capture: Capture
    context: Callable[[], AbstractContextManager]
    weights: Collection[int] = ()
    on_measured: Callable[[int, int], None] | None = None


@contextlib.contextmanager
def recomputed(blocks: Collection[torch.nn.Module], how: Recomputation) -> Generator[None]:
    """Inside, calls of these blocks store their inputs instead of what their gradient needs.

    Only instances are changed; undone on every exit.
    """

    def wrap(forward: Callable) -> Callable:
        def recomputing(*args, **kwargs):
            if not torch.is_grad_enabled() or not _needs_gradient((args, kwargs)):
                return forward(*args, **kwargs)
            return _BlockCall(forward, args, kwargs, how).run(args, kwargs)

        return recomputing

    changed = []
    try:
        for block in blocks:
            changed.append((block, block.__dict__.get("forward")))
            block.forward = wrap(block.forward)
        yield
    finally:
        for block, before in changed:
            if before is None:
                del block.__dict__["forward"]
            else:
                block.forward = before


class _BlockCall:
    """One call of a block, which keeps the shapes of the tensors that its graph saves.

    The tensors themselves are computed when a backward pass needs the first one. Holds no graph itself: the
    graph holds this object, and would never be freed.
    """

    def __init__(self, forward: Callable, args: tuple, kwargs: dict, how: Recomputation):
        self.forward = forward
        self.how = how
        self.inputs = _map_leaves((args, kwargs), _pack_input)
        self.snapshot = how.capture.snapshot()
        self.shapes: list[tuple[torch.Size, torch.dtype]] = []
        self.recomputed: dict[int, tuple[Tensor, int]] = {}

    def run(self, args: tuple, kwargs: dict):
        """The block's result with its graph. The block may write into its inputs: it works on copies."""
        with saved_tensors_hooks(self._save_shape, self._saved_tensor):
            return self.forward(*map(_copied, args), **{name: _copied(a) for name, a in kwargs.items()})

    def _save_shape(self, t: Tensor) -> int:
        self.shapes.append((t.shape, t.dtype))
        return len(self.shapes) - 1

    def _saved_tensor(self, n: int) -> Tensor:
        if n not in self.recomputed:
            self._recompute()
        return unpack_saved(self.recomputed.pop(n))

    def _recompute(self) -> None:
        """Run the block again, until it has saved all tensors that its first run saved.

        Raises UnreadablePass if they differ.
        """
        self.recomputed = {}
        found: list[list[torch.UntypedStorage]] = []

        def save(t: Tensor) -> int:
            n = len(found)
            if (t.shape, t.dtype) != self.shapes[n]:
                raise UnreadablePass(NOT_THE_SAME)
            self.recomputed[n] = pack_saved(t)
            found.append(storages(t))
            if len(found) == len(self.shapes):
                raise _RecomputeDone
            return n

        with (
            contextlib.suppress(_RecomputeDone, AllCaptured),
            torch.enable_grad(),
            self._restored_capture(),
            self.how.context(),
            saved_tensors_hooks(save, _no_backward),
        ):
            args, kwargs = _map_leaves(self.inputs, _unpack_input)
            self.forward(*args, **kwargs)
        if len(found) != len(self.shapes):
            raise UnreadablePass(NOT_THE_SAME)
        if self.how.on_measured is not None:
            inputs = [leaf[0] for leaf in _leaves(self.inputs) if isinstance(leaf, _Input)]
            self.how.on_measured(self._bytes(found), self._bytes(map(storages, inputs)))

    def _bytes(self, tensors: Iterable[list[torch.UntypedStorage]]) -> int:
        """Of all these storages together, each counted once, weights left out."""
        sizes = {storage.data_ptr(): storage.nbytes() for parts in tensors for storage in parts}
        return sum(size for address, size in sizes.items() if address not in self.how.weights)

    @contextlib.contextmanager
    def _restored_capture(self) -> Generator[None]:
        """Restores the capture's state from the first run; what it sees inside is dropped."""
        capture = self.how.capture
        now = capture.restore(self.snapshot)
        self.snapshot = capture.snapshot()  # the one in use is written to
        try:
            yield
        finally:
            capture.restore(now)


def _map_leaves(value: Any, change: Callable[[Any], Any]) -> Any:
    """The same nest of tuples, lists and dictionaries with every leaf changed."""
    if type(value) in (tuple, list):
        return type(value)(_map_leaves(v, change) for v in value)
    if type(value) is dict:
        return {key: _map_leaves(v, change) for key, v in value.items()}
    return change(value)


def _leaves(value: Any) -> list:
    found: list = []
    _map_leaves(value, found.append)
    return found


def _needs_gradient(value: Any) -> bool:
    return any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in _leaves(value))


def _copied(value: Any) -> Any:
    """An argument of the first run: tensors as copies; lists, dictionaries and the rest as they are."""
    if type(value) is tuple:
        return tuple(_copied(v) for v in value)
    return value.clone() if isinstance(value, Tensor) and value.is_floating_point() else value


class _Input(tuple):
    """A stored tensor: itself without its graph, its version, and whether it needs a gradient."""


def _pack_input(value: Any) -> Any:
    return _Input((*pack_saved(value), value.requires_grad)) if isinstance(value, Tensor) else value


def _unpack_input(value: Any) -> Any:
    if not isinstance(value, _Input):
        return value
    t = unpack_saved(value[:2])
    return t.detach().requires_grad_(value[2]).clone() if t.is_floating_point() else t


def _no_backward(n: int) -> Tensor:
    raise RuntimeError("the second run of a block has no backward pass of its own")
