"""Objectives put together: weighted sums, encoders one by one, tests of a refinement."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from gsn_ops.maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from gsn_ops.objectives.attend_and_excite import Presence
from gsn_ops.objectives.base import REGISTRY, check, shortfall
from gsn_ops.objectives.conform import Conform
from gsn_ops.objectives.divide_and_bind import TotalVariation
from gsn_ops.objectives.initno import InitNO
from gsn_ops.objectives.lmd import LMD
from gsn_ops.objectives.neglect import Neglect
from gsn_ops.objectives.per_encoder import ByEncoder, one_encoder
from gsn_ops.objectives.separation import Separation
from gsn_ops.objectives.syngen import SynGen
from gsn_ops.objectives.weighted_sum import WeightedSum
from gsn_ops.prompt import Span, SubjectColumns, SubjectPhrase
from gsn_ops.regions import Region

N = 10
HERE = StepContext(8, 50, 5.63, 5.72)


def word(label, *columns, role="wanted"):
    return SubjectColumns(SubjectPhrase(label, label, role=role), {"l": columns})


def attention(*shape, seed=0):
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (2 * logits).softmax(-1)


def maps_of(a, level=4):
    return AttentionMaps({level: a}, tuple(range(a.shape[-1])), (Span("l", 1, a.shape[-1] - 1),))


CAT, DOG, BIRD = word("cat", 3), word("dog", 5), word("bird", 7, role="unwanted")


@dataclass(frozen=True)
class Seen:
    """An objective that only says what it was shown."""

    log: list
    needs: MapNeeds = MapNeeds()

    def __call__(self, maps: AttentionMaps, subjects, context) -> Tensor:
        self.log.append((sorted(maps.cross), sorted(context.previous.cross) if context.previous else None))
        return next(iter(maps.cross.values())).sum((1, 2, 3))


def test_a_weighted_sum_is_one():
    maps, two = maps_of(attention(2, 8, 8, N)), [CAT, DOG]
    expected = 0.5 * Presence()(maps, two, HERE) + 3 * Separation()(maps, two, HERE)
    both = WeightedSum(((0.5, Presence()), (3.0, Separation())))
    assert torch.allclose(both(maps, two, HERE), expected)
    assert REGISTRY["weighted_sum"] is WeightedSum


def test_a_sum_of_sums_is_one_sum():
    inner = WeightedSum(((0.5, Presence()), (3.0, Separation())))
    outer = WeightedSum(((2.0, inner), (1.0, Conform())))
    assert outer.parts == ((1.0, Presence()), (6.0, Separation()), (1.0, Conform()))


def test_needs_are_joined():
    parts = (
        Presence(needs=MapNeeds((4,))),
        LMD(needs=MapNeeds((8, 4), heads=True)),
        InitNO(),
        Presence(needs=MapNeeds((1,), span="legacy_sd1")),
    )
    assert WeightedSum(tuple((1.0, part) for part in parts)).needs == MapNeeds(
        (1, 4, 8), True, True, "legacy_sd1"
    )
    assert WeightedSum(((1.0, Presence()), (1.0, SynGen()))).needs == MapNeeds()


def test_different_blocks_or_encoders_cannot_share_a_pass():
    with pytest.raises(ValueError, match="different blocks .auto, middle_up."):
        WeightedSum(((1.0, Presence()), (1.0, Presence(needs=MapNeeds(blocks="middle_up")))))
    with pytest.raises(ValueError, match="different encoders .all, clip."):
        WeightedSum(((1.0, Presence()), (1.0, Presence(needs=MapNeeds(encoders="clip")))))
    both = WeightedSum(((1.0, Presence(needs=MapNeeds(blocks="5-12", encoders="clip"))),))
    assert (both.needs.blocks, both.needs.encoders) == ("5-12", "clip")


def test_different_spans_cannot_share_a_pass():
    parts = (
        (1.0, Presence(needs=MapNeeds(span="legacy_sd1"))),
        (1.0, Separation(needs=MapNeeds(span="prompt_only"))),
    )
    with pytest.raises(
        ValueError, match="Presence needs 'legacy_sd1', Separation needs 'prompt_only'.*two nodes"
    ):
        WeightedSum(parts)


def test_an_empty_sum_is_refused():
    with pytest.raises(ValueError, match="at least one objective"):
        WeightedSum(())


def test_each_part_sees_its_own_levels_now_and_before():
    log: list = []
    parts = ((1.0, Seen(log, MapNeeds((4,)))), (1.0, Seen(log, MapNeeds((2, 8)))), (1.0, Seen(log)))
    maps = AttentionMaps(
        {2: attention(1, 8, 8, N), 4: attention(1, 4, 4, N), 8: attention(1, 2, 2, N)},
        tuple(range(N)),
        (Span("l", 1, N),),
    )
    WeightedSum(parts)(maps, [CAT], StepContext(8, 50, 5.6, 5.7, previous=maps))
    assert log == [([4], [4]), ([2, 8], [2, 8]), ([2, 4, 8], [2, 4, 8])]
    with pytest.raises(ValueError, match="level 16.*levels 2, 4, 8"):
        WeightedSum(((1.0, Seen(log, MapNeeds((16,)))),))(maps, [CAT], HERE)


def test_parts_have_their_own_subjects():
    maps = maps_of(attention(2, 8, 8, N))
    both = WeightedSum(((1.0, Presence()), (2.0, Neglect(tau=0.0))))
    wanted, unwanted = Presence()(maps, [CAT, DOG], HERE), Neglect(tau=0.0)(maps, [BIRD], HERE)
    assert torch.allclose(both(maps, [CAT, DOG, BIRD], HERE), wanted + 2 * unwanted)
    assert torch.equal(both(maps, [CAT, DOG], HERE), wanted)
    assert torch.equal(both(maps, [BIRD], HERE), 2 * unwanted)
    check(both, [CAT], {})
    with pytest.raises(ValueError, match="no subject"):
        both(maps, [], HERE)


def test_the_test_of_a_sum_is_the_hardest_of_its_parts_own_tests():
    maps, three = maps_of(attention(2, 8, 8, N)), [CAT, DOG, BIRD]
    plain = WeightedSum(((1.0, Presence()), (1.0, Separation())))
    loss = plain(maps, three, HERE)
    assert shortfall(plain, maps, three, HERE, 0.8, loss).tolist() == pytest.approx((loss - 0.2).tolist())
    own = WeightedSum(((1.0, Presence()), (1.0, TotalVariation()), (1.0, Neglect())))
    hardest = torch.maximum(
        TotalVariation().shortfall(maps, three, HERE, 0.2), Neglect().shortfall(maps, three, HERE, 0.2)
    )
    assert torch.equal(shortfall(own, maps, three, HERE, 0.2, own(maps, three, HERE)), hardest)


def test_a_sum_checks_its_parts_and_tells_how_the_first_processes_maps():
    options = MapOptions(kernel_size=0)
    both = WeightedSum(((1.0, SynGen()), (1.0, Presence(maps=options)), (1.0, LMD())))
    assert both.maps is options
    check(both, [CAT], {"cat": Region(boxes=((0, 0, 1, 1),))})
    with pytest.raises(ValueError, match="Subject Region"):
        check(both, [CAT], {})


def test_the_default_test_of_a_refinement_is_the_threshold_on_attention():
    maps, loss = maps_of(attention(2, 8, 8, N)), torch.tensor([0.1, 0.9])
    assert shortfall(Presence(), maps, [CAT], HERE, 0.5, loss).tolist() == pytest.approx([-0.4, 0.4])


def two_encoders(seed=0):
    a, clip, t5 = attention(2, 8, 8, 16, seed=seed), Span("l", 1, 8), Span("t5", 9, 15)
    maps = AttentionMaps({4: a}, tuple(range(16)), (clip, t5), prompt=(Span("l", 1, 6), Span("t5", 9, 13)))
    return maps, SubjectColumns(SubjectPhrase("cat", "cat"), {"l": (3,), "t5": (10,)})


def test_one_encoder_leaves_its_spans_and_the_subjects_that_it_knows():
    maps, cat = two_encoders()
    view, known = one_encoder(maps, [cat, DOG], "t5")
    assert view.spans == (Span("t5", 9, 15),) and view.prompt == (Span("t5", 9, 13),) and known == [cat]


def test_encoders_apart_is_the_mean_of_their_losses():
    maps, cat = two_encoders()
    losses = {name: Presence()(*one_encoder(maps, [cat, DOG], name), HERE) for name in ("l", "t5")}
    apart = ByEncoder(Presence())
    assert torch.allclose(apart(maps, [cat, DOG], HERE), (losses["l"] + losses["t5"]) / 2)
    assert torch.equal(apart(maps, [DOG], HERE), Presence()(one_encoder(maps, [DOG], "l")[0], [DOG], HERE))
    assert not torch.allclose(apart(maps, [cat], HERE), Presence()(maps, [cat], HERE))
    test = shortfall(apart, maps, [cat, DOG], HERE, 0.8, apart(maps, [cat, DOG], HERE))
    assert torch.allclose(test, apart(maps, [cat, DOG], HERE) - 0.2)


def test_encoders_apart_keep_apart_what_they_remember():
    rows = {4: lambda cells: torch.full((*cells.shape, 8, 8), 1 / 64, dtype=torch.float64)}
    objective, here = InitNO("refine"), StepContext(8, 50, 5.63, 5.72, memory={})
    single = {name: StepContext(8, 50, 5.63, 5.72, memory={}) for name in ("l", "t5")}
    for seed in (0, 1):
        maps, cat = two_encoders(seed)
        maps = AttentionMaps(maps.cross, maps.columns, maps.spans, self_rows=rows)
        together = ByEncoder(objective)(maps, [cat], here)
        apart = [objective(*one_encoder(maps, [cat], name), single[name]) for name in ("l", "t5")]
        assert torch.allclose(together, sum(apart) / 2)


def test_encoders_apart_pass_on_what_an_objective_says_of_itself():
    assert ByEncoder(LMD()).needs == LMD().needs and ByEncoder(Neglect()).role == "unwanted"
    assert ByEncoder(Presence(maps=MapOptions(kernel_size=0))).maps == MapOptions(kernel_size=0)
    with pytest.raises(ValueError, match="Subject Region"):
        check(ByEncoder(LMD()), [CAT], {})


def test_the_noise_phase_of_initno_judges_the_mean_of_the_encoders_terms():
    rows = {4: lambda cells: torch.full((*cells.shape, 8, 8), 1 / 64, dtype=torch.float64)}
    maps, cat = two_encoders()
    maps = AttentionMaps(maps.cross, maps.columns, maps.spans, self_rows=rows)
    clip, t5 = (InitNO("init").terms(*one_encoder(maps, [cat], name), HERE) for name in ("l", "t5"))
    both = ByEncoder(InitNO("init")).terms(maps, [cat], HERE)
    assert torch.equal(both.cross, (clip.cross + t5.cross) / 2) and not torch.equal(clip.cross, t5.cross)
    assert torch.equal(both.clean, (clip.clean + t5.clean) / 2)


def test_subjects_that_no_encoder_knows_are_refused():
    maps, _ = two_encoders()
    with pytest.raises(ValueError, match="No encoder knows.*l, t5"):
        ByEncoder(Presence())(maps, [SubjectColumns(SubjectPhrase("x", "x"), {})], HERE)
