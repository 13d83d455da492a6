"""What people type into the subjects field: lists of all kinds, other keyboards, weights, no things."""

import pytest

from gsn_ops.objectives.attend_and_excite import Presence
from gsn_ops.objectives.base import check_prompt
from gsn_ops.objectives.neglect import Neglect
from gsn_ops.prompt import EncoderTokens, Piece, PromptTokens, SubjectColumns
from gsn_ops.subjects.labels import labels_named
from gsn_ops.subjects.matching import phrase_matches, split_words
from gsn_ops.subjects.resolve import choose_subjects
from gsn_ops.subjects.syntax import parse_subjects


def typed(text):
    """The phrases as "modifiers noun", those that are unwanted with a dash."""
    return [
        ("-" if p.role == "unwanted" else "") + " ".join([*p.modifiers, p.noun]) for p in parse_subjects(text)
    ]


def tokens(text):
    """A word a row."""
    words = split_words(text)
    pieces = tuple(Piece(word.text, word.start, word.stop, n + 1) for n, word in enumerate(words))
    return PromptTokens((EncoderTokens("l", text, pieces, ((1, 76, 77),)),), 77)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("- red circle\n- blue square", ["red circle", "blue square"]),
        ("-cat\n-dog\n", ["cat", "dog"]),
        ("\u2022 a fox\n\u2022 two owls", ["fox", "owls"]),
        ("* red car\n* green van, bus", ["red car", "green van", "bus"]),
        ("\u2013 a lamp\n\n\u2014 a desk", ["lamp", "desk"]),
        ("-glasses", ["-glasses"]),
        ("no glasses", ["-glasses"]),
        ("cat, without any red hat", ["cat", "-red hat"]),
        ("Without glasses", ["-glasses"]),
        ("a no smoking sign, no parking signs", ["no smoking sign", "no parking signs"]),
        ("cat\n-glasses", ["cat", "-glasses"]),
        ("cat, dog, - red hat", ["cat", "dog", "-red hat"]),
    ],
)
def test_c1_a_list_of_dashes_is_a_list_and_one_dash_means_unwanted(text, expected):
    assert typed(text) == expected


def test_c1_nothing_but_unwanted_subjects_is_refused_before_the_run():
    subjects = [SubjectColumns(p, {"l": (1,)}) for p in parse_subjects("- red circle")]
    with pytest.raises(ValueError, match="'red circle'.*dash, 'no' and 'without'.*remove the dash"):
        check_prompt(Presence(), subjects, {})
    check_prompt(Neglect(), subjects, {})
    check_prompt(Presence(), [SubjectColumns(p, {"l": (1,)}) for p in parse_subjects("cat, -hat")], {})


@pytest.mark.parametrize(
    "text, expected",
    [
        ("red circle | blue square", ["red circle", "blue square"]),
        ("red circle / blue square", ["red circle", "blue square"]),
        ("red circle and blue square", ["red circle", "blue square"]),
        ("cat/dog/mouse", ["cat", "dog", "mouse"]),
        ("a tall lamp & a desk", ["tall lamp", "desk"]),
        ("cat and dog and a green bird", ["cat", "dog", "green bird"]),
        ("the red and blue table", ["red blue table"]),
        ("black and white cat and dog", ["black white cat", "dog"]),
        ('"salt and pepper" shaker', ["salt and pepper shaker"]),
        (r"saber \(fate/stay night\), sword", ["saber", "sword"]),
        ("[a lion and a unicorn] [cat]", ["lion unicorn", "cat"]),
    ],
)
def test_c2_bars_slashes_and_and_separate_subjects(text, expected):
    assert typed(text) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("1. cat\n2. dog", ["cat", "dog"]),
        ("1) red cat\n2) dog", ["red cat", "dog"]),
        ("(1) cat, (2) dog", ["cat", "dog"]),
        ("3: a lamp\n4: a desk", ["lamp", "desk"]),
        ("cat:1.2", ["cat"]),
        ("red cat:1.2, dog:.8", ["red cat", "dog"]),
        ("(cat:1.3) , ((dog))", ["cat", "dog"]),
        ("1girl, 2boys", ["1girl", "2boys"]),
        ("embedding:my_cat-v2", ["embedding:my_cat-v2"]),
        ("dog#2", ["dog"]),
    ],
)
def test_c3_numbers_of_a_list_and_weights_are_dropped(text, expected):
    assert typed(text) == expected


@pytest.mark.parametrize("text", ["the", "a", "and", "cat, the", "of", "it", "with a", "the a", "-the"])
def test_c9_a_word_that_names_nothing_is_refused(text):
    with pytest.raises(ValueError, match="names no thing. Type phrases separated by commas"):
        parse_subjects(text)


def test_c9_nouns_that_are_also_function_words_are_taken():
    assert typed("can, a past, x") == ["can", "past", "x"]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("\u732b\uff0c\u72d7", ["\u732b", "\u72d7"]),
        ("\u732b\u3001\u72d7", ["\u732b", "\u72d7"]),
        ("\u732b\uff1b\u72d7\uff5c\u9e1f", ["\u732b", "\u72d7", "\u9e1f"]),
        ("red cat\uff0c blue dog", ["red cat", "blue dog"]),
        ("\u7ea2\u8272\u7684\u732b\uff0cdog", ["\u7ea2\u8272\u7684\u732b", "dog"]),
        ("[\u732b\uff0c\u9ed1]", ["\u732b \u9ed1"]),
    ],
)
def test_b7_marks_of_chinese_and_japanese_keyboards_separate(text, expected):
    assert typed(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "red cat + blue dog",
        "red cat - blue dog",
        "red cat \u2013 the blue dog",
        "red cat -> blue dog",
        "red cat vs blue dog",
        "a red cat vs. a blue dog",
        "red cat BREAK blue dog",
        "red cat\nBREAK\nblue dog",
        "red cat AND blue dog",
        "Red cat. Blue dog.",
        "red cat\tblue dog",
        "red cat \u2022 blue dog",
        "red cat\u3002blue dog",
        "red cat\u060c blue dog",
        '["red cat", "blue dog"]',
        "['red cat', 'blue dog']",
        "'red cat', 'blue dog'",
        "1.red cat\n2.blue dog",
        "a) red cat\nb) blue dog",
        "1 red cat, 1 blue dog",
    ],
)
def test_c2_other_ways_to_write_a_list_are_lists(text):
    assert [one.lower() for one in typed(text)] == ["red cat", "blue dog"]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("t-shirt", ["t-shirt"]),
        ("Dr. Strange, St. Bernard", ["Dr. Strange", "St. Bernard"]),
        ("C++ book", ["C++ book"]),
        ("\u2013glasses, cat", ["-glasses", "cat"]),
        ("cat, \u2212 red hat", ["cat", "-red hat"]),
        ("dogs' toys", ["dogs' toys"]),
        ("3.5 mm jack", ["3.5 mm jack"]),
    ],
)
def test_c2_marks_inside_a_word_do_not_separate(text, expected):
    assert typed(text) == expected


@pytest.mark.parametrize(
    "text, noun, modifiers",
    [
        ("woman in a red dress", "woman", ("red", "dress")),
        ("the tall man with a beard", "man", ("tall", "beard")),
        ("hot dog on a plate", "hot dog", ("plate",)),
        ("cup of tea", "tea", ("cup",)),
        ("in the dark", "dark", ()),
        ("woman in a dress*", "dress", ("woman",)),
        ("red Fiat 500", "Fiat 500", ("red",)),
        ("2 brown dogs", "dogs", ("brown",)),
    ],
)
def test_the_noun_stands_before_a_preposition_and_has_its_number(text, noun, modifiers):
    (phrase,) = parse_subjects(text)
    assert (phrase.noun, phrase.modifiers) == (noun, modifiers)


def test_a_subject_after_and_is_shown_without_it():
    assert [p.label for p in parse_subjects("a red car, a bench, and a dog")] == [
        "a red car",
        "a bench",
        "a dog",
    ]


@pytest.mark.parametrize(
    "prompt, subjects, things",
    [
        ("a red circle and a blue square", "red circle blue square", "red circle, blue square"),
        ("a cat and a dog", "cat dog", "cat, dog"),
        (
            "a red circle, a blue square, a star",
            "red circle blue square star",
            "red circle, blue square, star",
        ),
        ("a man in a hot air balloon", "man hot air balloon", "man, hot air balloon"),
    ],
)
def test_c2_several_things_typed_as_one_are_refused_with_the_cure(prompt, subjects, things):
    with pytest.raises(ValueError, match=f"separate them by commas, '{things}'"):
        choose_subjects(parse_subjects(subjects), tokens(prompt))


@pytest.mark.parametrize(
    "prompt, subject",
    [
        ("a sky blue car", "sky blue car"),
        ("the engine of a car", "car engine"),
        ("a car, big and red", "red car"),
        ("a red circle and a blue square", "red square"),
    ],
)
def test_c2_words_that_are_one_thing_or_apart_are_taken(prompt, subject):
    assert len(choose_subjects(parse_subjects(subject), tokens(prompt))[0]) == 1


@pytest.mark.parametrize(
    "typed_as, prompt",
    [
        ("woman in the red dress", "a man beside a woman in a red dress"),
        ("woman in red dress", "the woman in the red dress"),
        ("the cat with a long tail", "a dog and a cat with the long tail"),
        ("man with an umbrella", "the man with the umbrella"),
    ],
)
def test_articles_of_a_typed_phrase_may_differ(typed_as, prompt):
    words = split_words(prompt)
    (match,) = phrase_matches(*parse_subjects(typed_as), words)
    assert match.adjacent and words[match.noun.start].text == parse_subjects(typed_as)[0].noun
    assert [words[at.start].text for at in match.modifiers] == list(parse_subjects(typed_as)[0].modifiers)


LABELS = ["red car", "a bench", "dog", "dog#2", "old woman in a hat", "glass box"]


@pytest.mark.parametrize(
    "typed_as, found",
    [
        ("Red Car", ["red car"]),
        ("the red cars", ["red car"]),
        ("car", ["red car"]),
        ("bench, red car", ["a bench", "red car"]),
        ("dog", ["dog"]),
        ("a dog#2", ["dog#2"]),
        ("woman", ["old woman in a hat"]),
        ("Glass Boxes", ["glass box"]),
        ("", []),
    ],
)
def test_labels_of_a_report_are_spelled_as_in_a_subjects_field(typed_as, found):
    assert labels_named(typed_as, LABELS) == found


def test_a_label_that_no_subject_has_is_refused_with_the_list():
    for typed_as in ("cat", "blue car", "dog#3"):
        with pytest.raises(
            ValueError, match="There is no subject '.*' in .*; its subjects are: red car, a bench"
        ):
            labels_named(typed_as, LABELS)


def test_a_phrase_typed_as_it_stands_in_the_prompt_stands_together():
    words = split_words("a woman in a blue coat beside a woman in a red dress and a man in black")
    red, blue, man = parse_subjects("a woman in a red dress, woman in a blue coat, man in a black hat")
    (match,) = phrase_matches(red, words)
    assert match.noun.start == 8 and match.adjacent
    assert [words[at.start].text for at in match.modifiers] == ["red", "dress"]
    assert [m.noun.start for m in phrase_matches(blue, words)] == [1]
    assert phrase_matches(man, words) == []
