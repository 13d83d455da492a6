"""What ComfyUI's previewer shows during the update steps: the image that the updated latent leads to."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from comfy.cli_args import LatentPreviewMethod, args
from torch import Tensor

from ...schedule import to_x
from ...torch_ops.unreadable import is_unreadable
from ..attention.joint_probe import AnyProbe
from ..attention.memory_policy import is_out_of_memory

log = logging.getLogger(__name__)

EVERY = 5
"""Update steps from one predicted image to the next. Each costs one pass without gradients."""


def previews_are_on() -> bool:
    """Whether this run has a previewer, as ComfyUI decides for each queued prompt."""
    return args.preview_method is not LatentPreviewMethod.NoPreviews


class MovingPreview:
    """The predicted x0 [B, ...] of the latent that is being updated, anew every EVERY updates.

    Without previews, and in steps of fewer updates, nothing is predicted. The passes are no part of the
    recipe, and one that fails only ends the preview. x: the sampler's state at the begin. c: of `to_x`.
    passes: forward passes that were made.
    """

    def __init__(self, probe: AnyProbe, maps_of: Callable[..., Any], x: Tensor, c: float):
        self.probe, self.x, self.c = probe, x, c
        self._maps_of = maps_of
        self.on = previews_are_on()
        self.z: Tensor | None = None  # that was read last
        self.newest: Tensor | None = None
        self.passes = 0

    def maps_of(self, z: Tensor, *others: Any, **named: Any) -> Any:
        """The probe's maps; remembers z."""
        if self.on:
            self.z = z.detach()
        return self._maps_of(z, *others, **named)

    def at(self, j: int) -> Tensor | None:
        """The newest prediction before evaluation j, or None where there is none yet."""
        z = self.z
        if self.on and z is not None and j > 0 and j % EVERY == 0 and z.shape == self.x.shape:
            self._predict(to_x(z, self.c).to(self.x.dtype))
        return self.newest

    def _predict(self, x: Tensor) -> None:
        before = self.probe.forwards
        try:
            self.newest = self.probe.evaluate(x)[1]
        except Exception as error:
            if not is_unreadable(error) and not is_out_of_memory(error):
                raise
            self.on = False
            log.info("no preview during the updates: %s", type(error).__name__)
        finally:
            self.passes += self.probe.forwards - before
