"""Typed subjects and their columns: the syntax, whole-word matching in what tokenizers show, and every
error's text.
"""

import re

import pytest

from gsn_ops.prompt import EncoderTokens, Piece, PromptTokens, SubjectPhrase
from gsn_ops.subjects.resolve import choose_subjects, resolve, resolve_with_notes
from gsn_ops.subjects.syntax import parse_subjects


def encoder(pieces, name="l", first=1, chunks=((1, 76, 77),)):
    """An encoder's view from pieces as CLIP writes them ("cat</w>"), in consecutive columns; "-" = no
    column.
    """
    text, out = "", []
    for n, piece in enumerate(pieces):
        start = len(text)
        text += piece.replace("</w>", "").replace("!", "")
        out.append(Piece(piece, start, len(text), None if piece.startswith("!") else first + n))
        text += " " if piece.endswith("</w>") else ""
    return EncoderTokens(name, text.rstrip(), tuple(out), chunks)


def prompt(text, **options):
    """A prompt whose words are one piece each."""
    return PromptTokens((encoder([f"{w}</w>" for w in re.findall(r"\w+|[^\w\s]", text)], **options),), 77)


def columns(typed, tokens, name="l"):
    """[(noun's columns, modifiers' columns)] of a typed field."""
    return [
        (list(s.noun.get(name, ())), [c for m in s.modifiers for c in m.get(name, ())])
        for s in resolve(parse_subjects(typed), tokens)
    ]


# --- the syntax
@pytest.mark.parametrize(
    "text, expected",
    [
        ("cat", [("cat", ())]),
        ("red car, blue bench", [("car", ("red",)), ("bench", ("blue",))]),
        ("red car\nblue bench\n", [("car", ("red",)), ("bench", ("blue",))]),
        ("[red car] [blue bench]", [("car", ("red",)), ("bench", ("blue",))]),
        ("[big, red car] [cat]", [("car", ("big", "red")), ("cat", ())]),
        ("car* red", [("car", ("red",))]),
        ("cat sleeping*", [("sleeping", ("cat",))]),
        ("(red car:1.3)", [("car", ("red",))]),
        ("a red (car:1.25), ((dog))", [("car", ("red",)), ("dog", ())]),
        ("the red and blue table", [("table", ("red", "blue"))]),
        ("cup of tea", [("tea", ("cup",))]),
        ("hot dog", [("hot dog", ())]),
        ("big teddy bear", [("teddy bear", ("big",))]),
        ("hot dog*", [("dog", ("hot",))]),
        ('green "solar system"', [("solar system", ("green",))]),
        ("green solar_system", [("solar_system", ("green",))]),
        (r"saber \(fate\), sword", [("saber", ()), ("sword", ())]),
        ("embedding:my_cat-v2", [("embedding:my_cat-v2", ())]),
        ("\u732b, Caf\u00e9", [("\u732b", ()), ("Caf\u00e9", ())]),
        ("", []),
        (" , \n;", []),
    ],
)
def test_typed_phrases(text, expected):
    assert [(p.noun, p.modifiers) for p in parse_subjects(text)] == expected


def test_numbers_and_labels():
    assert [(p.label, p.noun, p.occurrence) for p in parse_subjects("dog#2, red car, Dog # 3")] == [
        ("dog#2", "dog", 2),
        ("red car", "car", 1),
        ("Dog#3", "Dog", 3),
    ]
    assert [(p.label, p.occurrence) for p in parse_subjects("dog, dog, dog")] == [
        ("dog", 1),
        ("dog#2", 2),
        ("dog#3", 3),
    ]
    assert [p.label for p in parse_subjects(r"(saber \(fate\):1.2), a hot_dog*")] == [
        "saber (fate)",
        "a hot_dog",
    ]
    assert {(p.source, p.role) for p in parse_subjects("cat, dog")} == {("typed", "wanted")}


@pytest.mark.parametrize(
    "text, message",
    [
        ("red* car*", "only one word can be marked"),
        ("dog#0", "must be 1, 2, 3"),
        ("dog#two", "must be 1, 2, 3"),
        ("cat, !?", "'!?' has no word in it"),
        ("#2", "has no word in it"),
    ],
)
def test_what_cannot_be_read_is_said(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_subjects(text)


# --- columns
@pytest.mark.parametrize(
    "pieces, typed, expected",
    [  # METHODS 5.2, CLIP BPE, column 0 = start marker
        ("a red car and a blue bench", "red car, blue bench", [([3], [2]), ([7], [6])]),
        ("a red cat and a red dog", "red cat, red dog", [([3], [2]), ([7], [6])]),
        ("a horned lion and a spotted monkey", "horned lion, spotted monkey", [([3], [2]), ([7], [6])]),
    ],
)
def test_reference_columns(pieces, typed, expected):
    assert columns(typed, prompt(pieces)) == expected


def test_reference_columns_of_words_in_several_pieces():
    bowl = PromptTokens(
        (encoder("a</w> check ered</w> bowl</w> on</w> a</w> red</w> and</w> blue</w> table</w>".split()),),
        77,
    )
    assert columns("checkered bowl, red and blue table", bowl) == [([4], [2, 3]), ([10], [7, 9])]
    boat = PromptTokens((encoder("a</w> cat</w> and</w> a</w> cat amar an</w>".split()),), 77)
    assert columns("cat, catamaran", boat) == [([2], []), ([5, 6, 7], [])]
    assert resolve(parse_subjects("red blue table"), bowl)[0].columns("phrase") == {"l": (7, 9, 10)}


def test_t5_pieces_without_their_bare_marks():
    pieces = "\u2581 a \u2581 gir a ffe \u2581with \u2581 a \u2581 s ombre r o".split()
    text, out = "", []
    for n, piece in enumerate(pieces):
        shown = piece.replace("\u2581", " ")
        text += shown.lstrip() if not text else shown
        out.append(Piece(piece, len(text) - len(shown.strip()), len(text), n))
    tokens = PromptTokens((EncoderTokens("t5xxl", text, tuple(out), ((0, 14, 77),)),), 77)
    assert columns("giraffe, sombrero", tokens, "t5xxl") == [([3, 4, 5], []), ([10, 11, 12, 13], [])]
    assert columns('"a sombrero"', tokens, "t5xxl") == [
        ([8, 10, 11, 12, 13], [])
    ]  # nor to a noun of two words around one


@pytest.mark.parametrize(
    "text, typed, expected",
    [
        ("a hot dog and a dog", "dog", [([6], [])]),  # not the first "dog"
        ("a hot dog and a dog", "hot dog", [([2, 3], [])]),
        ("a dog and a hot dog", "hot dog, dog", [([5, 6], []), ([2], [])]),
        ("a dog and a dog", "dog, dog", [([2], []), ([5], [])]),
        ("a dog and a dog", "dog#2", [([5], [])]),
        ("a dog and a dog", "dog#2, dog", [([5], []), ([2], [])]),
        (
            "a red dog and a dog",
            "dog, red dog",
            [([6], []), ([3], [2])],
        ),  # the phrase with more words chooses first
        ("a red car and a blue car", "blue car, red car", [([7], [6]), ([3], [2])]),
        ("A Big CAT, sleeping!", "big cat", [([3], [2])]),
        ("a cat, a dog", "Cat", [([2], [])]),
        ("catamaran cats cat", "cat", [([3], [])]),
        ("a dog that is red", "red dog", [([2], [5])]),
        ("the dog is very big and brown", "big brown dog", [([2], [5, 7])]),
        ("a big, red car", "big red car", [([5], [2, 4])]),
        ("a cup of tea", "cup of tea", [([4], [2])]),
        (
            "a t-shirt and red_hair",
            "t-shirt, red hair",
            [([2, 3, 4], []), ([6], [6])],
        ),  # one piece of two words
        ("a hot-dog", "hot dog", [([2, 3, 4], [])]),
        ("1 girl", "1girl", [([1, 2], [])]),
        ("a (red) car", "red car", [([5], [3])]),
        ("caf\u00e9 at night", "cafe", [([1], [])]),
    ],
)
def test_whole_words_wherever_they_stand(text, typed, expected):
    assert columns(typed, prompt(text)) == expected


def test_characters_of_several_bytes_and_of_one_text_without_spaces():
    cat = encoder(["a</w>"])
    pieces = (*cat.pieces, Piece("\u00e7", 2, 3, 2), Piece("\u012e", 2, 3, 3), Piece("\u00ab</w>", 2, 3, 4))
    tokens = PromptTokens((EncoderTokens("l", "a \u732b", pieces, cat.chunks),), 77)
    assert columns("\u732b", tokens) == [([2, 3, 4], [])]
    run = "\u4e00\u53ea\u732b\u548c\u72d7"
    tokens = PromptTokens(
        (EncoderTokens("l", run, tuple(Piece(c, n, n + 1, n + 1) for n, c in enumerate(run)), cat.chunks),),
        77,
    )
    assert columns("\u732b, \u72d7", tokens) == [([3], []), ([5], [])]


def test_the_offset_of_the_layout_is_added():
    (cat,) = resolve(parse_subjects("red cat"), prompt("a red cat"), first_column=256)
    assert cat.noun == {"l": (259,)} and cat.modifiers == ({"l": (258,)},)


def test_every_encoder_contributes_what_it_knows():
    tokens = PromptTokens(
        (
            encoder(["a</w>", "cat</w>"], "l"),
            encoder(["a</w>", "cat</w>"], "t5xxl", first=77),
            encoder(["a</w>"], "g"),
        ),
        154,
    )
    (cat,), notes = resolve_with_notes(parse_subjects("cat"), tokens)
    assert cat.noun == {"l": (2,), "t5xxl": (78,)}
    assert notes == ("'cat' is not in the text of the text encoder g; the others are used",)


def test_an_encoder_without_rows_is_passed_over_in_silence():
    tokens = PromptTokens((encoder(["!cat</w>"], "l", chunks=()), encoder(["cat</w>"], "t5xxl")), 77)
    (cat,), notes = resolve_with_notes(parse_subjects("cat"), tokens)
    assert cat.noun == {"t5xxl": (1,)} and notes == ()


def test_words_that_do_not_stand_together_are_used_and_it_is_said():
    (car,), notes = resolve_with_notes(
        parse_subjects("red car"), prompt("a car, parked, red. a red hat and a car")
    )
    assert car.columns() == {"l": (2,)}
    assert notes == (
        "the words of 'red car' do not stand together in the prompt: 'car' is used with the nearest 'red'",
    )


def test_two_subjects_on_one_word_are_said():
    _, notes = resolve_with_notes(parse_subjects("red dog, dog"), prompt("a red dog"))
    assert notes == ("'dog' and 'red dog' are the same word of the prompt",)


# --- errors
def test_an_absent_word_names_the_nearest_and_lists_the_words():
    with pytest.raises(ValueError) as error:
        resolve(parse_subjects("zebre"), prompt("a photo of a Zebra, and a cat"))
    assert str(error.value) == (
        "The subject 'zebre' is not in the prompt (missing: zebre). Did you mean 'zebra'? "
        "Its words are: a, photo, of, zebra, and, cat. Write 'zebre?' if it may be missing (wildcards)."
    )


def test_an_absent_modifier_is_never_dropped_silently():
    with pytest.raises(ValueError, match=r"'purple cat' is not in the prompt \(missing: purple\)"):
        resolve(parse_subjects("purple cat"), prompt("a red cat"))


@pytest.mark.parametrize(
    "text, typed, cure",
    [
        ("a red car and a blue bench", "car, blue", "'blue' only describes 'bench' .*'blue bench'"),
        ("a dog that is brown", "brown", "'brown dog'"),
        ("1girl, red hair, blue_dress", "red", "'red hair'"),
    ],
)
def test_a_modifier_without_its_noun(text, typed, cure):
    with pytest.raises(ValueError, match=cure):
        resolve(parse_subjects(typed), prompt(text))
    resolve(parse_subjects("-" + typed.split()[-1]), prompt(text))  # what is unwanted may well be a colour


def test_a_colour_that_is_a_thing_here():
    (orange,) = resolve(parse_subjects("orange"), prompt("an orange and a lemon"))
    assert orange.noun


def test_parts_of_words_do_not_count():
    with pytest.raises(ValueError, match="'cat' is not in the prompt .*Did you mean 'cats'"):
        resolve(parse_subjects("cat"), prompt("cats on a catamaran"))


def test_an_occurrence_too_many():
    with pytest.raises(
        ValueError, match=r"'dog#3' is not in the prompt: 'dog' stands in it only 2 time\(s\)"
    ):
        resolve(parse_subjects("dog#3"), prompt("a dog and a dog"))


def test_a_word_that_was_cropped():
    with pytest.raises(ValueError, match="the text is longer than its text encoder takes"):
        resolve(parse_subjects("cat"), PromptTokens((encoder(["a</w>", "!cat</w>"]),), 77))


def test_an_empty_prompt():
    with pytest.raises(ValueError, match="'cat' is not in the prompt: the prompt is empty"):
        resolve(parse_subjects("cat"), prompt(""))


def test_a_long_prompt_is_not_listed_to_its_end():
    with pytest.raises(ValueError, match=r"word59, \.\.\.\. Write"):
        resolve([SubjectPhrase("zzz", "zzz")], prompt(" ".join(f"word{n}" for n in range(80))))


# --- choose_subjects
def test_typed_before_conditioning_before_found():
    plain = prompt("a red cat and a blue dog")
    carried = PromptTokens(plain.encoders, 77, subjects=parse_subjects("dog"))

    def what(typed, tokens):
        return [(s.label, s.phrase.source) for s in choose_subjects(parse_subjects(typed), tokens)[0]]

    assert what("cat", carried) == [("cat", "typed")]
    assert what("", carried) == [("dog", "conditioning")]
    assert what("", plain) == [("red cat", "found"), ("blue dog", "found")]
    assert choose_subjects((), prompt("masterpiece, best quality")) == ((), ())
    assert choose_subjects((), PromptTokens((), 0)) == ((), ())


def test_what_is_left_out_is_said():
    subjects, notes = choose_subjects(
        (), prompt("a cat, a dog, a bird, a cow, a horse, a sheep and a blue car")
    )
    assert len(subjects) == 5
    assert notes == ("left out (at most 5 subjects are chosen automatically): sheep, blue car",)


def test_no_article_is_proposed_for_a_word_that_is_missing():
    with pytest.raises(ValueError, match=r"\(missing: cat\)\. Its words are: a, red, circle"):
        resolve(parse_subjects("cat"), prompt("a red circle"))
