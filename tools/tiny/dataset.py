"""Training images: rendered once per stage, kept as uint8 arrays in an ignored folder, read by every
worker.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .captions import encode, object_columns, write_captions
from .files import write_atomically
from .latent_frame import rgb_to_latent
from .world import render, sample_scenes

CHUNK = 4000
EMPTY = encode("")


@dataclass(frozen=True)
class Dataset:
    """images [n, 32, 32, 3] uint8, rows [n, 77] uint8, and with masks: masks [n, 3, 32, 32] uint8, columns
    [n, 3, 2] int64 with -1 for every word whose object is not in the image.
    """

    images: np.ndarray
    rows: np.ndarray
    masks: np.ndarray
    columns: np.ndarray


def _arrays(seed: int, n: int, share, neglect: float, swap: float, masks: bool) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    parts = []
    for start in range(0, n, CHUNK):
        scenes = sample_scenes(rng, min(CHUNK, n - start), share, neglect)
        images, mask = render(scenes)
        rows = np.stack([encode(text) for text in write_captions(rng, scenes, swap)])
        columns = np.where(scenes.drawn[..., None], object_columns(rows, scenes), -1)
        part = {"images": images, "rows": rows}
        parts.append({**part, "masks": mask, "columns": columns} if masks else part)
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def load(folder: Path, seed: int, n: int, share, neglect: float, swap: float, masks: bool) -> Dataset:
    """The data set of these numbers, rendered now or read (memory-mapped) from an earlier run."""
    place = (
        folder / f"data_{seed}_{n}_{'-'.join(map(str, share))}_{neglect}_{swap}{'_masks' if masks else ''}"
    )
    names = ("images", "rows", "masks", "columns") if masks else ("images", "rows")
    if not all((place / f"{name}.npy").exists() for name in names):
        place.mkdir(parents=True, exist_ok=True)
        for name, array in _arrays(seed, n, share, neglect, swap, masks).items():
            write_atomically(place / f"{name}.npy", lambda f, a=array: np.save(f, a))
    arrays = {name: np.load(place / f"{name}.npy", mmap_mode="r") for name in names}
    return Dataset(**{"masks": np.zeros((n, 0)), "columns": np.zeros((n, 0)), **arrays})


@dataclass(frozen=True)
class Batch:
    """latent [b, 4, 32, 32], rows [b, 77] int64, masks [b, 3, 32, 32] in [0, 1], columns [b, 3, 2]."""

    latent: torch.Tensor
    rows: torch.Tensor
    masks: torch.Tensor
    columns: torch.Tensor


def take(data: Dataset, index: np.ndarray, flip: np.ndarray, blank: np.ndarray) -> Batch:
    """One batch: images at index [b], mirrored where flip [b], caption emptied where blank [b]."""

    def mirrored(array, axis):
        return np.where(flip.reshape(-1, *[1] * (array.ndim - 1)), np.flip(array, axis), array)

    images = mirrored(data.images[index], 2)
    rows = np.where(blank[:, None], EMPTY, data.rows[index])
    masks, columns = data.masks[index], data.columns[index]
    if masks.size:
        masks = mirrored(masks, 3)
        columns = np.where(blank[:, None, None], -1, columns)
    return Batch(
        rgb_to_latent(torch.from_numpy(images).float() / 255),
        torch.from_numpy(rows).long(),
        torch.from_numpy(masks.astype(np.float32)) / 255,
        torch.from_numpy(columns).long(),
    )
