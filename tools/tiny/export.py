"""The trained weights as a checkpoint in SD1's or SD3's key layout, half precision, with the story of its
making.
"""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from .captions import TOKEN_IDS
from .files import write_atomically
from .recipe import Recipe
from .t5_encoder import PIECE_IDS

FORMATS = {
    "sd": "gsn-tiny-sd-shapes-1",
    "sd-instruct": "gsn-tiny-sd-instruct-shapes-1",
    "sd3": "gsn-tiny-sd3-shapes-1",
    "sd3-turbo": "gsn-tiny-sd3-turbo-shapes-1",
}
TWO_ENCODERS = {"tiny.token_ids": TOKEN_IDS, "tiny.piece_ids": PIECE_IDS}
ONE_ENCODER = {"tiny.token_ids": TOKEN_IDS}
TOKEN_IDS_OF = {
    "sd": ONE_ENCODER,
    "sd-instruct": ONE_ENCODER,
    "sd3": TWO_ENCODERS,
    "sd3-turbo": TWO_ENCODERS,
}
ORIGIN = {
    "sd": "trained from nothing",
    "sd-instruct": "taught to edit pictures",
    "sd3": "trained from nothing",
    "sd3-turbo": "distilled",
}


def metadata(
    kind: str, recipe: Recipe, seed: int, curve: list, hashes: dict[str, str], host_version: str
) -> dict[str, str]:
    """Strings only, as safetensors wants them."""
    last = {
        recipe.stages[stage].name: {"mse": round(mse, 5), "attention": round(attention, 5)}
        for stage, _, mse, attention in curve
    }
    return {
        "format": "pt",
        "gsn_format": FORMATS[kind],
        "note": f"text-to-image model of a world of coloured shapes, {ORIGIN[kind]} by tools/train_tiny.py "
        f"--model {kind}",
        "license": "GPL-3.0-or-later",
        "seed": str(seed),
        "recipe": json.dumps(asdict(recipe)),
        "final_losses": json.dumps(last),
        "sha256": json.dumps(hashes),
        "versions": json.dumps(
            {"torch": torch.__version__, "numpy": np.__version__, "comfyui": host_version}
        ),
    }


def export(path: Path, kind: str, named: list[tuple[str, torch.Tensor]], info: dict[str, str]) -> None:
    """Write the averaged weights. A token table holds only the rows of this vocabulary, then one for all
    others.
    """
    tensors = {name: tensor.detach().half().contiguous().clone() for name, tensor in named}
    bad = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if bad:
        raise ValueError(f"Weights that are not finite in half precision: {', '.join(bad[:5])}")
    tensors |= {
        name: torch.tensor(list(ids.values()), dtype=torch.int32) for name, ids in TOKEN_IDS_OF[kind].items()
    }
    write_atomically(path, lambda f: f.write(safetensors.torch.save(tensors, info)))
