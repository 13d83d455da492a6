"""Does code make the CPU wait for the device? Told on a CPU, by where tensors come from.

Those made of nothing but numbers (a smoothing kernel, a mask of a box, Adam's count of steps) are the
CPU's own; whatever was made with a device named, or has seen a latent, a weight or a conditioning,
would be on the device.
"""

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ASKING = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "unique_dim", "_unique2", "equal")
"""Operators whose result, or its shape, the CPU has to know. item(), bool(), int(), float() and
conditions are the first two.
"""


class _Operators(TorchDispatchMode):
    """Counts them, in backward passes too; an index that is a mask counts as a `nonzero`."""

    def __init__(self):
        super().__init__()
        self.times = 0
        self.own: dict[int, torch.UntypedStorage] = {}

    def is_own(self, t: Tensor) -> bool:
        return t.untyped_storage()._cdata in self.own

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        tensors, name = (
            [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)],
            func.overloadpacket.__name__,
        )
        own = name == "lift_fresh" or all(map(self.is_own, tensors))  # the first: torch.tensor(number)
        mask = name in ("index", "index_put", "index_put_") and any(
            i is not None and i.dtype == torch.bool for i in args[1]
        )
        self.times += not own and (mask or name in ASKING)
        made = func(*args, **(kwargs or {}))
        if own:
            storages = [t.untyped_storage() for t in tree_leaves(made) if isinstance(t, Tensor)]
            self.own.update({s._cdata: s for s in storages})
        return made


class Waiting(TorchFunctionMode):
    """Inside, `times` counts: numbers asked for, tensors written out or brought to the CPU, and copies
    to the device that wait.

    A copy with `non_blocking` (whatever it says) is known not to; what it makes is on the device.
    """

    def __init__(self):
        super().__init__()
        self.operators, self.others = _Operators(), 0

    @property
    def times(self) -> int:
        return self.operators.times + self.others

    def __enter__(self):
        self.operators.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.operators.__exit__(*error)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        if name in ("tolist", "numpy", "cpu"):
            self.others += not self.operators.is_own(args[0])
        elif name in ("tensor", "as_tensor"):
            self.others += kwargs.get("device") is not None
        elif name == "to" and self.operators.is_own(args[0]):
            if "non_blocking" in kwargs:
                copy = args[0].clone()
                del self.operators.own[copy.untyped_storage()._cdata]
                return func(copy, *args[1:], **kwargs)
            self.others += "device" in kwargs or any(map(self._is_there, args[1:]))
        made = func(*args, **kwargs)
        if (
            kwargs.get("device") is not None
            and isinstance(made, Tensor)
            and not any(isinstance(a, Tensor) for a in args)
        ):
            self.operators.own.pop(made.untyped_storage()._cdata, None)  # made on the device itself
        return made

    def _is_there(self, target) -> bool:
        return (
            isinstance(target, torch.device)
            or isinstance(target, Tensor)
            and not self.operators.is_own(target)
        )
