"""Models in their real sizes with random weights, made by ComfyUI's own classes: nothing is downloaded.

The sizes are what ComfyUI reads from the published checkpoints. `SMOKE` has a narrow one of each for the
tests.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from tools.network_sizes import FLUX, SD15, SD35M, SDXL

TEXT = "a red cat and a blue dog"  # one token a word
SIGMA_STEP = 8  # of 50: where Latent Refine acts on Stable Diffusion 1


@dataclass(frozen=True)
class Size:
    """One model as it is measured.

    Attributes:
        config: class in ComfyUI's supported_models. unet: its settings. encoders: name of a text encoder ->
        row of the conditioning at which its rows begin. rows, width: of the conditioning. pooled: width of
        the pooled text. channels, scale: of the latent, and image pixels per latent cell. size: side of the
        image. dtype: what it is run in. stored: type of the weights, if another one: each layer casts its own
        per call. cfg: guidance of a plain step. joint: text and image are one sequence. blocks: so many of
        its layers are read (None = all). settings: what ComfyUI reads from a checkpoint and not from `unet`.
    """

    name: str
    config: str
    unet: dict
    encoders: dict[str, int]
    rows: int
    width: int
    size: int
    dtype: str = "bf16"
    stored: str | None = None
    pooled: int = 0
    channels: int = 4
    scale: int = 8
    cfg: float = 7.5
    joint: bool = False
    blocks: int | None = None
    settings: dict = field(default_factory=dict)

    def latent(self) -> Tensor:
        side = self.size // self.scale
        return torch.zeros(1, self.channels, side, side)

    def conditioning(self) -> tuple[list, list]:
        """Positive, with the token metadata of our text node, and negative, as text nodes hand them on."""
        from tools.host_env.inprocess import pack_module

        key = pack_module("gsn_ops.host.prompts.conditioning").KEY
        more = {"pooled_output": normal(1, self.pooled, seed=1)} if self.pooled else {}
        rows = [normal(1, self.rows, self.width, seed=seed) for seed in (2, 3)]
        return [[rows[0], {**more, key: self._tokens(pack_module("gsn_ops.prompt"))}]], [[rows[1], more]]

    def _tokens(self, prompt):
        """Token metadata of a text node of this model: a row a word, from row 1 of each encoder on."""
        encoders, starts = [], sorted({*self.encoders.values(), self.rows})
        for name, first in self.encoders.items():
            pieces, at = [], 0
            for row, word in enumerate(TEXT.split(), first + 1):
                pieces.append(prompt.Piece(word, at, at + len(word), row))
                at += len(word) + 1
            end = starts[starts.index(first) + 1]
            encoders.append(
                prompt.EncoderTokens(name, TEXT, tuple(pieces), ((first + 1, first + 1 + len(pieces), end),))
            )
        return prompt.PromptTokens(tuple(encoders), self.rows)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp8": torch.float8_e4m3fn}


def build(size: Size, fill: bool = True):
    """ComfyUI's model as a loader makes it. fill: with small random weights, which keep a pass in range."""
    import comfy.supported_models

    config = getattr(comfy.supported_models, size.config)(dict(size.unet))
    config.unet_config.update(size.settings)
    config.set_inference_dtype(DTYPES[size.stored or size.dtype], DTYPES[size.dtype] if size.stored else None)
    model = config.get_model({}, device=torch.device("cpu"))
    if fill:
        made = torch.Generator().manual_seed(0)
        for name, p in (*model.diffusion_model.named_parameters(), *model.diffusion_model.named_buffers()):
            if p.is_floating_point():
                _fill(name, p, made)
    return model.eval().requires_grad_(False)


def _fill(name: str, p: Tensor, made: torch.Generator) -> None:
    with torch.no_grad():
        if p.ndim > 1:
            p.normal_(0, 0.7 * p[0].numel() ** -0.5, generator=made)
        else:
            # Of norms. Zeros would make queries and keys zero, maps flat and gradients zero (SD 3.5).
            p.fill_(float(name.endswith(("weight", "scale"))))


def patcher(model, device: torch.device):
    """The MODEL that a loader node hands on."""
    import comfy.model_patcher

    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=torch.device("cpu"))


MODELS = {
    "sd15": Size("sd15", "SD15", SD15, {"l": 0}, 77, 768, 512, dtype="fp32"),
    "sdxl": Size(
        "sdxl",
        "SDXL",
        SDXL,
        {"g": 0, "l": 0},
        77,
        2048,
        1024,
        pooled=1280,
        settings={"num_head_channels": 64, "num_heads": -1},
    ),
    "sd35m": Size(
        "sd35m",
        "SD3",
        SD35M,
        {"g": 0, "l": 0, "t5xxl": 77},
        154,
        4096,
        1024,
        pooled=2048,
        channels=16,
        cfg=4.5,
        joint=True,
    ),
    "flux": Size(
        "flux",
        "Flux",
        FLUX,
        {"t5xxl": 0},
        512,
        4096,
        1024,
        pooled=768,
        channels=16,
        cfg=1.0,
        joint=True,
        blocks=19,
    ),
}

NARROW = {"model_channels": 32, "context_dim": 24}
SHALLOW = {
    "num_res_blocks": [1, 1, 1, 1],
    "transformer_depth": [1, 1, 1, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 0, 0],
}
SMOKE: dict[str, Size] = {
    "sd15": replace(
        MODELS["sd15"],
        unet={**SD15, **NARROW, **SHALLOW, "num_heads": 2},
        width=24,
        size=256,
        settings={"num_heads": 2, "num_head_channels": -1},
    ),
    "sdxl": replace(
        MODELS["sdxl"],
        unet={
            **SDXL,
            **NARROW,
            "adm_in_channels": 1536 + 20,
            "num_res_blocks": [1, 1, 1],
            "transformer_depth": [0, 1, 2],
            "transformer_depth_middle": 2,
            "transformer_depth_output": [0, 0, 1, 1, 2, 2],
        },
        width=24,
        size=256,
        pooled=20,
        settings={"num_head_channels": 16, "num_heads": -1},
    ),
    "sd35m": replace(
        MODELS["sd35m"],
        unet={
            **SD35M,
            "depth": 3,
            "num_patches": 32 * 32,
            "pos_embed_max_size": 32,
            "adm_in_channels": 20,
            "x_block_self_attn_layers": [0, 1],
            "context_embedder_config": {
                "target": "torch.nn.Linear",
                "params": {"in_features": 24, "out_features": 192},
            },
        },
        width=24,
        size=256,
        pooled=20,
    ),
    "flux": replace(
        MODELS["flux"],
        unet={
            **FLUX,
            "vec_in_dim": 12,
            "context_in_dim": 24,
            "hidden_size": 96,
            "num_heads": 3,
            "depth": 2,
            "depth_single_blocks": 2,
            "axes_dim": [8, 12, 12],
        },
        rows=128,
        width=24,
        size=256,
        pooled=12,
        blocks=2,
    ),
}


def size_of(
    name: str,
    *,
    smoke: bool = False,
    size: int | None = None,
    dtype: str | None = None,
    stored: str | None = None,
) -> Size:
    """A model by name, with another side or precision if given.

    Raises ValueError for a side that its latent cannot have.
    """
    found = (SMOKE if smoke else MODELS)[name]
    found = replace(
        found, size=size or found.size, dtype=dtype or ("fp32" if smoke else found.dtype), stored=stored
    )
    if found.size % (8 * found.scale):
        raise ValueError(f"--size {found.size} is not a multiple of {8 * found.scale}.")
    return found
