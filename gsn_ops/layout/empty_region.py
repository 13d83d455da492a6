"""The emptiest place of an image: a square as far as can be from everything that was found."""

from __future__ import annotations

import torch
from torch import Tensor

GRID = 48
"""Places are looked for on so many cells a side."""


def empty_regions(masks: Tensor, images: int, size: float) -> tuple[Tensor, list[bool]]:
    """A mask [images, H, W] with one square for each image that lacks something, and which images do.

    masks: [images * k, H, W] of k subjects for each image in turn, empty = not found. size: most of the
    square's side, as a share of the image's shorter one; less where there is less room. Raises ValueError if
    the masks do not divide among the images.
    """
    if images < 1 or len(masks) % images:
        raise ValueError(
            f"{len(masks)} masks are not of {images} images: connect MASK of the Subject Judge that judged "
            "these images."
        )
    of_image = masks.reshape(images, -1, *masks.shape[1:]) > 0.5
    lacking = [bool((~one.flatten(1).any(1)).any()) for one in of_image]
    squares = [
        emptiest(one.any(0), size) if lacks else one.any(0) & False for one, lacks in zip(of_image, lacking)
    ]
    return torch.stack(squares).float(), lacking


def emptiest(taken: Tensor, size: float) -> Tensor:
    """A square [H, W] bool, inside the image and off `taken` [H, W] bool as far as there is room."""
    height, width = taken.shape
    rows = torch.linspace(0.5, height - 0.5, min(GRID, height))
    columns = torch.linspace(0.5, width - 0.5, min(GRID, width))
    places = torch.cartesian_prod(rows, columns)  # [n, 2]
    edges = torch.minimum(places, torch.tensor([height, width]) - places).amin(1)
    room = edges.clone()
    seen = torch.stack(torch.nonzero(taken, as_tuple=True), 1).float() + 0.5
    if len(seen):
        seen = seen[:: max(1, len(seen) // 2048)]
        # Of squares, the larger of both distances; up to the pixel's edge.
        apart = (places[:, None] - seen[None]).abs().amax(2).amin(1) - 0.5
        room = torch.minimum(edges, apart)
    best = int((room + 1e-4 * edges).argmax())
    half = max(1.0, min(float(room[best]), size * min(height, width) / 2))
    y, x = places[best].tolist()
    square = torch.zeros(height, width, dtype=torch.bool)
    square[round(max(0, y - half)) : round(y + half), round(max(0, x - half)) : round(x + half)] = True
    return square
