"""The templates for people's models, run to their end: in the place of each file is a small network of the
same class with random weights, with the text encoders and the latents that belong to it.
"""

import io
import re
import struct

import pytest
from PIL import Image

from tools.host_env.client import Client

from .test_workflows import NAMES, files_of, read

MODELS = {  # file of a template -> set-up of tests/support/text_encoders.py
    "v1-5-pruned-emaonly-fp16.safetensors": "SD1",
    "instruct-pix2pix-00-22000.safetensors": "InstructPix2Pix",
    "sd_xl_base_1.0.safetensors": "SDXL",
    "Illustrious-XL-v0.1.safetensors": "SDXL",
    "sd3.5_medium.safetensors": "SD3",
    "flux1-dev.safetensors": "Flux",
    "flux-2-klein-4b.safetensors": "Klein",
    "qwen_image_fp8_e4m3fn.safetensors": "Qwen-Image",
    "z_image_turbo_bf16.safetensors": "Z-Image",
    "krea2_turbo_fp8_scaled.safetensors": "Krea 2",
    "anima-base-v1.0.safetensors": "Anima",
    "ideogram4_fp8_scaled.safetensors": "Ideogram 4, with pictures",
    "ideogram4_unconditional_fp8_scaled.safetensors": "Ideogram 4, with pictures",
    "Chroma1-HD-fp8mixed.safetensors": "Chroma",
    "wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors": "Wan",
    "wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors": "Wan",
}
DETECTORS = {  # -> which output of LoadTinyDetectors each of the loader's is
    "rt_detr_v4-x-hgnet_fp16.safetensors": (0,),
    "sam3.1_multiplex_fp16.safetensors": (1, 2),
}
IN_PIXELS_OF_BOXES = ("GSNLayoutRequest", "GSNLayout", "CreateBoundingBoxes")
ANSWER = (
    "Objects: [('a grey cat', [40, 220, 180, 200]), ('a brown dog', [280, 190, 200, 240])]\n"
    "Background prompt: a photo of a beach\nNegative prompt: people"
)
TEXT_LINE = 3
"""Number of the binary messages with a line for a node, in ComfyUI's protocol."""


FOUND = "owl, fox, blue lantern"
CASES = {  # number of a template -> the model's name in the report, subjects
    "20": ("Stable Diffusion 1.x", "cat, rabbit"),
    "21": ("Stable Diffusion 1.x", "red car, blue bench"),
    "22": ("Stable Diffusion XL", "lion, giraffe"),
    "23": ("Stable Diffusion 3 and 3.5", "bear, penguin, blue umbrella"),
    "24": ("Flux", "green bench, red suitcase, yellow bowl"),
    "25": ("Qwen-Image", "corgi, parrot, tortoise, wooden bench"),
    "26": ("Z-Image", FOUND),
    "27": ("Z-Image", "blue lantern"),
    "28": ("Krea 2", "blue lantern"),
    "29": ("Stable Diffusion 1.x", "red car, teddy bear"),
    "31": ("Stable Diffusion 1.x", "grey cat, brown dog"),
    "32": ("Stable Diffusion 1.x", "grey cat, brown dog"),
    "38": ("Krea 2", FOUND),
    "39": ("Qwen-Image", FOUND),
    "40": ("Flux 2", FOUND),
    "41": ("Anima", "anime girl, red umbrella, black cat, yellow bicycle, rainy street"),
    "42": ("Ideogram 4", FOUND),
    "43": ("Chroma", FOUND),
    "44": ("Wan", FOUND),
    "45": ("Stable Diffusion XL", "girl, boy"),
    "48": ("Stable Diffusion 1.x", "red hat, blue scarf"),
    "49": ("Stable Diffusion 1.x", "sks dog, cat"),
}
WORDS = {  # of what acts: in its lines before and after the run, and in the report
    "Auto": (
        r"; at step \d of [24]; up to \+1 images",
        r"; cost \+1 images",
        r"Auto: step \d of \d .*, \d update step",
    ),
    "Latent Refine": (
        r"; at step \d of 4; up to \+[01]\.\d+ images",
        r"; cost \+[01]\.\d+ images",
        r", 2 update steps, ",
    ),
    "Word Weight": (
        r"Word Weight: ",
        r": blue lantern 1\.3, steps 0 to 3 of 4",
        r"Word Weight: blue lantern 1\.3",
    ),
    "LMD": (r"are kept in memory", r"^2 boxes, 3 runs; [1-9]\d* updates; ", r"LMD: .*, [1-9]\d* update step"),
}
ACTING = {
    "GSNNursing": "",
    "GSNRefineModel": "Latent Refine",
    "GSNWordWeight": "Word Weight",
    "GSNLMDSampler": "LMD",
}
"""Kind of node -> which words; a node with methods has those of its method."""


@pytest.fixture
def client(server_with_packs) -> Client:
    return Client(server_with_packs.url)


def with_stand_ins(prompt: dict) -> dict:
    """The same graph with other loaders, small images, few steps and update steps."""
    least = 256 if "Ideogram4Scheduler" in str(prompt) else 0
    made, sources = {}, {}
    for i, node in prompt.items():
        file = node["inputs"].get("unet_name", node["inputs"].get("ckpt_name"))
        if file in DETECTORS:
            made["detectors"] = {"class_type": "LoadTinyDetectors", "inputs": {}}
            sources[i] = ("detectors", DETECTORS[file])
        elif file is not None:
            made[i] = {"class_type": "TinyModel", "inputs": {"of": MODELS[file], "number": len(made)}}
            sources[i] = (i, (0, 1, 2))
    network = next(iter(made))
    for i, node in prompt.items():
        kind = node["class_type"]
        if i not in sources and kind.endswith(("CLIPLoader", "VAELoader")):
            sources[i] = (network, (2 if kind == "VAELoader" else 1,))
        elif kind == "GLIGENLoader":
            made[i] = {"class_type": "TinyGligen", "inputs": {"model": [network, 0]}}
        elif kind == "TextGenerate":  # a small language model has nothing to say
            made[i] = {"class_type": "PrimitiveStringMultiline", "inputs": {"value": ANSWER}}
        elif i not in sources:
            made[i] = {"class_type": kind, "inputs": smaller(node, least)}
    for node in made.values():
        for name, value in node["inputs"].items():
            if isinstance(value, list) and value[0] in sources:
                loader, outputs = sources[value[0]]
                node["inputs"][name] = [loader, outputs[value[1]]]
    return made


def smaller(node: dict, scheduled: int) -> dict:
    """The inputs of a node, with few steps and images and, except for boxes, small sizes.

    scheduled: the least size of the graph's scheduler.
    """
    inputs, kind = dict(node["inputs"]), node["class_type"]
    small = {"steps": 2 if kind == "TrainLoraNode" else 4, "shifts": 2}
    if kind == "EmptyLatentImage":
        small["batch_size"] = min(inputs["batch_size"], 3)
    if kind not in IN_PIXELS_OF_BOXES:
        small |= dict.fromkeys(("width", "height"), max(128, scheduled))
    if inputs.get("method", "Auto") != "Auto":
        small["overrides"] = "shifts=2"
    return inputs | {name: value for name, value in small.items() if name in inputs}


def lines_of(messages: list[dict]) -> dict[str, list[str]]:
    """Node -> the lines that were shown on it."""
    found: dict[str, list[str]] = {}
    for message in messages:
        if message["type"] == "binary" and struct.unpack(">I", message["data"][:4])[0] == TEXT_LINE:
            length = struct.unpack(">I", message["data"][4:8])[0]
            node, text = message["data"][8 : 8 + length], message["data"][8 + length :]
            found.setdefault(node.decode(), []).append(text.decode())
    return found


def nodes_of_kind(prompt: dict, *kinds: str) -> list[str]:
    return [i for i, node in prompt.items() if node["class_type"] in kinds]


def test_every_template_that_needs_files_is_here():
    assert [name[:2] for name in NAMES if files_of(read(name)[1])] == list(CASES)


@pytest.mark.parametrize("name", [name for name in NAMES if name[:2] in CASES])
def test_it_ends_with_an_image_and_its_node_says_what_it_did(name, client, server_with_packs):
    prompt, (model, subjects) = with_stand_ins(read(name)[1]), CASES[name[:2]]
    messages = client.messages(prompt)
    assert messages[-1]["type"] == "execution_success", messages[-1]["data"]
    entry = client.wait(messages[-1]["data"]["prompt_id"])
    (acting,), (report,) = nodes_of_kind(prompt, *ACTING), nodes_of_kind(prompt, "GSNReport")
    method = prompt[acting]["inputs"].get("method", ACTING[prompt[acting]["class_type"]])
    before, after, told = WORDS[method.split(" (")[0]]
    first, *_, last = [*(lines := lines_of(messages)[acting]), lines[-1]]
    assert re.search(before, first) and re.search(after, last), lines
    text = entry["outputs"][report]["text"][0]
    assert re.search(told, text) and f": {model}, sample_" in text, text
    assert all(f"subject {subject} (" in text for subject in subjects.split(", ")), text
    assert "not made in a recorded run" not in text and "did not act" not in text, text
    (saved,) = nodes_of_kind(prompt, "SaveImage")
    picture = Image.open(io.BytesIO(client.images(entry, saved)[0])).convert("RGB")
    assert len(picture.getcolors(2**17) or []) > 1000  # nothing that is black or of one colour
    assert "lora key not loaded" not in server_with_packs.log.read_text("utf-8", errors="replace")


def test_dreambooth_draws_with_what_was_learnt(client):
    """The plain picture at strengths 1 and 0 of the LoRA; the training runs once."""
    (name,) = (name for name in NAMES if name.startswith("49"))
    prompt = with_stand_ins(read(name)[1])
    (loader,), (saved,) = nodes_of_kind(prompt, "LoraModelLoader"), nodes_of_kind(prompt, "SaveImage")
    pictures = []
    for strength in (1, 0):
        prompt[loader]["inputs"]["strength_model"] = strength
        pictures.append([Image.open(io.BytesIO(png)) for png in client.images(client.run(prompt), saved)])
    (plain, nursed), (before, _) = ([one.tobytes() for one in both] for both in pictures)
    assert plain != nursed and plain != before
