"""Matrix products in bfloat16, on machines that are faster at it: sums, norms, softmaxes, maps, loss and optimiser stay in float32.

For models that compute in float32; elsewhere the host has chosen half precision itself. Weights stay where and what they are:
a product casts its weight, and casts it again in the backward pass, so that no copy of the model is kept.
"""
from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from ..maps import AttentionMaps
from .few_places import CONVOLUTIONS, Products, convolved, is_numeric, is_one_product, places

HALF = torch.bfloat16

ENOUGH_PARAMETERS = 100_000_000
"""Below that, casting costs what the products save (and the embedded model stays what it was measured as)."""

ENOUGH_UPDATES = 5
"""Below that, finding out whether the gradients agree, which takes a pass, costs what it saves."""

ENOUGH_ROWS = 128
"""Rows (places of a picture) below which a layer costs no more than casting its weight twice: the inmost level of a UNet."""

AGREEMENT = 0.999
"""The least cosine of the two gradients, of every image."""


def pays(network: torch.nn.Module, dtype: torch.dtype, device: torch.device, updates: int) -> bool:
    """Is a gradient in bfloat16 worth trying? dtype: what the network computes in."""
    if dtype != torch.float32 or device.type != "cpu" or updates < ENOUGH_UPDATES or not fast_on_this_processor():
        return False
    return sum(p.numel() for p in network.parameters()) >= ENOUGH_PARAMETERS


def fast_on_this_processor() -> bool:
    """Has it instructions for products in bfloat16? Without them they are slower than in float32."""
    known = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(supported is not None and supported() for supported in known)


def agreement(a: Tensor, b: Tensor) -> float:
    """The least cosine over the images of two gradients [B, ...]; equal ones (also if zero) have 1, and NaN agrees with nothing."""
    cosines = F.cosine_similarity(a.flatten(1).double(), b.flatten(1).double())  # [B]
    same = (a == b).flatten(1).all(1)
    return float(torch.where(same, 1.0, cosines).nan_to_num(-1.0).min())


class Trial:
    """Stands in for maps_of during a run's first evaluations: compares the first gradient with its like in bfloat16.

    The first evaluation is made in full precision; its gradient is kept as it comes by, and so is what the objective asked of
    the maps there (`towards`: level -> gradient of the loss [B, h, w, n]). Before the second one (or when told to `decide`)
    in_half(z, towards) makes the other gradient at the same z, and decided(cosine) is called. Asking the same of the maps
    compares the two passes. A loss has kinks as well (L_IoU takes the lesser of two maps at each place): beside one, both
    sides are right, and the two would turn away from each other without either being imprecise.
    Nothing more happens to a run that needs no gradient or only one.
    """

    def __init__(self, maps_of: Callable[[Tensor], AttentionMaps], in_half: Callable[[Tensor, dict[int, Tensor]], Tensor],
                 decided: Callable[[float], None]):
        self.maps_of, self.in_half, self.decided = maps_of, in_half, decided
        self.begun = False
        self.first: tuple[Tensor, Tensor] | None = None  # z and the gradient there, until it has been compared
        self.towards: dict[int, Tensor] = {}

    def __call__(self, z: Tensor) -> AttentionMaps:
        if self.begun or not z.requires_grad:
            self.decide()
            return self.maps_of(z)
        self.begun, at = True, z.detach().clone()

        def keep(gradient: Tensor) -> None:
            self.first = at, gradient.detach().clone()
            hook.remove()
        hook = z.register_hook(keep)
        maps = self.maps_of(z)
        for level, m in maps.cross.items():
            m.register_hook(functools.partial(self._asked, level))
        return maps

    def _asked(self, level: int, gradient: Tensor) -> None:
        self.towards[level] = gradient.detach().clone()

    def decide(self) -> None:
        """Compare, if there is something to compare."""
        if self.first is not None:
            ((z, gradient), towards), self.first, self.towards = (self.first, self.towards), None, {}
            self.decided(agreement(gradient, self.in_half(z, towards)))


class HalfProducts(TorchFunctionMode):
    """Surrounds a forward pass, in this thread only: linear layers, convolutions and self-attention multiply in bfloat16.

    Attention to the text alone, of which maps are written out, is left as it is; those of joint attention come out of the
    one call for both, with the precision of its values.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.linear and are_float32(args[:2]) and args[0].numel() >= ENOUGH_ROWS * args[0].shape[-1]:
            return _Linear.apply(*args, **kwargs)
        if func in CONVOLUTIONS and not kwargs and are_float32(args[:2]) and is_numeric(*args) and places(*args) >= ENOUGH_ROWS:
            return convolved(_COLUMNS, *args) if is_one_product(*args) else _convolved(*args)
        if func is F.scaled_dot_product_attention and are_float32(args[:3]) and args[2].requires_grad:
            return _attended(*args, **kwargs)
        return func(*args, **kwargs)


def are_float32(tensors: tuple) -> bool:
    """Factors of a product, and not tensors of a kind of their own (a quantized weight, or one without numbers)?"""
    return len(tensors) > 1 and all(type(t) in (Tensor, torch.nn.Parameter) and t.dtype == torch.float32 for t in tensors)


class _Linear(torch.autograd.Function):
    """x W^T + b, and g W for its gradient."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        ctx.save_for_backward(weight)
        return F.linear(x.to(HALF), weight.to(HALF), None if bias is None else bias.to(HALF)).float()

    @staticmethod
    @once_differentiable
    def backward(ctx, g: Tensor):
        (weight,) = ctx.saved_tensors
        return (g.to(HALF) @ weight.to(HALF)).float(), None, None


_COLUMNS = Products(lambda weight, seen: (weight.to(HALF) @ seen).float(), lambda weight, g: weight.to(HALF).t() @ g.to(HALF), HALF)


def _convolved(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> Tensor:
    return _Convolution.apply(x, weight, bias, stride, padding, dilation, groups)


class _Convolution(torch.autograd.Function):
    """The host's 2D convolution, channels last, which is the faster layout in half precision."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, *how) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.how = x.shape, how
        return F.conv2d(_channels_last(x), _channels_last(weight), None if bias is None else bias.to(HALF), *how).float()

    @staticmethod
    @once_differentiable
    def backward(ctx, g: Tensor):
        (weight,) = ctx.saved_tensors
        return torch.nn.grad.conv2d_input(ctx.shape, _channels_last(weight), _channels_last(g), *ctx.how).float(), *[None] * 6


def _channels_last(t: Tensor) -> Tensor:
    return t.to(HALF).contiguous(memory_format=torch.channels_last)  # in two steps: in one it takes nearly twice as long


def _attended(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, **kwargs) -> Tensor:
    if attn_mask is not None and attn_mask.is_floating_point():
        attn_mask = attn_mask.to(HALF)
    return F.scaled_dot_product_attention(q.to(HALF), k.to(HALF), v.to(HALF), attn_mask, **kwargs).float()
