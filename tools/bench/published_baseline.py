"""The published way to make one update step, written as plainly as its code: the baseline.

Attention is an explicit softmax in every layer, as in the attention processors of Attend-and-Excite, from
which the code of Latent Refine descends; the probabilities of text-to-image layers are stored; the model's
weights require gradients, as they do when a pipeline is loaded; the whole network runs; Adam on the latent
follows `loss.backward()`, which computes gradients of the weights as well.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .sampler_state import conditional

if TYPE_CHECKING:
    from gsn_ops.host.attention.sampler_state import SamplerState


class Explicit:
    """The attention of one pass, written out.

    Stores probabilities [B, H, queries, keys] of the calls that have text among their keys.
    n_text: rows of the text. joint: text and image are in one sequence.
    """

    def __init__(self, n_text: int, joint: bool):
        self.n_text, self.joint = n_text, joint
        self.stored: list[Tensor] = []

    def __call__(
        self,
        func,
        q,
        k,
        v,
        heads,
        mask=None,
        *args,
        skip_reshape=False,
        skip_output_reshape=False,
        scale=None,
        **_,
    ):
        d = q.shape[-1] if skip_reshape else q.shape[-1] // heads
        if not skip_reshape:
            q, k, v = (
                t.reshape(t.shape[0], t.shape[1], -1, d).transpose(1, 2) for t in (q, k, v)
            )  # [B, H, N, d]
        logits = q @ k.transpose(-1, -2) * (scale or d**-0.5)
        p = (logits if mask is None else logits + mask).softmax(-1)
        if k.shape[2] == self.n_text or (self.joint and q.shape[2] == k.shape[2] > self.n_text):
            self.stored.append(p)
        out = p @ v
        return out if skip_output_reshape else out.transpose(1, 2).flatten(2)  # [B, N, (H d)]


@contextlib.contextmanager
def asking_for_gradients(network: torch.nn.Module):
    """Inside, the weights are as a pipeline of the published code loads them."""
    weights = [p for p in network.parameters() if p.is_floating_point()]
    try:
        for p in weights:
            p.requires_grad_(True)
        yield
    finally:
        for p in weights:
            p.requires_grad_(False)
            p.grad = None


def published_update(
    state: SamplerState, n_text: int, joint: bool, blocks: int | None = None, followed=contextlib.nullcontext
) -> int:
    """One update step: full forward, backward to latent and weights, one Adam update.

    Returns the number of layers that were stored.
    The weights must not be inference tensors. blocks: so many text layers are read, None = all.
    followed: what surrounds the forward of a network that autograd cannot follow as it is.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(
            torch.autograd.graph.saved_tensors_hooks(torch.Tensor.detach, lambda t: t)
        )  # not those in force
        stack.enter_context(asking_for_gradients(state.guider.inner_model.diffusion_model))
        latent = state.x.clone().requires_grad_(True)
        adam = torch.optim.Adam([latent], lr=0.01, foreach=False)
        attention = Explicit(n_text, joint)
        with followed():
            conditional(state, latent, {"optimized_attention_override": attention})
        absence(attention.stored, n_text, blocks).backward()
        adam.step()
    return len(attention.stored)


def absence(stored: list[Tensor], n_text: int, blocks: int | None = None) -> Tensor:
    """One minus the highest probability of each of two words, mean over layers.

    Of text keys alone: the layers with the fewest image tokens but at least a 16x16 grid. Joint: those with
    the text among their keys (some blocks also have an attention of the image to itself), and of them the
    first `blocks`.
    """
    sizes = {p.shape[2] for p in stored}
    joint = stored[0].shape[3] > n_text
    size = max(sizes) if joint else min((n for n in sizes if n >= 16 * 16), default=max(sizes))
    read = [p for p in stored if p.shape[2] == size][:blocks]
    maps = torch.stack([p[0, :, :, :n_text].mean(0) for p in read]).mean(0).float()  # [N, words]
    words = (maps * 100).softmax(-1)
    return (1 - words[:, [3, 7]].amax(0)).sum()
