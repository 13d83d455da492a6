"""Which conditioning entries have which subjects, and several entries read as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...joint_prompts import first_columns, join_subjects, join_tokens
from ...prompt import PromptTokens, SubjectColumns, SubjectPhrase
from ...regions import Region
from ...subjects.placement import place_subjects
from ...subjects.resolve import choose_subjects, resolve
from ...subjects.syntax import SPACY
from ..attention.entry import Entry
from ..prompts.encoded_prompts import ENCODED, first_text

ELSEWHERE = (
    "It is in another prompt of this workflow, '{text}'. Prompts are read where they are joined by "
    "ConditioningCombine or Concat, not those that a node for regions puts into the model."
)


@dataclass(frozen=True)
class MatchedConditioning:
    """A conditioning entry that has a recipe's subjects, with their columns and the regions of the user.

    parts: several such entries that are read together; the rest is then what they have together.
    """

    entry: Entry
    subjects: tuple[SubjectColumns, ...]
    regions: dict[str, Region]
    parts: tuple[MatchedConditioning, ...] = ()


def match_entries(
    typed: Sequence[SubjectPhrase], entries: Sequence[Entry]
) -> tuple[list[MatchedConditioning], list[str]]:
    """The entries that have subjects, and remarks.

    typed: on the node; they may be spread over the entries, as those on the conditioning may. Raises
    ValueError for a phrase that no entry has.
    """
    matched: list[MatchedConditioning] = []
    notes: list[str] = []
    missing: dict[SubjectPhrase, ValueError] = {}
    known: set[SubjectPhrase] = set()
    for entry in entries:
        phrases = tuple(typed) or entry.tokens.subjects
        here, errors = _found_in(phrases, entry.tokens)
        missing |= errors
        known.update(here)
        if phrases and not here:
            continue
        tokens = entry.tokens if typed else replace(entry.tokens, subjects=here)
        subjects, remarks = choose_subjects(here if typed else (), tokens)
        notes += remarks
        subjects, regions = place_subjects(subjects, entry.tokens)
        if subjects:
            matched.append(MatchedConditioning(entry, subjects, regions))
    wanted = dict.fromkeys(phrase for e in entries for phrase in (tuple(typed) or e.tokens.subjects))
    notes += [f"'{p.label}' is not in the prompt: left out" for p in wanted if p.optional and p not in known]
    for phrase, error in missing.items():
        if phrase not in known:
            raise _not_found(phrase, entries, error)
    return matched, notes


def _found_in(
    phrases: Sequence[SubjectPhrase], tokens: PromptTokens
) -> tuple[tuple[SubjectPhrase, ...], dict[SubjectPhrase, ValueError]]:
    """(the phrases that this prompt has, why it does not have the others)."""
    found: list[SubjectPhrase] = []
    errors: dict[SubjectPhrase, ValueError] = {}
    for phrase in phrases:
        try:
            if phrase.source == SPACY or resolve((phrase,), tokens):
                found.append(phrase)
        except ValueError as error:
            errors[phrase] = error
    return tuple(found), errors


def _not_found(phrase: SubjectPhrase, entries: Sequence[Entry], error: ValueError) -> ValueError:
    """The error for a phrase that no entry has: with the words of all entries, and where else it stands."""
    read = [entry.tokens for entry in entries]
    if len(entries) > 1:
        try:
            resolve((phrase,), join_tokens(read))
        except ValueError as about_all:
            error = about_all
    for other in ENCODED.others(read):
        if _found_in((phrase,), other)[0]:
            return ValueError(f"{error} {ELSEWHERE.format(text=first_text(other))}")
    return error


def join_matched(active: Sequence[MatchedConditioning]) -> tuple[MatchedConditioning, list[str]]:
    """Entries that are active at the same step, as one, and the labels of subjects that are left out."""
    first = active[0]
    if len(active) == 1:
        return first, []
    prompts = [one.entry.tokens for one in active]
    subjects, left_out = join_subjects([one.subjects for one in active], first_columns(prompts))
    regions: dict[str, Region] = {}
    for one in active:
        for label, region in one.regions.items():
            regions[label] = regions[label] | region if label in regions else region
    entry = replace(first.entry, tokens=join_tokens(prompts))
    return MatchedConditioning(entry, tuple(subjects), regions, tuple(active)), left_out
