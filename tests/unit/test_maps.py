"""From raw attention to subject maps: spans, encoders, chunks, levels, smoothing, odd grids."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gsn_ops.maps import AttentionMaps, MapOptions
from gsn_ops.prompt import Span, SubjectColumns, SubjectPhrase
from gsn_ops.subject_maps import aggregate, group_maps, kernel_1d, smooth, subject_maps

PLAIN = MapOptions(kernel_size=0)


def raw(*shape, seed=0, dtype=torch.float64):
    return (
        torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype) / 20
    )


def subject(label, *modifiers, **noun):
    return SubjectColumns(SubjectPhrase(label, label), noun, modifiers)


def by_hand(a, groups, start, stop):
    """METHODS-free oracle: loops over pixels."""
    out = torch.zeros(a.shape[0], len(groups), *a.shape[1:3], dtype=a.dtype)
    for b in range(a.shape[0]):
        for y in range(a.shape[1]):
            for x in range(a.shape[2]):
                e = [torch.exp(100 * a[b, y, x, n]) for n in range(start, stop)]
                for j, g in enumerate(groups):
                    out[b, j, y, x] = sum(e[n - start] for n in g) / sum(e) / len(g)
    return out


@pytest.mark.parametrize("grid", [(8, 8), (5, 3), (2, 7)])
def test_group_maps_equal_the_written_out_softmax(grid):
    a = raw(2, *grid, 12)
    groups = [[2], [5, 6], [9]]
    assert torch.allclose(group_maps(a, groups, slice(1, 11), PLAIN), by_hand(a, groups, 1, 11), atol=1e-12)


def test_softmax_runs_over_the_span_only():
    a = raw(1, 4, 4, 10)
    loud = a.clone()
    loud[..., 0] += 9  # the start marker takes almost all attention in real models
    loud[..., 9] += 9
    assert torch.equal(group_maps(a, [[3]], slice(1, 9), PLAIN), group_maps(loud, [[3]], slice(1, 9), PLAIN))


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("size, sigma", [(1, 0.5), (3, 0.5), (5, 1.0), (7, 2.0)])
@pytest.mark.parametrize("grid", [(8, 8), (24, 40), (4, 5)])
def test_smooth_equals_reflect_pad_and_convolution(grid, size, sigma, legacy):
    m = raw(2, 3, *grid)
    axis = kernel_1d(size, sigma, legacy)
    padded = F.pad(m.flatten(0, 1)[:, None], [size // 2] * 4, mode="reflect")
    expected = F.conv2d(padded, axis[:, None].mul(axis)[None, None]).view_as(m)
    assert torch.allclose(smooth(m, size, sigma, legacy), expected, atol=1e-12)


def test_smooth_leaves_what_it_cannot_smooth():
    m = raw(1, 1, 3, 9)
    assert torch.equal(smooth(m, 0, 0.5), m)
    assert torch.equal(smooth(m, 7, 0.5), m)  # padding 3 would mirror beyond the 3 rows
    assert not torch.equal(smooth(m, 5, 0.5), m)
    with pytest.raises(ValueError, match="odd"):
        smooth(m, 4, 0.5)


def test_smooth_keeps_a_flat_map_flat():
    flat = torch.full((1, 2, 24, 40), 0.25)
    assert torch.allclose(smooth(flat, 3, 0.5), flat, atol=1e-7)


def test_kernel_sums_to_one_and_legacy_is_wider():
    for legacy in (True, False):
        assert kernel_1d(7, 0.8, legacy).sum().item() == pytest.approx(1, abs=1e-12)
    assert kernel_1d(3, 0.5, True)[0] > kernel_1d(3, 0.5, False)[0]
    assert torch.allclose(kernel_1d(3, 0.5, True), kernel_1d(3, 0.5 * 2**0.5, False))


def test_aggregate_is_the_mean_at_the_coarsest_level():
    coarse, fine = raw(2, 3, 5, 4), raw(2, 6, 10, 4, seed=1)
    together = aggregate(AttentionMaps({1: fine, 2: coarse}, (0, 1, 2, 3), ()))
    assert together.shape == coarse.shape
    flat_fine = torch.full((1, 8, 8, 2), 0.3)
    flat_coarse = torch.full((1, 4, 4, 2), 0.1)
    mean = aggregate(AttentionMaps({2: flat_coarse, 1: flat_fine}, (0, 1), ()))
    assert torch.allclose(mean, torch.full_like(flat_coarse, 0.2))
    assert aggregate(AttentionMaps({4: coarse}, (0, 1, 2, 3), ())) is coarse


def test_aggregate_keeps_places_and_columns_of_a_finer_level():
    fine, coarse = torch.zeros(1, 8, 12, 3), torch.zeros(1, 4, 6, 3)
    fine[0, 6:8, 2:4, 1] = 1
    mean = aggregate(AttentionMaps({1: fine, 2: coarse}, (0, 1, 2), ()))
    assert mean[0, ..., 1].argmax() == 3 * 6 + 1
    assert mean[0, ..., [0, 2]].abs().max() == 0


def test_columns_are_absolute_also_when_only_some_are_captured():
    a = raw(1, 4, 4, 20)
    all_columns = AttentionMaps({2: a}, tuple(range(20)), (Span("l", 5, 15),))
    some = AttentionMaps({2: a[..., 5:15]}, tuple(range(5, 15)), (Span("l", 5, 15),))
    dog = [subject("dog", l=(7, 9))]
    assert torch.equal(subject_maps(all_columns, dog, PLAIN), subject_maps(some, dog, PLAIN))
    with pytest.raises(KeyError):
        some.index([4])


def test_encoders_are_processed_apart_and_averaged():
    a = raw(1, 6, 4, 30)
    maps = AttentionMaps({2: a}, tuple(range(30)), (Span("l", 1, 10), Span("t5xxl", 12, 29)))
    both, only_l = subject("dog", l=(3,), t5xxl=(15, 16)), subject("cat", l=(5,))
    got = subject_maps(maps, [both, only_l], MapOptions())
    l_maps = group_maps(a, [[3], [5]], slice(1, 10), MapOptions())
    t5_map = group_maps(a, [[15, 16]], slice(12, 29), MapOptions())
    assert torch.allclose(got[:, 0], (l_maps[:, 0] + t5_map[:, 0]) / 2)
    assert torch.equal(got[:, 1], l_maps[:, 1])  # an encoder that does not know the word contributes nothing


def test_a_phrase_across_a_chunk_border_weighs_its_pieces():
    a = raw(1, 4, 4, 154)
    maps = AttentionMaps({2: a}, tuple(range(154)), (Span("l", 1, 76), Span("l", 78, 153)))
    got = subject_maps(maps, [subject("long word", l=(74, 75, 78))], PLAIN)
    first = group_maps(a, [[74, 75]], slice(1, 76), PLAIN)
    second = group_maps(a, [[78]], slice(78, 153), PLAIN)
    assert torch.allclose(got, first * 2 / 3 + second / 3)


def test_pieces_noun_or_phrase():
    a = raw(1, 4, 4, 10)
    maps = AttentionMaps({2: a}, tuple(range(10)), (Span("l", 1, 9),))
    red_car = SubjectColumns(SubjectPhrase("red car", "car", ("red",)), {"l": (4,)}, ({"l": (3,)},))
    assert torch.equal(subject_maps(maps, [red_car], PLAIN), group_maps(a, [[4]], slice(1, 9), PLAIN))
    phrase = MapOptions(kernel_size=0, pieces="phrase")
    assert torch.equal(subject_maps(maps, [red_car], phrase), group_maps(a, [[3, 4]], slice(1, 9), PLAIN))


def test_missing_subjects_are_named():
    maps = AttentionMaps({2: raw(1, 4, 4, 10)}, tuple(range(10)), (Span("l", 1, 9),))
    with pytest.raises(ValueError, match="'zebra'"):
        subject_maps(maps, [subject("dog", l=(2,)), subject("zebra", g=(3,))], PLAIN)
    with pytest.raises(ValueError, match="no subject"):
        subject_maps(maps, [], PLAIN)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept_and_float32_is_accurate(dtype):
    a = raw(2, 24, 40, 77)
    maps = AttentionMaps({2: a.to(dtype)}, tuple(range(77)), (Span("l", 1, 76),))
    exact = AttentionMaps({2: a}, tuple(range(77)), (Span("l", 1, 76),))
    subjects = [subject("dog", l=(2,)), subject("cat", l=(5, 6))]
    got = subject_maps(maps, subjects, MapOptions())
    assert got.dtype == dtype and got.shape == (2, 2, 24, 40)
    assert torch.allclose(got.double(), subject_maps(exact, subjects, MapOptions()), atol=1e-6)


def test_zero_attention_gives_uniform_maps():
    maps = AttentionMaps({2: torch.zeros(1, 8, 8, 77)}, tuple(range(77)), (Span("l", 1, 76),))
    m = subject_maps(maps, [subject("dog", l=(2,))], MapOptions())
    assert torch.allclose(m, torch.full_like(m, 1 / 75), atol=1e-7)


def test_image_is_one_row_of_everything():
    a, layer = raw(3, 4, 4, 6), raw(3, 2, 4, 4, 6, seed=1)
    selfs = raw(3, 16, 4, 4, seed=2)

    def rows(cells):  # [B, r] -> [B, r, h, w]
        assert cells.shape[0] == 3
        return torch.stack([selfs[b, cells[b]] for b in range(3)])

    one = AttentionMaps({2: a}, tuple(range(6)), (Span("l", 1, 5),), {2: (layer,)}, {2: rows}).image(1)
    assert torch.equal(one.cross[2], a[1:2]) and torch.equal(one.heads[2][0], layer[1:2])
    assert torch.equal(one.self_rows[2](torch.tensor([[3, 7]])), selfs[1:2, [3, 7]])
