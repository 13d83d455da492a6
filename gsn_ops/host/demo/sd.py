"""The embedded demo model: 2.8 M parameters in SD1's layout, loaded by the host's own checkpoint loader.

The host recognises a checkpoint by a list of model classes. Ours is on that list only while our own file is being
read; every other checkpoint is loaded exactly as without this pack. The VAE has nothing to learn: the latent is a
linear frame of RGB, written by hand into a stock TAESD, and turns 32x32 latents into 256x256 pictures.
"""

import hashlib
import threading
from pathlib import Path

import comfy.latent_formats
import comfy.sd
import comfy.supported_models
import safetensors
import torch
from comfy.taesd.taesd import TAESD

PATH = Path(__file__).resolve().parents[3] / "models" / "tiny_sd_shapes.safetensors"
FORMAT = "gsn-tiny-sd-shapes-1"  # metadata key "gsn_format" of every file the training writes
LAYOUT = "641b9b2bfafa0718"  # see layout()
CURE = (
    "Install the pack again (the file comes with it), or train it anew with `python tools/train_tiny.py` "
    "in a clone of the pack."
)

# z = 2 * (FRAME @ (2 rgb - 1) - MU): four channels from three, orthogonal columns (FRAME^T FRAME = 4/3), so that
# rgb = 0.5 + 0.375 FRAME^T (z / 2 + MU). MU centres a light background; z has a standard deviation of about 0.9.
# The same numbers are in tools/tiny/latent_frame.py, which the training used.
FRAME = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 3**0.5
MU = torch.tensor([0.92, -0.3, -0.3, -0.3])
SMALL = 0.01  # TAESD squashes its input by 3 tanh(x / 3): stay where it is linear
VOCABULARY = 49408  # rows of CLIP's token table; a file holds only those it needs
TOKEN_TABLE = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
TOKEN_IDS = "tiny.token_ids"
TEXT_MODEL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
_registering = threading.Lock()


class DemoLatent(comfy.latent_formats.LatentFormat):
    """Scale 1; the linear preview is exact because the latent is a linear frame of RGB in [-1, 1]."""

    latent_rgb_factors = (0.375 * FRAME).tolist()
    latent_rgb_factors_bias = (0.75 * FRAME.T @ MU).tolist()


class DemoSD(comfy.supported_models.SD15):
    """SD 1.5 with 32 channels and a text width of 64."""

    unet_config = {**comfy.supported_models.SD15.unet_config, "context_dim": 64, "model_channels": 32}
    unet_extra_config = {"num_heads": 2, "num_head_channels": -1}
    latent_format = DemoLatent

    def process_clip_state_dict(self, state_dict):
        """The stored rows in a full token table."""
        state_dict[TOKEN_TABLE] = spread(state_dict[TOKEN_TABLE], state_dict.pop(TOKEN_IDS), VOCABULARY)
        return super().process_clip_state_dict(state_dict)

    def process_vae_state_dict(self, state_dict):
        """The file holds no VAE: ours is computed."""
        return vae_weights()


def spread(rows: torch.Tensor, ids: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """A token table [vocabulary, C] of stored rows [n + 1, C] at ids [n]; the last row stands for every other word."""
    table = rows[-1].float().repeat(vocabulary, 1)
    table[ids.long()] = rows[:-1].float()
    return table


def vae_weights() -> dict[str, torch.Tensor]:
    """A stock TAESD's state dict, every weight zero but the few that make it a linear frame of RGB.

    Encoder: eight-fold average pooling, then the frame. Decoder: the inverse frame, then three times doubling and
    smoothing. Both carry 1 - rgb: it passes the ReLUs, and the zero padding of a convolution means white, close to
    this world's light backgrounds. A residual block of zero weights is the identity for values >= 0.
    """
    weights = {key: torch.zeros_like(value) for key, value in TAESD().state_dict().items()}
    same, average, smooth = torch.zeros(3, 3), torch.zeros(3, 3), torch.tensor([0.25, 0.5, 0.25])
    same[1, 1], average[1:, 1:] = 1, 0.25

    def put(layer, matrix, taps, bias=None):  # matrix [out, in], taps [3, 3]
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


def layout(shapes: dict[str, tuple[int, ...]]) -> str:
    """A short digest of the names and shapes of a file's tensors (not of their values: training may be repeated)."""
    text = "\n".join(f"{name} {list(shapes[name])}" for name in sorted(shapes))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read(path: Path, wanted: str = FORMAT, digest: str = LAYOUT) -> dict[str, torch.Tensor]:
    """The tensors of a demo model file of this format and layout().

    Raises FileNotFoundError when it is missing, ValueError when it is damaged or another kind of file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"The demo model is missing: there is no file {path}. {CURE}")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            kind = (file.metadata() or {}).get("gsn_format")
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except safetensors.SafetensorError as error:
        raise ValueError(f"The demo model {path} is damaged or not complete ({error}). {CURE}") from error
    if kind != wanted or layout({name: tuple(t.shape) for name, t in tensors.items()}) != digest:
        raise ValueError(
            f"{path} is a safetensors file but not the demo model of this version: format {kind or 'none'} "
            f"with {len(tensors)} tensors, expected {wanted}. {CURE} Any other checkpoint belongs into "
            "the host's own Load Checkpoint node."
        )
    return tensors


def load_as(config: type, tensors: dict[str, torch.Tensor], text_models: dict[str, dict]):
    """The host's own loader, which knows one more model class for this call -> (MODEL, CLIP, VAE)."""
    models = comfy.supported_models.models
    with _registering:
        models.append(config)  # last: every class of the host is asked first
        try:
            # Not dynamic: the host can give LoRA hooks a plain copy only of a dynamic model that came from a file of its own.
            loaded = comfy.sd.load_state_dict_guess_config(
                tensors, te_model_options=text_models, disable_dynamic=True
            )
        finally:
            models.remove(config)
    return loaded[:3]


def load_demo_model(path: str | Path | None = None):
    """Load the demo model -> (MODEL, CLIP, VAE), as the host's Load Checkpoint node would give them.

    path: another file of the same kind, e.g. one just trained. Errors: see `read`.
    """
    return load_as(DemoSD, read(Path(path or PATH)), {"clip_l_model_config": TEXT_MODEL})
