"""Small networks with weights in other formats, and networks of another pack, as loaders hand them on."""

from __future__ import annotations

import json
from dataclasses import dataclass

import torch
from torch import Tensor

from .architectures import ARCHITECTURES, Architecture
from .networks import Made

CPU = torch.device("cpu")
LAYOUTS: dict[str, tuple[str, dict, dict]] = {
    "float8_e4m3fn": ("TensorCoreFP8E4M3Layout", {}, {"format": "float8_e4m3fn"}),
    "int8_tensorwise": ("TensorWiseINT8Layout", {}, {"format": "int8_tensorwise"}),
    "mxfp8": ("TensorCoreMXFP8Layout", {}, {"format": "mxfp8"}),
    "nvfp4": ("TensorCoreNVFP4Layout", {}, {"format": "nvfp4"}),
    "int8 rotated": (
        "TensorWiseINT8Layout",
        {"per_channel": True, "convrot": True, "convrot_groupsize": 16},
        {"format": "int8_tensorwise", "convrot": True, "convrot_groupsize": 16},
    ),
}
"""Names of ComfyUI's formats: layout, how it is made, and what the file says."""


@dataclass(frozen=True)
class Stored:
    """What a file has of a network, and the numbers that it means."""

    entries: dict[str, Tensor]
    meant: dict[str, Tensor]


def stored(network: torch.nn.Module, kind: str) -> Stored:
    """Every linear layer of the network's blocks in one of ComfyUI's formats."""
    from comfy.quant_ops import QuantizedTensor

    layout, made, told = LAYOUTS[kind]
    entries, meant = {}, {}
    linear = {n for n, m in network.named_modules() if isinstance(m, torch.nn.Linear) and "block" in n}
    for name, p in network.state_dict().items():
        layer = name.removesuffix(".weight")
        if layer not in linear or p.shape[1] % 32:
            entries[name] = meant[name] = p.clone()
            continue
        weight = QuantizedTensor.from_float(p, layout, **made)
        entries |= weight.state_dict(name)
        entries[f"{layer}.comfy_quant"] = torch.tensor(list(json.dumps(told).encode()), dtype=torch.uint8)
        meant[name] = weight.dequantize().float()
    return Stored(entries, meant)


def with_its_double(name: str, tiny, kind: str) -> tuple[Made, Made]:
    """A network read from a file in this format, and one with the same numbers in float32."""
    arch = ARCHITECTURES[name]
    double = arch.build()
    file = stored(double.diffusion_model, kind)
    double.diffusion_model.load_state_dict(file.meant)
    return made_of(arch, quantized(_config(arch), file), tiny), made_of(arch, double, tiny)


def quantized(config, file: Stored):
    """The network of a class of ComfyUI's supported_models, read from this file."""
    config.quant_config = {"mixed_ops": True}
    model = config.get_model({}, device=CPU)
    missing, unexpected = model.diffusion_model.load_state_dict(file.entries, strict=False)
    assert not missing and not unexpected
    return model.eval().requires_grad_(False)


def _config(arch: Architecture):
    import comfy.supported_models

    config = getattr(comfy.supported_models, arch.config)(dict(arch.unet))
    config.unet_config.update(arch.settings)
    config.set_inference_dtype(torch.float32, None)
    return config


def made_of(arch: Architecture, model, tiny) -> Made:
    import comfy.model_patcher

    model = model.eval().requires_grad_(False)
    return Made(arch, comfy.model_patcher.ModelPatcher(model, load_device=CPU, offload_device=CPU), tiny)


class BlockTensor(torch.Tensor):
    """A weight as GGUF's pack keeps it: bytes in rows of blocks, told apart by attributes, which says another
    shape than it has and gives itself where a copy is asked for.
    """

    def __new__(cls, data, kind, meant):
        return super().__new__(cls, data)

    def __init__(self, data, kind, meant):
        super().__init__()
        self.kind, self.meant = kind, meant

    def to(self, *args, **kwargs):
        new = super().to(*args, **kwargs)
        new.kind, new.meant = getattr(self, "kind", None), getattr(self, "meant", new.data.shape)
        return new

    def clone(self, *args, **kwargs):
        return self

    def detach(self, *args, **kwargs):
        return self

    @property
    def shape(self):
        return getattr(self, "meant", self.size())


BLOCK = 32


def in_blocks(p: Tensor) -> BlockTensor:
    """8 bits a number, and a scale of 16 bits for each 32 of them, as in GGUF's Q8_0."""
    rows = p.float().reshape(p.shape[0], -1, BLOCK)
    scale = (rows.abs().amax(-1, keepdim=True) / 127).half()
    whole = (rows / scale.float().clamp(min=1e-12)).round().to(torch.int8)
    packed = torch.cat([scale.view(torch.uint8), whole.view(torch.uint8)], -1)
    return BlockTensor(packed.reshape(p.shape[0], -1), "8 bits", p.shape)


def from_blocks(t: Tensor, shape) -> Tensor:
    """The numbers that such a weight means."""
    packed = torch.Tensor.as_subclass(t, torch.Tensor).reshape(shape[0], -1, BLOCK + 2)
    scale = packed[..., :2].contiguous().view(torch.float16).float()
    return (packed[..., 2:].contiguous().view(torch.int8).float() * scale).reshape(shape)


def block_operations():
    """ComfyUI's operations with linear layers that are stored in blocks and unpacked in every call."""
    import comfy.ops

    class Operations(comfy.ops.manual_cast):
        class Linear(comfy.ops.manual_cast.Linear):
            def __init__(self, in_features, out_features, bias=True, device=None, dtype=None):
                torch.nn.Module.__init__(self)
                self.in_features, self.out_features = in_features, out_features
                self.weight = self.bias = None

            def _load_from_state_dict(self, state, prefix, *more):
                for name in ("weight", "bias"):
                    if prefix + name in state:
                        setattr(self, name, torch.nn.Parameter(state[prefix + name], requires_grad=False))

            def forward_comfy_cast_weights(self, input):
                weight = self.weight
                if getattr(weight, "kind", None):
                    weight = from_blocks(weight, weight.meant)
                return torch.nn.functional.linear(input, weight.to(input), self.bias)

    return Operations


def in_blocks_of_bytes(name: str, tiny) -> tuple[Made, Made]:
    """A network whose linear layers are stored in blocks, and one with the same numbers in float32."""
    arch = ARCHITECTURES[name]
    double = arch.build()
    entries, meant = {}, {}
    for key, p in double.diffusion_model.state_dict().items():
        packed = p.ndim == 2 and "block" in key and p.shape[1] % BLOCK == 0
        entries[key] = in_blocks(p) if packed else p.clone()
        meant[key] = from_blocks(entries[key], p.shape) if packed else p.clone()
    config = _config(arch)
    config.custom_operations = block_operations()
    model = config.get_model({}, device=CPU)
    model.diffusion_model.load_state_dict(entries, strict=False)
    double.diffusion_model.load_state_dict(meant)
    return made_of(arch, model, tiny), made_of(arch, double, tiny)


class OwnEngine(torch.nn.Module):
    """A network in the place of ComfyUI's that runs an engine of its own, as nunchaku's Flux: no attention of
    ComfyUI, no options, no gradient.
    """

    def __init__(self, arch: Architecture):
        super().__init__()
        self.dtype = torch.float32
        self.text = torch.nn.Linear(arch.conditioning(None)[0].shape[-1], 1)
        torch.nn.init.normal_(self.text.weight, generator=torch.Generator().manual_seed(0))

    def forward(self, x, timestep, context=None, y=None, guidance=None, control=None, **options):
        with torch.no_grad():
            said = self.text(context.float()).mean(1)[:, :, None, None]
            return torch.tanh(x.detach() * (1 + said)).roll(1, -1)


def of_an_engine(name: str, tiny) -> Made:
    """An architecture whose network is another pack's."""
    arch = ARCHITECTURES[name]
    model = arch.build()
    with torch.inference_mode(False):
        model.diffusion_model = OwnEngine(arch)
    return made_of(arch, model, tiny)
