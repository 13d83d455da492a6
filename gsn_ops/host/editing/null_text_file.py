"""Embeddings of Null-Text Inversion as safetensors files, in output/gsn and models/gsn."""

from __future__ import annotations

import json
import os
from typing import Any

import folder_paths
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ..own_files import FOLDER, own_file, own_files

KIND, SCHEMA = "gsn null text", "1"
EXTENSION = ".safetensors"
OUTPUT = " [output]"
"""Behind the names of files in ComfyUI's output folder, as ComfyUI writes them."""
STEPS, LEVELS, LATENT, OPTION = "embeddings", "sigmas", "latent", "option."
RANGE = ("timestep_start", "timestep_end")
TOKENS = "gsn"
"""Token data of this pack, which a negative prompt does not need."""

SAVED, LOADED = "{n} embeddings saved: {name}", "{n} embeddings loaded"
NOT_NULL_TEXT = (
    "Save Null-Text keeps what Null-Text Inversion has made, and this conditioning is another one: connect "
    "the output negative of that node."
)
MORE_THAN_TEXT = (
    "Save Null-Text keeps text alone, and this conditioning also has {keys}: put the nodes that add it "
    "behind Load Null-Text."
)
OUTSIDE = (
    "filename_prefix is '{prefix}', and Save Null-Text writes into output/gsn alone: write a name, or a "
    "folder and a name."
)
NO_FILE = (
    "The file '{name}' is neither in models/gsn nor in output/gsn: put it there, and reload the page (R) to "
    "choose it."
)
FOREIGN = "'{name}' is not a file of Save Null-Text: choose one that this node has written."
NO_LATENT = (
    "The latent was not saved in this file: connect the LATENT of Invert Image here, or save it with the "
    "embeddings."
)


def save_null_text(conditioning: list, latent: dict | None, prefix: str) -> tuple[str, int]:
    """The file's name as `null_text_files` lists it, and how many embeddings are in it.

    latent: the inverted picture's noise, kept beside them. Raises ValueError for another conditioning,
    or a prefix that leads out of the folder.
    """
    tensors, options = _as_tensors(conditioning)
    if latent is not None:
        tensors[LATENT] = latent["samples"]
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    wanted = os.path.normpath(os.path.join(FOLDER, prefix))
    if not wanted.startswith(FOLDER + os.sep):
        raise ValueError(OUTSIDE.format(prefix=prefix))
    folder, name, counter, _, _ = folder_paths.get_save_image_path(
        wanted, folder_paths.get_output_directory()
    )
    path = os.path.join(folder, f"{name}_{counter:05}_{EXTENSION}")
    about = {"kind": KIND, "schema": SCHEMA, "options": json.dumps(options)}
    safetensors.torch.save_file(tensors, path, about)
    return _listed(path), len(conditioning)


def null_text_files() -> list[str]:
    """Names of the files that Load Null-Text offers."""
    found, _ = folder_paths.recursive_search(_folder())
    written = [name for name in found if name.endswith(EXTENSION)]
    return [
        *(name for name in own_files() if name.endswith(EXTENSION)),
        *sorted((_listed(os.path.join(_folder(), name)) for name in written), reverse=True),
    ]


def path_of(name: str) -> str:
    """The path of a listed file. Raises ValueError for another name."""
    if name not in null_text_files():
        raise ValueError(NO_FILE.format(name=name))
    if name.endswith(OUTPUT):
        return folder_paths.get_annotated_filepath(name)
    path = own_file(name)
    if path is None:
        raise ValueError(NO_FILE.format(name=name))
    return path


def modified(name: str) -> float:
    """When a listed file was written [s]. Raises ValueError for another name."""
    return os.path.getmtime(path_of(name))


def load_null_text(name: str) -> tuple[list, dict | None]:
    """The conditioning of a file, and the latent that was saved with it.

    Raises ValueError for a file that is not there, or that this pack has not written.
    """
    path = path_of(name)
    try:
        with safetensors.safe_open(path, "pt") as file:
            about = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
        return _as_conditioning(about, tensors)
    except Exception as error:
        raise ValueError(FOREIGN.format(name=name)) from error


def _folder() -> str:
    return os.path.join(folder_paths.get_output_directory(), FOLDER)


def _listed(path: str) -> str:
    """A file of the output folder as ComfyUI names it."""
    return os.path.relpath(path, folder_paths.get_output_directory()).replace(os.sep, "/") + OUTPUT


def _as_tensors(conditioning: list) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Embeddings [n, B, T, C], their noise levels [n, 2] and further tensors; and the plain options."""
    shapes = {tuple(text.shape) for text, _ in conditioning}
    if len(shapes) != 1 or any(key not in options for _, options in conditioning for key in RANGE):
        raise ValueError(NOT_NULL_TEXT)
    levels = torch.tensor(
        [[options[key] for key in RANGE] for _, options in conditioning], dtype=torch.float64
    )
    tensors = {STEPS: torch.stack([text for text, _ in conditioning]), LEVELS: levels}
    shared = {k: v for k, v in conditioning[0][1].items() if k not in (*RANGE, TOKENS)}
    for key in [key for key, value in shared.items() if isinstance(value, Tensor)]:
        tensors[OPTION + key] = shared.pop(key)
    others = [key for key, value in shared.items() if not isinstance(value, str | int | float | None)]
    if others:
        raise ValueError(MORE_THAN_TEXT.format(keys=", ".join(others)))
    return tensors, shared


def _as_conditioning(about: dict[str, str], tensors: dict[str, Tensor]) -> tuple[list, dict | None]:
    """Raises any error for what `_as_tensors` has not made."""
    if (about["kind"], about["schema"]) != (KIND, SCHEMA):
        raise ValueError(about)
    texts, levels, latent = tensors.pop(STEPS), tensors.pop(LEVELS), tensors.pop(LATENT, None)
    if texts.ndim != 4 or levels.shape != (len(texts), 2) or not bool(texts.isfinite().all()):
        raise ValueError(texts.shape)
    options = {**json.loads(about["options"])}
    options |= {key.removeprefix(OPTION): tensor for key, tensor in tensors.items()}
    entries = [
        [text, {**options, **dict(zip(RANGE, between, strict=True))}]
        for text, between in zip(texts, levels.tolist(), strict=True)
    ]
    return entries, None if latent is None else {"samples": latent}
