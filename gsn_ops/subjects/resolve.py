"""From phrases to the columns of the text in which they stand, and the subjects of a run: typed, on the conditioning, or found."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import replace

from ..prompt import EncoderTokens, PromptTokens, SubjectColumns, SubjectPhrase
from . import caption_parser, spacy_parser, syngen_rules
from .matching import Place, Word, places, split_words
from .syntax import SPACY


def resolve(
    phrases: Sequence[SubjectPhrase], tokens: PromptTokens, first_column: int = 0
) -> tuple[SubjectColumns, ...]:
    """Look the phrases up in every encoder's text; columns are rows of the conditioning + `first_column`.

    An encoder that does not have a phrase contributes nothing to it. Raises ValueError for a phrase that no encoder has,
    with the prompt's words and the nearest one, and for a modifier typed without its noun.
    """
    return resolve_with_notes(phrases, tokens, first_column)[0]


def resolve_with_notes(
    phrases: Sequence[SubjectPhrase], tokens: PromptTokens, first_column: int = 0
) -> tuple[tuple[SubjectColumns, ...], tuple[str, ...]]:
    """As `resolve`, and remarks: words that do not stand together, encoders that lack a phrase, shared places."""
    found: list[tuple[dict, list[dict]]] = [({}, [{} for _ in p.modifiers]) for p in phrases]
    notes: list[str] = []
    lacking: list[set[str]] = [set() for _ in phrases]
    for encoder in tokens.encoders:
        words, taken = split_words(encoder.text), {}
        # Phrases with more words first, so that "red dog" gets its dog before "dog" takes what is left.
        for n in sorted(range(len(phrases)), key=lambda n: -len(phrases[n].modifiers)):
            phrase = phrases[n]
            place = _choose_place(phrase, places(phrase, words), taken)
            columns = place and _columns(encoder, words, place.noun)
            if not columns:
                lacking[n].add(encoder.name)
                continue
            _refuse_modifier(phrase, place, encoder.text)
            notes += _place_notes(phrase, place, taken)
            taken.setdefault(place.noun.start, phrase.label)
            found[n][0][encoder.name] = tuple(c + first_column for c in columns)
            for k, modifier in enumerate(place.modifiers):
                found[n][1][k][encoder.name] = tuple(
                    c + first_column for c in _columns(encoder, words, modifier)
                )
    seeing = {e.name for e in tokens.encoders if any(p.column is not None for p in e.pieces)}
    for phrase, (noun, _), missing in zip(phrases, found, lacking):
        if not noun:
            raise ValueError(_not_found(phrase, tokens))
        notes += [
            f"'{phrase.label}' is not in what the text encoder {name} saw; the others are used"
            for name in sorted(missing & seeing)
        ]
    subjects = tuple(
        SubjectColumns(p, noun, tuple(modifiers)) for p, (noun, modifiers) in zip(phrases, found)
    )
    return subjects, tuple(dict.fromkeys(notes))


def _choose_place(phrase: SubjectPhrase, found: list[Place], taken: dict[int, str]) -> Place | None:
    """The occurrence asked for; without a number the first place that no other subject has."""
    if phrase.occurrence > 1:
        return found[phrase.occurrence - 1] if len(found) >= phrase.occurrence else None
    return next((p for p in found if p.noun.start not in taken), found[0] if found else None)


def _refuse_modifier(phrase: SubjectPhrase, place: Place, text: str) -> None:
    """Raises ValueError for a typed word that only describes a thing of the prompt: "red" of "a red car"."""
    if phrase.source != "typed" or phrase.role != "wanted" or phrase.modifiers:
        return
    for thing in caption_parser.noun_phrases(text):
        if any(unit.at.start == place.noun.start for unit in thing.modifiers):
            noun = " ".join(unit.text for unit in thing.noun)
            raise ValueError(
                f"The subject '{phrase.label}' only describes '{noun}' in the prompt: type the thing with it, "
                f"'{phrase.label} {noun}', or the thing alone, '{noun}'."
            )


def _place_notes(phrase: SubjectPhrase, place: Place, taken: dict[int, str]) -> list[str]:
    notes = []
    if not place.exact:
        notes.append(
            f"the words of '{phrase.label}' do not stand together in the prompt: "
            f"'{phrase.noun}' is used with the nearest " + ", ".join(f"'{m}'" for m in phrase.modifiers)
        )
    if place.noun.start in taken:
        notes.append(f"'{phrase.label}' and '{taken[place.noun.start]}' are the same word of the prompt")
    return notes


def _columns(encoder: EncoderTokens, words: Sequence[Word], at: range) -> tuple[int, ...]:
    """Columns of the pieces that spell these words, whole or in part; spaces and bare marks between them spell nothing."""
    start, stop = words[at.start].start, words[at.stop - 1].stop
    return tuple(
        dict.fromkeys(
            p.column
            for p in encoder.pieces
            if start < p.stop and p.start < min(stop, p.stop) and p.column is not None
        )
    )


def _not_found(phrase: SubjectPhrase, tokens: PromptTokens) -> str:
    """Why no encoder has this phrase, and what to do."""
    texts = [split_words(e.text) for e in tokens.encoders]
    counts = max((len(places(phrase, words)) for words in texts), default=0)
    if counts >= phrase.occurrence:
        having = [e for e in tokens.encoders if places(phrase, split_words(e.text))]
        reason = (
            "; ".join(tokens.notes)
            or "the text is longer than its text encoder takes. Move it towards the beginning"
        )
        if not any(e.chunks or f"text encoder {e.name}" in reason for e in having):
            names = " and ".join(e.name for e in having)
            reason = f"it is only in the text of {names}, which gives the model no single words. Write it in the other text too"
        return f"The subject '{phrase.label}' is in the prompt, but the model does not get to see its words: {reason}."
    if counts:
        name = re.sub(r"#\d+$", "", phrase.label)
        return (
            f"The subject '{phrase.label}' is not in the prompt: '{name}' stands in it only {counts} time(s)."
        )
    shown = list(dict.fromkeys(w for e in tokens.encoders for w in _shown_words(e)))
    if not shown:
        return f"The subject '{phrase.label}' is not in the prompt: the prompt is empty."
    known = {w.text for words in texts for w in words}
    missing = [w for w in (*phrase.modifiers, phrase.noun) if not {x.text for x in split_words(w)} <= known]
    text = (
        f"The subject '{phrase.label}' is not in the prompt"
        + (f" (missing: {', '.join(missing)})" if missing else "")
        + ". "
    )
    near = [m[0] for w in missing for m in [difflib.get_close_matches(w.lower(), shown, 1, 0.5)] if m]
    text += f"Did you mean {' '.join(repr(n) for n in near)}? " if near else ""
    text += f"Its words are: {', '.join(shown[:60])}{', ...' if len(shown) > 60 else ''}."
    return text + (f" Note: {'; '.join(tokens.notes)}." if tokens.notes else "")


def _shown_words(encoder: EncoderTokens) -> list[str]:
    return re.findall(r"\w+", encoder.text.lower())


def _find(text: str, model: str | None) -> tuple[list[SubjectPhrase], list[str]]:
    """The subjects of a text and the labels of those left out: by the spaCy model, or (None) by the built-in parser."""
    if model is None:
        return caption_parser.find_subjects(text)
    return syngen_rules.find_subjects(spacy_parser.parse(text, model), text)


def choose(
    typed: Sequence[SubjectPhrase], tokens: PromptTokens, first_column: int = 0
) -> tuple[tuple[SubjectColumns, ...], tuple[str, ...]]:
    """The subjects of a run and remarks: typed on the node, else those on the conditioning, else found in the text.

    () when nothing is typed and nothing found. Raises ValueError as `resolve` does, and for spaCy that is asked for but missing.
    """
    phrases, left_out = tuple(typed) or tokens.subjects, []
    request = phrases[0].noun if phrases and phrases[0].source == SPACY else None
    if request or not phrases:
        seeing = [e.text for e in tokens.encoders if any(p.column is not None for p in e.pieces)]
        phrases, left_out = _find(seeing[0], request) if seeing else ([], [])
    elif not typed:
        phrases = tuple(replace(p, source="conditioning") for p in phrases)
    subjects, notes = resolve_with_notes(phrases, tokens, first_column)
    if left_out:
        names = ", ".join(left_out[:10]) + (f" and {len(left_out) - 10} more" if len(left_out) > 10 else "")
        notes = (*notes, f"left out (at most {len(phrases)} subjects are chosen automatically): {names}")
    return subjects, notes
