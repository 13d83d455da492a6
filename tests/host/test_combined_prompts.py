"""Combined and regional prompts: the subjects of every entry are nursed together."""

import pytest
import torch

from ..support.demo_model import in_short

FIRST, SECOND = "a red circle", "a blue square and a green triangle"


@pytest.fixture(scope="module")
def parse(pack_module):
    return pack_module("gsn_ops.subjects.syntax").parse_subjects


@pytest.fixture(scope="module")
def pt(pack_module):
    return pack_module("gsn_ops.host.prompts.conditioning")


def combined(host, *conditionings):
    made, *more = conditionings
    for other in more:
        (made,) = host.ConditioningCombine().combine(made, other)
    return made


def area(host, conditioning, x):
    """The left or right half of the image, at x = 0 or 0.5."""
    return host.ConditioningSetAreaPercentage().append(conditioning, 0.5, 1.0, x, 0.0, 1.0)[0]


def masked(host, conditioning, left):
    mask = torch.zeros(1, 16, 16)
    mask[..., :8] = float(left)
    mask[..., 8:] = 1 - float(left)
    return host.ConditioningSetMask().append(conditioning, mask, "default", 1.0)[0]


def ranged(host, conditioning, start, end):
    return host.ConditioningSetTimestepRange().set_range(conditioning, start, end)[0]


def report_of(tiny, positive, **changes):
    patched, book = tiny.attach(**changes)
    tiny.sample(patched, positive=positive)
    return book.last()


def labels(report):
    return [s.label for s in report.subjects]


# --- subjects of every entry
@pytest.mark.parametrize("how", ["combined", "areas", "masks", "masks and a base prompt"])
def test_f8_subjects_of_every_entry_are_nursed(host, tiny, how):
    first, second = tiny.encode(FIRST), tiny.encode(SECOND)
    entries = {
        "combined": (first, second),
        "areas": (area(host, first, 0.0), area(host, second, 0.5)),
        "masks": (masked(host, first, True), masked(host, second, False)),
        "masks and a base prompt": (
            masked(host, first, True),
            masked(host, second, False),
            tiny.encode("a yellow star"),
        ),
    }[how]
    report = report_of(tiny, combined(host, *entries))
    wanted = ["red circle", "blue square", "green triangle"]
    if "base" in how:
        wanted = ["red circle", "blue square", "yellow star", "green triangle"]
    assert labels(report) == wanted and report.recipes[0].updates == (2,)
    assert any(f"{len(entries)} prompts are active at the same step" in w for w in report.warnings)
    assert report.recipes[0].maps_before.shape[1] == len(wanted)
    square = report.subjects[1]
    assert square.columns == {"l (prompt 2)": (80, 79)[::-1]}
    assert square.pieces == {"l (prompt 2)": ("blue</w>", "square</w>")}


def test_f8_typed_subjects_may_be_spread_over_the_prompts(host, tiny, parse):
    both = combined(host, tiny.encode(FIRST), tiny.encode(SECOND))
    report = report_of(tiny, both, subjects=parse("green triangle, red circle"))
    assert sorted(labels(report)) == ["green triangle", "red circle"]
    assert {tuple(s.columns) for s in report.subjects} == {("l",), ("l (prompt 2)",)}


def test_f8_subjects_set_on_combined_prompts_may_be_spread(host, tiny, pt, parse):
    both = combined(host, tiny.encode(FIRST), tiny.encode(SECOND))
    report = report_of(tiny, pt.with_subjects(both, parse("circle, triangle")))
    assert sorted(labels(report)) == ["circle", "triangle"]
    assert {s.source for s in report.subjects} == {"conditioning"}


def test_f8_a_subject_that_no_prompt_has_is_refused_with_the_words_of_all(host, tiny, parse):
    both = combined(host, tiny.encode(FIRST), tiny.encode(SECOND))
    with pytest.raises(
        ValueError, match="'red star' is not in the prompt.*Its words are: a, red, circle, blue"
    ):
        report_of(tiny, both, subjects=parse("red circle, red star"))


def test_f8_a_subject_that_two_prompts_have_is_one(host, tiny):
    both = combined(host, tiny.encode("a red circle and a star"), tiny.encode("a red circle"))
    report = report_of(tiny, both)
    assert labels(report) == ["red circle", "star"]
    assert set(report.subjects[0].columns) == {"l", "l (prompt 2)"}


def test_f8_more_than_five_subjects_are_left_out_by_name(host, tiny):
    prompts = [
        "a red circle, a blue square and a green star",
        "a white cross, a black ring and a yellow moon",
    ]
    report = report_of(tiny, combined(host, *map(tiny.encode, prompts)))
    assert labels(report) == ["red circle", "white cross", "blue square", "black ring", "green star"]
    assert any("left out of the combined prompts" in w and "yellow moon" in w for w in report.warnings)


def test_f8_prompts_in_turn_are_each_nursed_at_their_own_step(host, tiny):
    both = combined(
        host, ranged(host, tiny.encode(FIRST), 0.0, 0.5), ranged(host, tiny.encode(SECOND), 0.5, 1.0)
    )
    assert labels(report_of(tiny, both, step=1)) == ["red circle"]
    assert labels(report_of(tiny, both, step=5)) == ["blue square", "green triangle"]


def test_f8_a_combined_prompt_that_cannot_be_read_is_named_and_the_others_are_nursed(host, tiny):
    unknown = tiny.encode("a purple hexagon of a stock clip", plain=True)
    report = report_of(tiny, combined(host, tiny.encode(FIRST), unknown))
    assert labels(report) == ["red circle"]
    assert any("1 of 2 combined prompts cannot be read" in w for w in report.warnings)


# --- what is computed
@pytest.mark.parametrize("plain", (False, True), ids=("ours", "another CLIP"))
def test_f8_a_prompt_that_is_zeros_for_some_steps_is_no_obstacle(tiny, plain):
    """Zeroed and combined in another range of steps, as nodes with a schedule in the prompt do."""
    import nodes

    text = tiny.encode("a red circle and a blue square")
    zeros = nodes.ConditioningZeroOut().zero_out(tiny.encode("a star", plain=plain))[0]
    zeros = nodes.ConditioningSetTimestepRange().set_range(zeros, 0.7, 1.0)[0]
    both = nodes.ConditioningCombine().combine(zeros, text)[0]
    patched, book = tiny.attach(step=1)
    run = book.find(tiny.sample(patched, positive=both))
    assert run.recipes[0].updates == (2,) and run.recipes[0].subjects == ("red circle", "blue square")
    assert not any("cannot be read" in warning for warning in run.warnings)
    with pytest.raises(ValueError, match="all zeros"):
        tiny.sample(patched, positive=zeros)


def test_f8_one_prompt_twice_is_nursed_as_once(host, tiny):
    once = tiny.encode(SECOND)
    alone, book = tiny.attach()
    twice, other = tiny.attach()
    a = tiny.sample(alone, positive=once)
    b = tiny.sample(twice, positive=combined(host, once, once))
    torch.testing.assert_close(a, b, atol=2e-3, rtol=0)
    torch.testing.assert_close(
        torch.tensor(book.last().recipes[0].losses), torch.tensor(other.last().recipes[0].losses)
    )


@pytest.mark.parametrize("how", ["combined", "areas"])
def test_f8_the_maps_of_each_prompt_are_its_own(host, tiny, how):
    first, second = tiny.encode(FIRST), tiny.encode(SECOND)
    if how == "areas":
        first, second = area(host, first, 0.0), area(host, second, 0.5)
    together = report_of(tiny, combined(host, first, second), step=0).recipes[0].maps_before
    alone = [report_of(tiny, one, step=0).recipes[0].maps_before for one in (first, second)]
    if how == "combined":
        torch.testing.assert_close(together, torch.cat(alone, 1), atol=2e-3, rtol=0)
    else:
        width = together.shape[-1] // 2
        inside = torch.cat([together[:, :1, :, :width], together[:, 1:, :, width:]], 1)
        assert torch.equal(together[:, 0, :, width + 1 :].unique().isfinite(), torch.tensor([True]))
        torch.testing.assert_close(
            inside[..., 1:-1, 1:-1], torch.cat(alone, 1)[..., 1:-1, 1:-1], atol=5e-2, rtol=0
        )


def test_f8_off_is_stock_and_the_same_seed_gives_the_same_bits(host, tiny):
    both = combined(host, area(host, tiny.encode(FIRST), 0.0), tiny.encode(SECOND))
    plain = combined(host, area(host, tiny.encode(FIRST, True), 0.0), tiny.encode(SECOND, True))
    stock = tiny.sample(positive=plain, steps=3)
    assert torch.equal(tiny.sample(tiny.attach(step=99)[0], positive=both, steps=3), stock)
    ours = [tiny.sample(tiny.attach(step=0)[0], positive=both, steps=3) for _ in range(2)]
    assert torch.equal(*ours) and not torch.equal(ours[0], stock)


@pytest.mark.parametrize("method", ["SynGen", "CONFORM", "InitNO", "Self-Cross"])
def test_f8_published_methods_read_all_prompts(host, tiny, pack_module, method):
    methods = pack_module("gsn_ops.optimise.methods")
    recipes = methods.preset(next(name for name in methods.METHODS if name.startswith(method)))
    patched, book = pack_module("gsn_ops.host.sampling.patch").attach(tiny.model, *map(in_short, recipes))
    both = combined(host, tiny.encode("a red circle and a star"), tiny.encode("a blue square"))
    tiny.sample(patched, positive=both, steps=3)
    assert labels(book.last()) == ["red circle", "blue square", "star"]
    assert any(recipe.forwards for recipe in book.last().recipes)
