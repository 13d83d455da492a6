"""The papers' numbers: one function per published method, looked up by the name shown to people."""
from __future__ import annotations

from collections.abc import Callable

from ..maps import MapOptions
from ..objectives.cn_iou import PresenceAndSeparation
from ..schedule import Moment
from .recipes import Refine

LATENT_REFINE = "Latent Refine (Grimal et al. 2025)"


def latent_refine() -> Refine:
    """Grimal et al., "Text to Image Alignment in Denoising-Based Models through Step Selection", IJCAI 2025, "Ours".

    L = L_CN + L_IoU over all pieces of each phrase, 50 Adam updates (lr 1e-2; eps 1e-3 in the authors' code) at step 8
    of 50 DDPM steps of SD1 = sigma 5.633, which is 18 % of the host's scale.
    """
    return Refine(
        method=LATENT_REFINE,
        objective=PresenceAndSeparation(reduction="sum", maps=MapOptions(pieces="phrase")),
        moment=Moment(percent=0.18), shifts=50, learning_rate=0.01, eps=1e-3,
    )


_PRESETS: dict[str, Callable[[], Refine]] = {LATENT_REFINE: latent_refine}
METHODS: tuple[str, ...] = tuple(_PRESETS)


def preset(method: str) -> Refine:
    """The recipe of a published method, made to be adjusted with `dataclasses.replace`. Raises ValueError."""
    if method not in _PRESETS:
        raise ValueError(f"Unknown method '{method}': choose one of {', '.join(METHODS)}.")
    return _PRESETS[method]()
