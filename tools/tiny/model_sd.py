"""What is trained in SD1's layout: a UNet and a CLIP, noise prediction."""

import numpy as np
import torch
from torch import nn

from . import denoiser
from .attention_supervision import Attention, supervision
from .captions import encode
from .dataset import EMPTY, Batch
from .recipe import Stage
from .text_encoder import TextEncoder


def drop_padding(
    context: torch.Tensor, empty: torch.Tensor, rows: torch.Tensor, drop: torch.Tensor
) -> torch.Tensor:
    """Where drop [b], the context [b, 77, 64] from the end token on becomes that of the empty prompt [1, 77, 64].

    Without it a causal encoder tells everything through the padding, and the words' own maps stay meaningless.
    """
    padding = rows == int(EMPTY[-1])  # (b, 77): the end token and the padding share one row
    return torch.where((padding & drop[:, None])[..., None], empty, context)


class SD(nn.Module):
    """The two networks."""

    prefixes = {"unet": "model.diffusion_model.", "text": "cond_stage_model.transformer.text_model."}

    def __init__(self):
        super().__init__()
        self.unet, self.text = denoiser.build(), TextEncoder()
        self.register_buffer("abar", denoiser.alphas_cumprod(), persistent=False)

    def times(self, n: int, generator: torch.Generator, stage: Stage) -> torch.Tensor:
        """Timesteps of a batch [n]."""
        return denoiser.stratified_timesteps(n, generator)

    def losses(self, batch: Batch, t: torch.Tensor, noise: torch.Tensor, drop: torch.Tensor, stage: Stage):
        """Weighted eps-MSE and the attention supervision (zero in stage 1) -> two scalars."""
        attention, a = Attention(record=stage.supervised), self.abar[t]  # (b,)
        x = a.sqrt().view(-1, 1, 1, 1) * batch.latent + (1 - a).sqrt().view(-1, 1, 1, 1) * noise
        with torch.autocast("cpu", torch.bfloat16):
            context = self.text(torch.cat([batch.rows, torch.from_numpy(EMPTY).long()[None]]))
            context = drop_padding(context[:-1], context[-1:], batch.rows, drop)
            eps = self.unet(x, t.float(), context, transformer_options=attention.options())
        error = (eps.float() - noise).square().mean((1, 2, 3))  # (b,)
        weighted = (denoiser.loss_weight(a) * error).mean()
        if not stage.supervised:
            return weighted, torch.zeros(())
        return weighted, supervision(
            attention.maps, batch.masks, batch.columns, a.sqrt(), stage.token_weight, stage.pixel_weight
        )

    def draw(self, prompts: list[str], noise: torch.Tensor) -> torch.Tensor:
        """Latents of captions, for looking at a model while it trains."""
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            context = self.text(
                torch.from_numpy(np.stack([encode(p) for p in [*prompts, ""]])).long()
            ).float()
            return denoiser.ddim(
                self.unet, context[:-1], context[-1:], noise, transformer_options=Attention().options()
            )
