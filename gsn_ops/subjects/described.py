"""Which words of a prompt the descriptions of boxes mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ..plurals import other_forms
from ..prompt import PromptTokens, SubjectPhrase
from .matching import phrase_matches, split_words
from .resolve import resolve
from .syntax import NOUN_ENDS, parse_subjects
from .word_lists import DEFINITE, INDEFINITE, is_adjective, is_verb_form

ACTIONS = frozenset(
    "standing sitting lying sleeping running walking flying jumping swimming playing eating drinking looking "
    "smiling dancing floating hanging reading leaning crouching kneeling climbing resting waiting crawling "
    "singing galloping grazing barking parked seated perched".split()
)
DETERMINERS = DEFINITE | INDEFINITE


def phrases_of(
    names: Sequence[str], tokens: PromptTokens
) -> tuple[dict[int, SubjectPhrase], dict[int, ValueError]]:
    """(index -> the phrase of the prompt that this description means, index -> why it means none).

    The whole description if the prompt has it, else its noun, also in the other number ("an apple", "two
    apples"). Equal descriptions take one occurrence each, or together the only one.
    """
    taken: dict[tuple[str, tuple[str, ...]], int] = {}
    found: dict[int, SubjectPhrase] = {}
    errors: dict[int, ValueError] = {}
    for index, name in enumerate(names):
        try:
            phrase = _in_prompt(name, tokens)
        except ValueError as error:
            errors[index] = error
            continue
        key = (phrase.noun, phrase.modifiers)
        taken[key] = taken.get(key, 0) + 1
        n = min(taken[key], _occurrences(phrase, tokens))
        label = phrase.label + (f"#{n}" if n > 1 else "")
        found[index] = replace(phrase, occurrence=n, label=label)
    return found, errors


def _in_prompt(name: str, tokens: PromptTokens) -> SubjectPhrase:
    """The first reading of a description that the prompt has. Raises ValueError if it has none."""
    errors: list[ValueError] = []
    for reading in _readings(_parsed(name)):
        try:
            resolve((reading,), tokens)
        except ValueError as error:
            errors.append(error)
        else:
            return reading
    raise ValueError(
        f"The box '{name}' belongs to no word of the prompt. {errors[0]} Write the same words in the prompt "
        "and in the box, or connect the prompt output of Layout to the text encoder."
    )


def _parsed(name: str) -> SubjectPhrase:
    """A description as one phrase, without commas, what stands in brackets behind it, and what its object
    does. Raises ValueError if it has no word.
    """
    bare = re.sub(r":\s*[\d.]+(?=\s*\))", "", name)  # the weight of "(a cat:1.2)"
    bare = re.sub(r"(?<=\w)\s*(?:\([^()]*\)|\[[^\[\]]*\]|#\d+)", " ", bare)
    bare = re.sub(r"[,;|/\[\](){}#*?:\"\u201c\u201d+\n]+", " ", bare).strip(" .-")
    bare = re.sub(r"^(?:an?|the)\s+", "", bare, flags=re.IGNORECASE)
    bare = _without_action(re.sub(r"\s(?:and|&)\s", " ", bare))
    phrases = parse_subjects(bare, any_word=True)
    if not phrases:
        raise ValueError(f"A box is described as '{name}', which has no word in it: name the object.")
    if phrases[0].role == "unwanted":
        raise ValueError(
            f"The box '{name}' is for something unwanted: remove the box, and write it into the negative "
            "prompt."
        )
    return phrases[0]


def _without_action(bare: str) -> str:
    """ "a cat sleeping on a sofa": the words before its verb, whose last one is the noun."""
    words = bare.split()
    for n, word in enumerate(words[1:], 1):
        before, behind = words[n - 1].lower(), words[n + 1].lower() if n + 1 < len(words) else ""
        if is_adjective(before) or before in DETERMINERS or before.isdigit():
            continue  # "two sleeping cats"
        if word.lower() in ACTIONS or (behind in NOUN_ENDS and is_verb_form(word.lower())):
            return " ".join(words[:n])
    return bare


def _readings(whole: SubjectPhrase) -> list[SubjectPhrase]:
    """The description, then its noun in the other number, without its modifiers, and its last word."""
    nouns = [whole.noun, *other_forms(whole.noun)]
    described = [SubjectPhrase(" ".join([*whole.modifiers, n]), n, whole.modifiers) for n in nouns[1:]]
    last = whole.noun.split()[-1]
    return [whole, *described, *(SubjectPhrase(n, n) for n in [*nouns, last, *other_forms(last)])]


def _occurrences(phrase: SubjectPhrase, tokens: PromptTokens) -> int:
    """How often the prompt has a phrase: its nouns in the text of the encoder that has most, at least 1."""
    words = [split_words(encoder.text) for encoder in tokens.encoders]
    return max((len(phrase_matches(phrase, text)) for text in words), default=1) or 1
