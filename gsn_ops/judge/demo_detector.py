"""Finds the shapes that the demo models draw in an image, by geometry alone: no learned part, nothing to
trust blindly.

The background is the median of the border. Every pixel is un-mixed as background plus a share of each palette
colour; connected solid pixels of one colour are an object; its soft mask is compared with every shape's
template of the same area and centroid. Below ACCEPT the object is "malformed": two shapes grown together, a
fragment, a smear.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .demo_shapes import COLOURS, PALETTE, RING, SHAPES, SIDE, coverage
from .detection import Detection

ACCEPT = 0.72  # soft intersection over union with the best template
SOLID = 0.5  # a pixel that is at least this much of a colour
SMALLEST = 10.0  # pixels of area; less is noise, not an object
_INK = np.array(list(PALETTE.values()))  # [6, 3]
_ALL = (*SHAPES, RING)
_SHARE = {s: float(coverage(s, 11, 16, 16).sum()) / 121 for s in _ALL}  # area = share * size ** 2
_Y, _X = np.mgrid[:SIDE, :SIDE] + 0.5


def _offset(shape: str) -> tuple[float, float]:
    mask = coverage(shape, 11, 16, 16)[0]
    return float((mask * _X).sum() / mask.sum() - 16) / 11, float((mask * _Y).sum() / mask.sum() - 16) / 11


_OFFSET = {s: _offset(s) for s in _ALL}  # centroid minus centre of the box, in sizes


@dataclass(frozen=True)
class Found:
    """One object: its colour, its shape or "malformed", box (left, top, right, bottom) in pixels of the
    image that was given, and score, the IoU with the best template.
    """

    colour: str
    shape: str
    box: tuple[float, float, float, float]
    score: float


def _decoder_blur() -> np.ndarray:
    """What the demo VAE and block averages together do along one axis -> [32, 32].

    The decoder doubles and smooths (1/4, 1/2, 1/4) three times, with zeros beyond the edge.
    """
    axis = np.eye(SIDE)
    for _ in range(3):
        wide = np.pad(np.repeat(axis, 2, axis=0), ((1, 1), (0, 0)))
        axis = wide[:-2] / 4 + wide[1:-1] / 2 + wide[2:] / 4
    return axis.reshape(SIDE, 8, SIDE).mean(1)


_SHARPEN = np.linalg.inv(_decoder_blur())  # condition number 2.9: harmless to 8 bit images


def shrink(image: np.ndarray) -> np.ndarray:
    """[h, w, 3] uint8, square, side a multiple of 32 -> [32, 32, 3] float in [0, 1], by averaging blocks.

    A 256x256 image is taken for one that the demo VAE decoded: its smoothing is undone, exactly up to
    rounding, so that the latent and the image on screen are judged alike.
    """
    h, w = image.shape[:2]
    if image.ndim != 3 or image.shape[2] != 3 or h != w or h % SIDE:
        raise ValueError(f"The detector needs a square RGB image of 32, 64, ... pixels; got {image.shape}.")
    blocks = image.astype(np.float64).reshape(SIDE, h // SIDE, SIDE, w // SIDE, 3)  # (32, b, 32, b, 3)
    small = blocks.mean((1, 3)) / 255
    if h == 8 * SIDE:  # the decoder works on 1 - rgb: beyond the edge is white
        small = 1 - np.einsum("ih,hwc,jw->ijc", _SHARPEN, 1 - small, _SHARPEN)
    return small.clip(0, 1)


def _unmix(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of each colour [6, 32, 32] in [0, 1], and how far each pixel is from that mixture [6, 32, 32]."""
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    ground = np.median(border, axis=0)
    way, there = _INK - ground, image - ground  # [6, 3], [32, 32, 3]
    share = np.einsum("hwc,kc->khw", there, way) / (way**2).sum(1)[:, None, None]
    share = share.clip(0, 1)
    rest = there[None] - share[..., None] * way[:, None, None]
    return share, np.sqrt((rest**2).sum(-1))


def mask_of(image: np.ndarray, colour: str) -> np.ndarray:
    """Where this colour is: bool [32, 32]."""
    share, rest = _unmix(shrink(image))
    k = COLOURS.index(colour)
    return (rest.argmin(0) == k) & (share[k] >= SOLID)


def _components(solid: np.ndarray) -> list[np.ndarray]:
    """4-connected parts of a mask [32, 32] bool -> list of such masks."""
    todo, parts = {(int(y), int(x)) for y, x in zip(*np.nonzero(solid))}, []
    while todo:
        stack, part = [todo.pop()], np.zeros_like(solid)
        while stack:
            y, x = stack.pop()
            part[y, x] = True
            near = {(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)} & todo
            todo -= near
            stack.extend(near)
        parts.append(part)
    return parts


def _grow(mask: np.ndarray) -> np.ndarray:
    """The mask and its eight neighbours."""
    wide = np.pad(mask, 1)
    return np.any([wide[y : y + SIDE, x : x + SIDE] for y in range(3) for x in range(3)], axis=0)


def _match(mask: np.ndarray, shapes: Sequence[str]) -> tuple[str, float]:
    """Which of these shapes, as a template of the mask's area and centroid, overlaps best; its soft IoU."""
    area = mask.sum()
    at_x, at_y = (mask * _X).sum() / area, (mask * _Y).sum() / area
    scores = {}
    for shape in shapes:
        size = np.sqrt(area / _SHARE[shape])
        dx, dy = _OFFSET[shape]
        template = coverage(shape, size, at_x - dx * size, at_y - dy * size)[0]
        scores[shape] = float(np.minimum(mask, template).sum() / np.maximum(mask, template).sum())
    best = max(scores, key=scores.__getitem__)
    return best, scores[best]


def detect(image: np.ndarray, shapes: Sequence[str] = SHAPES) -> list[Found]:
    """All objects of one image [h, w, 3] uint8 (32x32, or a multiple such as the decoded 256x256).

    shapes: those with whose templates an object is compared.
    """
    zoom = image.shape[0] / SIDE
    share, rest = _unmix(shrink(image))
    nearest = rest.argmin(0)  # [32, 32] the colour that explains a pixel best
    parts = [
        (k, part) for k in range(len(COLOURS)) for part in _components((nearest == k) & (share[k] >= SOLID))
    ]
    parts = [(k, part) for k, part in parts if part.sum() >= SMALLEST / 2]
    found = []
    for k, part in parts:
        others = np.any([other for _, other in parts if other is not part] or [np.zeros_like(part)], axis=0)
        mask = share[k] * (_grow(part) & ~others)
        if mask.sum() < SMALLEST:
            continue
        shape, score = _match(mask, shapes)
        rows, columns = np.nonzero(part.any(1))[0], np.nonzero(part.any(0))[0]
        left, top, right, bottom = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        box = (float(left * zoom), float(top * zoom), float(right * zoom), float(bottom * zoom))
        found.append(Found(COLOURS[k], shape if score >= ACCEPT else "malformed", box, score))
    return found


def success(found: list[Found], wanted: list[tuple[str | None, str]]) -> tuple[bool, bool]:
    """(all wanted shapes are there, all wanted (colour, shape) are there). A colour of None asks for the
    shape only.

    An object counts once: two wanted circles need two found ones. Further objects do not harm.
    """
    shapes = Counter(f.shape for f in found)
    objects = not Counter(shape for _, shape in wanted) - shapes
    painted = Counter((f.colour, f.shape) for f in found)
    missing = Counter((c, s) for c, s in wanted if c) - painted
    return objects, objects and not missing


def detections(image: np.ndarray) -> list[Detection]:
    """The same objects as `detect` finds, as the judge takes them; label: the shape or "malformed"."""
    return [Detection(one.shape, one.score, one.box, colour=one.colour) for one in detect(image)]
