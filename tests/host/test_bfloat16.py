"""Products in bfloat16 where the machine is fast at them: agreement is measured, everything else stays in float32."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from gsn_ops.maps import AttentionMaps

from ..support.architectures import ARCHITECTURES
from ..support.networks import contents, graphs_in, loaded
from ..support.probe_oracle import weighted

STEP, SHIFTS = 1, 4


@pytest.fixture(scope="module")
def agreement_check(pack_module):
    return pack_module("gsn_ops.optimise.gradient_agreement")


@pytest.fixture(scope="module")
def precision(pack_module):
    return pack_module("gsn_ops.torch_ops.bfloat16")


@pytest.fixture(autouse=True)
def few_rows_are_enough(precision, monkeypatch):
    """Networks here are small."""
    monkeypatch.setattr(precision, "ENOUGH_ROWS", 1)


def gradient_of(probe, z, half: bool):
    probe.half, leaf = half, z.clone().requires_grad_(True)
    maps = probe.maps_of(leaf).cross
    (gradient,) = torch.autograd.grad(weighted(maps).sum(), leaf)
    (maps,) = maps.values()
    return maps.detach(), gradient


@pytest.mark.parametrize(
    "name",
    (
        "SD1",
        "SDXL",
        "SD3",
        "Flux",
        "PixArt-sigma",
        "HunyuanDiT",
        "Qwen-Image",
        "Z-Image",
        "Cosmos-Predict2",
        "HiDream",
    ),
)
def test_maps_and_gradients_stay_float32_and_nearly_the_same(
    tiny, precision, agreement_check, pack_module, name
):
    made, memory = loaded(ARCHITECTURES[name], tiny), pack_module("gsn_ops.host.attention.memory_policy")

    def look(probe, z, conds):
        exact, half = (gradient_of(probe, z, h) for h in (False, True))
        probe.checkpoint_policy = memory.CheckpointPolicy(memory.LAST)
        return exact, half, gradient_of(probe, z, True)

    before = contents(made.model)
    (maps, gradient), (half_maps, half), (again_maps, again) = made.at_state(look, batch=2)
    assert contents(made.model) == before and not graphs_in(made.model)
    assert half_maps.dtype == half.dtype == torch.float32
    assert not torch.equal(half, gradient) and agreement_check.agreement(half, gradient) > 0.98
    assert (half_maps - maps).abs().max() < 0.05 * maps.max()
    assert (
        torch.equal(again_maps, half_maps) and (again - half).abs().max() <= 1e-5 * half.abs().max()
    )  # blocks computed twice


@pytest.mark.parametrize(
    "layer, shape",
    (
        (torch.nn.Linear(16, 24), (2, 5, 16)),
        (torch.nn.Linear(16, 24, bias=False), (2, 16)),
        (torch.nn.Conv2d(8, 12, 3, stride=2, padding=1), (2, 8, 9, 7)),
        (torch.nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4), (2, 8, 6, 6)),
    ),
)
def test_a_product_is_that_of_the_rounded_factors_and_keeps_no_copy_of_its_weight(precision, layer, shape):
    layer.requires_grad_(False)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    saved = []
    with (
        torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.data_ptr()) or t, lambda t: t),
        precision.HalfProducts(),
    ):
        y = layer(x)
    g = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad(y, x, g)
    assert y.dtype == gradient.dtype == torch.float32 and saved == [layer.weight.data_ptr()]
    rounded = layer.bfloat16()
    (right,) = torch.autograd.grad(rounded(x.bfloat16()), x, g.bfloat16())
    assert F.cosine_similarity(y.flatten(), rounded(x.bfloat16()).flatten().float(), 0) > 0.99999
    assert F.cosine_similarity(gradient.flatten(), right.flatten(), 0) > 0.99999


def test_linear_layers_of_few_rows_multiply_in_full_precision(precision, monkeypatch):
    monkeypatch.setattr(precision, "ENOUGH_ROWS", 20)
    layer, few, many = torch.nn.Linear(16, 24), torch.full((1, 19, 16), 1 / 3), torch.full((1, 20, 16), 1 / 3)
    right = layer(few), layer(many)
    with precision.HalfProducts():
        assert torch.equal(layer(few), right[0]) and not torch.equal(layer(many), right[1])


def test_beside_a_kink_of_the_loss_the_passes_are_compared_and_not_its_sides(agreement_check):
    """|m| asks for +1 at m = 1e-3 and for -1 at -1e-3: a rounding error of the map that turns the loss turns no comparison."""
    z, cosines = torch.tensor([[1e-3]]), []

    def maps_of(at, shift=0.0):
        return AttentionMaps({1: (3 * at - shift)[:, :, None, None]}, (0,), ())

    def in_half(at, map_gradients):
        leaf = at.requires_grad_(True)
        m = maps_of(leaf, 4e-3).cross[1]
        assert (m < 0).all() and torch.equal(map_gradients[1], torch.ones(1, 1, 1, 1))
        return torch.autograd.grad((m * map_gradients[1]).sum(), leaf)[0]

    trial = agreement_check.GradientAgreementCheck(maps_of, in_half, cosines.append)
    leaf = z.clone().requires_grad_(True)
    torch.autograd.grad(trial(leaf).cross[1].abs().sum(), leaf)
    trial.decide()
    assert cosines == [1.0] and trial.map_gradients == {}


def test_agreement_is_that_of_the_worst_image(agreement_check):
    a = torch.eye(3)[:, None, :]
    assert agreement_check.agreement(a, 2 * a) == pytest.approx(1)
    b = a.clone()
    b[1, 0, 0] = 1.0
    assert agreement_check.agreement(a, b) == pytest.approx(0.5**0.5)
    assert (
        agreement_check.agreement(torch.zeros(2, 3), torch.zeros(2, 3)) == 1
    )  # a loss that is reached has no gradient
    assert agreement_check.agreement(torch.zeros(2, 3), torch.ones(2, 3)) == 0
    assert agreement_check.agreement(torch.full((2, 3), torch.nan), torch.ones(2, 3)) == -1


def test_it_is_tried_where_it_pays_and_never_on_small_models(tiny, precision):
    class Big(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.empty(precision.ENOUGH_PARAMETERS, device="meta"))

    cpu, network = torch.device("cpu"), tiny.model.model.diffusion_model
    assert not precision.pays(network, torch.float32, cpu, 50)
    assert not precision.pays(Big(), torch.bfloat16, cpu, 50) and not precision.pays(
        Big(), torch.float32, cpu, 2
    )
    assert not precision.pays(Big(), torch.float32, torch.device("cuda"), 50)
    assert precision.pays(Big(), torch.float32, cpu, 50) == precision.fast_on_this_processor()
    model, book = tiny.attach(step=STEP, shifts=SHIFTS)
    assert "bfloat16" not in book.find(tiny.sample(model, steps=4)).recipes[0].status


def run(tiny, **changes):
    said = []
    model, book = tiny.attach(on_status=said.append, step=STEP, shifts=SHIFTS, **changes)
    out = tiny.sample(model, steps=4)
    (action,) = book.find(out).recipes
    assert said[0].startswith(action.status)
    return out, action


def test_a_run_in_bfloat16_counts_its_comparison_and_says_how_well_they_agree(
    tiny, precision, pack_module, monkeypatch
):
    monkeypatch.setattr(pack_module("gsn_ops.host.sampling.recipe_run"), "AGREEMENT", 0.99)
    full, exact = run(tiny, precision="full")
    half, action = run(tiny, precision="bfloat16")
    assert (
        "products in bfloat16 (the gradient in bfloat16 agrees to a cosine of 0.999" in action.status
        and "bfloat16" not in exact.status
    )
    assert (action.forwards, action.backwards) == (exact.forwards + 1, exact.backwards + 1)
    assert (
        action.losses[0] == exact.losses[0] and action.losses[1] != exact.losses[1]
    )  # the first one is in full
    assert not torch.equal(half, full) and (half - full).abs().mean() < 0.05 * full.std()
    assert torch.equal(run(tiny, precision="bfloat16")[0], half)


def test_a_gradient_that_does_not_agree_leaves_the_run_in_full_precision(tiny, pack_module, monkeypatch):
    monkeypatch.setattr(pack_module("gsn_ops.host.sampling.recipe_run"), "AGREEMENT", 1.1)
    half, action = run(tiny, precision="bfloat16")
    assert torch.equal(half, run(tiny, precision="full")[0])
    assert "full precision (the gradient in bfloat16 agrees to a cosine of 0.999" in action.status


def test_guidance_compares_at_its_first_step(tiny, pack_module, monkeypatch):
    monkeypatch.setattr(pack_module("gsn_ops.host.sampling.recipe_run"), "AGREEMENT", 0.99)
    recipes, sampling = pack_module("gsn_ops.optimise.recipes"), pack_module("gsn_ops.host.sampling.patch")
    actions = []
    for name in ("full", "bfloat16"):
        guide = dataclasses.replace(recipes.Guide(), precision=name, report="curve")
        model, book = sampling.attach(tiny.model, guide)
        actions += book.find(tiny.sample(model, steps=6)).recipes
    full, half = actions
    assert half.forwards == full.forwards + 1 and len(half.steps) == len(full.steps) > 1
    assert half.losses[0] == full.losses[0] and half.losses[1] != full.losses[1]


def test_a_shift_that_is_not_needed_compares_nothing(tiny):
    _, action = run(tiny, precision="bfloat16", only_if_needed=True, present_at=0.0, report="curve")
    assert (action.forwards, action.updates) == (1, (0,)) and "bfloat16" not in action.status


def test_precision_can_be_typed_among_the_overrides(pack_module):
    settings, presets = pack_module("gsn_ops.optimise.overrides"), pack_module("gsn_ops.optimise.recipes")
    (recipe,) = settings.override((presets.Refine(),), "shifts=3, precision=full")
    assert (recipe.shifts, recipe.precision) == (3, "full")
    with pytest.raises(ValueError, match="character 1: precision is 'half': choose auto, full or bfloat16"):
        settings.override((presets.Refine(),), "precision=half")
