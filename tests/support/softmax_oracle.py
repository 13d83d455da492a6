"""An oracle for any network of ComfyUI: every attention call written out with its whole softmax, and
autograd as it is.

Nothing of this pack is used, and the caller of an attention function is found by its place on the Python
stack.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Attentions:
    """The matrices [B, H, queries, keys] of the calls made by modules whose path fits a pattern, in order."""

    model: torch.nn.Module
    pattern: str
    change: Callable[[Tensor], Tensor] | None = None  # of the matrices found, before they are used
    scores: Callable[[Tensor], Tensor] | None = None  # of q k^T scale, before mask and softmax
    found: list[Tensor] = field(default_factory=list)
    callers: list[str] = field(default_factory=list)  # their modules

    def __post_init__(self):
        self.paths = {id(m): path for path, m in self.model.named_modules()}

    def attention(
        self,
        q,
        k,
        v,
        heads,
        mask=None,
        attn_precision=None,
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
        k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
        logits = torch.einsum("bhid,bhjd->bhij", q, k) * (d**-0.5 if scale is None else scale)
        caller = self._caller()
        is_wanted = re.search(self.pattern, caller) is not None
        if is_wanted and self.scores:
            logits = self.scores(logits)
        if mask is not None:
            mask = mask[None, None] if mask.ndim == 2 else mask[:, None] if mask.ndim == 3 else mask
            logits = logits.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else logits + mask
        e = torch.exp(logits - logits.amax(-1, keepdim=True))
        p = e / e.sum(-1, keepdim=True)
        if is_wanted:
            self.found.append(p)
            self.callers.append(caller)
            p = self.change(p) if self.change else p
        out = torch.einsum("bhij,bhjd->bhid", p, v)
        return out if skip_output_reshape else out.transpose(1, 2).flatten(2)  # [B, N, (H d)]

    def _caller(self) -> str:
        """The path of the innermost module that is running."""
        frame = sys._getframe(2)
        while frame is not None:
            path = self.paths.get(id(frame.f_locals.get("self")))
            if path is not None:
                return path
            frame = frame.f_back
        return ""


@contextlib.contextmanager
def written_out(model: torch.nn.Module, pattern: str, change: Callable[[Tensor], Tensor] | None = None):
    """Inside, attention is an explicit softmax everywhere in ComfyUI, and its rotary kernels are their own
    plain code.
    """
    import comfy_kitchen
    from comfy_kitchen.backends.eager import rope

    seen, undo = Attentions(model, pattern, change), []

    def put(module, name, value):
        undo.append((module, name, getattr(module, name)))
        setattr(module, name, value)

    try:
        for name, module in list(sys.modules.items()):
            if name.startswith("comfy.ldm"):
                for function in ("optimized_attention", "optimized_attention_masked"):
                    if hasattr(module, function):
                        put(module, function, seen.attention)
        for name in dir(comfy_kitchen):
            if "rope" in name and callable(getattr(rope, name, None)):
                put(comfy_kitchen, name, getattr(rope, name))
        # Some blocks write into tensors that autograd has saved. (torch's allow_mutation_on_saved_tensors
        # knows tensors by their address, and once in many runs of the suite gave this a wrong gradient.)
        with torch.autograd.graph.saved_tensors_hooks(lambda t: t.detach().clone(), lambda t: t):
            yield seen
    finally:
        for module, name, value in reversed(undo):
            setattr(module, name, value)
