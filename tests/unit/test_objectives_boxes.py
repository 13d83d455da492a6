"""Objectives about boxes beyond LMD: BoxDiff, layout guidance, R&B and Bounded Attention, against plain loops."""
from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gsn_ops.maps import AttentionMaps, MapOptions, StepContext, subject_maps
from gsn_ops.objectives import check, shortfall
from gsn_ops.objectives.bounded import Bounded, leak, words_and_end
from gsn_ops.objectives.boxdiff import BoxDiff, corner, strongest
from gsn_ops.objectives.layout_guidance import LayoutGuidance, outside
from gsn_ops.objectives.placed import phrase_columns, placed
from gsn_ops.objectives.rnb import RegionAndBoundary, boundary_loss, bounding_box, covering, region_loss, resized, sobel
from gsn_ops.objectives.self_rows import ENTRIES_AT_ONCE, mixture
from gsn_ops.prompt import Span, SubjectColumns, SubjectPhrase
from gsn_ops.regions import Region, box_mask

N = 10
BOXES = {"cat": (0.1, 0.2, 0.5, 0.8), "dog": (0.55, 0.3, 0.95, 0.9)}
LAYOUTS = [BoxDiff(), LayoutGuidance(), RegionAndBoundary(), Bounded()]


def subject(label, noun, *modifiers, role="wanted", encoder="l"):
    return SubjectColumns(SubjectPhrase(label, label, role=role), {encoder: noun}, tuple({encoder: m} for m in modifiers))


CAT, DOG = subject("cat", (3,), (2,)), subject("dog", (6, 7))


def attention(*shape, seed=0):
    """Probabilities [B, heads, h, w, n]."""
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (2 * logits).softmax(-1)


def self_attention(cells, seed=9):
    """[cells, cells], rows sum to 1."""
    return torch.randn(cells, cells, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).softmax(-1)


def maps_of(*layers, own=None, prompt=(Span("l", 1, 8),), level=4):
    """Layers [B, heads, h, w, n] of one level; own: self-attention [cells, cells] of every image."""
    cross = torch.stack([a.mean(1) for a in layers]).mean(0)
    rows = {} if own is None else {level: lambda cells: own[cells].unflatten(-1, cross.shape[1:3])}
    return AttentionMaps({level: cross}, tuple(range(N)), (Span("l", 1, N - 1),), {level: layers}, rows, prompt)


def context(boxes=None, **regions):
    boxes = BOXES if boxes is None else boxes
    return StepContext(3, 50, 9.3, 9.4, None, {label: Region(boxes=(box,)) for label, box in boxes.items()} | regions, {})


def cells_of(box, h, w, convention):
    mask = box_mask(box, h, w, convention)
    return [(y, x) for y in range(h) for x in range(w) if mask[y, x]]


# --- which subjects have a place -------------------------------------------------------------------------------------

@pytest.mark.parametrize("objective", LAYOUTS, ids=lambda o: type(o).__name__)
@pytest.mark.parametrize("regions", [{}, {"bird": Region(boxes=((0, 0, 1, 1),))}, {"cat": Region(point=(0.5, 0.5))}],
                         ids=["none", "of another", "a point"])
def test_without_a_box_there_is_an_error_before_and_at_the_call(objective, regions):
    nowhere = StepContext(3, 50, 9.3, 9.4, None, regions, {})
    with pytest.raises(ValueError, match="no subject of this prompt has a box or mask .*'cat', 'dog'.*Add a Subject Region"):
        check(objective, [CAT, DOG], regions)
    with pytest.raises(ValueError, match="Add a Subject Region"):
        objective(maps_of(attention(1, 2, 8, 8, N), own=self_attention(64)), [CAT, DOG], nowhere)


@pytest.mark.parametrize("objective", [BoxDiff(), LayoutGuidance(), Bounded()], ids=lambda o: type(o).__name__)
def test_subjects_without_a_box_are_left_alone(objective):
    maps, only_cat = maps_of(attention(2, 2, 8, 8, N), own=self_attention(64)), context({"cat": BOXES["cat"]})
    assert torch.equal(objective(maps, [DOG, CAT], only_cat), objective(maps, [CAT], only_cat))
    check(objective, [DOG, CAT], only_cat.regions)


def test_an_unwanted_subject_has_no_place():
    bird = subject("cat", (8,), role="unwanted")
    with pytest.raises(ValueError, match="Add a Subject Region"):
        check(BoxDiff(), [bird], context().regions)


def test_places_are_cells_of_the_grid():
    ((j, mask),) = placed([DOG, CAT], context({"cat": (0.0, 0.0, 0.5, 0.25)}), 8, 6, "lmd")
    assert j == 1 and mask.shape == (8, 6) and mask.sum() == 2 * 3 and mask[:2, :3].all()


def test_columns_of_a_phrase_are_those_of_the_encoders_at_hand():
    both = SubjectColumns(SubjectPhrase("red cat", "cat"), {"l": (3,), "g": (3, 4), "t5": (20,)}, ({"l": (2,), "t5": (19,)},))
    maps = AttentionMaps({}, tuple(range(24)), (Span("l", 1, 8), Span("g", 1, 8)))
    assert phrase_columns(maps, both) == [2, 3, 4]
    with pytest.raises(ValueError, match="'red cat' has no column"):
        phrase_columns(AttentionMaps({}, (0,), (Span("q", 0, 1),)), both)


# --- BoxDiff ---------------------------------------------------------------------------------------------------------

def boxdiff_by_loops(m, box, convention, p, reach):
    """METHODS 2.11 for one map [h, w]."""
    h, w = m.shape
    inside = cells_of(box, h, w, convention)
    values_in = sorted((m[y, x].item() for y, x in inside), reverse=True)
    values_out = sorted((m[y, x].item() for y in range(h) for x in range(w) if (y, x) not in inside), reverse=True)
    fg, bg = (sum(v[:max(1, int(p * len(v)))]) / max(1, int(p * len(v))) for v in (values_in, values_out))
    xs, ys = sorted({x for _, x in inside}), sorted({y for y, _ in inside})
    loss = 1 - fg + bg
    for n, used, highest in ((w, xs, m.amax(0)), (h, ys, m.amax(1))):
        near = [i for i in range(n) if abs(i - used[0]) <= reach or abs(i - used[-1] - 1) <= reach]
        loss += sum(abs(highest[i].item() - (i in used)) for i in near) / n
    return loss, fg


@pytest.mark.parametrize("options", [{}, {"mask": "inclusive", "floor_at_zero": False, "p": 0.35, "corner": 2}], ids=["published", "saga"])
@pytest.mark.parametrize("grid", [(16, 16), (24, 40)])
def test_boxdiff_is_the_sum_of_its_terms(options, grid):
    objective, maps = BoxDiff(**options), maps_of(attention(2, 1, *grid, N))
    m = subject_maps(maps, [CAT, DOG], MapOptions())
    parts = [[boxdiff_by_loops(m[b, j], BOXES[label], objective.mask, objective.p, objective.corner)
              for j, label in enumerate(BOXES)] for b in range(2)]
    assert objective(maps, [CAT, DOG], context()).tolist() == pytest.approx([sum(loss for loss, _ in image) for image in parts])
    lacking = shortfall(objective, maps, [CAT, DOG], context(), 0.7, None)
    assert lacking.tolist() == pytest.approx([max(1 - fg for _, fg in image) - (1 - 0.7) for image in parts])


def test_boxdiff_counts_at_least_one_cell():
    m = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0))
    mask = box_mask((0.5, 0.5, 0.5, 0.5), 8, 8, "round")
    assert strongest(m, mask, 0.2).item() == m[0][mask].item()
    assert strongest(m, torch.ones(8, 8, dtype=torch.bool), 0.2).item() == pytest.approx(m.flatten().sort().values[-12:].mean())
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


# --- layout guidance -------------------------------------------------------------------------------------------------

def test_layout_guidance_is_a_mean_over_layers_subjects_words_and_heads():
    layers = [attention(2, 3, 8, 8, N, seed=s) for s in (1, 2)]
    expected = []
    for b in range(2):
        terms = []
        for a in layers:
            for columns, label in (((2, 3), "cat"), ((6, 7), "dog")):
                inside = cells_of(BOXES[label], 8, 8, "floor")
                shares = [[sum(a[b, head, y, x, c].item() for y, x in inside) / a[b, head, :, :, c].sum().item()
                           for head in range(3)] for c in columns]
                terms.append(sum(sum((1 - s) ** 2 for s in heads) / 3 for heads in shares) / 2)
        expected.append(30 * sum(terms) / (2 * 2))
    maps = maps_of(*layers)
    assert LayoutGuidance()(maps, [CAT, DOG], context()).tolist() == pytest.approx(expected)
    assert LayoutGuidance(loss_scale=1.0)(maps, [CAT, DOG], context()).tolist() == pytest.approx([e / 30 for e in expected])
    lacking = shortfall(LayoutGuidance(), maps, [CAT, DOG], context(), 0.2, None)
    assert lacking.tolist() == pytest.approx([e / 30 - 0.2 for e in expected])


def test_layout_guidance_reads_every_level_on_its_own_grid():
    fine, coarse = attention(1, 2, 16, 16, N, seed=1), attention(1, 4, 8, 8, N, seed=2)
    both = AttentionMaps({4: fine.mean(1), 8: coarse.mean(1)}, tuple(range(N)), (Span("l", 1, 9),), {4: (fine,), 8: (coarse,)})
    alone = [LayoutGuidance()(maps_of(a, level=level), [CAT, DOG], context()) for a, level in ((fine, 4), (coarse, 8))]
    assert torch.allclose(LayoutGuidance()(both, [CAT, DOG], context()), sum(alone) / 2)


def test_outside_by_hand():
    mask = torch.tensor([[True, False]])
    assert outside(torch.tensor([[3.0, 1.0]]), mask).item() == pytest.approx(1 / 16)
    assert outside(torch.tensor([[0.0, 2.0]]), mask).item() == 1
    assert outside(torch.tensor([[2.0, 0.0]]), mask).item() == 0


# --- R&B -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("size", [(8, 8), (16, 16), (24, 40), (64, 64), (128, 64), (1, 1)])
def test_resized_is_bilinear_interpolation(size):
    m = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(resized(m, 64, 48), F.interpolate(m, (64, 48), mode="bilinear"))


def test_sobel_is_the_magnitude_of_both_slopes():
    m = torch.rand(2, 7, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=torch.float64)[None, None]
    along_x, along_y = F.conv2d(m[:, None], kernel), F.conv2d(m[:, None], kernel.mT)
    assert torch.allclose(sobel(m), (along_x**2 + along_y**2).sqrt()[:, 0])


def test_the_bounding_box_holds_every_true_cell_and_no_more():
    inside = torch.zeros(3, 5, 6, dtype=torch.bool)
    inside[0, 1, 4] = inside[0, 3, 2] = inside[1, 2, 2] = True
    box = bounding_box(inside)
    expected = torch.zeros_like(inside)
    expected[0, 1:4, 2:5] = expected[1, 2, 2] = True
    assert torch.equal(box, expected)


def rnb_region_by_loops(a, box):
    """METHODS 2.14 for one map [h, w]: (the four region terms, iou)."""
    h, w = a.shape
    inside = cells_of(box, h, w, "floor")
    low, high = a.min().item(), a.max().item()
    n = {(y, x): (a[y, x].item() - low) / (high - low) for y in range(h) for x in range(w)}
    mean_in = sum(n[c] for c in inside) / len(inside)
    mean_out = sum(v for c, v in n.items() if c not in inside) / max(1, h * w - len(inside))
    tau = 0.4 * mean_in + 0.6 * mean_out
    ys, xs = zip(*[c for c, v in n.items() if v > tau], strict=True)
    t = [(y, x) for y in range(min(ys), max(ys) + 1) for x in range(min(xs), max(xs) + 1)]
    common = len(set(t) & set(inside))
    iou = common / len(set(t) | set(inside))
    soft = {c: 1 / (1 + 2.718281828459045 ** (-20 * (v - tau))) for c, v in n.items()}
    soft_in = sum(soft[c] for c in inside) / sum(soft.values())
    return 2 * (1 - (1 - iou) * common / len(t)) + 2 * (1 - 0.5 * (1 - iou) * soft_in), iou


def blob_map(y, x, width, h=64, w=64):
    ys, xs = torch.meshgrid(torch.arange(h, dtype=torch.float64), torch.arange(w, dtype=torch.float64), indexing="ij")
    return torch.exp(-((ys - y) ** 2 + (xs - x) ** 2) / (2 * width**2))


def test_region_loss_has_the_published_value():
    m = torch.stack([blob_map(30, 20, 8), blob_map(50, 50, 15), torch.rand(64, 64, dtype=torch.float64)])
    loss, iou, flat = region_loss(m, box_mask(BOXES["cat"], 64, 64, "floor"))
    expected = [rnb_region_by_loops(a, BOXES["cat"]) for a in m]
    assert loss.tolist() == pytest.approx([e[0] for e in expected])
    assert iou.tolist() == pytest.approx([e[1] for e in expected])
    assert not flat.any()


def test_the_gradient_goes_straight_through_the_region():
    """d/dn of 1 - w sum(B (TB + n)) / |T| and of 1 - w |TB| / sum(T + n), as if n were added to the boxes."""
    t, b = box_mask((0.1, 0.1, 0.6, 0.7), 8, 8)[None].double(), box_mask((0.3, 0.2, 0.9, 0.9), 8, 8).double()
    n = torch.rand(1, 8, 8, dtype=torch.float64).requires_grad_(True)
    w = torch.tensor([0.7], dtype=torch.float64)
    straight = n - n.detach()
    loss = covering(t + straight, t * b + straight, b, w)
    (g,) = torch.autograd.grad(loss.sum(), n)
    area, common = t.sum(), (t * b).sum()
    assert loss.item() == pytest.approx((2 - 2 * w * common / area).item())
    assert torch.allclose(g[0], -w * b / area + w * common / area**2)


def test_rnb_leaves_a_subject_that_fills_its_box_and_a_flat_map():
    box = (0.25, 0.25, 0.75, 0.75)
    m = torch.full((3, 64, 64, N), 0.01, dtype=torch.float64)
    m[0, 16:48, 16:48, 3] = 0.5  # fills the box
    m[1, :20, :20, 3] = 0.5  # elsewhere; the third is flat
    m.requires_grad_(True)
    loss = RegionAndBoundary()(maps_of(m[:, None]), [subject("cat", (3,))], context({"cat": box}))
    (g,) = torch.autograd.grad(loss.sum(), m)
    assert loss[0] == 0 and loss[2] == 0 and g[[0, 2]].abs().max() == 0
    assert loss[1] > 1 and g[1, ..., 3].abs().max() > 0 and g.isfinite().all()
    better = RegionAndBoundary(enough=1.0)(maps_of(m[:, None]), [subject("cat", (3,))], context({"cat": (0.25, 0.25, 0.75, 0.7)}))
    assert better[0] > 0  # IoU 0.9 is enough by default only


def test_rnb_adds_the_boundary_where_a_rival_holds_the_maximum():
    a = attention(2, 1, 16, 16, N)
    a[0, 0, 12, 1, 3] = a[1, 0, 8, 4, 3] = 3.0  # highest outside the cat's box; inside it
    maps, objective = maps_of(a), RegionAndBoundary()
    both = objective(maps, [CAT, DOG], context())
    raw = resized(a[:, 0].movedim(-1, 1), 64, 64)  # [B, n, 64, 64]
    big = AttentionMaps({4: raw.movedim(1, -1)}, maps.columns, maps.spans)
    soft = subject_maps(big, [CAT, DOG], objective.maps)
    expected = torch.zeros(2, dtype=torch.float64)
    for j, (columns, label) in enumerate((((2, 3), "cat"), ((6, 7), "dog"))):
        m, mask = sum(raw[:, c] for c in columns), box_mask(BOXES[label], 64, 64, "floor")
        for b in range(2):
            loss, iou, _ = region_loss(m[b:b + 1], mask)
            rival = m[b][~mask].max() > m[b][mask].max()
            if label == "cat":
                assert rival == (b == 0)
            edge = boundary_loss(soft[b:b + 1, j], mask, iou) if rival else 0
            expected[b] += ((loss + edge) * (iou < 0.85)).item() / 2
    assert torch.allclose(both, expected)
    edges = sobel(soft[:1, 0] / soft[0, 0].max())[0]
    inside = box_mask(BOXES["cat"], 64, 64, "floor")[1:-1, 1:-1]
    value = boundary_loss(soft[:1, 0], box_mask(BOXES["cat"], 64, 64, "floor"), torch.tensor([0.4]))
    assert value.item() == pytest.approx(1 - 0.6 * (edges[inside].sum() / edges.sum()).item())


def test_rnb_keeps_the_shape_of_the_picture():
    seen = []
    objective = RegionAndBoundary()
    big = objective._enlarged(maps_of(attention(1, 1, 24, 40, N)))
    seen.append(tuple(big.cross[4].shape))
    assert seen == [(1, 38, 64, N)]


# --- Bounded Attention -----------------------------------------------------------------------------------------------

def test_bounded_against_loops():
    layers, own = [attention(2, 3, 8, 8, N, seed=s) for s in (1, 2)], self_attention(64)
    boxes = {label: cells_of(box, 8, 8, "lmd") for label, box in BOXES.items()}
    free = [(y, x) for y in range(8) for x in range(8) if all((y, x) not in cells for cells in boxes.values())]
    assert free
    words = {"cat": (2, 3, 8), "dog": (6, 7, 8)}  # 8 is the end marker
    expected = []
    for b in range(2):
        cross = own_part = 0.0
        for label, cells in boxes.items():
            for head in range(3):
                fg, bg = (sum(a[b, head, y, x, c].item() for a in layers for y, x in some for c in words[label]) / 2 for some in (cells, free))
                cross += (1 - fg / (fg + 2 * bg)) ** 2 / 3
            fg, bg = (sum(own[8 * y + x, 8 * v + u].item() for y, x in some for v, u in cells) for some in (cells, free))
            own_part += (1 - fg / (fg + 2 * bg)) ** 2
        expected.append(1.5 * cross + 0.5 * own_part)
    maps = maps_of(*layers, own=own)
    assert Bounded()(maps, [CAT, DOG], context()).tolist() == pytest.approx(expected)
    lacking = shortfall(Bounded(), maps, [CAT, DOG], context(), 0.2, None)
    assert lacking.tolist() == pytest.approx([e / 2 - 0.2 for e in expected])


def test_bounded_without_its_self_part_needs_no_self_attention():
    maps = maps_of(attention(1, 2, 8, 8, N))
    assert Bounded(self_weight=0.0)(maps, [CAT, DOG], context()).isfinite().all()
    with pytest.raises(ValueError, match="No self-attention was captured on level 4"):
        Bounded()(maps, [CAT, DOG], context())


def test_the_end_marker_is_that_of_the_words_own_chunk_and_only_if_it_was_captured():
    chunks = (Span("l", 1, 5), Span("l", 6, 10))
    maps = AttentionMaps({}, tuple(range(N)), (Span("l", 1, 10),), prompt=chunks)
    assert words_and_end(maps, subject("cat", (3,))) == [3, 5]
    assert words_and_end(maps, subject("dog", (7,))) == [7]
    assert words_and_end(AttentionMaps({}, tuple(range(N)), (Span("l", 1, 9),)), subject("dog", (7,))) == [7]


def test_leak_by_hand():
    one, none = torch.tensor([1.0]), torch.tensor([0.0])
    assert leak(one, none, 3).item() == 0 and leak(none, one, 3).item() == 1 and leak(none, none, 3).item() == 1
    assert leak(one, one, 3).item() == pytest.approx((3 / 4) ** 2)


# --- rows of self-attention ------------------------------------------------------------------------------------------

def test_mixtures_are_made_of_few_rows_at_a_time():
    h, w = 24, 40
    logits = torch.randn(2, h * w, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_(True)
    asked = []

    def rows(cells):
        asked.append(cells.shape[1])
        q = logits.gather(1, cells[..., None].expand(-1, -1, 4))
        return (q @ logits.mT).softmax(-1).unflatten(-1, (h, w))

    weights = torch.rand(2, 3, h, w, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_(True)
    maps = AttentionMaps({4: torch.zeros(2, h, w, 1)}, (0,), (), self_rows={4: rows})
    some = torch.rand(2, 3, h, w, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    whole = (weights.flatten(2) @ (logits @ logits.mT).softmax(-1)).unflatten(2, (h, w))
    mixed = mixture(maps, weights)
    assert torch.allclose(mixed, whole) and sum(asked) == h * w
    found, expected = (torch.autograd.grad((m * some).sum(), (weights, logits)) for m in (mixed, whole))
    assert all(torch.allclose(f, e) for f, e in zip(found, expected, strict=True))
    assert max(asked) * h * w <= ENTRIES_AT_ONCE
