"""The syntax of word weights."""

import pytest

from gsn_ops.modulate.edits import WordWeights
from gsn_ops.subjects.weights import parse_weights


def pairs(text: str) -> list[tuple[str, float]]:
    return [(phrase.label, weight) for phrase, weight in parse_weights(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" ,\n; ", []),
        ("red car: 1.5", [("red car", 1.5)]),
        ("red car:1.5,bench: .7 ; glasses : -1", [("red car", 1.5), ("bench", 0.7), ("glasses", -1.0)]),
        ("(red car:1.5), (bench:0.7)", [("red car", 1.5), ("bench", 0.7)]),
        ("dog#2: +2", [("dog#2", 2.0)]),
        ("dog: 1.2\ndog: 0", [("dog", 1.2), ("dog#2", 0.0)]),
        ("a red car: 1.5", [("a red car", 1.5)]),
        ("solar_system: 3", [("solar_system", 3.0)]),
        ("\u732b: 1.5", [("\u732b", 1.5)]),
        ("t-shirt: 1e0", [("t-shirt", 1.0)]),
    ],
)
def test_entries(text, expected):
    assert pairs(text) == expected


@pytest.mark.parametrize("text", ["car", "car 1.5", "car:", ": 2", "car: two", "car: 1.5 bench: 2"])
def test_what_cannot_be_read_is_shown_with_an_example(text):
    with pytest.raises(ValueError, match="red car: 1.5, bench: 0.7"):
        parse_weights(text)


@pytest.mark.parametrize("weight", ["-2.1", "3.5", "1e9", "100"])
def test_the_range(weight):
    with pytest.raises(ValueError, match="choose -2 to 3"):
        parse_weights(f"car: {weight}")


def test_weights_of_1_and_strength_0_change_nothing():
    assert WordWeights(weights=parse_weights("car: 1, dog: 1")).disabled and WordWeights(weights=()).disabled
    assert WordWeights(weights=parse_weights("car: 2, dog: 0.5"), kappa=0.0).disabled
    assert not WordWeights(weights=parse_weights("car: -1"), kappa=0.0).disabled
    assert not WordWeights(weights=parse_weights("car: 0")).disabled


@pytest.mark.parametrize(
    "text",
    [
        "cat: 1,5, red dog: 0,5",
        "cat=1.5, red dog = .5",
        "cat\uff1a1.5\uff0cred dog\uff1a0.5",
        "cat: 1.5 | red dog: 0.5",
        "cat: 1.5 / red dog: 0.5",
        "(cat:1.5) (red dog:0.5)",
        "((cat:1.5)), red dog: 0.5.",
        "- cat: 1.5\n- red dog: 0.5",
        "cat: 1.5, and red dog: 0.5",
    ],
)
def test_weights_are_read_as_other_fields_and_keyboards_write_them(text):
    assert pairs(text) == [("cat", 1.5), ("red dog", 0.5)]


def test_an_entry_of_two_phrases_weights_both():
    both = [("salt", 1.2), ("pepper", 1.2)]
    assert pairs("salt and pepper: 1.2") == both and pairs('"salt and pepper": 1.2') != both
    assert pairs("[red car] [bench]: 2, dog: 0") == [("red car", 2.0), ("bench", 2.0), ("dog", 0.0)]


def test_words_that_name_no_thing_may_have_a_weight():
    assert pairs("behind: 1.5, with: 0, cat: \u22121") == [("behind", 1.5), ("with", 0.0), ("cat", -1.0)]


@pytest.mark.parametrize("minus", "-\u2212\u2013\u2014\uff0d")
def test_a_minus_is_read_as_phones_and_word_processors_write_it(minus):
    assert pairs(f"cat: {minus}1, red dog={minus}.5") == [("cat", -1.0), ("red dog", -0.5)]


@pytest.mark.parametrize("sign", ("- ", "\u2013", "no ", "without "))
def test_a_sign_before_the_word_is_refused_with_its_own_weight(sign):
    with pytest.raises(ValueError, match="Write red cat: -1.5."):
        parse_weights(f"{sign}red cat: 1.5")


def test_a_sign_that_says_no_is_a_thing():
    ((phrase, weight),) = parse_weights("no smoking sign: 1.5")
    assert (phrase.label, weight) == ("no smoking sign", 1.5)
