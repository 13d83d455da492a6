"""What every objective owes: gradients, each image for itself, finite at every edge, dtype and device
kept.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gsn_ops.maps import AttentionMaps, MapOptions, StepContext
from gsn_ops.objectives import _foreground
from gsn_ops.objectives.attend_and_excite import Presence
from gsn_ops.objectives.base import REGISTRY, check_prompt, options
from gsn_ops.objectives.count_kl import CountBlobs
from gsn_ops.objectives.lmd_transfer import reference_key, word_maps
from gsn_ops.prompt import Span, SubjectColumns, SubjectPhrase
from gsn_ops.regions import Region

from ..support.device_sync import Waiting

LEVEL = 2
N = 12  # text columns, the last three behind the prompt
DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


def of(name, **chosen):
    return lambda: REGISTRY[name](**chosen)


MADE = {
    "presence": of("presence"),
    "iou": of("iou"),
    "cn_iou": of("cn_iou"),
    "syngen": of("syngen"),
    "syngen entities": of("syngen", include_entities=True),
    "syngen group_mean": of("syngen", variant="group_mean", skip=1),
    "tv": of("tv"),
    "tv textbook": of("tv", tv="textbook"),
    "tv_bind": of("tv_bind"),
    "initno init": of("initno"),
    "initno refine": of("initno", phase="refine"),
    "initno guidance": of("initno", phase="guidance", top_k=3),
    "astar": of("astar"),
    "retention": of("retention"),
    "retention previous": of("retention", source="previous"),
    "neglect": of("neglect"),
    "point_kl": of("point_kl"),
    "point_kl reverse": of("point_kl", direction="reverse"),
    "lmd": of("lmd"),
    "lmd mean": of("lmd", heads="mean"),
    "lmd_transfer": of("lmd_transfer"),
    "relation": of("relation", margin=1.0),  # of every image above 0
    "count_kl": of("count_kl"),
    "boxdiff": of("boxdiff"),
    "boxdiff saga": of("boxdiff", mask="inclusive", floor_at_zero=False),
    "layout_guidance": of("layout_guidance"),
    "rnb": of("rnb"),
    "bounded": of("bounded"),
    "conform": of("conform"),
    "ebama": of("ebama"),
    "ebama kl": of("ebama", distance="kl"),
    "selfcross": of("selfcross"),
    "selfcross step": of("selfcross", phase="guidance", normalise="always"),
    "focus": of("focus"),
    "focus_ae": of("focus_ae"),
    "focus_tv": of("focus_tv"),
    "sum": lambda: REGISTRY["weighted_sum"](
        ((0.5, Presence()), (2.0, REGISTRY["neglect"]()), (1.0, REGISTRY["initno"]()))
    ),
}


@pytest.fixture(params=MADE, scope="module")
def objective(request):
    return MADE[request.param]()


def attention(*shape, seed=0, dtype=torch.float64, device="cpu"):
    """Probabilities [B, heads, h, w, n]."""
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(shape, generator=generator, dtype=torch.float64)).softmax(-1).to(device, dtype)


def maps_of(a):
    """Maps of one layer with its heads; self-attention rows made of the same numbers."""

    def rows(cells):
        features = a[:, 0].flatten(1, 2)  # [B, (h w), n]
        own = features.gather(1, cells[..., None].expand(-1, -1, features.shape[-1]))
        logits = (own[:, :, None] * features[:, None]).sum(-1)  # [B, r, (h w)]
        return (3 * logits).softmax(-1).unflatten(-1, a.shape[2:4])

    return AttentionMaps(
        {LEVEL: a.mean(1)},
        tuple(range(N)),
        (Span("l", 1, N - 1),),
        {LEVEL: (a,)},
        {LEVEL: rows},
        (Span("l", 1, N - 3),),
    )


def subject(label, noun, *modifiers, role="wanted"):
    words = tuple({"l": m} for m in modifiers)
    return SubjectColumns(SubjectPhrase(label, label, role=role), {"l": noun}, words)


CAT, DOG, BIRD = (
    replace(subject("cat", (3,), (2,)), count=2, relations=(("left of", "dog"),)),
    replace(subject("dog", (6, 7), (4,), (5,)), count=3),
    subject("bird", (8,), role="unwanted"),
)
REGIONS = {
    "cat": Region(boxes=((0.0, 0.1, 0.4, 0.6), (0.6, 0.6, 0.9, 0.9)), point=(0.2, 0.3)),
    "dog": Region(boxes=((0.5, 0.2, 1.0, 0.8),), point=(1.0, 0.0)),
    "bird": Region(boxes=((0.1, 0.1, 0.9, 0.9),), point=(0.5, 0.5)),
}


def context_of(a, subjects, regions=REGIONS):
    """A step with an earlier one, regions, and LMD's references, all from other numbers than `a`."""
    before = attention(*a.shape, seed=77, dtype=a.dtype, device=a.device)
    reference = attention(*a.shape, seed=78, dtype=a.dtype, device=a.device)
    memory = {}
    for s in subjects:
        boxes = max(1, len(regions[s.label].boxes)) if s.label in regions else 1
        words = word_maps(maps_of(reference), s, LEVEL)
        memory[reference_key(s.label, LEVEL, 9)] = words[:, :, None].expand(-1, -1, boxes, -1, -1, -1)
    return StepContext(9, 50, 5.0, 5.1, maps_of(before), regions, memory)


def image_of(context, b):
    memory = {key: t[b : b + 1] for key, t in context.memory.items()}
    return replace(context, previous=context.previous.image(b), memory=memory)


def value_and_gradient(objective, a, subjects, context):
    a = a.detach().clone().requires_grad_(True)
    loss = objective(maps_of(a), subjects, replace(context, memory=dict(context.memory)))
    (g,) = torch.autograd.grad(loss.sum(), a)
    return loss.detach(), g


def finite(objective, a, subjects, context):
    loss, g = value_and_gradient(objective, a, subjects, context)
    assert loss.shape == (len(a),)
    assert loss.isfinite().all() and g.isfinite().all()


def test_the_matrix_knows_every_objective():
    assert {name.split()[0] for name in MADE} | {"weighted_sum"} >= set(REGISTRY)


STRAIGHT_THROUGH = {"rnb"}
"""Objectives with a gradient that is not the slope of their value, as published: tested by themselves."""


@pytest.mark.parametrize("name", [name for name in MADE if name not in STRAIGHT_THROUGH])
def test_gradcheck_in_double(name):
    objective = MADE[name]()
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(2, 2, 3, 4, N, generator=generator, dtype=torch.float64) / 2
    subjects = [CAT, DOG, BIRD]
    context = context_of(logits.softmax(-1), subjects)
    if isinstance(objective, CountBlobs):  # its centres stay within a step
        objective(maps_of(logits.softmax(-1)), subjects, context)

    def value(x):
        return objective(maps_of(x.softmax(-1)), subjects, replace(context, memory=dict(context.memory)))

    assert torch.autograd.gradcheck(value, logits.requires_grad_(True), fast_mode=True)


@pytest.mark.parametrize("grid", [(8, 8), (12, 20)])
def test_an_image_in_a_batch_is_the_image_alone(objective, grid):
    subjects = [CAT, DOG, BIRD]
    a = attention(3, 2, *grid, N, dtype=torch.float32)
    context = context_of(a, subjects)
    losses, together = value_and_gradient(objective, a, subjects, context)
    assert len(set(losses.tolist())) == 3 and all(g.abs().max() > 0 for g in together)
    for b in range(3):
        loss, alone = value_and_gradient(objective, a[b : b + 1], subjects, image_of(context, b))
        assert torch.equal(loss, losses[b : b + 1])
        assert torch.equal(alone, together[b : b + 1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("device", DEVICES)
def test_dtype_and_device_are_kept(objective, dtype, device):
    subjects = [CAT, DOG, BIRD]
    a = attention(2, 2, 8, 8, N, dtype=dtype, device=device)
    loss, g = value_and_gradient(objective, a, subjects, context_of(a, subjects))
    assert loss.dtype == g.dtype == dtype and loss.device.type == device


def test_single_and_double_precision_agree(objective):
    subjects, a = [CAT, DOG, BIRD], attention(2, 2, 16, 16, N)
    context = context_of(a, subjects)
    exact, _ = value_and_gradient(objective, a, subjects, context)
    short = replace(context_of(a.float(), subjects))
    single, _ = value_and_gradient(objective, a.float(), subjects, short)
    assert single.tolist() == pytest.approx(exact.tolist(), rel=2e-5, abs=2e-6)


@pytest.mark.parametrize(
    "a",
    [
        torch.zeros(2, 2, 8, 8, N),
        torch.full((2, 2, 8, 8, N), 1 / N),
        torch.full((2, 2, 1, 1, N), 1 / N),
        torch.ones(2, 2, 8, 8, N),
        torch.zeros(2, 2, 1, 5, N),
        torch.full((2, 2, 5, 1, N), 0.5),
        torch.full((2, 2, 2, 2, N), 1e-30),
    ],
    ids=["zero", "flat", "one cell", "all ones", "one row", "one column", "tiny"],
)
def test_featureless_maps_give_finite_losses_and_gradients(objective, a):
    finite(objective, a, [CAT, DOG, BIRD], context_of(a, [CAT, DOG, BIRD]))


@pytest.mark.parametrize(
    "subjects",
    [
        [CAT, BIRD],
        [subject("cat", (3,)), BIRD],
        [subject("cat", (3,)), subject("dog", (6,)), BIRD],
        [CAT, subject("dog", (6,)), BIRD],
        [CAT, subject("dog", (3,)), BIRD],
    ],
    ids=["one subject", "one, no modifier", "no modifiers", "one with a modifier", "the same column"],
)
@pytest.mark.parametrize("grid", [(8, 8), (12, 20)])
def test_few_subjects_and_modifiers(objective, subjects, grid):
    a = attention(2, 2, *grid, N, dtype=torch.float32)
    finite(objective, a, subjects, context_of(a, subjects))


ALL, NOTHING = torch.ones(32, 32), torch.zeros(32, 32)


@pytest.mark.parametrize(
    "region",
    [
        Region(boxes=((0.4, 0.4, 0.41, 0.41),)),
        Region(boxes=((0.0, 0.0, 1.0, 1.0),)),
        Region(boxes=((0.9, 0.9, 2.0, 2.0),)),
        Region(mask=ALL),
        Region(mask=NOTHING),
        Region(boxes=((0.3, 0.3, 0.3, 0.3),), mask=NOTHING),
    ],
    ids=["one cell", "everything", "over the edge", "full mask", "empty mask", "empty box and mask"],
)
def test_extreme_regions(objective, region):
    regions = {label: replace(region, point=(0.0, 1.0)) for label in REGIONS}
    for grid in ((8, 8), (12, 20), (1, 1)):
        a = attention(2, 2, *grid, N, dtype=torch.float32)
        finite(objective, a, [CAT, DOG, BIRD], context_of(a, [CAT, DOG, BIRD], regions))


def test_the_first_step_has_no_previous_maps_and_no_memory(objective):
    a = attention(2, 2, 8, 8, N)
    finite(objective, a, [CAT, DOG, BIRD], StepContext(0, 50, 13.0, 13.0, None, REGIONS))


def test_unwanted_subjects_matter_to_nobody_but_neglect(objective):
    if objective in (MADE["neglect"](), MADE["sum"]()):
        return
    a = attention(2, 2, 8, 8, N)
    with_bird, g = value_and_gradient(objective, a, [CAT, DOG, BIRD], context_of(a, [CAT, DOG, BIRD]))
    without, h = value_and_gradient(objective, a, [CAT, DOG], context_of(a, [CAT, DOG]))
    assert torch.equal(with_bird, without) and torch.equal(g, h)


def test_check_passes_where_the_objective_can_work(objective):
    check_prompt(objective, [CAT, DOG, BIRD], REGIONS)


def test_maps_are_not_changed(objective):
    a = attention(2, 2, 8, 8, N)
    before, context = a.clone(), context_of(a, [CAT, DOG, BIRD])
    held = {key: t.clone() for key, t in context.memory.items()}
    objective(maps_of(a), [CAT, DOG, BIRD], context)
    assert torch.equal(a, before)
    assert all(torch.equal(context.memory[key], t) for key, t in held.items())


def test_options_are_plain_and_complete():
    assert options("syngen") == {"variant": "original", "include_entities": False, "skip": 0}
    assert options("tv_bind") == {"tv": "legacy", "attribute_levels": "same"}
    assert options("initno") == {"phase": "init", "top_k": 1, "overlap_target": 0.3}
    assert options("retention") == {"reduction": "mean", "mask": "inclusive", "source": "frozen"}
    assert options("lmd") == {"p": 0.2, "omega": 4.0, "mask": "lmd", "heads": "sum"}
    assert options("boxdiff") == {"mask": "round", "floor_at_zero": True, "p": 0.2, "corner": 1}
    assert options("neglect") == {"tau": 0.05} and options("weighted_sum") == {}
    for name, cls in REGISTRY.items():
        if options(name):
            assert cls(**options(name)) == cls()
            assert isinstance(getattr(cls(), "maps", MapOptions()), MapOptions)


@pytest.mark.parametrize(
    "name, wrong",
    [
        ("cn_iou", {"reduction": "half"}),
        ("syngen", {"variant": "mean"}),
        ("tv", {"tv": "new"}),
        ("tv_bind", {"tv": "new"}),
        ("tv_bind", {"attribute_levels": "1"}),
        ("initno", {"phase": "late"}),
        ("astar", {"mask": "oval"}),
        ("astar", {"source": "box"}),
        ("retention", {"reduction": "max"}),
        ("retention", {"mask": "oval"}),
        ("retention", {"source": "box"}),
        ("point_kl", {"direction": "up"}),
        ("lmd", {"heads": "max"}),
        ("lmd", {"mask": "oval"}),
        ("lmd_transfer", {"mask": "oval"}),
        ("boxdiff", {"mask": "oval"}),
        ("rnb", {"mask": "oval"}),
        ("layout_guidance", {"mask": "oval"}),
        ("bounded", {"mask": "oval"}),
        ("ebama", {"distance": "far"}),
        ("selfcross", {"phase": "late"}),
        ("selfcross", {"normalise": "no"}),
        ("selfcross", {"joined": "min"}),
        ("focus_tv", {"tv": "new"}),
    ],
)
def test_a_wrong_choice_names_the_option_and_its_values(name, wrong):
    ((option, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"'{option}' cannot be '{value}': choose one of "):
        REGISTRY[name](**wrong)


@pytest.mark.parametrize(
    "name, wrong",
    [
        ("conform", {"temperature": 0.0}),
        ("layout_guidance", {"loss_scale": 0.0}),
        ("rnb", {"size": 1}),
    ],
)
def test_a_number_that_cannot_work_is_refused_with_the_published_one(name, wrong):
    ((option, _),) = wrong.items()
    with pytest.raises(ValueError, match=f"'{option}' is .*published: "):
        REGISTRY[name](**wrong)


@pytest.mark.parametrize("name", MADE)
def test_no_objective_makes_the_cpu_wait(name, monkeypatch):
    """Forward and backward: what it needs of boxes and columns it knows without asking the device.

    A blob is grown until it is whole, which has to be asked (of a GPU once per width of the grid): not
    counted here.
    """
    monkeypatch.setattr(_foreground, "component", lambda inside, seed: inside)
    a, subjects = attention(2, 3, 8, 8, N), (CAT, DOG, BIRD)
    context = context_of(a, subjects)
    with Waiting() as waiting:
        value_and_gradient(MADE[name](), a, subjects, context)
    assert waiting.times == 0
