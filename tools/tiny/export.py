"""The trained weights as a checkpoint in SD1's key layout, half precision, with the story of its making."""
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from .captions import TOKEN_IDS
from .files import write_atomically
from .recipe import Recipe

FORMAT = "gsn-tiny-sd-shapes-1"


def metadata(recipe: Recipe, seed: int, curve: list, hashes: dict[str, str], host_version: str) -> dict[str, str]:
    """Strings only, as safetensors wants them."""
    last = {recipe.stages[stage].name: {"eps": round(eps, 5), "attention": round(attention, 5)}
            for stage, _, eps, attention in curve}
    return {
        "format": "pt",
        "gsn_format": FORMAT,
        "note": "text-to-image model of a world of coloured shapes, trained from nothing by tools/train_tiny.py",
        "license": "GPL-3.0-or-later",
        "seed": str(seed),
        "recipe": json.dumps(asdict(recipe)),
        "final_losses": json.dumps(last),
        "sha256": json.dumps(hashes),
        "versions": json.dumps({"torch": torch.__version__, "numpy": np.__version__, "comfyui": host_version}),
    }


def export(path: Path, named: list[tuple[str, torch.Tensor]], info: dict[str, str]) -> None:
    """Write the averaged weights. The token table holds only the rows of this vocabulary, then one for all others."""
    tensors = {name: tensor.detach().half().contiguous().clone() for name, tensor in named}
    bad = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if bad:
        raise ValueError(f"Weights that are not finite in half precision: {', '.join(bad[:5])}")
    tensors["tiny.token_ids"] = torch.tensor(list(TOKEN_IDS.values()), dtype=torch.int32)
    write_atomically(path, lambda f: f.write(safetensors.torch.save(tensors, info)))
