"""Lets a Capture see the calls of a patch that replaces a UNet's attention to text."""

from __future__ import annotations

from .capture import Capture, split_heads


def observe_replaced(capture: Capture, patches: dict) -> dict:
    """A copy of ComfyUI's table `patches_replace["attn2"]` in which the capture observes each call first.

    Such a patch may attend without ComfyUI's options, which would hide its block from the override.
    """

    def wrap(patch):
        def observed(q, k, v, options):
            q_heads, k_heads = split_heads(q, k, options["n_heads"])
            capture.observe(q_heads, k_heads, options, replaced=True)
            return patch(q, k, v, options)

        return observed

    return {key: wrap(patch) for key, patch in patches.items()}
