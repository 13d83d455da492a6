"""SynGen's dependency rules on hand-annotated parses, and spaCy as an optional parser: asked for, missing,
never imported otherwise.
"""

import subprocess
import sys
import types
from pathlib import Path

import pytest

from gsn_ops.prompt import EncoderTokens, Piece, PromptTokens
from gsn_ops.subjects import resolve, spacy_parser
from gsn_ops.subjects.resolve import choose_subjects
from gsn_ops.subjects.syngen_rules import (
    ParsedWord,
    entities,
    nouns_and_modifiers,
    std,
    subjects_of_parse,
    unify,
    verb_root,
    with_verbs,
)
from gsn_ops.subjects.syntax import parse_subjects

# each word with its part of speech, relation and the index of its head, as en_core_web_trf annotates
TREES = {
    "a red car and a blue bench": (
        "DET det 2, ADJ amod 2, NOUN ROOT 2, CCONJ cc 2, DET det 6, ADJ amod 6, NOUN conj 2"
    ),
    "a checkered bowl on a red and blue table": (
        "DET det 2, ADJ amod 2, NOUN ROOT 2, ADP prep 2, "
        "DET det 8, ADJ amod 8, CCONJ cc 5, ADJ conj 5, NOUN pobj 3"
    ),
    "a black leather jacket": "DET det 3, ADJ amod 3, NOUN compound 3, NOUN ROOT 3",
    "a spotted and horned lion": "DET det 4, ADJ amod 4, CCONJ cc 1, ADJ conj 1, NOUN ROOT 4",
    "a photo of a cat and a dog": (
        "DET det 1, NOUN ROOT 1, ADP prep 1, DET det 4, NOUN pobj 2, CCONJ cc 4, DET det 7, NOUN conj 4"
    ),
    "a dog that is red and a cat": (
        "DET det 1, NOUN ROOT 1, PRON nsubj 3, AUX relcl 1, ADJ acomp 3, CCONJ cc 1, DET det 7, NOUN conj 1"
    ),
    "the dog is brown and the cat is white": (
        "DET det 1, NOUN nsubj 2, AUX ROOT 2, ADJ acomp 2, "
        "CCONJ cc 2, DET det 6, NOUN nsubj 7, AUX conj 2, ADJ acomp 7"
    ),
    "a cat that is black and a dog that is big and white": "DET det 1, NOUN ROOT 1, PRON nsubj 3, "
    "AUX relcl 1, ADJ acomp 3, CCONJ cc 1, DET det 7, NOUN conj 1, "
    "PRON nsubj 9, AUX relcl 7, ADJ acomp 9, CCONJ cc 10, ADJ conj 10",
    "the black dog is big": "DET det 2, ADJ amod 2, NOUN nsubj 3, AUX ROOT 3, ADJ acomp 3",
    "a dog and a cat are black": (
        "DET det 1, NOUN nsubj 5, CCONJ cc 1, DET det 4, NOUN conj 1, AUX ROOT 5, ADJ acomp 5"
    ),
    "it is red": "PRON nsubj 1, AUX ROOT 1, ADJ acomp 1",
    "a salt and pepper shaker": "DET det 4, NOUN nmod 4, CCONJ cc 1, NOUN conj 1, NOUN ROOT 4",
    "a hot dog and a dog": "DET det 2, ADJ amod 2, NOUN ROOT 2, CCONJ cc 2, DET det 5, NOUN conj 2",
    "a dog , the dog is black": (
        "DET det 1, NOUN nsubj 5, PUNCT punct 1, DET det 4, NOUN appos 1, AUX ROOT 5, ADJ acomp 5"
    ),
    "a long - haired cat": "DET det 4, ADV advmod 3, PUNCT punct 3, VERB amod 4, NOUN ROOT 4",
    "a cat, a dog, a bird, a cow, a horse and a red sheep": "DET det 1, NOUN ROOT 1, "
    "PUNCT punct 1, DET det 4, NOUN "
    "conj 1, PUNCT punct 4, DET det 7, NOUN conj 4, PUNCT punct 7, "
    "DET det 10, NOUN conj 7, PUNCT punct 10, DET det 13, NOUN conj 10, CCONJ cc "
    "13, DET det 17, ADJ amod 17, NOUN conj 13",
}


def tree(text):
    words = text.replace(",", " ,").split()
    notes = [note.split() for note in TREES[text].split(", ")]
    assert len(words) == len(notes)
    return tuple(ParsedWord(word, pos, dep, int(head)) for word, (pos, dep, head) in zip(words, notes))


def shown(text, groups):
    return [[tree(text)[i].text for i in group] for group in groups]


@pytest.mark.parametrize(
    "rule, text, expected",
    [  # the methods document's table, then the rules' corners
        (std, "a red car and a blue bench", [["red", "car"], ["blue", "bench"]]),
        (std, "a checkered bowl on a red and blue table", [["checkered", "bowl"], ["red", "blue", "table"]]),
        (std, "a black leather jacket", [["black", "leather", "jacket"]]),
        (std, "a spotted and horned lion", [["spotted", "horned", "lion"]]),
        (std, "a photo of a cat and a dog", []),
        (std, "a dog that is red and a cat", []),
        (with_verbs, "a dog that is red and a cat", [["red", "dog"]]),
        (verb_root, "the dog is brown and the cat is white", [["dog", "brown"], ["cat", "white"]]),
        (std, "the dog is brown and the cat is white", []),
        (with_verbs, "the dog is brown and the cat is white", []),
        (verb_root, "a dog that is red and a cat", []),  # "that" is no noun
        (
            with_verbs,
            "a cat that is black and a dog that is big and white",
            [["black", "cat"], ["big", "white", "dog"]],
        ),  # every noun
        (with_verbs, "a red car and a blue bench", [["red", "car"], ["blue", "bench"]]),
        (verb_root, "the black dog is big", [["dog", "big", "black"]]),  # members first, then below them
        (verb_root, "it is red", []),
        (std, "a salt and pepper shaker", [["salt", "pepper", "shaker"]]),
        (entities, "a photo of a cat and a dog", [["photo"], ["cat"], ["dog"]]),
        (entities, "it is red", []),
    ],
)
def test_groups_of_the_passes(rule, text, expected):
    assert shown(text, rule(tree(text))) == expected


def test_modifiers_are_searched_depth_first_last_in_first_out():
    words = (
        ParsedWord("bright", "ADV", "advmod", 1),
        ParsedWord("red", "ADJ", "amod", 5),
        ParsedWord("blue", "ADJ", "conj", 1),
        ParsedWord("very", "ADV", "advmod", 2),
        ParsedWord("big", "ADJ", "amod", 5),
        ParsedWord("car", "NOUN", "ROOT", 5),
    )
    assert std(words) == [[1, 4, 2, 3, 0, 5]]


def test_unify_reference_values():
    assert unify([[3, 4], [8, 9]], [[3, 4]], [[4], [9], [12]]) == [[3, 4], [8, 9], [12]]
    assert unify([[3, [4, 5]]], [[3, [4, 5]]], [[[4, 5]], [9]]) == [[3, [4, 5]], [9]]


def test_unify_goes_on_until_nothing_is_shared():
    assert unify([[1, 2], [5, 6]], [[2, 9]], [[6, 9]], [[7]]) == [[1, 2, 9, 6, 5], [7]]
    assert unify() == [] and unify([], [[1]]) == [[1]]


def test_the_noun_is_detected_again_in_unified_groups():
    def of(text):
        words = tree(text)
        groups = unify(std(words), verb_root(words), with_verbs(words), entities(words))
        return [
            (words[n].text, [words[m].text for m in ms])
            for group in groups
            for n, ms in nouns_and_modifiers(words, group)
        ]

    assert of("the black dog is big") == [("dog", ["black", "big"])]
    assert of("a salt and pepper shaker") == [("shaker", ["salt", "pepper"])]
    assert of("a dog and a cat are black") == [
        ("dog", ["black"]),
        ("cat", []),
    ]  # the cat is not what the dog is like
    assert of("it is red") == []


SUBJECTS = {
    "a red car and a blue bench": "red car, blue bench",
    "a checkered bowl on a red and blue table": "checkered bowl, red blue table",
    "a black leather jacket": "black leather jacket",
    "a photo of a cat and a dog": "cat, dog",
    "a dog that is red and a cat": "red dog, cat",
    "the dog is brown and the cat is white": "brown dog, white cat",
    "the black dog is big": "black big dog",
    "a hot dog and a dog": "hot dog, dog",
    "a dog , the dog is black": "dog",
    "a long - haired cat": "long haired cat",
    "it is red": "",
}


@pytest.mark.parametrize("text", SUBJECTS)
def test_subjects_of_a_parse_stand_where_the_parse_has_them(text):
    found, left_out = subjects_of_parse(tree(text), text)
    assert (", ".join(s.label for s in found), left_out) == (SUBJECTS[text], [])
    assert {(s.source, s.role) for s in found} <= {("found", "wanted")}


# --- asking for it by @spacy
def prompt(text):
    """A prompt whose words are one piece each, in columns 1, 2, ..."""
    pieces, at = [], 0
    for n, word in enumerate(text.replace(",", " ,").split()):
        at = text.index(word, at)
        pieces.append(Piece(word, at, at + len(word), n + 1))
        at += len(word)
    return PromptTokens((EncoderTokens("l", text, tuple(pieces), ((1, 76, 77),)),), 77)


@pytest.fixture
def asked(monkeypatch):
    """What spaCy was asked to parse; it answers with the trees above."""
    calls = []

    def parse(text, model):
        calls.append((text, model))
        return tree(text)

    monkeypatch.setattr(resolve.spacy_parser, "parse", parse)
    return calls


@pytest.mark.parametrize(
    "typed, model",
    [
        ("@spacy", "en_core_web_trf"),
        (" @spaCy\n", "en_core_web_trf"),
        ("[@spacy]", "en_core_web_trf"),
        ("@spacy:en_core_web_sm", "en_core_web_sm"),
        ("@spacy: de_core_news_lg", "de_core_news_lg"),
    ],
)
def test_a_person_asks_for_spacy_in_the_subjects_field(asked, typed, model):
    text = "a black leather jacket"
    (jacket,), notes = choose_subjects(parse_subjects(typed), prompt(text))
    assert asked == [(text, model)]
    assert (jacket.label, jacket.noun, jacket.modifiers, notes) == (
        "black leather jacket",
        {"l": (4,)},
        ({"l": (2,)}, {"l": (3,)}),
        (),
    )
    assert jacket.phrase.source == "found"


def test_columns_of_repeated_words_are_those_of_the_parse(asked):
    hot_dog, dog = choose_subjects(parse_subjects("@spacy"), prompt("a hot dog and a dog"))[0]
    assert (hot_dog.noun, dog.noun) == ({"l": (2, 3)}, {"l": (6,)})


def test_on_the_conditioning_it_counts_unless_subjects_are_typed_on_the_node(asked):
    text = "a dog that is red and a cat"
    carried = PromptTokens(prompt(text).encoders, 77, subjects=parse_subjects("@spacy"))
    assert [s.label for s in choose_subjects((), carried)[0]] == ["red dog", "cat"] and len(asked) == 1
    assert [s.label for s in choose_subjects(parse_subjects("cat"), carried)[0]] == ["cat"] and len(
        asked
    ) == 1
    assert choose_subjects((), prompt(text)) and len(asked) == 1  # nothing typed: the built-in parser


def test_at_most_five_and_the_rest_is_named(asked):
    found, notes = choose_subjects(
        parse_subjects("@spacy"), prompt("a cat, a dog, a bird, a cow, a horse and a red sheep")
    )
    assert len(found) == 5 and notes == ("left out (at most 5 subjects are chosen automatically): red sheep",)


def test_an_empty_prompt_is_not_parsed(asked):
    assert choose_subjects(parse_subjects("@spacy"), PromptTokens((), 0)) == ((), ()) and asked == []


@pytest.mark.parametrize(
    "typed, words",
    [
        ("@spacy, red car", ("'@spacy' finds the subjects by itself", "remove the other subjects")),
        ("cat\n@spacy:en_core_web_sm", ("'@spacy:en_core_web_sm' finds",)),
        ("@spacy:", ("'@spacy:' cannot be read", "@spacy:en_core_web_sm")),
        ("@spacy:/home/me/model", ("cannot be read",)),
        ("@spacy:os", ("cannot be read",)),
        ("@spacys", ("cannot be read",)),
    ],
)
def test_requests_that_cannot_be_read(typed, words):
    with pytest.raises(ValueError) as error:
        parse_subjects(typed)
    assert all(word in str(error.value) for word in words)


def test_another_at_sign_is_a_word_of_the_prompt():
    assert [p.source for p in parse_subjects("@greg, cat")] == ["typed", "typed"]


# --- spaCy, missing or there
@pytest.fixture
def fresh():
    """No parse is remembered."""
    spacy_parser.parse.cache_clear()
    yield
    spacy_parser.parse.cache_clear()


def refusal():
    with pytest.raises(ValueError) as error:
        choose_subjects(parse_subjects("@spacy:en_core_web_sm"), prompt("a red car"))
    return str(error.value)


def test_spacy_asked_for_but_not_installed(fresh, monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)  # as if not installed, wherever this runs
    text = refusal()
    for part in (
        "@spacy requests spaCy",
        "pip install spacy",
        "python -m spacy download en_core_web_sm",
        "remove @spacy",
        "built-in parser",
    ):
        assert part in text


@pytest.mark.parametrize(
    "problem, cause",
    [
        (OSError("[E050] Can't find model 'en_core_web_sm'."), "model 'en_core_web_sm' is not installed"),
        (ValueError("[E002] Can't find factory for 'curated_transformer'"), "cannot be loaded: [E002]"),
        (
            ImportError("No module named 'spacy_curated_transformers'"),
            "cannot be loaded: No module named 'spacy_curated",
        ),
    ],
)
def test_a_model_that_does_not_load(fresh, monkeypatch, problem, cause):
    def load(name):
        raise problem

    monkeypatch.setitem(sys.modules, "spacy", types.SimpleNamespace(load=load))
    text = refusal()
    for part in (cause, "python -m spacy download en_core_web_sm", "remove @spacy"):
        assert part in text


def test_spacys_tokens_become_words_and_a_parse_is_kept(fresh, monkeypatch):
    loaded = []

    def load(name):
        loaded.append(name)

        def parser(text):
            heads = [types.SimpleNamespace(i=i) for i in (1, 1)]
            notes = zip(text.split(), ("ADJ", "NOUN"), ("amod", "ROOT"), heads)
            return [types.SimpleNamespace(text=t, pos_=p, dep_=d, head=h) for t, p, d, h in notes]

        return parser

    monkeypatch.setitem(sys.modules, "spacy", types.SimpleNamespace(load=load))
    words = (ParsedWord("red", "ADJ", "amod", 1), ParsedWord("car", "NOUN", "ROOT", 1))
    assert spacy_parser.parse("red car") == spacy_parser.parse("red car") == words
    assert loaded == ["en_core_web_trf"]


NEVER = """
import sys
sys.path.insert(0, sys.argv[1])
from gsn_ops.subjects import caption_parser, resolve, spacy_parser, syngen_rules, syntax
from gsn_ops.prompt import EncoderTokens, Piece, PromptTokens
tokens = PromptTokens((EncoderTokens("l", "cat", (Piece("cat", 0, 3, 1),), ((1, 76, 77),)),), 77)
for typed in ((), syntax.parse_subjects("cat")):
    assert resolve.choose_subjects(typed, tokens)[0]
assert "spacy" not in sys.modules
"""


def test_spacy_is_never_imported_unless_asked_for():
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run([sys.executable, "-I", "-c", NEVER, str(root)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
