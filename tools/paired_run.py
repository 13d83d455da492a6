"""An embedded model in this process: the same prompts and the same noise, plain and refined, judged by the detector.

Every picture has a prompt and a noise seed of its own. Prompts of one form ("a red circle, a blue square and a green
star") have their words at the same columns, so different ones share a batch: one conditioning with as many rows as
pictures. Pictures come straight from the latent (it is a linear frame of RGB); the detector sees decoded ones the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tools.host_env.inprocess import boot, pack_module
from tools.tiny.detector import detect, success
from tools.tiny.latent_frame import latent_to_rgb
from tools.tiny.prompts import Prompt


@dataclass(frozen=True)
class Sampling:
    """A KSampler's settings."""

    steps: int = 50
    sampler: str = "ddpm"
    scheduler: str = "ddim_uniform"
    cfg: float = 7.5


@dataclass(frozen=True)
class Verdict:
    """All wanted shapes are there; all wanted (colour, shape) are there."""

    objects: bool
    colours: bool


@dataclass(frozen=True)
class Refined:
    """Latents [B, 4, 32, 32], per image the loss at the first and at the last look (before the last update), the first step, passes spent."""

    latents: torch.Tensor
    first_loss: tuple[float, ...]
    last_loss: tuple[float, ...]
    step: int
    forwards: int
    backwards: int


LOADERS = {
    "sd": ("gsn_ops.host.demo.sd", "load_demo_model"),
    "sd3": ("gsn_ops.host.demo.sd3", "load_demo_sd3"),
}


class Demo:
    """The loaded model and its text encoder that remembers words. Boots the host inside this process.

    file: instead of the embedded one. layout: "sd" (UNet) or "sd3" (MM-DiT).
    """

    def __init__(self, file: Path | None = None, layout: str = "sd"):
        boot()
        module, function = LOADERS[layout]
        self.model, clip, self.vae = getattr(pack_module(module), function)(file)
        self.clip = pack_module("gsn_ops.host.prompts.conditioning").with_token_metadata(clip)
        self.attach = pack_module("gsn_ops.host.sampling.patch").attach

    def encode(self, texts: Sequence[str]) -> list:
        """One CONDITIONING with a row per text. Raises ValueError for texts of different forms."""
        tokens_of = pack_module("gsn_ops.host.prompts.conditioning").tokens_of
        singles = [self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text)) for text in texts]
        if len({len(tokens_of(single).encoders[0].pieces) for single in singles}) > 1:
            raise ValueError(
                "Only prompts of one form share a batch: their words must be at the same columns."
            )
        return [[torch.cat([single[0][0] for single in singles]), singles[0][0][1]]]  # [B, 77 or 154, 64]

    def sample(self, model, prompts: Sequence[Prompt], how: Sampling) -> torch.Tensor:
        """Latents [B, 4, 32, 32]. The first picture's seed is also that of the noise which the sampler adds."""
        import comfy.sample

        empty = torch.zeros(1, 4, 32, 32)
        noise = torch.cat([comfy.sample.prepare_noise(empty, prompt.seed) for prompt in prompts])
        return comfy.sample.sample(
            model,
            noise,
            how.steps,
            how.cfg,
            how.sampler,
            how.scheduler,
            self.encode([p.text for p in prompts]),
            self.encode([""]),
            torch.zeros_like(noise),
            disable_pbar=True,
            seed=prompts[0].seed,
        )

    def refine(self, recipes: Sequence, prompts: Sequence[Prompt], how: Sampling) -> Refined:
        """The same with a method's recipes. Raises RuntimeError, in the report's words, if none acted."""
        model, book = self.attach(self.model, *recipes)
        latents = self.sample(model, prompts, how)
        report = book.find(latents)
        acted = [action for action in report.recipes if action.losses]
        if not acted:
            raise RuntimeError(report.status())
        passes = sum(action.forwards for action in acted), sum(action.backwards for action in acted)
        last = tuple(
            [loss for loss in losses if loss == loss][-1] for losses in zip(*acted[0].losses, strict=True)
        )  # NaN once it has stopped
        return Refined(latents, acted[0].losses[0], last, acted[0].step, *passes)


def pictures(latents: torch.Tensor) -> np.ndarray:
    """Latents [B, 4, 32, 32] as pictures [B, 32, 32, 3] uint8."""
    return (latent_to_rgb(latents.float()).clamp(0, 1) * 255).round().byte().numpy()


def judge(latents: torch.Tensor, prompts: Sequence[Prompt]) -> list[Verdict]:
    """The detector's verdict on each picture."""
    return [
        Verdict(*success(detect(p), list(prompt.wanted)))
        for p, prompt in zip(pictures(latents), prompts, strict=True)
    ]
