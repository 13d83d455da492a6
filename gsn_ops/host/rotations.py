"""Matrices of Prompt Reinjection's aligned form, from a safetensors file in models/gsn."""

from __future__ import annotations

import safetensors.torch
from torch import Tensor

from .own_files import own_file


def load_rotations(name: str) -> dict[int, Tensor]:
    """Block -> its matrix [D, D], counted over all blocks; `name`: a file in models/gsn.

    Its tensors are named by the block's number. Raises ValueError for a file that is not there or is none of
    this kind.
    """
    path = own_file(name) if name.endswith(".safetensors") else None
    if path is None:
        raise ValueError(
            f"The file '{name}' is not in models/gsn: put the matrices there as a .safetensors file, or "
            "choose form=anchored, which needs none."
        )
    try:
        found = {int(key): matrix for key, matrix in safetensors.torch.load_file(path).items()}
    except Exception as error:
        raise ValueError(
            f"The file '{name}' cannot be read as matrices named by blocks ({error}): choose another file."
        ) from None
    for block, matrix in found.items():
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(
                f"The matrix of block {block} in '{name}' has the shape {tuple(matrix.shape)}; it must be "
                "square: choose another file."
            )
    return found


def check_size(matrix: Tensor, block: int, width: int) -> None:
    """Raises ValueError for a matrix that does not fit the text's features [.., width] before a block."""
    if len(matrix) != width:
        raise ValueError(
            f"The matrix of block {block} has {len(matrix)} rows, and this model's text {width} numbers a "
            "token: the file belongs to another model. Choose its own, or form=anchored."
        )
