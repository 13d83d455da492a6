"""Subjects of a run: phrases typed, on the conditioning or found, and their text columns."""

from __future__ import annotations

import difflib
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..prompt import EncoderTokens, PromptTokens, SubjectColumns, SubjectPhrase
from ..remark import Remark
from . import spacy_parser, syngen_rules
from .caption_parser import noun_phrases
from .find import subjects_of_caption
from .language import foreign_language
from .matching import PhraseMatch, TextWord, Words, find_all, phrase_matches, split_words
from .readable_text import as_sentences
from .scene import with_scene
from .syntax import SPACY
from .weights import SOURCE as WEIGHTED
from .word_lists import FUNCTION_WORDS

MAX_SHOWN_WORDS = 60  # of the prompt, in an error
MAX_SHOWN_LEFT_OUT = 10
NOT_ENGLISH = (
    "the prompt is not English ({language}), and subjects are found in English only: type them into the "
    "subjects field, separated by commas"
)


@dataclass
class _Found:
    """Columns of a phrase per encoder, and the encoders that do not have it."""

    noun: dict[str, tuple[int, ...]]
    modifiers: list[dict[str, tuple[int, ...]]]
    lacking: set[str] = field(default_factory=set)


def choose_subjects(
    typed: Sequence[SubjectPhrase], tokens: PromptTokens, first_column: int = 0
) -> tuple[tuple[SubjectColumns, ...], tuple[str, ...]]:
    """The subjects of a run, and remarks.

    Those typed on the node, else those on the conditioning, else those found in the text; () if nothing is
    found. Raises ValueError as `resolve` does, and if spaCy is requested but missing.
    """
    phrases = tuple(typed) or tokens.subjects
    left_out: Sequence[str] = ()
    remarks: tuple[str, ...] = ()
    request = phrases[0].noun if phrases and phrases[0].source == SPACY else None
    if request or not phrases:
        phrases, left_out, remarks = _find(tokens, request)
        phrases = tuple(p for p in phrases if _is_seen(p, tokens))
    elif not typed:
        phrases = tuple(replace(p, source="conditioning") for p in phrases)
    subjects, notes = resolve_with_notes(phrases, tokens, first_column)
    subjects = with_scene(subjects, tokens, first_column)
    notes = (*remarks, *notes)
    left_out = list(dict.fromkeys(left_out))
    if left_out:
        names = ", ".join(left_out[:MAX_SHOWN_LEFT_OUT])
        if len(left_out) > MAX_SHOWN_LEFT_OUT:
            names += f" and {len(left_out) - MAX_SHOWN_LEFT_OUT} more"
        reason = f"left out (at most {len(phrases)} subjects are chosen automatically): {names}"
        notes = (*notes, Remark(reason, line=f"left out: {names}"))
    return subjects, notes


def _find(
    tokens: PromptTokens, model: str | None
) -> tuple[tuple[SubjectPhrase, ...], list[str], tuple[str, ...]]:
    """The subjects of the text, the labels of those left out, and remarks.

    model: a spaCy model, None = the built-in parser, which reads English only.
    """
    text = next((e.typed or e.text for e in tokens.encoders if _is_read(e)), None)
    if text is None:
        return (), [], ()
    if model is not None:
        found, left_out = syngen_rules.subjects_of_parse(spacy_parser.parse(as_sentences(text), model), text)
        return tuple(found), left_out, ()
    language = foreign_language(text)
    if language:
        remark = Remark(
            NOT_ENGLISH.format(language=language),
            line=f"the prompt is not English ({language}), type its subjects",
        )
        return (), [], (remark,)
    found, left_out = subjects_of_caption(text)
    return tuple(found), left_out, ()


def _is_seen(phrase: SubjectPhrase, tokens: PromptTokens) -> bool:
    """Whether the model sees a phrase of the typed text; an encoder may cut the end of it off."""
    try:
        resolve((phrase,), tokens)
    except ValueError:
        return False
    return True


def _is_read(encoder: EncoderTokens) -> bool:
    """Whether the encoder's tokens reach the model as columns; others are only pooled."""
    return any(piece.column is not None for piece in encoder.pieces)


def resolve(
    phrases: Sequence[SubjectPhrase], tokens: PromptTokens, first_column: int = 0
) -> tuple[SubjectColumns, ...]:
    """Look the phrases up in every encoder's text; columns are rows of the conditioning + `first_column`.

    An encoder that does not have a phrase contributes nothing to it. Raises ValueError for a phrase that no
    encoder has, with the prompt's words and the nearest one, and for a modifier typed without its noun. An
    optional phrase that no encoder has is left out.
    """
    return resolve_with_notes(phrases, tokens, first_column)[0]


def resolve_with_notes(
    phrases: Sequence[SubjectPhrase], tokens: PromptTokens, first_column: int = 0
) -> tuple[tuple[SubjectColumns, ...], tuple[str, ...]]:
    """As `resolve`, with remarks: words apart from each other, encoders that lack a phrase, shared words."""
    found = [_Found({}, [{} for _ in phrase.modifiers]) for phrase in phrases]
    notes: list[str] = []
    for encoder in tokens.encoders:
        notes += _look_up(phrases, encoder, first_column, found)
    read = {e.name for e in tokens.encoders if _is_read(e)}
    for phrase, one in zip(phrases, found):
        if not one.noun and phrase.optional:
            notes.append(f"'{phrase.label}' is not in the prompt: left out")
            continue
        if not one.noun:
            raise ValueError(_not_found(phrase, tokens))
        notes += [
            f"'{phrase.label}' is not in the text of the text encoder {name}; the others are used"
            for name in sorted(one.lacking & read)
        ]
    subjects = tuple(SubjectColumns(p, f.noun, tuple(f.modifiers)) for p, f in zip(phrases, found) if f.noun)
    return subjects, tuple(dict.fromkeys(notes))


def _look_up(
    phrases: Sequence[SubjectPhrase], encoder: EncoderTokens, first_column: int, found: Sequence[_Found]
) -> list[str]:
    """Write the columns of the phrases in one encoder's text into `found`. Returns remarks."""
    words = split_words(encoder.text)
    describing = _describing_words(encoder.text) if any(map(_needs_noun, phrases)) else {}
    known: dict[tuple, list[PhraseMatch]] = {}  # a phrase may be typed many times
    taken: dict[int, str] = {}  # first word of a noun -> label of its subject
    notes: list[str] = []
    # Phrases with more words first, so that "red dog" gets its dog before "dog" takes what is left.
    for n in sorted(range(len(phrases)), key=lambda n: -len(phrases[n].modifiers)):
        phrase = phrases[n]
        key = (phrase.noun, phrase.modifiers)
        if key not in known:
            known[key] = phrase_matches(phrase, words)
        match = _choose_match(phrase, known[key], taken)
        columns = _columns(encoder, words, match.noun, first_column) if match else ()
        if match is None or not columns:
            found[n].lacking.add(encoder.name)
            continue
        _refuse_modifier(phrase, match, describing)
        if not match.adjacent and phrase.source == "typed":
            _refuse_several(phrase, words, encoder.text)
        notes += _match_notes(phrase, match, taken)
        taken.setdefault(match.noun.start, phrase.label)
        found[n].noun[encoder.name] = columns
        for k, modifier in enumerate(match.modifiers):
            found[n].modifiers[k][encoder.name] = _columns(encoder, words, modifier, first_column)
    return notes


def _choose_match(
    phrase: SubjectPhrase, matches: Sequence[PhraseMatch], taken: dict[int, str]
) -> PhraseMatch | None:
    """The requested occurrence; without a number the first one that no other subject has."""
    if phrase.occurrence > 1:
        return matches[phrase.occurrence - 1] if len(matches) >= phrase.occurrence else None
    free = (match for match in matches if match.noun.start not in taken)
    return next(free, matches[0] if matches else None)


def _needs_noun(phrase: SubjectPhrase) -> bool:
    """Whether the phrase must not be a mere adjective of the prompt."""
    return phrase.source == "typed" and phrase.role == "wanted" and not phrase.modifiers


def _describing_words(text: str) -> dict[int, str]:
    """The words of a prompt that only describe a thing: index -> the thing."""
    return {word.at.start: thing.name for thing in noun_phrases(text) for word in thing.modifiers}


def _refuse_modifier(phrase: SubjectPhrase, match: PhraseMatch, describing: Mapping[int, str]) -> None:
    """Raises ValueError for a typed word that only describes a thing of the prompt: "red" of "a red car"."""
    noun = describing.get(match.noun.start)
    if noun is not None and _needs_noun(phrase):
        raise ValueError(
            f"The subject '{phrase.label}' only describes '{noun}' in the prompt: type the thing with "
            f"it, '{phrase.label} {noun}', or the thing alone, '{noun}'."
        )


def _refuse_several(phrase: SubjectPhrase, words: Words, text: str) -> None:
    """Raises ValueError for a typed phrase that is several things of the prompt: "red circle blue square"."""
    ends = {thing.noun[-1].at.stop for thing in noun_phrases(text)}
    rest = split_words(re.sub(r"#\d+$", "", phrase.label))
    things: list[str] = []
    while rest:
        size = next((k for k in range(len(rest), 0, -1) if _ends_at(words, rest[:k], ends)), 0)
        if not size:
            return
        things.append(" ".join(word.text for word in rest[:size]))
        rest = Words(rest[size:])
    if len(things) > 1:
        raise ValueError(
            f"The subject '{phrase.label}' is {len(things)} things in the prompt: separate them by commas, "
            f"'{', '.join(things)}', or type one of them."
        )


def _ends_at(words: Words, wanted: Sequence[TextWord], ends: set[int]) -> bool:
    """Whether these words stand together in a prompt, the last one a noun. ends: where its nouns end."""
    return any(start + len(wanted) in ends for start in find_all(words, wanted))


def _match_notes(phrase: SubjectPhrase, match: PhraseMatch, taken: dict[int, str]) -> list[str]:
    notes = []
    if not match.adjacent:
        apart = f"the words of '{phrase.label}' do not stand together"
        nearest = ", ".join(f"'{m}'" for m in phrase.modifiers)
        used = f"{apart} in the prompt: '{phrase.noun}' is used with the nearest {nearest}"
        notes.append(Remark(used, line=apart))
    if match.noun.start in taken:
        same = f"'{phrase.label}' and '{taken[match.noun.start]}' are the same word of the prompt"
        notes.append(Remark(same, line=same))
    return notes


def _columns(
    encoder: EncoderTokens, words: Sequence[TextWord], at: range, first_column: int
) -> tuple[int, ...]:
    """Columns of the tokens that spell these words, whole or in part."""
    start, stop = words[at.start].start, words[at.stop - 1].stop
    columns: list[int | None] = []
    for piece in encoder.pieces[bisect_right(encoder.pieces, start, key=lambda piece: piece.stop) :]:
        if piece.start >= stop:
            break
        if piece.start < piece.stop:
            columns.append(piece.column)
    return tuple(dict.fromkeys(column + first_column for column in columns if column is not None))


def _not_found(phrase: SubjectPhrase, tokens: PromptTokens) -> str:
    """Why no encoder has this phrase, and what to do."""
    named = f"The {'word' if phrase.source == WEIGHTED else 'subject'} '{phrase.label}'"
    texts = [split_words(e.text) for e in tokens.encoders]
    occurrences = max((len(phrase_matches(phrase, words)) for words in texts), default=0)
    if occurrences >= phrase.occurrence:
        return (
            f"{named} is in the prompt, but its tokens are not passed to the model: "
            f"{_why_not_passed(phrase, tokens)}."
        )
    if occurrences:
        name = re.sub(r"#\d+$", "", phrase.label)
        return f"{named} is not in the prompt: '{name}' stands in it only {occurrences} time(s)."
    shown = list(dict.fromkeys(w for e in tokens.encoders for w in re.findall(r"\w+", e.text.lower())))
    if not shown:
        return f"{named} is not in the prompt: the prompt is empty."
    known = {w.text for words in texts for w in words}
    missing = [w for w in (*phrase.modifiers, phrase.noun) if not {x.text for x in split_words(w)} <= known]
    things = [word for word in shown if word not in FUNCTION_WORDS]
    text = f"{named} is not in the prompt"
    text += f" (missing: {', '.join(missing)}). " if missing else ". "
    near = [match for w in missing for match in difflib.get_close_matches(w.lower(), things, 1, 0.5)]
    text += f"Did you mean {' '.join(repr(n) for n in near)}? " if near else ""
    text += f"Its words are: {', '.join(shown[:MAX_SHOWN_WORDS])}"
    text += ", ...." if len(shown) > MAX_SHOWN_WORDS else "."
    text += f" Write '{phrase.label}?' if it may be missing (wildcards)."
    return text + (f" Note: {'; '.join(tokens.notes)}." if tokens.notes else "")


def _why_not_passed(phrase: SubjectPhrase, tokens: PromptTokens) -> str:
    """Why the tokens of a phrase that is in the prompt do not reach the model."""
    reason = "; ".join(tokens.notes)
    reason = reason or "the text is longer than its text encoder takes. Move it towards the beginning"
    having = [e for e in tokens.encoders if phrase_matches(phrase, split_words(e.text))]
    if any(e.chunks or f"text encoder {e.name}" in reason for e in having):
        return reason
    names = " and ".join(e.name for e in having)
    return (
        f"it is only in the text of {names}, which passes no single tokens to the model. "
        "Write it in the other text too"
    )
