"""What surrounds one forward pass whose attention is captured."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence

import torch

from ...torch_ops.bfloat16 import BFloat16Products
from ...torch_ops.onednn import OneDNNProducts
from ..architectures.family import ModelFamily
from ..autograd.differentiable import DifferentiableForward, pass_options
from ..autograd.recast_weights import recast_weights
from .capture import Capture
from .isolation import without_replaced_forwards


@contextlib.contextmanager
def forward_context(
    network: torch.nn.Module,
    family: ModelFamily,
    capture: Capture,
    recast_layers: Sequence[torch.nn.Module],
    bfloat16: bool,
    onednn: bool,
    own_methods: bool = False,
) -> Generator[None]:
    """Surround a pass with what this family needs for its attention to be captured and its gradients right.

    recast_layers: layers that cast their weights at each call. bfloat16, onednn: compute matrix products so.
    own_methods: methods of the network that other packs have replaced are its own.
    """
    with contextlib.ExitStack() as stack:
        if own_methods:
            stack.enter_context(without_replaced_forwards(network))
        override = {"optimized_attention_override": capture}
        stack.enter_context(pass_options(network, family.drops_options, override))
        if family.rope_kernels or family.in_place:
            stack.enter_context(DifferentiableForward(family.rope_kernels, family.in_place))
        stack.enter_context(recast_weights(recast_layers))
        if onednn:
            stack.enter_context(OneDNNProducts())
        if bfloat16 and torch.is_grad_enabled():
            stack.enter_context(BFloat16Products())
        yield
