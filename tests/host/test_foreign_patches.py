"""Beside other packs and nodes on a UNet of the published structures.

Either the updates are right, or the run is the plain one and says what is in the way. "Left alone" runs make
passes and no update: they must be the very run without our node.
"""

import functools
import random as stdlib_random

import numpy as np
import pytest
import torch

from ..support import foreign_patches
from ..support.architectures import random
from ..support.networks import loaded

STEPS = 3


@pytest.fixture(scope="module", params=("SD15", "SDXL"))
def unet(request, tiny):
    return loaded(getattr(foreign_patches, request.param), tiny)


@pytest.fixture(scope="module")
def sd15(tiny):
    return loaded(foreign_patches.SD15, tiny)


def refined(made, model, **changes):
    """The latent after two updates at step 1, and the run's report."""
    patched, book = made.tiny.attach(model, step=1, **changes)
    out = made.sample(patched, steps=STEPS)
    return out, book.find(out)


def left_alone(made, model):
    return refined(made, model, only_if_needed=True, present_at=0.0)


def core(module, node, model, *settings):
    import importlib

    return getattr(importlib.import_module(f"comfy_extras.{module}"), node).execute(model, *settings)[0]


def freeu(model):
    return core("nodes_freelunch", "FreeU_V2", model, 1.3, 1.4, 0.9, 0.2)


def test_f3_freeu_v2_is_as_one_that_writes_into_nothing(unet):
    fresh = unet.model.clone()
    fresh.set_model_output_block_patch(foreign_patches.freeu_v2_out_of_place(32))
    (ours, report), (right, _) = refined(unet, freeu(unet.model)), refined(unet, fresh)
    assert report.recipes[0].updates == (2,) and torch.equal(ours, right)
    assert torch.equal(unet.sample(freeu(unet.model), steps=STEPS), unet.sample(fresh, steps=STEPS))
    assert not torch.equal(ours, unet.sample(fresh, steps=STEPS))


def doubled_half(place):
    """A patch for this place that scales half of its first tensor, in place or not."""

    def patch(in_place, first, *more):
        if in_place:
            first[:, : first.shape[1] // 2] *= 1.5
        else:
            first = torch.cat([1.5 * first[:, : first.shape[1] // 2], first[:, first.shape[1] // 2 :]], 1)
        if place == "output_block_patch":
            return first, more[0]
        return (first, *more[:2]) if place in ("attn1_patch", "attn2_patch") else first

    return patch


@pytest.mark.parametrize(
    "place",
    (
        "input_block_patch",
        "output_block_patch",
        "attn1_output_patch",
        "attn2_patch",
        "attn2_output_patch",
        "middle_patch",
    ),
)
def test_f3_a_patch_may_write_into_what_it_gets_anywhere(sd15, place):
    results = []
    for in_place in (True, False):
        model = sd15.model.clone()
        model.set_model_patch(functools.partial(doubled_half(place), in_place), place)
        results.append(refined(sd15, model))
    (ours, report), (right, _) = results
    assert report.recipes[0].updates == (2,) and torch.allclose(ours, right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("place", ("input_block_patch_after_skip", "attn1_patch"))
def test_f3_a_patch_may_write_where_the_network_gives_one_tensor_twice(sd15, place):
    """In place is another network there."""
    model = sd15.model.clone()
    model.set_model_patch(functools.partial(doubled_half(place), True), place)
    out, report = refined(sd15, model)
    assert report.recipes[0].updates == (2,) and not torch.equal(out, sd15.sample(model, steps=STEPS))


@pytest.mark.parametrize(
    "patch",
    (
        lambda m: core("nodes_freelunch", "FreeU", m, 1.1, 1.2, 0.9, 0.2),
        lambda m: core("nodes_hypertile", "HyperTile", m, 64, 2, 0, False),
        lambda m: core("nodes_tomesd", "TomePatchModel", m, 0.5),
        lambda m: core("nodes_pag", "PerturbedAttentionGuidance", m, 3.0),
    ),
    ids=("FreeU", "HyperTile", "TomePatchModel", "PAG"),
)
def test_f3_other_nodes_that_come_with_comfyui(unet, patch):
    out, report = refined(unet, patch(unet.model))
    assert report.recipes[0].updates == (2,), report.recipes[0].status
    assert not torch.equal(out, unet.sample(patch(unet.model), steps=STEPS))


@pytest.mark.parametrize("block, factor", ((3, 1.3), (4, 1.5), (7, 1.8), (5, 2.0), (3, 2.7)))
def test_b8_deep_shrink_at_any_size(unet, factor, block):
    model = core(
        "nodes_model_downscale",
        "PatchModelAddDownscale",
        unet.model,
        block,
        factor,
        0.0,
        1.0,
        True,
        "bicubic",
        "bicubic",
    )
    out, report = refined(unet, model)
    assert report.recipes[0].updates == (2,), report.recipes[0].status
    assert torch.isfinite(out).all() and not torch.equal(out, unet.sample(model, steps=STEPS))


def test_c6_deep_shrink_on_the_demo_model_whose_levels_are_auto(tiny):
    for factor in (1.5, 2.0):
        model = core(
            "nodes_model_downscale",
            "PatchModelAddDownscale",
            tiny.model,
            1,
            factor,
            0.0,
            1.0,
            True,
            "bicubic",
            "bicubic",
        )
        patched, book = tiny.attach(model, step=1)
        assert book.find(tiny.sample(patched)).recipes[0].updates == (2,)


CHANGING = ("changes_a_weight", "dilates_convolutions")
CACHES = ("cached_in_variables", "cached_in_an_object", "cached_in_the_file", "cached_on_the_network")


@pytest.mark.parametrize("kind", (*CACHES, *CHANGING, "in_tiles", "replaced_forward", "draws_random_numbers"))
def test_f15_f14_f7_a_picture_that_is_left_alone_is_the_plain_one(tiny, kind):
    put = getattr(foreign_patches, kind)
    runs = []
    for nursed in (False, True):
        made = loaded(foreign_patches.SD15, tiny)
        model = put(made.model)
        torch.manual_seed(5)
        np.random.seed(5)
        stdlib_random.seed(5)
        runs.append(left_alone(made, model)[0] if nursed else made.sample(model, steps=STEPS))
        runs.append(torch.tensor([torch.rand(1).item(), np.random.rand(), stdlib_random.random()]))
    plain, plain_stream, ours, our_stream = runs
    assert torch.equal(ours, plain) and torch.equal(our_stream, plain_stream)


@pytest.mark.parametrize("kind", (*CACHES, *CHANGING, "in_tiles", "without_gradients", "replaced_forward"))
def test_f11_f12_updates_are_made_whatever_runs_around_the_network(tiny, kind):
    made = loaded(foreign_patches.SD15, tiny)
    model = getattr(foreign_patches, kind)(made.model)
    out, report = refined(made, model)
    assert report.recipes[0].updates == (2,), report.recipes[0].status
    if kind in ("in_tiles", "without_gradients", "replaced_forward"):
        assert f"these passes leave out {kind}" in report.recipes[0].status


@pytest.mark.parametrize("kind", (*CHANGING, "replaced_forward", "cached_in_variables"))
def test_f7_the_shared_network_is_as_before(tiny, kind):
    made = loaded(foreign_patches.SD15, tiny)
    model = getattr(foreign_patches, kind)(made.model.clone())
    methods = [vars(part).keys() for part in made.model.model.modules()]
    values = [p.clone() for p in made.model.model.parameters()]
    sizes = [getattr(part, "dilation", None) for part in made.model.model.modules()]
    refined(made, model)
    assert [vars(part).keys() for part in made.model.model.modules()] == methods
    assert [getattr(part, "dilation", None) for part in made.model.model.modules()] == sizes
    assert all(torch.equal(a, b) for a, b in zip(values, made.model.model.parameters(), strict=True))


@pytest.mark.parametrize("kind", ("cuts_the_gradient", "fails_with_gradients"))
def test_f12_a_pass_without_gradient_ends_in_a_plain_run_that_names_what_is_in_the_way(sd15, kind):
    model = getattr(foreign_patches, kind)(sd15.model)
    lines = []
    patched, book = sd15.tiny.attach(model, step=1, on_status=lines.append)
    out = sd15.sample(patched, steps=STEPS)
    assert torch.equal(out, sd15.sample(model, steps=STEPS))
    recipe = book.find(out).recipes[0]
    assert recipe.step is None and recipe.line in lines[-1]
    assert kind in recipe.status and "bypass it" in recipe.status and "element 0" not in recipe.status


def test_f16_a_style_of_one_image_ends_in_a_plain_run_that_names_the_pack(sd15):
    """Our pass has the prompt alone, where the pack looks for the negative one: one image is too few."""
    model, lines = foreign_patches.aligned_style(sd15.model), []
    patched, book = sd15.tiny.attach(model, step=1, on_status=lines.append)
    out = sd15.sample(patched, steps=STEPS, cfg=2.0)
    assert torch.equal(out, sd15.sample(model, steps=STEPS, cfg=2.0))
    assert (
        lines[-1].startswith("Skipped: bypass it to have updates")
        and "in the way is aligned_style" in lines[-1]
    ), lines[-1]
    out = sd15.sample(patched, steps=STEPS, cfg=2.0, batch=2)
    assert book.find(out).recipes[0].updates == (2, 2), lines[-1]


def test_f12_a_wrapper_that_fails_both_ways_is_named_too(sd15):
    def wrapper(apply, args):
        if torch.is_grad_enabled():
            raise ValueError("tiles of 0 pixels")
        return foreign_patches.run(apply, args)

    model = foreign_patches.cuts_the_gradient(foreign_patches.with_wrapper(sd15.model, wrapper))
    out, report = refined(sd15, model)
    assert torch.equal(out, sd15.sample(model, steps=STEPS))
    assert "cuts_the_gradient" in report.recipes[0].status and "one by one" in report.recipes[0].status


def test_an_error_of_an_objective_is_no_plain_run(sd15):
    def objective(maps, subjects, context):
        raise RuntimeError("a mistake")

    objective.needs = sd15.tiny.recipe().objective.needs
    with pytest.raises(RuntimeError, match="a mistake"):
        refined(sd15, sd15.model, objective=objective, report="curve")


@pytest.mark.parametrize("batch", (1, 2))
@pytest.mark.parametrize("rows", (11, 22))
def test_f9_copies_for_regions_belong_to_one_image(sd15, batch, rows):
    """Regions that have no share in the image: the run is that without them."""
    texts = [random(1, rows, 24, seed=20 + n) for n in range(2)]
    model = foreign_patches.regions(sd15.model, texts, [1.0, 0.0, 0.0])
    results = []
    for used in (model, sd15.model):
        patched, book = sd15.tiny.attach(used, step=1)
        results.append(sd15.sample(patched, steps=STEPS, batch=batch))
        assert book.last().recipes[0].updates == (2,) * batch, book.last().recipes[0].status
    assert torch.allclose(*results, atol=1e-4)


def test_f9_patches_that_come_with_the_prompt(sd15):
    """ComfyUI's hooks bring them in at each call of the model, after our options are made."""
    import comfy.hooks

    texts = [random(1, 11, 24, seed=20 + n) for n in range(2)]
    patches = foreign_patches.regions(sd15.model, texts, [1.0, 0.0, 0.0]).model_options["transformer_options"]
    hook = comfy.hooks.TransformerOptionsHook(
        {"patches": patches["patches"]}, hook_scope=comfy.hooks.EnumHookScope.HookedOnly
    )
    group = comfy.hooks.HookGroup()
    group.add(hook)
    results = []
    for also in ({"hooks": group}, {}):
        patched, book = sd15.tiny.attach(sd15.model, step=1)
        results.append(sd15.sample(patched, steps=STEPS, **also))
        assert book.last().recipes[0].updates == (2,), book.last().recipes[0].status
    assert torch.allclose(*results, atol=1e-4)


def test_f9_regions_with_shares_are_refined_too(sd15):
    texts = [random(1, 11, 24, seed=20 + n) for n in range(2)]
    model = foreign_patches.regions(sd15.model, texts, [0.4, 0.3, 0.3])
    out, report = refined(sd15, model)
    assert report.recipes[0].updates == (2,)
    assert not torch.equal(out, sd15.sample(model, steps=STEPS))


def test_f9_a_prompt_that_no_region_has_is_said(sd15):
    def other(n, context, value, options):
        return n.repeat(2, 1, 1), torch.randn(2, *context.shape[1:]), torch.randn(2, *context.shape[1:])

    model = sd15.model.clone()
    model.set_model_attn2_patch(other)
    model.set_model_attn2_output_patch(lambda out, options: out.chunk(2)[0])
    _, report = refined(sd15, model)
    assert "no region of the image attends to the prompt" in report.recipes[0].status
