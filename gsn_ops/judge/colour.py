"""Which colour an object has: its pixels in CIELab, each named by the nearest reference colour (TIAM)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .detection import Box

FOCAL = {
    "red": (35.4, 60.2, 39.9),
    "yellow": (80.6, 6.8, 80.7),
    "green": (46.0, -37.0, 17.6),
    "blue": (45.8, -9.1, -28.4),
    "purple": (25.0, 51.6, -41.7),
    "pink": (65.8, 58.7, -5.6),
    "black": (0.0, 0.0, 0.0),
    "white": (100.0, 0.0, 0.0),
}
"""CIELab (D65) of focal colours, after TIAM (Grimal et al., WACV 2024) and Berlin and Kay (1969).

Munsell chips 7.5R 3-4, 2.5Y 8, 2.5G 4-5, 7.5B/10B/2.5PB 4-5, 5P 2-3, 5RP 6-7, each of the highest chroma
inside sRGB, from the renotation data of Newhall, Nickerson and Judd (1943), Bradford-adapted from C, then
averaged. Orange and brown are not used.
"""
VIVID_BLUE = (39.0, 44.0, -76.0)
"""A second reference for blue, this pack's own: the saturated blue of screens is nearer to the purple chips
than to the blue ones in CIELab."""
REFERENCES: tuple[tuple[str, tuple[float, float, float]], ...] = (*FOCAL.items(), ("blue", VIVID_BLUE))
ALSO = {"violet": "purple", "crimson": "red", "scarlet": "red", "navy": "blue", "magenta": "pink"}
"""Other words for these colours."""
WHITE_POINT = (0.95047, 1.0, 1.08883)
TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
RIGHT_SHARE = 0.4
"""Share of an object's pixels from which on it has a colour (TIAM)."""


def colour_of(modifiers: Sequence[str]) -> str | None:
    """The reference colour that an attribute names, None if there is none: it cannot be judged."""
    for word in modifiers:
        name = ALSO.get(word.lower(), word.lower())
        if name in FOCAL:
            return name
    return None


def lab(rgb: Tensor) -> Tensor:
    """sRGB [..., 3] in 0 ... 1 -> CIELab (D65) [..., 3]."""
    rgb = rgb.double().clamp(0, 1)
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = linear @ linear.new_tensor(TO_XYZ).T / linear.new_tensor(WHITE_POINT)
    f = torch.where(xyz > 216 / 24389, xyz ** (1 / 3), (24389 / 27 * xyz + 16) / 116)
    x, y, z = f.unbind(-1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def colour_shares(pixels: Tensor) -> dict[str, float]:
    """Share of the pixels [n, 3] (sRGB, 0 ... 1) nearest to each colour; {} for no pixels."""
    if not len(pixels):
        return {}
    points = torch.tensor([point for _, point in REFERENCES], dtype=torch.float64)
    nearest = torch.cdist(lab(pixels.cpu()), points).argmin(1)
    counts = torch.bincount(nearest, minlength=len(REFERENCES)).tolist()
    shares = dict.fromkeys(FOCAL, 0.0)
    for (name, _), count in zip(REFERENCES, counts, strict=True):
        shares[name] += count / len(pixels)
    return shares


def object_pixels(image: Tensor, mask: Tensor | None, box: Box | None) -> Tensor:
    """The pixels [n, 3] of an object in an image [H, W, 3]: of its mask, else of the inside of its box."""
    if mask is not None:
        return image[..., :3][mask.to(image.device)]
    if box is None:
        return image[:0, 0, :3]
    left, top, right, bottom = (round(v) for v in box)
    return image[top : max(bottom, top + 1), left : max(right, left + 1), :3].flatten(0, 1)
