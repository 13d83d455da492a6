"""The embedded demo model: 2.8 M parameters in SD1's layout, loaded by ComfyUI's own checkpoint loader.

ComfyUI recognises a checkpoint by a list of model classes. Ours is on that list only while our own file is
being read; every other checkpoint is loaded exactly as without this pack. The VAE is not trained: the latent
is a linear frame of RGB, written by hand into a stock TAESD, which decodes 32x32 latents to images of
256x256.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import comfy.latent_formats
import comfy.sd
import comfy.supported_models
import safetensors
import torch
from comfy.model_patcher import ModelPatcher
from comfy.supported_models_base import BASE
from comfy.taesd.taesd import TAESD

PATH = Path(__file__).resolve().parents[3] / "models" / "tiny_sd_shapes.safetensors"
FORMAT = "gsn-tiny-sd-shapes-1"  # value of the metadata key "gsn_format" in every file that training writes
SHAPES_DIGEST = "641b9b2bfafa0718"  # see shapes_digest()
CURE = (
    "Install the pack again (the file comes with it), or train it with `python tools/train_tiny.py` in a "
    "clone of the pack."
)

# z = 2 * (FRAME @ (2 rgb - 1) - MU): four channels from three, orthogonal columns (FRAME^T FRAME = 4/3), so
# that rgb = 0.5 + 0.375 FRAME^T (z / 2 + MU). MU centres a light background; z has a standard deviation of
# about 0.9. The same numbers are in tools/tiny/latent_frame.py, which the training used.
FRAME = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 3**0.5
MU = torch.tensor([0.92, -0.3, -0.3, -0.3])
SMALL = 0.01  # scale of the latent in TAESD, where its 3 tanh(x / 3) is nearly linear
VOCABULARY = 49408  # rows of CLIP's token table; the file holds only those it needs
TOKEN_TABLE = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
TOKEN_IDS = "tiny.token_ids"
TEXT_MODEL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
_registration = threading.Lock()


class DemoLatent(comfy.latent_formats.LatentFormat):
    """Scale 1; the linear preview is exact because the latent is a linear frame of RGB in [-1, 1]."""

    latent_rgb_factors = (0.375 * FRAME).tolist()
    latent_rgb_factors_bias = (0.75 * FRAME.T @ MU).tolist()


class DemoSD(comfy.supported_models.SD15):
    """SD 1.5 with 32 channels and a text width of 64. demo_name: in reports."""

    demo_name = "demo model (UNet)"
    unet_config = {**comfy.supported_models.SD15.unet_config, "context_dim": 64, "model_channels": 32}
    unet_extra_config = {"num_heads": 2, "num_head_channels": -1}
    latent_format = DemoLatent

    def process_clip_state_dict(self, state_dict):
        """Expand the stored rows to a full token table."""
        stored, ids = state_dict[TOKEN_TABLE], state_dict.pop(TOKEN_IDS)
        state_dict[TOKEN_TABLE] = full_token_table(stored, ids, VOCABULARY)
        return super().process_clip_state_dict(state_dict)


def full_token_table(rows: torch.Tensor, ids: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """A token table [vocabulary, C] of stored rows [n + 1, C] at ids [n]; the last row is that of all other
    tokens.
    """
    table = rows[-1].float().repeat(vocabulary, 1)
    table[ids.long()] = rows[:-1].float()
    return table


def vae_weights() -> dict[str, torch.Tensor]:
    """A stock TAESD's state dict, every weight zero except the few that make it a linear frame of RGB.

    Encoder: eight-fold average pooling, then the frame. Decoder: the inverse frame, then three times doubling
    and smoothing. Both carry 1 - rgb: it passes the ReLUs, and the zero padding of a convolution means white,
    close to the light backgrounds of the training images. A residual block of zero weights is the identity
    for values >= 0.
    """
    weights = {key: torch.zeros_like(value) for key, value in TAESD().state_dict().items()}
    same = torch.zeros(3, 3)
    same[1, 1] = 1
    average = torch.zeros(3, 3)
    average[1:, 1:] = 0.25
    smooth = torch.tensor([0.25, 0.5, 0.25])

    def put(layer: str, matrix: torch.Tensor, taps: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        """A convolution of matrix [out, in] with the same taps [3, 3] for all channels."""
        weights[f"{layer}.weight"][: matrix.shape[0], : matrix.shape[1]] = matrix[:, :, None, None] * taps
        if bias is not None:
            weights[f"{layer}.bias"][: len(bias)] = bias

    eye, one = torch.eye(3), torch.ones(3)
    put("taesd_encoder.0", -eye, same, one)
    for layer in (2, 6, 10):
        put(f"taesd_encoder.{layer}", eye, average)
    put("taesd_encoder.14", -4 * SMALL * FRAME, same, SMALL * (2 * FRAME.sum(1) - 2 * MU))
    put("taesd_decoder.1", -0.1875 / SMALL * FRAME.T, same, 0.5 - 0.375 * FRAME.T @ MU)
    for layer in (7, 12, 17):
        put(f"taesd_decoder.{layer}", eye, smooth[:, None] * smooth)
    put("taesd_decoder.19", -eye, same, one)
    return {**weights, "vae_scale": torch.tensor(SMALL), "vae_shift": torch.tensor(0.0)}


def shapes_digest(tensors: dict[str, torch.Tensor]) -> str:
    """A short digest of the names and shapes of a file's tensors; their values may be trained again."""
    text = "\n".join(f"{name} {list(tensors[name].shape)}" for name in sorted(tensors))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read(path: Path, wanted: str = FORMAT, digest: str = SHAPES_DIGEST) -> dict[str, torch.Tensor]:
    """The tensors of a demo model file of this format and `shapes_digest`.

    Raises FileNotFoundError if it is missing, ValueError if it is damaged or another kind of file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"The demo model is missing: there is no file {path}. {CURE}")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            kind = (file.metadata() or {}).get("gsn_format")
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except safetensors.SafetensorError as error:
        raise ValueError(f"The demo model {path} is damaged or not complete ({error}). {CURE}") from error
    if kind != wanted or shapes_digest(tensors) != digest:
        raise ValueError(
            f"{path} is a safetensors file but not the demo model of this version: format {kind or 'none'} "
            f"with {len(tensors)} tensors, expected {wanted}. {CURE} Load any other checkpoint with "
            "ComfyUI's own Load Checkpoint node."
        )
    return tensors


def load_as(
    config: type[BASE], tensors: dict[str, torch.Tensor], text_models: dict[str, dict]
) -> tuple[ModelPatcher, comfy.sd.CLIP, comfy.sd.VAE]:
    """ComfyUI's own loader with one more model class for this call -> (MODEL, CLIP, VAE).

    All three compute in float32 on every device, so that nodes that need full precision can be tried.
    """
    models: list[Any] = comfy.supported_models.models
    full = {"dtype": torch.float32}
    tensors = {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
    with _registration:
        models.append(config)  # last: ComfyUI's own classes are tried first
        try:
            # Not dynamic: ComfyUI can copy a dynamic model for LoRA hooks only if it loaded it from a file.
            model, clip, *_ = comfy.sd.load_state_dict_guess_config(
                tensors,
                output_vae=False,
                model_options=full,
                te_model_options={**text_models, **full},
                disable_dynamic=True,
            )
        finally:
            models.remove(config)
    return model, clip, comfy.sd.VAE(sd=vae_weights(), **full)


def reloadable(loaded: tuple, load: Callable[..., tuple], path: str | Path | None) -> tuple:
    """MODEL, CLIP, VAE; ComfyUI can now make the MODEL anew from its file, as training a LoRA wants."""
    loaded[0].cached_patcher_init = (_model_of, (load, path))
    return loaded


def _model_of(
    load: Callable[..., tuple], path: str | Path | None, disable_dynamic: bool = False
) -> ModelPatcher:
    return load(path)[0]


def load_demo_model(
    path: str | Path | None = None,
) -> tuple[ModelPatcher, comfy.sd.CLIP, comfy.sd.VAE]:
    """Load the demo model -> (MODEL, CLIP, VAE), as ComfyUI's Load Checkpoint node returns them.

    path: another file of the same kind, e.g. one just trained. Errors: see `read`.
    """
    loaded = load_as(DemoSD, read(Path(path or PATH)), {"clip_l_model_config": TEXT_MODEL})
    return reloadable(loaded, load_demo_model, path)
