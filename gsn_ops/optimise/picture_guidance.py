"""The arithmetic of guidance by a loss on the predicted picture (classifier guidance with any judge)."""

from __future__ import annotations

from torch import Tensor

from .recipe import per_image


def guided(denoised: Tensor, gradient: Tensor, sigma: float, scale: float) -> Tensor:
    """The prediction [B, ...] with guidance down `gradient` = dL/dx [B, ...].

    The noise in it, (x - D) / sigma, which is about 1 in size on every model, changes by `scale` in the
    direction of the gradient: D - sigma scale g / rms(g). An image whose gradient is 0 or not finite keeps
    its prediction.
    """
    size = gradient.float().flatten(1).square().mean(1).sqrt()  # [B]
    moved = (size > 0) & size.isfinite()
    unit = gradient / per_image(size.where(moved, 1.0), gradient)
    unit = unit.where(per_image(moved, gradient), 0.0)
    return (denoised - sigma * scale * unit).to(denoised.dtype)
