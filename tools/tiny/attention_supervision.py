"""Attention during training: plain softmax attention, and a loss that teaches the nouns' maps where their
object is.

The loss follows TokenCompose (Wang et al., CVPR 2024): attention mass inside the object's mask for nouns and
colours, and a pixel-wise cross entropy for nouns. Only tokens whose object is really in the image count. It
is why this model's noun maps are localised at both levels; say so wherever its results are shown.
"""

import torch
import torch.nn.functional as F

from .captions import LENGTH

COLOUR_SHARE = 0.5  # a colour counts half as much as its noun


class Attention:
    """ComfyUI's `optimized_attention_override`: explicit softmax, faster than SDPA's backward on a CPU.

    With record=True the head means of the cross-attention maps [B, pixels, 77] of one forward collect in
    `maps`.
    """

    def __init__(self, record: bool = False):
        self.record, self.maps = record, []

    def __call__(self, function, q, k, v, heads, *args, **kwargs):
        q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))  # (B, heads, pixels, d)
        weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)  # (B, heads, pixels, keys)
        if self.record and k.shape[2] == LENGTH:
            self.maps.append(weights.float().mean(1))
        return (weights.to(v.dtype) @ v).transpose(1, 2).flatten(2)  # (B, pixels, heads * d)

    def options(self) -> dict:
        """transformer_options for one forward pass."""
        self.maps = []
        return {"optimized_attention_override": self}


def layer_loss(
    attention: torch.Tensor,
    masks: torch.Tensor,
    columns: torch.Tensor,
    weight: torch.Tensor,
    token_weight: float,
    pixel_weight: float,
) -> torch.Tensor:
    """The supervision of one layer (TokenCompose, eq. 4 and 5) -> scalar.

    attention [B, h*w, 77] softmax maps; masks [B, 3, 32, 32] coverage in [0, 1]; columns [B, 3, (noun,
    colour)] int64, -1 = not there; weight [B] >= 0 (sqrt(abar): a map at pure noise cannot know where the
    object will be).
    """
    side = round(attention.shape[1] ** 0.5)
    mask = F.interpolate(masks, size=(side, side), mode="area").flatten(2)  # (B, 3, h*w)
    there = (columns >= 0).float()
    at = columns.clamp(min=0).flatten(1)  # (B, 6)
    maps = attention.gather(2, at[:, None].expand(-1, attention.shape[1], -1))  # (B, h*w, 6)
    maps = maps.unflatten(2, columns.shape[1:]).permute(0, 2, 3, 1)  # (B, 3, 2, h*w)
    inside = (maps * mask[:, :, None]).sum(-1) / maps.sum(-1).clamp(min=1e-6)  # (B, 3, 2)
    share = there * torch.tensor([1.0, COLOUR_SHARE])
    token = ((1 - inside) ** 2 * share * weight[:, None, None]).sum() / share.sum().clamp(min=1)
    nouns = maps[:, :, 0].clamp(1e-5, 1 - 1e-5)  # (B, 3, h*w)
    entropy = -(mask * nouns.log() + (1 - mask) * (1 - nouns).log()).mean(-1)  # (B, 3)
    pixel = (entropy * there[..., 0] * weight[:, None]).sum() / there[..., 0].sum().clamp(min=1)
    return token_weight * token + pixel_weight * pixel


def supervision(maps, masks, columns, weight, token_weight: float, pixel_weight: float) -> torch.Tensor:
    """Mean of `layer_loss` over all cross-attention layers of one forward pass -> scalar."""
    return torch.stack(
        [layer_loss(a, masks, columns, weight, token_weight, pixel_weight) for a in maps]
    ).mean()
