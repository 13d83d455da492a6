"""A CLIP whose two towers ComfyUI has loaded: CLIP Vision for images, a text encoder with its projection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import comfy.utils
import torch
from torch import Tensor

from ..own_files import own_file, own_files
from .predicted_picture import CLIP_KIND, OTHER_KIND

NO_FILE = (
    "The file '{name}' is not in models/gsn: put the head of the LAION aesthetic predictor there "
    "(sac+logos+ava1-l14-linearMSE), or choose none."
)
UNREADABLE = (
    "The file '{name}' in models/gsn cannot be read ({error}): fetch it again, it may be cut off or a web "
    "page."
)
NO_PROJECTION = (
    "This CLIP gives no projected text embedding, so texts and images cannot be compared: load the text "
    "encoder of the same CLIP with its text_projection (checkpoints of Stable Diffusion 1 have none)."
)
OTHER_CLIP = (
    "The text encoder's embeddings have {texts} numbers and those of CLIP Vision {images}: load both from "
    "the same CLIP, for example ViT-B/16."
)


class ClipTowers:
    """Embeddings by ComfyUI's CLIP_VISION and CLIP. clip: None where only images are embedded.

    Raises ValueError for another kind of CLIP Vision, a text encoder without projection, or of another CLIP.
    """

    def __init__(self, vision: Any, clip: Any = None):
        if vision.model_type != CLIP_KIND:
            raise ValueError(OTHER_KIND.format(kind=vision.model_type))
        self.vision, self.clip = vision, clip
        if clip is None:
            return
        projection = _projection(clip)
        if projection is None or _is_identity(projection):
            raise ValueError(NO_PROJECTION)
        images = vision.model.visual_projection.weight.shape[0]
        if len(projection) != images:
            raise ValueError(OTHER_CLIP.format(texts=len(projection), images=images))

    def images(self, images: Tensor) -> Tensor:
        """[B, H, W, 3] in 0 ... 1 -> [B, d]: the centre square, as CLIP was trained."""
        return self.vision.encode_image(images[..., :3])["image_embeds"].float().cpu()

    def texts(self, texts: Sequence[str]) -> Tensor:
        """[n, d]."""
        found = [self.clip.encode_from_tokens(self.clip.tokenize(t), return_pooled=True)[1] for t in texts]
        return torch.cat(found).float().cpu()


def _projection(clip: Any) -> Tensor | None:
    """The weight [d, width] of the text encoder's projection."""
    encoder = clip.cond_stage_model
    encoder = getattr(encoder, getattr(encoder, "clip", ""), encoder)
    return getattr(getattr(getattr(encoder, "transformer", None), "text_projection", None), "weight", None)


def _is_identity(weight: Tensor) -> bool:
    """What ComfyUI puts in place of a projection that is not in the file."""
    square = weight.shape[0] == weight.shape[1]
    return square and bool(torch.equal(weight.float().cpu(), torch.eye(len(weight))))


def head_files() -> list[str]:
    """Files of models/gsn that may be an aesthetic head."""
    return [name for name in own_files() if name.endswith((".safetensors", ".pth", ".pt"))]


def read_head(name: str) -> dict[str, Tensor]:
    """The tensors of an aesthetic head in models/gsn, read without running code that it may hold.

    Raises ValueError for a file that is not there, or cannot be read.
    """
    path = own_file(name)
    if path is None:
        raise ValueError(NO_FILE.format(name=name))
    try:
        found = comfy.utils.load_torch_file(path, safe_load=True)
    except Exception as error:  # of pickle, zip or safetensors: many kinds
        raise ValueError(UNREADABLE.format(name=name, error=type(error).__name__)) from None
    named = found.items() if isinstance(found, Mapping) else ()
    return {str(key): value for key, value in named if isinstance(value, Tensor)}
