"""The shipped demo workflow with another prompt, seed, batch or number of steps, and its two images."""

import copy
import io
import json

import numpy as np
from PIL import Image

from tools.host_env.paths import CLONE

FILE = CLONE / "example_workflows" / "api" / "02 Plain beside refined - report and maps.json"
SIDE = 256  # of one image; the workflow saves plain | refined, side by side
INSPECTION = ("GSNReport", "GSNAttentionMaps", "PreviewAny")  # for users; a long measurement leaves them out


def shipped() -> dict:
    """The workflow as it is shipped, in the queue's format."""
    return json.loads(FILE.read_text("utf-8"))


def find(workflow: dict, kind: str, title: str | None = None) -> str:
    """The id of the one node of this class (and title). Raises LookupError unless there is exactly one."""
    found = [
        key
        for key, node in workflow.items()
        if node["class_type"] == kind and title in (None, node.get("_meta", {}).get("title"))
    ]
    if len(found) != 1:
        raise LookupError(f"{FILE.name} has {len(found)} nodes {kind} {title or ''}, expected one.")
    return found[0]


def shipped_settings() -> dict:
    """Inputs of the workflow's Semantic Nursing node: the one place with the embedded model's settings."""
    workflow = shipped()
    return workflow[find(workflow, "GSNNursing")]["inputs"]


def substitute(
    workflow: dict, text: str, seed: int, batch: int, steps: int | None = None, inspect: bool = False
) -> dict:
    """A copy for this prompt and seed, `batch` images at once."""
    workflow = copy.deepcopy(workflow)
    workflow[find(workflow, "CLIPTextEncode", "Prompt")]["inputs"]["text"] = text
    workflow[find(workflow, "PrimitiveInt", "One seed for both")]["inputs"]["value"] = seed
    workflow[find(workflow, "EmptyLatentImage")]["inputs"]["batch_size"] = batch
    for node in workflow.values():
        if steps is not None and node["class_type"] == "KSampler":
            node["inputs"]["steps"] = steps
    return {key: node for key, node in workflow.items() if inspect or node["class_type"] not in INSPECTION}


def halves(png: bytes) -> tuple[np.ndarray, np.ndarray]:
    """A saved image -> (plain, refined) [256, 256, 3] uint8."""
    both = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    return both[:, :SIDE], both[:, -SIDE:]
