"""Weights in other formats and what people put on a model to make it fast: what the report says of each.

Classes of other packs are stand-ins of our own that do the same (tests/support/formats.py).
"""

import importlib
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from ..support import block_caches, formats
from ..support.architectures import ARCHITECTURES
from ..support.foreign_patches import run, with_wrapper
from ..support.networks import contents, loaded, one_pass

STEPS = 3
UPDATED = ": step 1 of 3 (sigma 0.467), 2 update steps, "


@pytest.fixture(scope="module")
def flux(tiny):
    return loaded(ARCHITECTURES["Flux"], tiny)


def nursed(made, model=None, **changes):
    """The latent after two updates at step 1, what is reported, and the lines on the node."""
    lines = []
    patched, book = made.tiny.attach(model or made.model, step=1, on_status=lines.append, **changes)
    out = made.sample(patched, steps=STEPS)
    (recipe,) = book.find(out).recipes
    return out, recipe, lines


# --- formats -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", (*formats.LAYOUTS, "blocks of bytes"))
def test_weights_in_another_format_are_read_and_updated_as_the_numbers_that_they_mean(tiny, kind):
    """ComfyUI's formats are unpacked where a CPU has no kernel for them; GGUF's always are."""
    with torch.inference_mode():  # as a loader node does
        made = formats.in_blocks_of_bytes if kind == "blocks of bytes" else formats.with_its_double
        stored, double = made("Flux", tiny, *([] if kind == "blocks of bytes" else [kind]))
    kinds = {type(p.data).__name__ for p in stored.model.model.diffusion_model.parameters()}
    assert kinds & {"QuantizedTensor", "BlockTensor"}
    plain, before = stored.sample(steps=STEPS), contents(stored.model)
    out, recipe, _ = nursed(stored)
    assert UPDATED in recipe.status and not torch.equal(out, plain), recipe.status
    assert contents(stored.model) == before
    needs = {"heads": True, "self_rows": True}
    found, right = (m.at_state(lambda probe, z, _: one_pass(probe, z), needs=needs) for m in (stored, double))
    assert F.cosine_similarity(found.gradient.flatten(), right.gradient.flatten(), 0) > 0.99


def test_another_packs_network_in_the_place_of_comfyuis_is_named_and_the_run_is_plain(tiny):
    made = formats.of_an_engine("Flux", tiny)
    out, recipe, lines = nursed(made)
    assert torch.equal(out, made.sample(steps=STEPS)) and recipe.step is None
    assert "the network is OwnEngine, not ComfyUI's" in recipe.status
    assert lines[-1].startswith("Skipped: load the model with ComfyUI's own loader")


@pytest.mark.parametrize("method", ("Word Weight", "Word boost", "Auto"))
def test_without_gradients_too(tiny, pack, method):
    made = formats.of_an_engine("Flux", tiny)
    made = replace(made, arch=replace(made.arch, sigma=1.0))  # from noise on, where Word boost looks
    node = {node.GET_SCHEMA().node_id: node for node in pack.NODES}
    with torch.inference_mode():
        if method == "Word Weight":
            model, book = node["GSNWordWeight"].EXECUTE_NORMALIZED(made.model, "red cat: 3").args
        else:
            name = method if method == "Auto" else "Word boost (no gradients)"
            model, _, book = node["GSNNursing"].EXECUTE_NORMALIZED(made.model, method=name).args
    assert torch.equal(made.sample(model, steps=STEPS), made.sample(steps=STEPS))
    assert "the network is OwnEngine, not ComfyUI's" in book.last().recipes[0].status


# --- what makes a run fast ---------------------------------------------------------------------------------


def with_attention(model, kernel):
    """MODEL with another attention kernel in ComfyUI's place for it."""
    model = model.clone()
    model.model_options.setdefault("transformer_options", {})["optimized_attention_override"] = kernel
    return model


def like_sage(func, *args, **kwargs):
    """A kernel without a backward pass."""
    with torch.no_grad():
        return func(*args, **kwargs)


def core_cache(node):
    def put_on(model):
        module = importlib.import_module("comfy_extras.nodes_easycache")
        return getattr(module, node).execute(model, 0.2, 0.15, 0.95, False)[0]

    return put_on


def with_a_lora(model):
    """A speed LoRA: low-rank changes of the layers of all blocks."""
    import comfy.lora
    import comfy.sd

    generator, low = torch.Generator().manual_seed(0), {}
    for name, p in model.model.diffusion_model.named_parameters():
        if p.ndim == 2 and "block" in name and name.endswith("weight"):
            key = f"diffusion_model.{name.removesuffix('.weight')}"
            low[f"{key}.lora_A.weight"] = 0.1 * torch.randn(2, p.shape[1], generator=generator)
            low[f"{key}.lora_B.weight"] = 0.1 * torch.randn(p.shape[0], 2, generator=generator)
    return comfy.sd.load_lora_for_models(model, None, low, 1.0, 0)[0]


BESIDE = {
    "EasyCache": (core_cache("EasyCacheNode"), ""),
    "LazyCache": (core_cache("LazyCacheNode"), ""),
    "speed LoRA": (with_a_lora, ""),
    "Sage": (
        lambda model: with_attention(model, like_sage),
        "another pack's attention kernel has no gradient and was replaced in these passes",
    ),
}


@pytest.mark.parametrize("put_on, said", BESIDE.values(), ids=BESIDE)
def test_updates_are_made_beside_it(flux, put_on, said):
    model = put_on(flux.model)
    out, recipe, _ = nursed(flux, model)
    assert UPDATED in recipe.status and said in recipe.status, recipe.status
    assert not torch.equal(out, flux.sample(model, steps=STEPS))


class TaylorSeer:
    """A node that predicts the blocks' outputs from earlier ones, whose name says nothing of that."""

    def put_on(self, model):
        network, kept = model.model.diffusion_model, {}

        def forward_orig(img, img_ids, txt, *args, **kwargs):
            if "out" not in kept:
                kept["out"] = type(network).forward_orig(network, img, img_ids, txt, *args, **kwargs).detach()
            return kept["out"] * 1.0

        def wrapper(apply, args):
            network.forward_orig = forward_orig
            try:
                return run(apply, args)
            finally:
                del network.forward_orig

        return with_wrapper(model, wrapper)


def test_a_forecast_of_unknown_name_is_left_out_of_our_passes_and_named(flux):
    model = TaylorSeer().put_on(flux.model)
    out, recipe, _ = nursed(flux, model)
    assert recipe.updates == (2,) and "these passes leave out TaylorSeer" in recipe.status, recipe.status


def test_a_cache_around_the_whole_call_says_that_the_change_did_not_act(flux, pack):
    """Word Weight needs the run's own passes, of which such a cache leaves out all but the first."""
    kept = {}

    def wrapper(apply, args):
        if "out" not in kept:
            kept["out"] = run(apply, args)
        return kept["out"]

    model = with_wrapper(flux.model, wrapper)
    flux.sample(model, steps=1)
    node = next(n for n in pack.NODES if n.GET_SCHEMA().node_id == "GSNWordWeight")
    with torch.inference_mode():
        weighted, book = node.EXECUTE_NORMALIZED(model, "red cat: 3").args
    assert torch.equal(flux.sample(weighted, steps=STEPS), flux.sample(model, steps=STEPS))
    assert "did not act" in book.last().recipes[0].status


# --- Auto, the default -------------------------------------------------------------------------------------

NOT_SEEN = "no attention of the image to the text was seen"


@pytest.fixture
def default(flux, pack, monkeypatch):
    """A function: what is reported of a run of Semantic Nursing as it comes, whether the latent is that of
    the plain run, and the last line.
    """
    node = next(n for n in pack.NODES if n.GET_SCHEMA().node_id == "GSNNursing")
    made = replace(flux, arch=replace(flux.arch, sigma=1.0))

    def sampled(put_on, **settings):
        lines = []
        monkeypatch.setattr(flux.tiny.module("nodes.nursing"), "status_reporter", lambda node: lines.append)
        with torch.inference_mode():
            model, _, book = node.EXECUTE_NORMALIZED(put_on(made.model), **settings).args
        out = made.sample(model, steps=10)
        return book.last().recipes[0], torch.equal(out, made.sample(put_on(made.model), steps=10)), lines[-1]

    return sampled


@pytest.mark.parametrize("put_on", [put_on for put_on, _ in BESIDE.values()], ids=BESIDE)
def test_auto_updates_beside_it_within_its_budget(default, put_on):
    recipe, plain, line = default(put_on)
    assert not plain and recipe.updates == (5,) and recipe.cost <= 1
    assert "more attention" not in recipe.status and line.endswith("; cost +1 images")


@pytest.mark.parametrize("rewrites", (True, False))
def test_auto_updates_without_a_cache_of_blocks(default, rewrites):
    recipe, plain, line = default(lambda model: block_caches.residual_cache(model, rewrites))
    assert not plain and recipe.updates == (5,) and "these passes leave out residual_cache" in line


def test_auto_names_a_cache_behind_which_it_cannot_act(default):
    recipe, plain, line = default(block_caches.cached_blocks)
    assert plain and recipe.step is None
    assert NOT_SEEN in recipe.status and "in the way is cached_blocks: bypass it" in recipe.status
    assert "bypass it" in line and "raise budget" not in line, line


def test_word_boost_names_it_too(default):
    recipe, plain, line = default(block_caches.cached_blocks, method="Word boost (no gradients)")
    assert plain and f"did not act, {NOT_SEEN}; in the way is cached_blocks: bypass it" in recipe.status
    assert line == f"Did not act: bypass it ({NOT_SEEN}; in the way is cached_blocks)"


@pytest.mark.parametrize("negative", ("zeroed", "none"))
def test_two_models_one_of_them_with_nothing_to_say(tiny, host, negative):
    """DualModelGuider predicts the negative prompt with another model, here without any text."""
    import comfy_extras.nodes_custom_sampler as custom

    made = loaded(ARCHITECTURES["Ideogram 4"], tiny)
    lines = []
    patched, book = tiny.attach(made.model, step=1, on_status=lines.append, report="curve")
    with torch.inference_mode():
        positive, _ = made.prompts(None, {})
        zeros = host.ConditioningZeroOut().zero_out(positive)[0] if negative == "zeroed" else None
        guider = custom.DualModelGuider.execute(patched, positive, 4.0, made.model, zeros)[0]
        sampler = custom.KSamplerSelect.execute("euler")[0]
        sigmas, latent = torch.linspace(made.arch.sigma, 0, STEPS + 1), made.arch.latent(1)
        noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(5))
        out = guider.sample(noise, latent, sampler, sigmas, disable_pbar=True, seed=3)
    assert book.find(out).recipes[0].updates == (2,) and "; cost +" in lines[-1]
