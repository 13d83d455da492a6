"""Packs of other people: a loss, a model, detectors and a language model, each with what its node needs."""

import re
import shutil
from pathlib import Path

from tools.host_env.paths import CLONE

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

STAND_INS = '''
"""Small networks of ComfyUI's own classes, with random weights, as loaders hand them on."""
from .support import gligen, stand_ins
from .support.text_encoders import SETUPS


class TinyLanguageModel:
    INPUT_TYPES = classmethod(lambda cls: {"required": {}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("CLIP",), "load", "test"

    def load(self):
        return (stand_ins.clip("Z-Image"),)


class TinyModel:
    """number: models of the same class with other weights."""
    INPUT_TYPES = classmethod(
        lambda cls: {"required": {"of": ([*SETUPS, stand_ins.PICTURE],), "number": ("INT", {})}}
    )
    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL", "CLIP", "VAE"), "load", "test"

    def load(self, of, number):
        return stand_ins.model(of, number), stand_ins.clip(of), stand_ins.vae(of)


class TinyGligen:
    INPUT_TYPES = classmethod(lambda cls: {"required": {"model": ("MODEL",)}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("GLIGEN",), "load", "test"

    def load(self, model):
        return (gligen.random_gligen(model),)


NODE_CLASS_MAPPINGS = {c.__name__: c for c in (TinyLanguageModel, TinyModel, TinyGligen)}
'''


def documented_hook() -> str:
    """The last example of docs/adding-an-architecture.md, which is the whole of what such a pack has to
    add.
    """
    text = (CLONE / "docs" / "adding-an-architecture.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)[-1]


def write_packs(folder: Path) -> None:
    """Each as a folder in `folder`; the first loads before ours."""
    detectors = f"FILE = {str(CLONE / 'tests' / 'support' / 'detectors.py')!r}\n{DETECTORS}"
    packs = {
        "a_first_pack": PACK,
        "own_model": MODEL + documented_hook(),
        "tiny_detectors": detectors,
        "stand_ins": STAND_INS,
    }
    for name, text in packs.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(text)
    support = folder / "stand_ins" / "support"
    support.mkdir()
    (support / "__init__.py").write_text("")
    for name in ("stand_ins", "text_encoders", "architectures", "gligen"):
        shutil.copy(CLONE / "tests" / "support" / f"{name}.py", support)
