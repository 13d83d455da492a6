"""What is trained in SD3's layout: an MM-DiT, a CLIP and a T5, rectified flow (Esser et al., 2024).

The text is CLIP's 77 rows, then those of T5. There is no pooled text: the words act through attention alone.
"""

import numpy as np
import torch
from torch import nn

from . import mmdit, t5_encoder
from .attention_supervision import supervision
from .captions import LENGTH, encode
from .dataset import EMPTY, Batch
from .recipe import Stage
from .t5_encoder import T5Encoder, recut
from .text_encoder import TextEncoder

TEXT, IMAGE = 2 * LENGTH, mmdit.SIDE**2
LONGEST = (18, 20)  # columns of the longest caption in CLIP and in T5


class JointAttention:
    """ComfyUI's `optimized_attention_override`: explicit softmax over text and image, faster than SDPA's
    backward here.

    With record=True `maps` collects, per encoder, the head means [B, image tokens, 77] of every block: where
    the image looks among that encoder's columns (they sum to 1 there; the rest of the attention goes to the
    image itself).
    """

    def __init__(self, record: bool = False):
        self.record, self.maps = record, ([], [])

    def __call__(self, function, q, k, v, heads, *args, **kwargs):
        q, k = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k))  # (B, heads, text + image, 64)
        v = (v if v.ndim == 4 else v.unflatten(-1, (heads, -1))).transpose(1, 2)
        weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)  # (B, heads, queries, keys)
        if self.record and k.shape[2] != IMAGE:  # not the second attention, of the image alone
            for maps, first in zip(self.maps, (0, LENGTH)):
                part = weights[:, :, TEXT:, first : first + LENGTH].float().mean(1)  # (B, image, 77)
                maps.append(part / part.sum(-1, keepdim=True))
        return (weights.to(v.dtype) @ v).transpose(1, 2).flatten(2)  # (B, text + image, heads * 64)

    def options(self) -> dict:
        """transformer_options for one forward pass."""
        self.maps = ([], [])
        return {"optimized_attention_override": self}


class SD3(nn.Module):
    """The three networks."""

    prefixes = {
        "network": "model.diffusion_model.",
        "clip": "text_encoders.clip_l.transformer.text_model.",
        "t5": "text_encoders.t5xxl.transformer.",
    }

    def __init__(self):
        super().__init__()
        self.network, self.clip, self.t5 = mmdit.build(), TextEncoder(final_norm=False), T5Encoder()

    def times(self, n: int, generator: torch.Generator, stage: Stage) -> torch.Tensor:
        """Times of a batch [n]."""
        return (mmdit.middle_times if stage.middle else mmdit.times)(n, generator)

    def grow(self) -> None:
        """Give the image a second attention of its own in every block, as SD3.5 medium has it, that starts
        local.

        A transformer of ten heads finds out slowly that neighbours belong together: queries and keys begin as
        the same projection of the learned positions (whitened), a wider neighbourhood in the second head.
        Gates begin at 0.1.
        """
        grown = mmdit.build(second_attention=True)
        old = dict(self.network.named_parameters())
        position = old["pos_embed"].detach()[0]  # (256, 128)
        _, strength, axes = torch.linalg.svd(position - position.mean(0), full_matrices=False)
        width = axes.shape[1]
        with torch.no_grad():
            near = torch.zeros(width, width)
            for head, kept in enumerate((64, 24)):
                near[64 * head : 64 * head + kept] = 16 * axes[:kept] / strength[:kept, None]
            for name, p in grown.named_parameters():
                if name.endswith("attn2.qkv.weight"):
                    p[:width], p[width : 2 * width] = near, near
                elif name.endswith(("attn2.ln_q.weight", "attn2.ln_k.weight")):
                    p.fill_(1.4)
                elif name in old:
                    p[: len(old[name])] = old[name]  # the modulation has three parts more
                    if p.shape != old[name].shape:
                        p[len(old[name]) :] = 0
                        if p.ndim == 1:
                            p[-width:] = 0.1
        self.network = grown

    def text(self, rows: torch.Tensor, drop: torch.Tensor | None = None) -> torch.Tensor:
        """CLIP rows [b, 77] of captions -> context [b, 154, 64]. drop [b]: padding as the empty prompt has
        it.
        """
        rows = torch.cat([rows, torch.from_numpy(EMPTY).long()[None]])
        pieces = torch.from_numpy(recut(rows.numpy())[0])
        context = torch.cat([self.clip(rows), self.t5(pieces)], 1)  # (b + 1, 154, 64)
        if drop is None:
            return context[:-1]
        padding = torch.cat(
            [rows == int(EMPTY[-1]), pieces < t5_encoder.MARKS], 1
        )  # </s> and <pad> come first
        return torch.where((padding[:-1] & drop[:, None])[..., None], context[-1:], context[:-1])

    def losses(self, batch: Batch, t: torch.Tensor, noise: torch.Tensor, drop: torch.Tensor, stage: Stage):
        """MSE of the velocity noise - x0, and the attention supervision (mean of both encoders) -> two
        scalars.
        """
        attention, time = JointAttention(record=stage.supervised), t.view(-1, 1, 1, 1)
        with torch.autocast("cpu", torch.bfloat16):
            context = self.text(batch.rows, drop)
            if not stage.supervised:  # shapes do not need the padding, and it takes a third of the time
                context = torch.cat([context[:, : LONGEST[0]], context[:, LENGTH : LENGTH + LONGEST[1]]], 1)
            velocity = self.network(
                (1 - time) * batch.latent + time * noise,
                t * mmdit.STEPS,
                context,
                transformer_options=attention.options(),
            )
        error = (velocity.float() - (noise - batch.latent)).square().mean()
        if not stage.supervised:
            return error, torch.zeros(())
        where = torch.from_numpy(recut(batch.rows.numpy())[1])  # (b, 77)
        at = batch.columns.clamp(min=0).flatten(1)
        moved = torch.where(batch.columns >= 0, where.gather(1, at).view_as(batch.columns), -1)
        both = (
            supervision(maps, batch.masks, columns, mmdit.signal(t), stage.token_weight, stage.pixel_weight)
            for maps, columns in zip(attention.maps, (batch.columns, moved))
        )
        return error, sum(both) / 2

    def draw(self, prompts: list[str], noise: torch.Tensor) -> torch.Tensor:
        """Latents of captions."""
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            context = self.text(
                torch.from_numpy(np.stack([encode(p) for p in [*prompts, ""]])).long()
            ).float()
            return mmdit.euler(
                self.network,
                context[:-1],
                context[-1:],
                noise,
                transformer_options=JointAttention().options(),
            )
