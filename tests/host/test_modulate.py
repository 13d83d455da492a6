"""Word weights on every text-to-image architecture of ComfyUI: a run against one whose attention is written
out, probabilities of every head, and the other prompts of a batch.
"""

import re

import pytest
import torch
from torch import Tensor

from ..support.architectures import ARCHITECTURES, DOUBLE
from ..support.networks import Made, contents, make, one_pass
from ..support.probe_oracle import weighted
from ..support.softmax_oracle import written_out

WORDS = "red cat: 3, dog: 0.4"
COLUMNS = {2: 3, 3: 3, 7: 0.4}  # rows of the conditioning of these words (`networks.TEXT`), their weights


@pytest.fixture(scope="module", params=ARCHITECTURES)
def made(request, tiny) -> Made:
    return make(request.param, tiny)


@pytest.fixture(scope="module")
def weigh(pack_module):
    """A function: MODEL with these weights, and the book."""
    syntax, edits, patch = (
        pack_module(f"gsn_ops.{name}")
        for name in ("subjects.weights", "modulate.edits", "host.sampling.modulation")
    )

    def attach(model, weights: str, **settings):
        return patch.attach_edits(model, edits.WordWeights(weights=syntax.parse_weights(weights), **settings))

    return attach


@pytest.fixture
def probabilities(pack_module, monkeypatch):
    """[(before, after)] of every changed call since the test began, [B, H, image tokens, columns]."""
    maps, seen = pack_module("gsn_ops.modulate.word_maps").WordMaps, []
    kept = maps.add

    def add(self, words, layout, columns, p, p_after):
        seen.append((p, p_after))
        kept(self, words, layout, columns, p, p_after)

    monkeypatch.setattr(maps, "add", add)
    return seen


def weighted_softmax(made: Made, weights: dict[int, float]):
    """Which modules attend to the text, and what weights mean on a whole matrix [B, H, queries, keys]."""
    arch, (h, w) = made.arch, made.arch.grid
    factor = {row: torch.e ** (2 * (x - 1)) if x >= 1 else x**2 for row, x in weights.items()}

    def change(p: Tensor) -> Tensor:
        n_q, n_k = p.shape[-2:]
        at_all_levels = arch.convolves or arch.config == "Stable_Cascade_C"
        if n_k != arch.keys or (n_q not in (h * w, arch.queries) and not at_all_levels):
            return p
        image = slice(arch.image, arch.image + h * w) if n_q == arch.queries else slice(None)
        a = torch.ones(n_k)
        for row, x in factor.items():
            a[arch.text + arch.other + row] = x
        p = p.clone()
        p[:, :, image] = p[:, :, image] * a / (p[:, :, image] * a).sum(-1, keepdim=True)
        return p

    # Flux-like: the single blocks attend to the text too, and are weighted with them.
    attends = r"(double|single)_blocks\.\d+$" if arch.attends == DOUBLE else arch.attends
    return attends, change


def test_a_run_is_that_of_attention_written_out(made, weigh):
    """A batch of two; the words are in the report; afterwards the model is as before."""
    before, plain = contents(made.model), made.sample(batch=2)
    model, book = weigh(made.model, WORDS)
    ours = made.sample(model, batch=2)
    with written_out(made.model.model.diffusion_model, *weighted_softmax(made, COLUMNS)):
        theirs = made.sample(batch=2)
    error, effect = (ours - theirs).abs().max(), (theirs - plain).abs().max()
    assert error <= 2e-5 * theirs.abs().max() and error < 0.05 * effect
    (recipe,) = book.find(ours).recipes
    assert recipe.subjects == ("red cat", "dog") and recipe.maps_before.shape[:2] == (2, 2)
    assert torch.equal(made.sample(batch=2), plain) and contents(made.model) == before


def test_attention_rises_in_every_head_and_zero_is_zero(made, weigh, probabilities):
    made.sample(weigh(made.model, "cat: 0, dog: 1.5")[0])
    for before, after in probabilities:
        assert before.shape[-1] % 2 == 0 and not after[..., 0::2].any()
        dog, more = before[..., 1::2], after[..., 1::2]
        inner = (dog > 1e-6) & (dog < 0.99)  # where it has everything or nothing, rounding decides
        assert inner.any() and (more > dog)[inner].all()


def test_the_negative_prompt_of_the_same_batch_keeps_its_bits(made, weigh):
    """And the other way round: a weighted prompt does not depend on the one beside it."""
    seen = []

    def run(model) -> dict:
        model = model.clone()
        model.set_model_sampler_post_cfg_function(lambda args: seen.append(args) or args["denoised"])
        made.sample(model, cfg=3.0)
        return seen.pop()

    plain, weighted = run(made.model), run(weigh(made.model, WORDS)[0])
    assert torch.equal(weighted["uncond_denoised"], plain["uncond_denoised"])
    assert not torch.equal(weighted["cond_denoised"], plain["cond_denoised"])


@pytest.mark.parametrize("name", ("SD1", "SD3", "Flux", "PixArt-alpha", "Qwen-Image"))
def test_a_method_reads_the_unweighted_attention_of_the_weighted_network(tiny, weigh, name, monkeypatch):
    """Maps and gradient of a probe in a weighted run, by the oracle; also where blocks are computed twice."""
    made = make(name, tiny)
    memory = tiny.module("gsn_ops.host.attention.memory_policy")

    def look(probe, z, conds):
        once = one_pass(probe, z)
        probe.checkpoint_policy = memory.CheckpointPolicy()
        monkeypatch.setattr(memory.management, "get_free_memory", lambda device: 1.0)
        one_pass(probe, z), one_pass(probe, z)
        twice = one_pass(probe, z)
        monkeypatch.undo()
        return once, twice, probe.checkpoint_policy.level, z, conds, probe.columns

    needs = {"heads": True, "self_rows": True}
    found, again, level, z, conds, columns = made.at_state(look, needs, model=weigh(made.model, WORDS)[0])
    maps, gradient = by_the_oracle(made, z, conds, columns)
    for ours in (found, again):
        assert (ours.maps - maps).abs().max() < 1e-5
        assert torch.cosine_similarity(ours.gradient.flatten(), gradient.flatten(), 0) > 0.9999
    assert level > 0


def by_the_oracle(made: Made, z: Tensor, conds: dict, columns: slice) -> tuple[Tensor, Tensor]:
    """Maps [B, h, w, n] of the weighted network and the gradient of a loss in which all of them count."""
    arch, (h, w) = made.arch, made.arch.grid
    model, leaf = arch.build(), z.clone().requires_grad_(True)
    attends, change = weighted_softmax(made, COLUMNS)
    wanted = re.compile(arch.attends)
    with written_out(model.diffusion_model, attends, change) as seen:
        model.apply_model(
            leaf * arch.scale(arch.sigma), torch.full((len(z),), arch.sigma), transformer_options={}, **conds
        )
    text = slice(arch.text + columns.start, arch.text + columns.stop)
    image = slice(arch.image, arch.image + h * w)
    read = [p for p, path in zip(seen.found, seen.callers, strict=True) if wanted.search(path)]
    read = [p for p in read if p.shape[-1] == arch.keys and p.shape[-2] in (h * w, arch.queries)]
    maps = torch.stack([p[:, :, image, text].mean(1).unflatten(1, (h, w)) for p in read]).mean(0)
    (gradient,) = torch.autograd.grad(weighted({1: maps}).sum(), leaf)
    return maps.detach(), gradient
