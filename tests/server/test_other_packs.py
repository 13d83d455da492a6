"""Other node packs add an objective, a method, an architecture: one function in their __init__.py, whichever
pack loads first.
"""

import json
import re
import textwrap

import pytest

from tools.host_env.client import Client, PromptFailed
from tools.host_env.paths import CLONE
from tools.host_env.server import running_server

PACK = '''
"""A pack that loads before ours and brings a loss of its own."""
from dataclasses import dataclass

NODE_CLASS_MAPPINGS = {}


def gsn_register(gsn):
    @gsn.register_objective("brightest_corner")
    @dataclass(frozen=True)
    class BrightestCorner:
        """1 - attention of the first subject in the corner cell, times `factor`."""
        factor: float = 1.0
        maps: gsn.MapOptions = gsn.MapOptions()
        needs: gsn.MapNeeds = gsn.MapNeeds()

        def __call__(self, maps, subjects, context):
            return self.factor * (1 - gsn.subject_maps(maps, subjects, self.maps)[:, 0, 0, 0])

    def corner():
        return (gsn.Refine(objective=BrightestCorner(), shifts=2),)

    gsn.register_method("Corner (test 2026)", corner)
'''

MODEL = '''
"""A pack with a model that no one else knows: image and text in one sequence, twice, in front of a linear
head.
"""
import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models_base
import torch
from comfy.ldm.modules.attention import optimized_attention


class Network(torch.nn.Module):
    patch_size = 2

    def __init__(self, device=None, dtype=None, operations=None, **_):
        super().__init__()
        self.dtype = dtype
        made = {"device": device, "dtype": dtype}
        sizes = (16, 32), (64, 32), (32, 16)
        self.image, self.text, self.head = (operations.Linear(*size, **made) for size in sizes)
        self.blocks = torch.nn.ModuleList(operations.Linear(32, 96, **made) for _ in range(2))

    def forward(self, x, timesteps, context, transformer_options={}, **_):
        h, w = x.shape[-2] // 2, x.shape[-1] // 2
        patches = x.unflatten(2, (h, 2)).unflatten(4, (w, 2)).permute(0, 2, 4, 1, 3, 5)  # [B, h, w, C, 2, 2]
        tokens = torch.cat([self.image(patches.flatten(3).flatten(1, 2)), self.text(context.to(x))], 1)
        for block in self.blocks:
            q, k, v = block(tokens).chunk(3, -1)
            tokens = tokens + optimized_attention(q, k, v, 2, transformer_options=transformer_options)
        out = self.head(tokens[:, :h * w]).unflatten(1, (h, w)).unflatten(3, (4, 2, 2))
        return out.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


class TwoStreams(comfy.supported_models_base.BASE):
    latent_format = comfy.latent_formats.LatentFormat
    unet_extra_config = {}
    sampling_settings = {"shift": 3.0}


class LoadTwoStreams:
    INPUT_TYPES = classmethod(lambda cls: {"required": {}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL",), "load", "test"

    def load(self):
        config = TwoStreams({"in_channels": 4})
        config.set_inference_dtype(torch.float32, None)
        model = comfy.model_base.BaseModel(config, comfy.model_base.ModelType.FLOW, unet_model=Network)
        generator = torch.Generator().manual_seed(1)
        for p in model.diffusion_model.parameters():
            p.data = 0.2 * torch.randn(p.shape, generator=generator)
        management = comfy.model_management
        load, offload = management.get_torch_device(), management.unet_offload_device()
        return (comfy.model_patcher.ModelPatcher(model, load, offload),)


NODE_CLASS_MAPPINGS = {"LoadTwoStreams": LoadTwoStreams}
'''

DETECTORS = """
import importlib.util

spec = importlib.util.spec_from_file_location("gsn_tiny_detectors", FILE)
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)


class LoadTinyDetectors:
    INPUT_TYPES = classmethod(lambda cls: {"required": {}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL", "MODEL", "CLIP"), "load", "test"

    def load(self):
        return tiny.rt_detr(), tiny.sam3(), tiny.sam3_clip()


NODE_CLASS_MAPPINGS = {"LoadTinyDetectors": LoadTinyDetectors}
"""
"""ComfyUI's own detectors, tiny and random (tests/support/detectors.py), as a node."""


def documented_hook() -> str:
    """The last example of docs/adding-an-architecture.md, which is the whole of what such a pack has to
    add.
    """
    text = (CLONE / "docs" / "adding-an-architecture.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)[-1]


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packs")
    detectors = f"FILE = {str(CLONE / 'tests' / 'support' / 'detectors.py')!r}\n{DETECTORS}"
    packs = {"a_first_pack": PACK, "own_model": MODEL + documented_hook(), "tiny_detectors": detectors}
    for name, text in packs.items():
        (folder / "nodes" / name).mkdir(parents=True)
        (folder / "nodes" / name / "__init__.py").write_text(text)
    paths = folder / "paths.yaml"
    paths.write_text(
        textwrap.dedent(f"""
        test:
            custom_nodes: {folder / "nodes"}
        """)
    )
    with running_server(cpu=True, arguments=["--extra-model-paths-config", str(paths)]) as server:
        yield Client(server.url)


def nursing_settings(changed: dict) -> dict:
    """Of Semantic Nursing: a published method at one step, with these changes."""
    return {"method": "Latent Refine (Grimal et al. 2025)", "at_step": 1, **changed}


def prompt(nursing: dict, objective: dict | None = None) -> dict:
    """A short run of the demo model with a report of what was done."""
    nodes = {
        "model": {"class_type": "GSNDemoModel", "inputs": {}},
        "nursing": {
            "class_type": "GSNNursing",
            "inputs": {"model": ["model", 0], "clip": ["model", 1], **nursing_settings(nursing)},
        },
        "positive": {
            "class_type": "CLIPTextEncode",
            "inputs": {"clip": ["nursing", 1], "text": "a red circle and a blue square"},
        },
        "negative": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["model", 1], "text": ""}},
        "latent": {
            "class_type": "EmptyLatentImage",
            "inputs": {"width": 256, "height": 256, "batch_size": 1},
        },
        "sampler": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["nursing", 0],
                "seed": 5,
                "steps": 4,
                "cfg": 7.5,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 1.0,
                "positive": ["positive", 0],
                "negative": ["negative", 0],
                "latent_image": ["latent", 0],
            },
        },
        "report": {
            "class_type": "GSNReport",
            "inputs": {"latent": ["sampler", 0], "report": ["nursing", 2], "label": ""},
        },
        "text": {"class_type": "PreviewAny", "inputs": {"source": ["report", 1]}},
    }
    if objective is not None:
        nodes["objective"] = {"class_type": "GSNObjective", "inputs": objective}
        nodes["nursing"]["inputs"].update(strength=0.0)
        nodes["refine"] = {
            "class_type": "GSNRefineModel",
            "inputs": {"model": ["nursing", 0], "objective": ["objective", 0], "shifts": 2, "at_step": 1},
        }
        nodes["sampler"]["inputs"]["model"], nodes["report"]["inputs"]["report"] = (
            ["refine", 0],
            ["refine", 1],
        )
    return nodes


def test_its_objective_and_method_are_offered(client):
    info = client.object_info()
    assert "brightest_corner" in str(info["GSNObjective"]["input"])
    assert "Corner (test 2026)" in str(info["GSNNursing"]["input"])


def test_its_method_runs(client):
    text = client.run(prompt({"method": "Corner (test 2026)"}))["outputs"]["text"]["text"][0]
    assert "Corner (test 2026): step 1 of 4" in text and "2 update steps" in text


def test_its_objective_runs_with_its_option(client):
    text = client.run(prompt({}, {"objective": "brightest_corner", "options": "factor=2"}))["outputs"][
        "text"
    ]["text"][0]
    assert "2 update steps" in text
    with pytest.raises(PromptFailed, match="there is no setting 'factr'"):
        client.run(prompt({}, {"objective": "brightest_corner", "options": "factr=2"}))


def test_its_model_is_refined(client):
    nodes = prompt({"method": "Latent Refine (Grimal et al. 2025)", "overrides": "shifts=2"})
    nodes["model of the pack"] = {"class_type": "LoadTwoStreams", "inputs": {}}
    nodes["nursing"]["inputs"].update(model=["model of the pack", 0])
    text = client.run(nodes)["outputs"]["text"]["text"][0]
    assert "Two Streams, sample_euler, 4 steps" in text and "step 1 of 4" in text and "2 update steps" in text
    assert "attention read: all blocks (ours: both blocks)" in text


def judged(detectors: dict, **inputs) -> dict:
    """A black picture twice, judged by tiny detectors with random weights."""
    return {
        "picture": {
            "class_type": "EmptyImage",
            "inputs": {"width": 96, "height": 64, "batch_size": 2, "color": 0},
        },
        "found": {"class_type": "LoadTinyDetectors", "inputs": {}},
        "judge": {
            "class_type": "GSNJudge",
            "inputs": {"images": ["picture", 0], "confidence": 0.0, **detectors, **inputs},
        },
        "data": {"class_type": "PreviewAny", "inputs": {"source": ["judge", 3]}},
    }


@pytest.mark.parametrize(
    "detectors, subjects, sources",
    (
        ({"detector": ["found", 0]}, "cat, dog", ["RT-DETR"]),
        ({"detector": ["found", 1], "clip": ["found", 2]}, "crown, wand", ["SAM 3"]),
        (
            {"detector": ["found", 0], "second_detector": ["found", 1], "clip": ["found", 2]},
            "cat, red crown",
            ["RT-DETR", "SAM 3"],
        ),
    ),
)
def test_comfyuis_detectors_judge_through_the_queue(client, detectors, subjects, sources):
    entry = client.run(judged(detectors, subjects=subjects))
    data = json.loads(entry["outputs"]["data"]["text"][0])
    assert data["sources"] == sources and data["not_judged"] == []
    assert len(data["images"]) == 2 and 0 <= data["score"] <= 1
    assert [s["label"] for s in data["images"][0]["subjects"]] == subjects.split(", ")


def test_a_noun_that_the_detector_does_not_know_is_named(client):
    entry = client.run(judged({"detector": ["found", 0]}, subjects="cat, crown"))
    assert json.loads(entry["outputs"]["data"]["text"][0])["not_judged"] == ["crown"]
