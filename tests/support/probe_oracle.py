"""What the probe sees at one step of a real run, and the same the slow way: a hand-run UNet and an explicit
softmax.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Pass:
    """One pass of the probe: level -> maps [B, h, w, n], a loss per image [B] and its gradient [B, C, H,
    W].
    """

    maps: dict[int, Tensor]
    loss: Tensor
    gradient: Tensor


@dataclass
class Look:
    """full: the first pass, which is complete. cut: the second, which ends after the last wanted layer."""

    z: Tensor
    x: Tensor
    sigma: Tensor
    columns: tuple[int, ...]
    full: Pass
    cut: Pass


def weighted(maps: dict[int, Tensor]) -> Tensor:
    """A loss [B] in which every entry of every map counts, the same weights for every image."""
    losses = []
    for level, m in sorted(maps.items()):
        weights = torch.randn(m.shape[1:], generator=torch.Generator().manual_seed(level))
        losses.append((m * weights).flatten(1).sum(1))
    return sum(losses)


def look(tiny, model=None, step=1, levels=(2,), blocks="auto", **run) -> Look:
    """Run `tiny.sample_with` and let the probe look at the state of one step, twice; the run itself is not
    changed.
    """
    import comfy.samplers

    gradients, plan, probes, entries, states, maps, families = (
        tiny.module(f"gsn_ops.{name}")
        for name in (
            "host.autograd.differentiable",
            "host.sampling.plan",
            "host.attention.probe",
            "host.attention.entry",
            "host.attention.sampler_state",
            "maps",
            "host.find_family",
        )
    )
    model, looks = model or tiny.model, []

    def shift(k, model_k, x, sigma, extra):
        guider = model_k.inner_model
        entry = next(e for e in plan.positive_entries(guider)[0] if entries.is_active(guider, e, x, sigma))
        c = plan.network_scale(guider.inner_model.model_sampling, sigma, x.ndim)
        with gradients.differentiable(guider.inner_model, *entries.side_networks(guider, entry)):
            probe = probes.Probe(
                states.SamplerState(guider, model_k, x, sigma, extra),
                entry,
                families.family_of(model),
                maps.MapNeeds(levels=levels, blocks=blocks),
                c,
            )
            z, passes = x.clone() / c, []
            for _ in range(2):
                leaf = z.clone().requires_grad_(True)
                seen = probe.maps_of(leaf)
                loss = weighted(seen.cross)
                (gradient,) = torch.autograd.grad(loss.sum(), leaf)
                passes.append(
                    Pass({level: m.detach() for level, m in seen.cross.items()}, loss.detach(), gradient)
                )
            looks.append(Look(z, x.clone(), sigma.clone(), seen.columns, *passes))
        return x

    plain = run.pop("sampler", "euler")
    steps = run.pop("steps", 4)
    tiny.sample_with(
        tiny.watch(comfy.samplers.sampler_object(plain), [step], shift),
        tiny.sigmas(plain, steps=steps),
        model,
        **run,
    )
    assert len(looks) == 1
    return looks[0]


def slow_maps(
    network,
    x: Tensor,
    sigma: Tensor,
    context: Tensor,
    *,
    control=None,
    options=None,
    concat=None,
    within=("",),
) -> dict[int, Tensor]:
    """Level -> text-to-image attention [B, h, w, all text columns], mean over layers and heads, by an
    explicit softmax.

    network: ComfyUI's BaseModel. control: x -> ControlNet residuals. options: transformer_options with other
    packs' patches. concat: channels beside the latent. within: beginnings of the names of the blocks that
    count. Nothing of this pack is used.
    """
    from comfy.ldm.modules.attention import BasicTransformerBlock

    queries, found, (height, width) = {}, {}, x.shape[-2:]

    def explicit(block, k):
        q = queries[block]
        q, k = (
            t.reshape(t.shape[0], t.shape[1], block.n_heads, -1) for t in (q, k)
        )  # [B, N, H, d], [B, K, H, d]
        e = torch.exp(torch.einsum("bihd,bjhd->bhij", q, k) / q.shape[-1] ** 0.5)
        level = round((height * width / q.shape[1]) ** 0.5)
        p = (e / e.sum(-1, keepdim=True)).mean(1)  # [B, N, K]
        found.setdefault(level, []).append(p.reshape(len(p), -(-height // level), -(-width // level), -1))

    hooks = []
    for name, block in network.diffusion_model.named_modules():
        if isinstance(block, BasicTransformerBlock) and name.startswith(within):
            hooks.append(
                block.attn2.to_q.register_forward_hook(
                    lambda _, args, out, block=block: queries.__setitem__(block, out)
                )
            )
            hooks.append(
                block.attn2.to_k.register_forward_hook(lambda _, args, out, block=block: explicit(block, out))
            )
    try:
        scaled = x / (1 + sigma[0] ** 2) ** 0.5
        scaled = scaled if concat is None else torch.cat([scaled, concat], 1)
        network.diffusion_model(
            scaled,
            network.model_sampling.timestep(sigma),
            context=context,
            control=control and control(x),
            transformer_options=options or {},
        )
    finally:
        for hook in hooks:
            hook.remove()
    return {level: torch.stack(layers).mean(0) for level, layers in found.items()}


def slow_pass(network, seen: Look, context: Tensor, *, part=lambda x: x, **more) -> Pass:
    """The oracle for a look: maps, loss and gradient at the same z. part: what the network sees of x
    (areas).
    """
    leaf = seen.z.clone().requires_grad_(True)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: t.detach().clone(), lambda t: t
    ):  # ComfyUI adds ControlNet residuals in place
        maps = slow_maps(
            network, part(leaf * (1 + float(seen.sigma[0]) ** 2) ** 0.5), seen.sigma, context, **more
        )
        maps = {level: maps[level][..., list(seen.columns)] for level in seen.full.maps}
        loss = weighted(maps)
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
    return Pass({level: m.detach() for level, m in maps.items()}, loss.detach(), gradient)


def assert_same(seen: Look, slow: Pass) -> None:
    """Full and cut pass are the same bits; maps within 1e-5 of the oracle's, gradients with a cosine above
    .99999.
    """
    assert torch.equal(seen.full.gradient, seen.cut.gradient) and torch.equal(seen.full.loss, seen.cut.loss)
    for level, m in seen.full.maps.items():
        assert torch.equal(m, seen.cut.maps[level])
        assert m.shape == slow.maps[level].shape
        assert (m - slow.maps[level]).abs().max() < 1e-5
    for ours, theirs in zip(seen.full.gradient, slow.gradient, strict=True):
        assert theirs.norm() > 0
        assert torch.cosine_similarity(ours.flatten(), theirs.flatten(), 0) > 0.99999
        assert abs(ours.norm() / theirs.norm() - 1) < 1e-4
