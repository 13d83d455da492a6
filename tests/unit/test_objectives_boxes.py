"""Objectives about boxes beyond LMD: BoxDiff, layout guidance and Bounded Attention, against plain loops."""

from __future__ import annotations

import pytest
import torch

from gsn_ops.maps import AttentionMaps, MapOptions, StepContext
from gsn_ops.objectives._regions import phrase_columns, placed
from gsn_ops.objectives._self_attention import ENTRIES_AT_ONCE, weighted_rows
from gsn_ops.objectives.base import check_prompt, shortfall
from gsn_ops.objectives.bounded_attention import BoundedAttention, leak, words_and_end
from gsn_ops.objectives.boxdiff import BoxDiff, corner, strongest
from gsn_ops.objectives.layout_guidance import LayoutGuidance, box_energy
from gsn_ops.objectives.region_and_boundary import RegionAndBoundary
from gsn_ops.prompt import Span, SubjectColumns, SubjectPhrase
from gsn_ops.regions import Region, box_mask
from gsn_ops.subject_maps import subject_maps

N = 10
BOXES = {"cat": (0.1, 0.2, 0.5, 0.8), "dog": (0.55, 0.3, 0.95, 0.9)}
LAYOUTS = [BoxDiff(), LayoutGuidance(), RegionAndBoundary(), BoundedAttention()]


def subject(label, noun, *modifiers, role="wanted"):
    return SubjectColumns(
        SubjectPhrase(label, label, role=role), {"l": noun}, tuple({"l": m} for m in modifiers)
    )


CAT, DOG = subject("cat", (3,), (2,)), subject("dog", (6, 7))


def attention(*shape, seed=0):
    """Probabilities [B, heads, h, w, n]."""
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (2 * logits).softmax(-1)


def self_attention(cells, seed=9):
    """[cells, cells], rows sum to 1."""
    return torch.randn(
        cells, cells, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).softmax(-1)


def maps_of(*layers, own=None, level=4):
    """Layers [B, heads, h, w, n] of one level; own: self-attention [cells, cells] of every image."""
    cross = torch.stack([a.mean(1) for a in layers]).mean(0)
    rows = {} if own is None else {level: lambda cells: own[cells].unflatten(-1, cross.shape[1:3])}
    return AttentionMaps(
        {level: cross}, tuple(range(N)), (Span("l", 1, N - 1),), {level: layers}, rows, (Span("l", 1, 8),)
    )


def context(boxes=None):
    drawn = {label: Region(boxes=(box,)) for label, box in (BOXES if boxes is None else boxes).items()}
    return StepContext(3, 50, 9.3, 9.4, None, drawn, {})


def cells_of(box, h, w, convention):
    mask = box_mask(box, h, w, convention)
    return [(y, x) for y in range(h) for x in range(w) if mask[y, x]]


# --- which subjects have a place


@pytest.mark.parametrize("objective", LAYOUTS, ids=lambda o: type(o).__name__)
@pytest.mark.parametrize(
    "regions",
    [{}, {"bird": Region(boxes=((0, 0, 1, 1),))}, {"cat": Region(point=(0.5, 0.5))}],
    ids=["none", "of another", "a point"],
)
def test_without_a_box_there_is_an_error_before_and_at_the_call(objective, regions):
    nowhere = StepContext(3, 50, 9.3, 9.4, None, regions, {})
    with pytest.raises(
        ValueError, match="no subject of this prompt has a box or mask .*'cat', 'dog'.*Add a Subject"
    ):
        check_prompt(objective, [CAT, DOG], regions)
    with pytest.raises(ValueError, match="Add a Subject Region"):
        objective(maps_of(attention(1, 2, 8, 8, N), own=self_attention(64)), [CAT, DOG], nowhere)


@pytest.mark.parametrize(
    "objective", [BoxDiff(), LayoutGuidance(), BoundedAttention()], ids=lambda o: type(o).__name__
)
def test_subjects_without_a_box_are_left_alone(objective):
    maps, only_cat = maps_of(attention(2, 2, 8, 8, N), own=self_attention(64)), context({"cat": BOXES["cat"]})
    assert torch.equal(objective(maps, [DOG, CAT], only_cat), objective(maps, [CAT], only_cat))
    check_prompt(objective, [DOG, CAT], only_cat.regions)


def test_an_unwanted_subject_has_no_place():
    bird = subject("cat", (8,), role="unwanted")
    with pytest.raises(ValueError, match="Add a Subject Region"):
        check_prompt(BoxDiff(), [DOG, bird], context({"cat": BOXES["cat"]}).regions)


def test_places_are_cells_of_the_grid():
    ((j, mask),) = placed([DOG, CAT], context({"cat": (0.0, 0.0, 0.5, 0.25)}), (8, 6), "lmd")
    assert j == 1 and mask.shape == (8, 6) and mask.sum() == 2 * 3 and mask[:2, :3].all()


def test_columns_of_a_phrase_are_those_of_the_encoders_at_hand():
    red = {"l": (2,), "t5": (19,)}
    both = SubjectColumns(SubjectPhrase("red cat", "cat"), {"l": (3,), "g": (3, 4), "t5": (20,)}, (red,))
    maps = AttentionMaps({}, tuple(range(24)), (Span("l", 1, 8), Span("g", 1, 8)))
    assert phrase_columns(maps, both) == [2, 3, 4]
    with pytest.raises(ValueError, match="'red cat' has no column"):
        phrase_columns(AttentionMaps({}, (0,), (Span("q", 0, 1),)), both)


# --- BoxDiff


def boxdiff_by_loops(m, box, convention, p, reach):
    """METHODS 2.11 for one map [h, w]."""
    h, w = m.shape
    inside = cells_of(box, h, w, convention)
    values_in = sorted((m[y, x].item() for y, x in inside), reverse=True)
    values_out = sorted(
        (m[y, x].item() for y in range(h) for x in range(w) if (y, x) not in inside), reverse=True
    )
    fg, bg = (sum(v[: max(1, int(p * len(v)))]) / max(1, int(p * len(v))) for v in (values_in, values_out))
    xs, ys = sorted({x for _, x in inside}), sorted({y for y, _ in inside})
    loss = 1 - fg + bg
    for n, used, highest in ((w, xs, m.amax(0)), (h, ys, m.amax(1))):
        near = [i for i in range(n) if abs(i - used[0]) <= reach or abs(i - used[-1] - 1) <= reach]
        loss += sum(abs(highest[i].item() - (i in used)) for i in near) / n
    return loss, fg


@pytest.mark.parametrize(
    "options",
    [{}, {"mask": "inclusive", "floor_at_zero": False, "p": 0.35, "corner": 2}],
    ids=["published", "saga"],
)
@pytest.mark.parametrize("grid", [(16, 16), (24, 40)])
def test_boxdiff_is_the_sum_of_its_terms(options, grid):
    objective, maps = BoxDiff(**options), maps_of(attention(2, 1, *grid, N))
    m = subject_maps(maps, [CAT, DOG], MapOptions())
    parts = [
        [
            boxdiff_by_loops(m[b, j], BOXES[label], objective.mask, objective.p, objective.corner)
            for j, label in enumerate(BOXES)
        ]
        for b in range(2)
    ]
    expected = [sum(loss for loss, _ in image) for image in parts]
    assert objective(maps, [CAT, DOG], context()).tolist() == pytest.approx(expected)
    lacking = shortfall(objective, maps, [CAT, DOG], context(), 0.7, None)
    assert lacking.tolist() == pytest.approx([max(1 - fg for _, fg in image) - (1 - 0.7) for image in parts])


def test_boxdiff_counts_at_least_one_cell():
    m = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0))
    mask = box_mask((0.5, 0.5, 0.5, 0.5), 8, 8, "round")
    assert strongest(m, mask, 0.2).item() == m[0][mask].item()
    twelve = m.flatten().sort().values[-12:].mean()
    assert strongest(m, torch.ones(8, 8, dtype=torch.bool), 0.2).item() == pytest.approx(twelve)
    assert strongest(m, torch.zeros(8, 8, dtype=torch.bool), 0.2).item() == 0


def test_corners_compare_projections_near_the_edges_only():
    mask = box_mask((0.25, 0.0, 0.75, 1.0), 8, 8, "lmd")  # columns 2 ... 5
    m = mask[None].float()
    assert corner(m, mask, 1).item() == 0
    m[0, :, 7] = 1  # 6 + 1 = 7 is near the end, 0 is not near the start
    assert corner(m, mask, 1).item() == pytest.approx(1 / 8)
    m[0, :, 0] = 1
    assert corner(m, mask, 1).item() == pytest.approx(1 / 8)
    assert corner(m, mask, 2).item() == pytest.approx(2 / 8)


# --- layout guidance


def test_layout_guidance_is_a_mean_over_layers_subjects_words_and_heads():
    layers = [attention(2, 3, 8, 8, N, seed=s) for s in (1, 2)]
    expected = []
    for b in range(2):
        terms = []
        for a in layers:
            for columns, label in (((2, 3), "cat"), ((6, 7), "dog")):
                inside = cells_of(BOXES[label], 8, 8, "floor")
                shares = [
                    [
                        sum(a[b, head, y, x, c].item() for y, x in inside) / a[b, head, :, :, c].sum().item()
                        for head in range(3)
                    ]
                    for c in columns
                ]
                terms.append(sum(sum((1 - s) ** 2 for s in heads) / 3 for heads in shares) / 2)
        expected.append(30 * sum(terms) / (2 * 2))
    maps = maps_of(*layers)
    assert LayoutGuidance()(maps, [CAT, DOG], context()).tolist() == pytest.approx(expected)
    plain = LayoutGuidance(loss_scale=1.0)(maps, [CAT, DOG], context())
    assert plain.tolist() == pytest.approx([e / 30 for e in expected])
    lacking = shortfall(LayoutGuidance(), maps, [CAT, DOG], context(), 0.2, None)
    assert lacking.tolist() == pytest.approx([e / 30 - 0.2 for e in expected])


def test_layout_guidance_reads_every_level_on_its_own_grid():
    fine, coarse = attention(1, 2, 16, 16, N, seed=1), attention(1, 4, 8, 8, N, seed=2)
    both = AttentionMaps(
        {4: fine.mean(1), 8: coarse.mean(1)}, tuple(range(N)), (Span("l", 1, 9),), {4: (fine,), 8: (coarse,)}
    )
    alone = [
        LayoutGuidance()(maps_of(a, level=level), [CAT, DOG], context())
        for a, level in ((fine, 4), (coarse, 8))
    ]
    assert torch.allclose(LayoutGuidance()(both, [CAT, DOG], context()), sum(alone) / 2)


def test_outside_by_hand():
    mask = torch.tensor([[True, False]])
    assert box_energy(torch.tensor([[3.0, 1.0]]), mask).item() == pytest.approx(1 / 16)
    assert box_energy(torch.tensor([[0.0, 2.0]]), mask).item() == 1
    assert box_energy(torch.tensor([[2.0, 0.0]]), mask).item() == 0


# --- Bounded Attention


def test_bounded_against_loops():
    layers, own = [attention(2, 3, 8, 8, N, seed=s) for s in (1, 2)], self_attention(64)
    boxes = {label: cells_of(box, 8, 8, "lmd") for label, box in BOXES.items()}
    free = [
        (y, x) for y in range(8) for x in range(8) if all((y, x) not in cells for cells in boxes.values())
    ]
    assert free
    words = {"cat": (2, 3, 8), "dog": (6, 7, 8)}  # 8 is the end marker
    expected = []
    for b in range(2):
        cross = own_part = 0.0
        for label, cells in boxes.items():
            for head in range(3):
                fg, bg = (
                    sum(a[b, head, y, x, c].item() for a in layers for y, x in some for c in words[label]) / 2
                    for some in (cells, free)
                )
                cross += (1 - fg / (fg + 2 * bg)) ** 2 / 3
            fg, bg = (
                sum(own[8 * y + x, 8 * v + u].item() for y, x in some for v, u in cells)
                for some in (cells, free)
            )
            own_part += (1 - fg / (fg + 2 * bg)) ** 2
        expected.append(1.5 * cross + 0.5 * own_part)
    maps = maps_of(*layers, own=own)
    assert BoundedAttention()(maps, [CAT, DOG], context()).tolist() == pytest.approx(expected)
    lacking = shortfall(BoundedAttention(), maps, [CAT, DOG], context(), 0.2, None)
    assert lacking.tolist() == pytest.approx([e / 2 - 0.2 for e in expected])


def test_bounded_without_its_self_part_needs_no_self_attention():
    maps = maps_of(attention(1, 2, 8, 8, N))
    assert BoundedAttention(self_weight=0.0)(maps, [CAT, DOG], context()).isfinite().all()
    with pytest.raises(ValueError, match="No self-attention was captured on level 4"):
        BoundedAttention()(maps, [CAT, DOG], context())


def test_the_end_marker_is_that_of_the_words_own_chunk_and_only_if_it_was_captured():
    chunks = (Span("l", 1, 5), Span("l", 6, 10))
    maps = AttentionMaps({}, tuple(range(N)), (Span("l", 1, 10),), prompt=chunks)
    assert words_and_end(maps, subject("cat", (3,))) == [3, 5]
    assert words_and_end(maps, subject("dog", (7,))) == [7]
    assert words_and_end(AttentionMaps({}, tuple(range(N)), (Span("l", 1, 9),)), subject("dog", (7,))) == [7]


def test_leak_by_hand():
    one, none = torch.tensor([1.0]), torch.tensor([0.0])
    assert (
        leak(one, none, 3).item() == 0 and leak(none, one, 3).item() == 1 and leak(none, none, 3).item() == 1
    )
    assert leak(one, one, 3).item() == pytest.approx((3 / 4) ** 2)


# --- rows of self-attention


def test_mixtures_are_made_of_few_rows_at_a_time():
    h, w = 24, 40
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, h * w, 4, generator=generator, dtype=torch.float64).requires_grad_(True)
    asked = []

    def rows(cells):
        asked.append(cells.shape[1])
        q = logits.gather(1, cells[..., None].expand(-1, -1, 4))
        return (q @ logits.mT).softmax(-1).unflatten(-1, (h, w))

    weights = torch.rand(2, 3, h, w, generator=generator, dtype=torch.float64).requires_grad_(True)
    maps = AttentionMaps({4: torch.zeros(2, h, w, 1)}, (0,), (), self_rows={4: rows})
    some = torch.rand(2, 3, h, w, generator=generator, dtype=torch.float64)
    whole = (weights.flatten(2) @ (logits @ logits.mT).softmax(-1)).unflatten(2, (h, w))
    mixed = weighted_rows(maps, weights)
    assert torch.allclose(mixed, whole) and sum(asked) == h * w
    found, expected = (torch.autograd.grad((m * some).sum(), (weights, logits)) for m in (mixed, whole))
    assert all(torch.allclose(f, e) for f, e in zip(found, expected, strict=True))
    assert max(asked) * h * w <= ENTRIES_AT_ONCE
