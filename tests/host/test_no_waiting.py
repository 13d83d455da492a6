"""A shift never asks the device for a number: on a GPU the processor would wait there, and the device run dry.

Told on a CPU by where tensors come from: those made of nothing but numbers (a smoothing kernel, Adam's count of steps) stay with
the processor; whatever has seen a latent, a weight or a conditioning would be on the device.
"""
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ASKING = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "unique_dim", "_unique2", "equal")
"""Operators whose result, or its shape, the processor has to know. item(), bool(), int(), float() and conditions are the first two."""


class Asked(TorchDispatchMode):
    """Counts them, in backward passes too; an index that is a mask counts as a `nonzero`."""

    def __init__(self):
        super().__init__()
        self.times = 0
        self.own: dict[int, torch.UntypedStorage] = {}  # made of nothing but numbers

    def is_own(self, t: Tensor) -> bool:
        return t.untyped_storage()._cdata in self.own

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        tensors, name = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)], func.overloadpacket.__name__
        own = name == "lift_fresh" or all(map(self.is_own, tensors))  # the first: torch.tensor(number)
        mask = name in ("index", "index_put", "index_put_") and any(i is not None and i.dtype == torch.bool for i in args[1])
        self.times += not own and (mask or name in ASKING)
        made = func(*args, **(kwargs or {}))
        if own:
            storages = [t.untyped_storage() for t in tree_leaves(made) if isinstance(t, Tensor)]
            self.own.update({s._cdata: s for s in storages})
        return made


class Told(TorchFunctionMode):
    """Counts what no operator shows: tensors written out as lists or arrays, or brought to the processor."""

    def __init__(self, asked: Asked):
        super().__init__()
        self.asked, self.times = asked, 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.times += getattr(func, "__name__", "") in ("tolist", "numpy", "cpu") and not self.asked.is_own(args[0])
        return func(*args, **(kwargs or {}))


def test_the_count_sees_every_way_of_asking():
    x = torch.arange(4.0)
    with Asked() as asked, Told(asked) as told:
        x.sum().item(), bool(x[0] > 1), int(x[0]), x[x > 1], x.nonzero(), x.tolist(), x.cpu(), x.numpy()  # noqa: B018
        own = torch.arange(4) + 1
        own.tolist(), own[0].item(), own.cpu()
        assert told.times == 3 and asked.times in (5, 6)  # bool() is one operator or two
        (own * x).sum().item()
    assert asked.times in (6, 7)


@pytest.fixture
def waits(tiny):
    """How often a run of this Latent Refine asks, the words' columns being known from a run before."""
    def of(**changes) -> int:
        found = 0
        for _ in range(2):
            model, _ = tiny.attach(step=1, **changes)
            with Asked() as asked, Told(asked) as told:
                tiny.sample(model, steps=4)
            found = asked.times + told.times
        return found
    return of


@pytest.mark.parametrize("changes", ({"report": "full"}, {"report": "curve"}, {"report": "curve", "adaptive": "image", "reach": 0.1},
                                     {"report": "curve", "precision": "bfloat16"}, {"report": "curve", "only_if_needed": True, "present_at": 2.0}))
def test_more_shifts_ask_no_more(waits, changes):
    assert waits(shifts=2, **changes) == waits(shifts=7, **changes) > 0


def test_a_run_that_stops_when_all_is_well_asks_twice_a_shift(waits):
    """After its look: are all images well? And after the backward pass: are all broken?"""
    assert waits(shifts=7, report="curve", stop_at_presence=2.0) - waits(shifts=2, report="curve", stop_at_presence=2.0) == 2 * 5
