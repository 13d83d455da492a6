"""Keeps our passes and other packs apart: random numbers, caches, and tensors that are written to."""

from __future__ import annotations

import contextlib
import random
import types
from collections.abc import Callable, Generator, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._C._autograd import _top_saved_tensors_default_hooks
from torch.autograd.graph import saved_tensors_hooks

from .other_packs import implementation, replaced_forwards

SEEDED_DEVICES = ("cuda", "xpu")  # whose random state torch gives and takes per device
NOT_A_PACKS = ("builtins", "torch", "numpy", "comfy", "comfy_extras", "functools", "typing", "types")


@contextlib.contextmanager
def kept_random_state(device: torch.device) -> Generator[None]:
    """Inside, random numbers may be drawn; outside, no stream has moved: some patches draw some in every
    pass.
    """
    python, numpy = random.getstate(), np.random.get_state()
    seeded = [device] if device.type in SEEDED_DEVICES else []
    kind = device.type if seeded else "cuda"
    try:
        with torch.random.fork_rng(seeded, device_type=kind):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def with_fresh_tensors(table: Any) -> Any:
    """A copy of a table of patches (lists, dictionaries) whose functions get copies of tensors with a graph.

    Some write into them (FreeU), and autograd has saved what was there, before them or in them.
    """
    if isinstance(table, dict):
        return {key: with_fresh_tensors(value) for key, value in table.items()}
    if isinstance(table, list):
        return [with_fresh_tensors(value) for value in table]
    return _with_copies(table) if callable(table) else table


def _with_copies(patch: Callable) -> Callable:
    def patched(*args, **kwargs):
        if not torch.is_grad_enabled():
            return patch(*args, **kwargs)
        copies: dict[int, Tensor] = {}  # one tensor given twice stays one
        if args and type(args[0]) is dict:  # a transformer's patch gets its tensors in one dictionary
            args = ({name: _fresh(value, copies) for name, value in args[0].items()}, *args[1:])
        with saved_tensors_hooks(*_hooks_on_copies()):
            return patch(
                *(_fresh(value, copies) for value in args),
                **{name: _fresh(value, copies) for name, value in kwargs.items()},
            )

    return patched


def _hooks_on_copies() -> tuple[Callable[[Tensor], Any], Callable[[Any], Tensor]]:
    """Hooks for tensors that autograd saves: those in force, given copies.

    A block that will be run again must see all that is saved in it, else nobody notices that it computed
    something else.
    """
    in_force = _top_saved_tensors_default_hooks(True)
    pack, unpack = in_force or (lambda t: t, lambda t: t)
    return lambda t: pack(t.detach().clone()), unpack


def _fresh(value: Any, copies: dict[int, Tensor]) -> Any:
    if isinstance(value, Tensor) and value.requires_grad:
        if id(value) not in copies:
            copies[id(value)] = value.clone()
        return copies[id(value)]
    return value


@contextlib.contextmanager
def without_replaced_forwards(network: torch.nn.Module) -> Generator[None]:
    """Inside, every part of the network runs its class's own methods; put back on every exit."""
    replaced = replaced_forwards(network)
    try:
        for part, name, _ in replaced:
            del part.__dict__[name]
        yield
    finally:
        for part, name, function in replaced:
            part.__dict__[name] = function


@contextlib.contextmanager
def kept_state(network: torch.nn.Module, roots: Iterable[Any]) -> Generator[None]:
    """Inside, functions of other packs may write to what they remember; on every exit all of that is as
    before.

    What they remember: attributes of the network's parts; variables, objects, lists and dictionaries that the
    functions `roots` reach within their own pack. Tensors are not copied.
    """
    parts = [(part, dict(vars(part))) for part in network.modules()]
    memory = _Memory()
    for root in roots:
        memory.visit(root, _pack(root))
    try:
        yield
    finally:
        for part, before in parts:
            now = vars(part)
            if now.keys() != before.keys() or any(now[key] is not before[key] for key in before):
                now.clear()
                now.update(before)
        memory.restore()


def _pack(value: Any) -> str:
    return (getattr(implementation(value), "__module__", None) or "").partition(".")[0]


class _Memory:
    """Shallow copies of every variable and container that some functions reach within their own pack."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.undo: list[Callable[[], object]] = []

    def restore(self) -> None:
        for undo in reversed(self.undo):
            undo()

    def visit(self, value: Any, pack: str) -> None:
        waiting = [value]
        while waiting:
            value = waiting.pop()
            if id(value) not in self.seen and not isinstance(value, Tensor | torch.nn.Module):
                self.seen.add(id(value))
                waiting += self._parts(value, pack)

    def _parts(self, value: Any, pack: str) -> list[Any]:
        """What a value holds; a copy of it is kept if it can be written to."""
        if isinstance(value, types.FunctionType):
            return self._of_function(value, pack)
        if isinstance(value, types.MethodType):
            return [value.__self__, value.__func__]
        if isinstance(value, dict):
            before = dict(value)
            self.undo.append(lambda: (value.clear(), value.update(before)))
            return list(before.values())
        if isinstance(value, list):
            items = list(value)
            self.undo.append(lambda: value.__setitem__(slice(None), items))
            return items
        if isinstance(value, set):
            members = set(value)
            self.undo.append(lambda: (value.clear(), value.update(members)))
            return []
        if isinstance(value, tuple):
            return list(value)
        if isinstance(value, types.ModuleType):
            own = value.__name__.partition(".")[0] == pack
            return self._of_variables(vars(value), list(vars(value))) if own else []
        if isinstance(value, type):
            return list(vars(value).values()) if _pack(value) == pack else []
        if hasattr(value, "__dict__") and _pack(value) == pack:
            return [type(value), *self._parts(vars(value), pack)]
        if hasattr(value, "func") and hasattr(value, "keywords"):  # a partial
            return [value.func, *value.args, *value.keywords.values()]
        return []

    def _of_function(self, function: types.FunctionType, pack: str) -> list[Any]:
        if (
            function.__module__ is None
            or function.__module__.partition(".")[0] != pack
            or pack in NOT_A_PACKS
        ):
            return []
        found: list[Any] = []
        for cell in function.__closure__ or ():
            with contextlib.suppress(ValueError):  # not filled yet
                found.append(self._of_cell(cell))
        names = [name for name in _names(function.__code__) if name in function.__globals__]
        return found + self._of_variables(function.__globals__, names)

    def _of_cell(self, cell: types.CellType) -> Any:
        before = cell.cell_contents
        self.undo.append(lambda: setattr(cell, "cell_contents", before))
        return before

    def _of_variables(self, scope: dict, names: list[str]) -> list[Any]:
        """These global variables of a file of the pack; its functions and classes stay what they are."""
        values = {name: scope[name] for name in names if not name.startswith("__")}
        data = {name: v for name, v in values.items() if not callable(v) and not _is_module(v)}
        self.undo.append(lambda: scope.update(data))
        return list(values.values())


def _is_module(value: Any) -> bool:
    return isinstance(value, types.ModuleType)


def _names(code: types.CodeType) -> set[str]:
    """The global names that a function and the functions in it use."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return names
