"""Attention maps as heat over an image."""

from __future__ import annotations

import numpy as np
from PIL import Image

# Inferno (Smith and van der Walt 2015) as a polynomial in the value. Rows: powers 0 to 6; columns: red,
# green, blue.
INFERNO = np.array(
    [
        (0.0002, 0.0017, -0.0195),
        (0.1065, 0.5640, 3.9327),
        (11.6025, -3.9729, -15.9424),
        (-41.7040, 17.4364, 44.3541),
        (77.1629, -33.4024, -81.8073),
        (-71.3194, 32.6261, 73.2095),
        (25.1311, -12.2427, -23.0703),
    ]
)


def heat_colours(values: np.ndarray) -> np.ndarray:
    """Values [...] in 0 ... 1 as colours [..., 3] in 0 ... 1, from black by violet and orange to yellow."""
    values = np.asarray(values, dtype=np.float64).clip(0, 1)[..., None]  # [..., 1]
    return (values ** np.arange(len(INFERNO)) @ INFERNO).clip(0, 1).astype(np.float32)


def enlarge(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """A map [h, w] as float32 [height, width], bicubic, clipped to the range of the map."""
    small = np.asarray(values, dtype=np.float32)
    large = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
    return large.clip(small.min(), small.max())


def heat_map(
    image: np.ndarray, values: np.ndarray, opacity: float = 0.75, peak: float | None = None
) -> np.ndarray:
    """A map [h, w] >= 0 as heat over an image [H, W, 3]: float32 [H, W, 3] in 0 ... 1.

    The image is grey where there is no attention. peak: value with the brightest colour, by default the map's
    maximum; the same number makes several maps comparable. opacity: 0 = image only, 1 = heat only.
    """
    image = np.nan_to_num(np.asarray(image, dtype=np.float32)).clip(0, 1)
    values = np.nan_to_num(np.asarray(values, dtype=np.float32), posinf=0.0, neginf=0.0)
    peak = float(values.max()) if peak is None else peak
    heat = enlarge(values, *image.shape[:2]) / max(peak, 1e-12)
    heat = heat.clip(0, 1)[..., None]  # [H, W, 1]
    grey = (image @ np.array([0.299, 0.587, 0.114], dtype=np.float32))[..., None]
    base = image + min(1.0, 2 * opacity) * (0.9 * grey - image)
    solid = max(0.0, 10 * opacity - 9)  # from 0.9 on, positions without attention are covered as well
    cover = opacity * np.maximum(heat**0.7, solid)
    lift = 0.25 * (1 - solid)  # black would darken the image around a peak
    return (base * (1 - cover) + heat_colours(lift + (1 - lift) * heat[..., 0]) * cover).astype(np.float32)
