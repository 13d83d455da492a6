"""Detector MODELs of ComfyUI (RT-DETR, SAM 3), run by ComfyUI's own nodes, as lists of detections."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from ...judge.classes import coco_class, normalised
from ...judge.detection import Detection

MOST_OBJECTS = 100
"""Of one image, as ComfyUI's RT-DETR node has it."""
MOST_OF_A_NOUN = 10
"""Objects of one noun that SAM 3 returns; its node's own default is 1."""
RAW_MASKS = 0  # passes of SAM's second decoder: a judge needs no finer edges
WRONG_MODEL = (
    "The {input} input holds {name}, which does not detect objects: connect an RT-DETR or SAM 3 model that "
    "Load Diffusion Model or Load Checkpoint has loaded."
)
NO_CLIP = (
    "SAM 3 is asked in words, so the Judge needs its text encoder: connect the CLIP output of the Load "
    "Checkpoint that loads SAM 3 to clip."
)
WRONG_CLIP = (
    "The CLIP that is connected is not the text encoder of SAM 3 (its words have {found} numbers, SAM 3 "
    "reads {wanted}): connect the CLIP output of the Load Checkpoint that loads SAM 3."
)


NO_NODE = (
    "This ComfyUI has no node {name}, by which the Judge runs {model}: update ComfyUI to 0.30 or newer, or "
    "connect the boxes of another detector."
)
RT_DETR, SAM_3 = "RTv4", "SAM3Model"  # classes of their networks in ComfyUI


def node_of(name: str, model: str) -> Any:
    """One of ComfyUI's nodes, imported when it is needed: a ComfyUI without it still loads this pack.

    Raises ValueError where this ComfyUI does not have it.
    """
    try:
        if model == CocoDetector.name:
            from comfy_extras.nodes_rtdetr import RTDETR_detect

            return RTDETR_detect
        from comfy_extras.nodes_sam3 import SAM3_Detect

        return SAM3_Detect
    except ImportError:
        raise ValueError(NO_NODE.format(name=name, model=model)) from None


class CocoDetector:
    """RT-DETR: boxes of the 80 classes of COCO."""

    name = "RT-DETR"

    def __init__(self, model: Any):
        self.model = model

    def unknown(self, nouns: Sequence[str]) -> tuple[str, ...]:
        """The nouns that are no class of COCO."""
        return tuple(noun for noun in nouns if coco_class(noun) is None)

    def find(self, images: Tensor, nouns: Sequence[str], confidence: float) -> list[list[Detection]]:
        """Objects of all classes in each image [B, H, W, 3]: another class in the same place means merged."""
        node = node_of("RTDETR_detect", self.name)
        boxes = node.execute(self.model, images[..., :3], confidence, "all", MOST_OBJECTS).args[0]
        return [[_detection(one, one["label"]) for one in frame] for frame in boxes]


class PhraseDetector:
    """SAM 3: one mask for each object of a noun phrase, whatever it is."""

    name = "SAM 3"

    def __init__(self, model: Any, clip: Any):
        self.model, self.clip = model, clip

    def unknown(self, nouns: Sequence[str]) -> tuple[str, ...]:
        """None: it takes any noun phrase."""
        return ()

    def find(self, images: Tensor, nouns: Sequence[str], confidence: float) -> list[list[Detection]]:
        """Objects of these nouns in each image [B, H, W, 3], with masks."""
        found: list[list[Detection]] = [[] for _ in images]
        asked: dict[str, str] = {}
        for noun in nouns:
            asked.setdefault(normalised(noun), noun)
        for noun in asked.values():
            words = self._encode(noun)
            for image, own in zip(images, found, strict=True):
                own += self._objects(image[None, ..., :3], words, noun, confidence)
        return found

    def _encode(self, noun: str) -> list:
        """The conditioning of a noun. Raises ValueError for the text encoder of another model."""
        name = re.sub(r"[,:()]", " ", noun)  # these have a meaning in SAM 3's text
        words = self.clip.encode_from_tokens_scheduled(self.clip.tokenize(f"{name}:{MOST_OF_A_NOUN}"))
        wanted = self.model.model.diffusion_model.detector.backbone["language_backbone"][
            "resizer"
        ].in_features
        if words[0][0].shape[-1] != wanted:
            raise ValueError(WRONG_CLIP.format(found=words[0][0].shape[-1], wanted=wanted))
        return words

    def _objects(self, image: Tensor, words: list, noun: str, confidence: float) -> list[Detection]:
        node = node_of("SAM3_Detect", self.name)
        found = node.execute(
            self.model,
            image,
            conditioning=words,
            threshold=confidence,
            refine_iterations=RAW_MASKS,
            individual_masks=True,
        )
        masks, boxes = found.args[:2]
        return [
            _found_by_name(box, noun, mask.cpu() > 0.5) for box, mask in zip(boxes[0], masks, strict=True)
        ]


def _detection(box: dict, label: str, mask: Tensor | None = None) -> Detection:
    corners = (box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"])
    return Detection(label, box["score"], corners, mask)


def _found_by_name(box: dict, noun: str, mask: Tensor) -> Detection:
    """An object of a noun that was asked for in words: no other word's."""
    return replace(_detection(box, noun, mask), exact=True)


def detector_of(model: Any, clip: Any = None, input_name: str = "detector") -> CocoDetector | PhraseDetector:
    """The detector in a MODEL. Raises ValueError, before it is run, for another kind of model, or for SAM 3
    without its CLIP.
    """
    network = getattr(getattr(model, "model", None), "diffusion_model", None)
    if type(network).__name__ == RT_DETR:
        return CocoDetector(model)
    if type(network).__name__ == SAM_3:
        if clip is None:
            raise ValueError(NO_CLIP)
        return PhraseDetector(model, clip)
    raise ValueError(WRONG_MODEL.format(input=input_name, name=type(network).__name__))
