"""Recomputation: blocks of a network keep only what enters them, and run once more where the gradient needs their insides.

Like torch.utils.checkpoint, but the version check of saved tensors stays in force, other packs' options are those of the
first time, and the Capture inside a block sees its calls once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from ..autograd.differentiable import keep, kept, storages
from .capture import AllCaptured, Capture

WITH_GRAPHS = ("layers", "self_attention")
"""What a Capture gathers; only how much it was matters to a block that runs once more."""


class _RecomputeDone(BaseException):
    """Raised when a block that is run once more has given all that the gradient needs of it."""


def blocks_of(network: torch.nn.Module) -> list[torch.nn.Module]:
    """The outermost modules whose class is called a block: the residual and attention blocks of every network of the host."""
    blocks: list[torch.nn.Module] = []
    inside: set[torch.nn.Module] = set()
    for module in network.modules():
        if "Block" in type(module).__name__ and module is not network and module not in inside:
            blocks.append(module)
            inside.update(module.modules())
    return blocks


@contextlib.contextmanager
def recomputed(
    blocks: Collection[torch.nn.Module],
    capture: Capture,
    around: Callable[[], AbstractContextManager],
    weights: Collection[int] = (),
    note: Callable[[int, int], None] | None = None,
) -> Iterator[None]:
    """Inside, calls of `blocks` store what enters them instead of what their gradient needs.

    around() makes what surrounds the pass, for the time when a block runs once more, which is after the pass. note(bytes,
    bytes of its inputs), if given, is told what each of these blocks would have stored beside tensors at the addresses
    `weights`. Only instances are changed; undone on every exit.
    """

    def wrap(forward):
        def recomputing(*args, **kwargs):
            if not torch.is_grad_enabled() or not _any_gradient((args, kwargs)):
                return forward(*args, **kwargs)
            return Call(forward, args, kwargs, capture, around, weights, note).first(args, kwargs)

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


class Call:
    """One call of a block: of what its graph saves it keeps shapes, until a backward pass asks for the first of them.

    Holds no graph itself, since what a graph holds must not hold the graph.
    """

    def __init__(
        self,
        forward: Callable,
        args: tuple,
        kwargs: dict,
        capture: Capture,
        around: Callable[[], AbstractContextManager],
        weights: Collection[int],
        note: Callable[[int, int], None] | None,
    ):
        self.forward, self.capture, self.around, self.weights, self.note = (
            forward,
            capture,
            around,
            weights,
            note,
        )
        self.inputs = _each((args, kwargs), _remember)
        self.moment = {
            name: [None] * len(value) if name in WITH_GRAPHS else _copy(value)
            for name, value in vars(capture).items()
        }
        self.shapes: list[tuple] = []
        self.again: dict[int, tuple[Tensor, int]] = {}

    def first(self, args: tuple, kwargs: dict):
        """The block's output with its graph. It may write into its inputs: it works on copies."""
        with saved_tensors_hooks(self._save, self._value):
            return self.forward(*[_fresh(a) for a in args], **{name: _fresh(a) for name, a in kwargs.items()})

    def _save(self, t: Tensor) -> int:
        self.shapes.append((t.shape, t.dtype))
        return len(self.shapes) - 1

    def _value(self, i: int) -> Tensor:
        if i not in self.again:
            self._run_again()
        return kept(self.again.pop(i))

    def _run_again(self) -> None:
        self.again, found = {}, []

        def save(t: Tensor) -> int:
            i = len(found)
            if (t.shape, t.dtype) != self.shapes[i]:
                raise RuntimeError(NOT_THE_SAME)
            self.again[i] = keep(t)
            found.append(storages(t))
            if len(found) == len(self.shapes):
                raise _RecomputeDone
            return i

        with (
            contextlib.suppress(_RecomputeDone, AllCaptured),
            torch.enable_grad(),
            self._restored_capture(),
            self.around(),
            saved_tensors_hooks(save, _never),
        ):
            args, kwargs = _each(self.inputs, _recall)
            self.forward(*args, **kwargs)
        if len(found) != len(self.shapes):
            raise RuntimeError(NOT_THE_SAME)
        if self.note is not None:
            inputs: list[Tensor] = []
            _each(self.inputs, lambda v: inputs.append(v[0]) if isinstance(v, _Input) else None)
            self.note(self._bytes(found), self._bytes(map(storages, inputs)))

    def _bytes(self, found: Iterable[list[torch.UntypedStorage]]) -> int:
        return sum(
            {
                s.data_ptr(): s.nbytes() for parts in found for s in parts if s.data_ptr() not in self.weights
            }.values()
        )

    @contextlib.contextmanager
    def _restored_capture(self) -> Iterator[None]:
        """The capture as it was when the block began; what it sees this time is forgotten."""
        now = dict(vars(self.capture))
        vars(self.capture).update({name: _copy(value) for name, value in self.moment.items()})
        try:
            yield
        finally:
            vars(self.capture).update(now)


NOT_THE_SAME = (
    "A block of this model computed something else when it was run once more to save memory: a patch of another pack that changes from "
    "call to call. Remove such patches one by one to find it, or make room on the device (a smaller picture or batch, --lowvram)."
)


def _copy(value):
    return value.copy() if isinstance(value, (list, dict, set)) else value


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    """The same nest of tuples, lists and dictionaries with every leaf changed."""
    if type(value) in (tuple, list):
        return type(value)(_each(v, change) for v in value)
    if type(value) is dict:
        return {key: _each(v, change) for key, v in value.items()}
    return change(value)


def _any_gradient(value) -> bool:
    found = []
    _each(value, lambda v: found.append(True) if isinstance(v, Tensor) and v.requires_grad else None)
    return bool(found)


def _fresh(value):
    """An argument of the first run: tensors as copies, lists, dictionaries and the rest as they are."""
    if type(value) is tuple:
        return tuple(_fresh(v) for v in value)
    return value.clone() if isinstance(value, Tensor) and value.is_floating_point() else value


class _Input(tuple):
    """A remembered tensor: itself without its graph, its version, and whether it had a gradient."""


def _remember(value):
    return _Input((*keep(value), value.requires_grad)) if isinstance(value, Tensor) else value


def _recall(value):
    if not isinstance(value, _Input):
        return value
    t = kept(value[:2])
    return t.detach().requires_grad_(value[2]).clone() if t.is_floating_point() else t


def _never(i: int) -> Tensor:
    raise RuntimeError("the second run of a block has no backward pass of its own")
