"""Settings typed in widgets: what they become, and what is said when they cannot."""

from dataclasses import replace

import pytest

from gsn_ops.maps import MapNeeds
from gsn_ops.objectives.attend_and_excite import Presence
from gsn_ops.objectives.per_encoder import ByEncoder
from gsn_ops.objectives.separation import Separation
from gsn_ops.objectives.weighted_sum import WeightedSum
from gsn_ops.optimise.guidance import Guide
from gsn_ops.optimise.methods import METHODS, preset
from gsn_ops.optimise.overrides import (
    check,
    keys_of,
    moved,
    only_needed,
    override,
    parse_checkpoints,
    parse_levels,
    with_levels,
)
from gsn_ops.optimise.refine import Refine
from gsn_ops.schedule import Moment


@pytest.mark.parametrize(
    "text, levels",
    [
        ("auto", None),
        ("", None),
        (" Auto ", None),
        ("2", (2,)),
        ("2,4", (2, 4)),
        ("4 2, 2", (2, 4)),
        (" 8 ", (8,)),
    ],
)
def test_levels(text, levels):
    assert parse_levels(text) == levels


@pytest.mark.parametrize("text", ["two", "0", "-2", "2.5", "2,,x", "2;4", "1e2"])
def test_levels_that_do_not_parse_say_what_to_write(text):
    with pytest.raises(ValueError, match="write auto, or whole numbers such as 2 or 2,4") as error:
        parse_levels(text)
    assert f"'{text}'" in str(error.value)


def test_levels_reach_the_objective_and_leave_the_rest():
    recipe = Refine()
    assert with_levels(recipe, "auto") is recipe
    changed = with_levels(recipe, "2,4")
    assert changed.objective.needs.levels == (2, 4)
    assert replace(changed, objective=recipe.objective) == recipe


def test_blocks_reach_every_part_of_the_objective_until_levels_are_chosen():
    (changed,) = override(preset("LMD energy (Lian et al. 2024)"), "blocks=5-12")
    assert changed.objective.needs.blocks == "5-12" and changed.objective.needs.heads
    (changed,) = override(preset("LMD energy (Lian et al. 2024)"), "levels=4")
    assert (changed.objective.needs.levels, changed.objective.needs.blocks) == ((4,), "auto")
    with pytest.raises(ValueError, match="character 1: blocks is '12-5': write auto, middle_up"):
        override((Refine(),), "blocks=12-5")


def test_encoders_are_read_together_apart_or_alone():
    (alone,) = override((Refine(),), "encoders=clip, blocks=1-3, pieces=noun")
    assert (
        alone.objective.needs == MapNeeds(blocks="1-3", encoders="clip")
        and alone.objective.maps.pieces == "noun"
    )
    (apart,) = override((Refine(),), "encoders=separate, blocks=1-3, pieces=noun")
    assert type(apart.objective) is ByEncoder and apart.objective.objective == replace(
        alone.objective, needs=MapNeeds(blocks="1-3")
    )
    assert override((apart,), "encoders=clip") == (alone,)
    assert override((apart,), "encoders=average") == (
        replace(alone, objective=replace(alone.objective, needs=MapNeeds(blocks="1-3"))),
    )


def test_pieces_reach_every_part_of_a_sum():
    total = WeightedSum(((1.0, Presence()), (2.0, Separation())))
    (changed,) = override((Refine(objective=total),), "pieces=phrase")
    assert [part.maps.pieces for _, part in changed.objective.parts] == ["phrase", "phrase"]


@pytest.mark.parametrize(
    "text, fields",
    [
        ("", {}),
        ("  \n ", {}),
        ("shifts=30", {"shifts": 30}),
        ("shifts=30, learning_rate=0.02", {"shifts": 30, "learning_rate": 0.02}),
        (" shifts = 30 ;learning_rate=2e-2\n eps=1e-8,", {"shifts": 30, "learning_rate": 0.02, "eps": 1e-8}),
        ("stop_at_loss=.1\npresent_at=0.5", {"stop_at_loss": 0.1, "present_at": 0.5}),
    ],
)
def test_overrides(text, fields):
    assert override((Refine(),), text) == (replace(Refine(), **fields),)


def test_override_of_levels_keeps_its_commas():
    (changed,) = override((Refine(),), "levels=2,4, shifts=7")
    assert changed.objective.needs.levels == (2, 4)
    assert changed.shifts == 7


@pytest.mark.parametrize(
    "text, position, complaint",
    [
        ("shift=30", 1, "there is no setting 'shift'"),
        ("shifts=30, lr=2", 12, "there is no setting 'lr'"),
        ("shifts=thirty", 1, "shifts wants a whole number, not 'thirty'"),
        ("eps=1, shifts=3.5", 8, "shifts wants a whole number, not '3.5'"),
        ("shifts", 1, "'shifts' is not of the form key=value"),
        ("shifts=30 learning_rate=2", 1, "not of the form"),
        ("shifts==3", 1, "not of the form"),
        ("shifts=3, , eps=1", 1, "shifts wants a whole number"),
        ("levels=x", 1, "write auto"),
        ("__class__=1", 1, "there is no setting '__class__'"),
    ],
)
def test_overrides_that_do_not_parse_say_where(text, position, complaint):
    with pytest.raises(ValueError) as error:
        override((Refine(),), text)
    message = str(error.value)
    assert complaint in message
    assert message.startswith(f"overrides, character {position}:")
    if "no setting" in complaint or "form" in complaint:
        assert all(key in message for key in keys_of(Refine()))


@pytest.mark.parametrize(
    "fields, complaint",
    [
        ({"shifts": -1}, "shifts is -1: choose 0 (off, a plain run) or more"),
        ({"learning_rate": 0.0}, "learning_rate is 0: it must be greater than 0"),
        ({"learning_rate": -0.1}, "learning_rate is -0.1: it must be greater than 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"eps": 0.0}, "eps is 0"),
        ({"stop_at_loss": -1.0}, "stop_at_loss is -1"),
        ({"present_at": 1.5}, "present_at is 1.5"),
        ({"moment": Moment(percent=18.0)}, "at_percent is 18"),
        ({"moment": Moment(sigma=-2.0)}, "at_sigma is -2"),
    ],
)
def test_numbers_that_cannot_work_are_refused_in_words(fields, complaint):
    with pytest.raises(ValueError) as error:
        check(replace(Refine(), **fields))
    assert complaint in str(error.value)


def test_numbers_that_work_pass():
    assert check(Refine()) == Refine()
    assert check(Refine(shifts=0)).shifts == 0


@pytest.mark.parametrize("key", ("learning_rate", "eps", "scale_factor", "start_percent"))
def test_infinity_is_refused_as_what_it_is(key):
    recipe = next(r for r in (Refine(), Guide()) if key in keys_of(r))
    with pytest.raises(ValueError, match=rf"{key}.* is inf, not a finite number: "):
        check(override((recipe,), f"{key}=inf")[0])


def test_a_moment_moves_refinements_only():
    recipes = (Refine(), Guide())
    assert moved(recipes, None) is recipes
    assert moved(recipes, Moment(step=3)) == (Refine(moment=Moment(step=3)), Guide())
    with pytest.raises(ValueError, match="has no refinement at one step"):
        moved((Guide(),), Moment(percent=0.3))


@pytest.mark.parametrize(
    "text, found",
    [
        ("", ()),
        (" \n", ()),
        ("0:0.05", ((0.0, 0.05),)),
        ("0: .05, 0.218:0.5;0.418:0.8", ((0.0, 0.05), (0.218, 0.5), (0.418, 0.8))),
    ],
)
def test_thresholds(text, found):
    assert tuple((c.moment.percent, c.threshold) for c in parse_checkpoints(text)) == found


@pytest.mark.parametrize(
    "text, position", [("0.5", 1), ("0:0.05, x:1", 9), ("0:2", 1), ("10:0.5", 1), ("0:0.05 0.2:0.5", 1)]
)
def test_thresholds_that_do_not_parse_say_where(text, position):
    with pytest.raises(ValueError, match=f"thresholds, character {position}:"):
        parse_checkpoints(text)


def test_pieces_reach_the_objective_and_are_one_of_two():
    (changed,) = override((Refine(),), "pieces=phrase")
    assert changed.objective.maps.pieces == "phrase"
    assert replace(changed, objective=Refine().objective) == Refine()
    with pytest.raises(ValueError, match="character 1: pieces is 'verb': choose noun .* or phrase"):
        override((Refine(),), "pieces=verb")


@pytest.mark.parametrize("method", [name for name in METHODS if name.startswith("SAGA")])
def test_saga_is_moved_to_another_step_and_its_window_stays(method):
    recipes = preset(method)
    first, *others = moved(recipes, Moment(step=3))
    assert first == replace(recipes[0], moment=Moment(step=3)) and tuple(others) == recipes[1:]


@pytest.mark.parametrize(
    "method",
    [
        "SynGen (Rassin et al. 2023)",
        "InitNO (Guo et al. 2024)",
        "SAGA (2026)",
        "FOCUS (2025)",
        "Attend-and-Excite (Chefer et al. 2023)",
    ],
)
def test_only_if_needed_is_refused_where_it_would_be_ignored(method):
    assert only_needed(preset(method), False) == preset(method)
    with pytest.raises(ValueError, match=r"has no refinement at one step .* Switch only_if_needed off"):
        only_needed(preset(method), True)


@pytest.mark.parametrize(
    "text, position, key",
    [
        ("shifts=3, shifts=4", 11, "shifts"),
        ("shifts=3, shifts=3", 11, "shifts"),
        ("levels=2; shifts=4\nlevels=4", 20, "levels"),
        ("eps=1, pieces=noun, eps=2", 21, "eps"),
        ("encoders=clip,encoders=t5", 15, "encoders"),
    ],
)
def test_c8_a_key_that_is_there_twice_is_refused(text, position, key):
    with pytest.raises(ValueError, match=f"overrides, character {position}: '{key}' is there twice"):
        override((Refine(),), text)


@pytest.mark.parametrize("method", ["SynGen (Rassin et al. 2023)", "FOCUS (2025)"])
def test_a_window_that_ends_before_it_starts_is_refused(method):
    (recipe,) = override(preset(method), "start_percent=0.5, end_percent=0.4")
    with pytest.raises(ValueError, match="The window is 0.5 to 0.4: .* start first"):
        check(recipe)
    (recipe,) = override(preset(method), "start_percent=0.5, end_percent=0.5")
    assert check(recipe).disabled


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("shifs=3", "shifts"),
        ("lr=2", "learning_rate"),
        ("Learning_Rate=2", "learning_rate"),
        ("piece=noun", "pieces"),
    ],
)
def test_m6_a_misspelled_key_names_the_one_that_was_meant(typed, meant):
    with pytest.raises(ValueError, match=f"Did you mean '{meant}'[?] Keys: "):
        override((Refine(),), typed)


def test_m6_a_key_like_no_other_is_not_guessed():
    with pytest.raises(ValueError) as refused:
        override((Refine(),), "xyzzy=3")
    assert "Did you mean" not in str(refused.value)
