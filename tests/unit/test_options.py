"""Options as they are typed: whatever cannot work is refused with its name and what can."""

from __future__ import annotations

import pytest

from gsn_ops.maps import MapOptions
from gsn_ops.objectives.base import user_choices
from gsn_ops.objectives.from_text import build, option_names, weighed

WITH_MAPS = [name for name in user_choices() if "pieces" in option_names(name)]


def typed(**given):
    return [("options, character 1", key, value) for key, value in given.items()]


@pytest.mark.parametrize("word", ("nouns", "Noun", "verb", "", "phrases", "1"))
@pytest.mark.parametrize("name", WITH_MAPS)
def test_c4_another_word_for_pieces_is_refused_with_the_choices(name, word):
    with pytest.raises(ValueError, match="options: The option 'pieces' .* choose one of noun, phrase"):
        build(name, typed(pieces=word))


@pytest.mark.parametrize("name", WITH_MAPS)
def test_both_words_for_pieces_work(name):
    assert [build(name, typed(pieces=word)).maps.pieces for word in ("noun", "phrase")] == ["noun", "phrase"]


@pytest.mark.parametrize("name", user_choices())
def test_c4_every_word_option_refuses_a_word_it_does_not_know(name):
    words = [key for key, value in option_names(name).items() if isinstance(value, str)]
    for key in words:
        if key == "encoders":
            continue  # the names of the text encoders are known when the run starts
        with pytest.raises(ValueError, match=key):
            build(name, typed(**{key: "nonsense"}))


@pytest.mark.parametrize("name", user_choices())
def test_c4_every_number_refuses_nan_and_infinity(name):
    numbers = [
        key
        for key, value in option_names(name).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    for key in numbers:
        for value in ("nan", "inf", "-inf", "1e999", "much"):
            with pytest.raises(ValueError, match=key):
                build(name, typed(**{key: value}))


@pytest.mark.parametrize(
    "name, key, value",
    [
        ("presence", "top_k", "0"),
        ("initno", "top_k", "-1"),
        ("selfcross", "overlap_target", "1.5"),
        ("presence", "kernel_size", "4"),
        ("presence", "kernel_size", "-3"),
        ("cn_iou", "temperature", "0"),
        ("tv", "kernel_sigma", "-0.5"),
        ("boxdiff", "p", "0"),
        ("boxdiff", "corner", "-1"),
        ("lmd", "p", "1.2"),
        ("lmd", "omega", "-4"),
        ("bounded", "cross_weight", "-1"),
        ("rnb", "enough", "2"),
        ("rnb", "size", "100000"),
        ("point_kl", "sigma", "0"),
        ("neglect", "tau", "-0.1"),
        ("conform", "temperature", "-1"),
        ("syngen", "skip", "-2"),
    ],
)
def test_c4_a_number_outside_its_range_is_refused(name, key, value):
    with pytest.raises(ValueError, match=f"options: The option '{key}' is {value}"):
        build(name, typed(**{key: value}))


def test_the_defaults_of_every_objective_work_as_text():
    for name in user_choices():
        defaults = {key: str(value) for key, value in option_names(name).items()}
        assert build(name, typed(**defaults)) == build(name)


def test_a_weight_that_is_no_number_is_refused():
    for weight in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="weight is"):
            weighed(build("presence"), weight)


def test_map_options_refuse_what_cannot_work_wherever_they_are_made():
    for wrong in ({"pieces": "nouns"}, {"kernel_size": 2}, {"temperature": 0.0}):
        with pytest.raises(ValueError, match="The option"):
            MapOptions(**wrong)


def test_selfcross_joins_encoders_as_told():
    built = build("selfcross", typed(joined="max", encoders="clip"))
    assert (built.joined, built.needs.encoders) == ("max", "clip")
