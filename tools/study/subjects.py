"""Precision and recall of the subjects that are found automatically, on prompts of people.

Prompts and what a person named in them: tests/data/subjects.jsonl. One half was written by the pack's authors
before they ran it, the other by somebody who had not seen the code. "long" are further captions by the
authors, of fifty words and more. With --spacy also by spaCy, side by side.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gsn_ops.subjects.find import subjects_of_caption
from gsn_ops.subjects.language import foreign_language
from gsn_ops.subjects.readable_text import as_sentences

from .subject_scores import Found, Scores, score

DATA = Path(__file__).resolve().parents[2] / "tests" / "data" / "subjects.jsonl"
HALVES = ("own", "long", "fresh")


def prompts(half: str, file: Path = DATA) -> list[dict[str, Any]]:
    """The prompts of one half: id, kind, prompt, core, acceptable, language, half."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["half"] == half]


def built_in(text: str) -> Found:
    """As the nodes find subjects in a typed text."""
    if foreign_language(text):
        return [], True
    return [(s.noun, s.label) for s in subjects_of_caption(text)[0]], False


class Spacy:
    """As `@spacy:model` finds them. The language is told by the built-in test in both cases."""

    def __init__(self, model: str) -> None:
        import spacy

        self.parser = spacy.load(model)

    def __call__(self, text: str) -> Found:
        from gsn_ops.subjects.syngen_rules import ParsedWord, subjects_of_parse

        if foreign_language(text):
            return [], True
        tokens = self.parser(as_sentences(text))
        words = [ParsedWord(token.text, token.pos_, token.dep_, token.head.i) for token in tokens]
        return [(s.noun, s.label) for s in subjects_of_parse(words, text)[0]], False


def row(half: str, parser: str, scores: Scores) -> str:
    """One line of the table."""
    return (
        f"| {half} | {scores.prompts} | {parser} | {scores.core} | {scores.found} | {scores.precision:.3f} | "
        f"{scores.recall:.3f} | {100 * scores.fault_free:.1f} % | {scores.refused} |"
    )


def table(finders: Sequence[tuple[str, Any]], faults: str = "") -> list[str]:
    """Lines of the table; with the faults of a half behind it."""
    lines = [
        "| half | prompts | parser | core | found | precision | recall | without a fault | not English |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    told = []
    for half in HALVES:
        for name, find in finders:
            scores = score(prompts(half), find)
            lines.append(row(half, name, scores))
            if half == faults:
                told += [f"{one} {name}: wrong {w}, missed {m} | {text}" for one, w, m, text in scores.faults]
    return [*lines, *told]


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools/dev.py subjects", description=__doc__)
    parser.add_argument("--spacy", metavar="MODEL", help="also with this spaCy model")
    parser.add_argument("--faults", choices=HALVES, default="", help="list the faulty prompts of a half")
    args = parser.parse_args()
    finders: list[tuple[str, Any]] = [("built-in", built_in)]
    if args.spacy:
        finders.append((args.spacy, Spacy(args.spacy)))
    print("\n".join(table(finders, args.faults)))


if __name__ == "__main__":
    main()
