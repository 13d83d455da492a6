"""How image transformers read their text: by cross-attention, or in one joint sequence."""

from __future__ import annotations

import math

from ...attention_layout import AttentionLayout
from .family import Inputs


def text_rows(inputs: Inputs) -> int:
    """Rows of the conditioning that enters the network."""
    return inputs.conds["c_crossattn"].shape[1]


def patch_of(inputs: Inputs, patch: int | str) -> int:
    """Latent cells per token and side. patch: a number, or the name of the network's attribute."""
    found = getattr(inputs.network, patch) if isinstance(patch, str) else patch
    return found if isinstance(found, int) else found[-1]  # of a list, the width's


def cross(inputs: Inputs, n_text: int | None = None, patch: int | str = "patch_size") -> AttentionLayout:
    """Queries are image tokens, keys are text tokens. n_text: None = the conditioning's rows."""
    n_text = text_rows(inputs) if n_text is None else n_text
    return AttentionLayout("cross", plane_of(inputs), n_text, n_text, patch=patch_of(inputs, patch))


def joint(
    inputs: Inputs,
    order: str = "TIR",
    n_text: int | None = None,
    patch: int | str = "patch_size",
    *,
    first_row: int = 0,
    pad: int = 1,
) -> AttentionLayout:
    """One sequence of T(ext), I(mage) and R(eference images) in this order.

    References count only if the order names them. n_text: tokens of the text's part (None = the rows of the
    conditioning). first_row: position in it of row 0 of the conditioning. pad: the image's part is padded to
    a multiple of it.
    """
    patch = patch_of(inputs, patch)
    n_text = text_rows(inputs) if n_text is None else n_text
    n_image = _tokens(plane_of(inputs), patch)
    references = inputs.conds.get("ref_latents") or ()
    sizes = {
        "T": n_text,
        "I": n_image + -n_image % pad,
        "R": sum(_tokens(reference.shape[-2:], patch) for reference in references),
    }
    starts = {part: sum(sizes[earlier] for earlier in order[:n]) for n, part in enumerate(order)}
    return AttentionLayout(
        "joint",
        latent=plane_of(inputs),
        n_text=n_text,
        n_keys=sum(sizes[part] for part in order),
        first_column=starts["T"] + first_row,
        first_image=starts["I"],
        patch=patch,
    )


def plane_of(inputs: Inputs) -> tuple[int, int]:
    """(h, w) of the latent. Raises ValueError for latents that are not images."""
    shape = inputs.latent
    if len(shape) not in (4, 5) or (len(shape) == 5 and shape[2] != 1):
        raise ValueError(
            f"The latent has the shape {tuple(shape)}; an image's is [batch, channels, height, width], "
            "or with 1 frame [batch, channels, 1, height, width]."
        )
    return shape[-2], shape[-1]


def _tokens(plane: tuple[int, int], patch: int) -> int:
    return math.ceil(plane[0] / patch) * math.ceil(plane[1] / patch)
