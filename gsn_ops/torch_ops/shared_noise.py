"""The same random numbers for the images of a pair, whatever sampler draws them."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


def shared(noise: Tensor) -> Tensor:
    """Noise in which the second image of each pair has that of the first; itself where that is so already."""
    if torch.equal(noise[1::2], noise[0::2]):
        return noise
    return noise[0::2].repeat_interleave(2, 0)


class SharedNoise(TorchFunctionMode):
    """Inside, random tensors of this shape are drawn for one image of each pair and used for both.

    So both images of a pair have the same noise at every step of a stochastic sampler, and the source is the
    image that a run of its own makes. shape: of the latent, [2 b, ...].
    """

    def __init__(self, shape: Sequence[int]):
        super().__init__()
        self.shape = tuple(shape)
        self._active = False

    def __torch_function__(self, func, types, args: tuple = (), kwargs: dict | None = None):
        kwargs = kwargs or {}
        if func is torch.randn_like and tuple(args[0].shape) == self.shape:
            return func(args[0][0::2], *args[1:], **kwargs).repeat_interleave(2, 0)
        if func is torch.randn and _size(args, kwargs) == self.shape:
            rest = {name: value for name, value in kwargs.items() if name != "size"}
            return func((self.shape[0] // 2, *self.shape[1:]), **rest).repeat_interleave(2, 0)
        return func(*args, **kwargs)

    def sample(self, executor, *args, **kwargs):
        """ComfyUI's SAMPLER_SAMPLE wrapper."""
        with self:
            self._active = True
            try:
                return executor(*args, **kwargs)
            finally:
                self._active = False

    @contextlib.contextmanager
    def paused(self) -> Generator[None]:
        """Surrounds the network: what it computes has nothing to do with this, and would become slower."""
        if not self._active:
            yield
            return
        self.__exit__(None, None, None)
        try:
            yield
        finally:
            self.__enter__()


def _size(args: Sequence, kwargs: dict) -> tuple[int, ...]:
    """The shape asked for, given as one sequence or as numbers."""
    size = kwargs.get("size", args[0] if len(args) == 1 else args)
    return tuple(size) if isinstance(size, Sequence) else (size,)
