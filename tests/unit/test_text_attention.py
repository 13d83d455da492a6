"""Attention probabilities of text tokens, against a softmax written out."""

import pytest
import torch

from gsn_ops.torch_ops.text_attention import attention_with_text, text_probabilities

COLUMNS = slice(2, 40)  # wider than a head, so that joint attention needs more than one pass


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def explicit(q, k, mask=None, scale=None):
    """softmax(q k^T scale + mask), [B, H, N, K], written out."""
    e = torch.exp(
        torch.einsum("bhid,bhjd->bhij", q, k) * (scale or q.shape[-1] ** -0.5) + (0 if mask is None else mask)
    )
    return e / e.sum(-1, keepdim=True)


@pytest.mark.parametrize("scale", (None, 0.7))
@pytest.mark.parametrize("masked", (False, True), ids=("", "mask"))
@pytest.mark.parametrize("joint", (False, True), ids=("cross", "joint"))
def test_probabilities_and_their_gradient(joint, masked, scale):
    q, k = random(2, 3, 20, 16), random(2, 3, 60, 16, seed=1)
    mask = random(2, 1, 20, 60, seed=2) if masked else None
    weights, gradients, values = random(2, 3, 20, COLUMNS.stop - COLUMNS.start, seed=3), [], []
    for compute in (
        lambda q: text_probabilities(q, k, COLUMNS, joint, mask, scale),
        lambda q: explicit(q, k, mask, scale)[..., COLUMNS],
    ):
        leaf = q.clone().requires_grad_(True)
        p = compute(leaf)
        gradients.append(torch.autograd.grad((p * weights).sum(), leaf)[0])
        values.append(p.detach())
    assert values[0].shape == (2, 3, 20, 38) and values[0].dtype == torch.float32
    assert (values[0] - values[1]).abs().max() < 1e-5
    assert torch.cosine_similarity(gradients[0].flatten(), gradients[1].flatten(), 0) > 0.99999


def test_half_precision_is_raised_to_float32():
    q, k = random(1, 2, 8, 16).half(), random(1, 2, 12, 16, seed=1).half()
    for joint in (False, True):
        p = text_probabilities(q, k, slice(0, 12), joint)
        assert p.dtype == torch.float32 and (p - explicit(q.float(), k.float())).abs().max() < 1e-5


@pytest.mark.parametrize("masked", (False, True), ids=("", "mask"))
def test_one_call_gives_joint_attention_and_its_probabilities(masked):
    """Output and probabilities with their gradients, against a softmax written out; a number of columns that is no multiple of 8."""
    q, k, v = (random(2, 3, 30, 16, seed=seed) for seed in range(3))
    mask, columns = (random(2, 1, 30, 30, seed=5) if masked else None), [3, 4, 9, 17, 20]
    towards = random(2, 3, 30, 16, seed=6), random(2, 3, 30, 5, seed=7)
    results = []
    for compute in (
        lambda *qkv: attention_with_text(*qkv, columns, mask),
        lambda q, k, v: (explicit(q, k, mask) @ v, explicit(q, k, mask)[..., columns]),
    ):
        leaves = [t.clone().requires_grad_(True) for t in (q, k, v)]
        out = compute(*leaves)
        loss = sum((o * w).sum() for o, w in zip(out, towards, strict=True))
        results.append((*(o.detach() for o in out), *torch.autograd.grad(loss, leaves)))
    for ours, right in zip(*results, strict=True):
        assert ours.shape == right.shape and (ours - right).abs().max() < 1e-4
