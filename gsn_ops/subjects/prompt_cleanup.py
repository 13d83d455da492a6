"""A prompt as words to read: without weights, embeddings, qualifiers, quality tags and styles."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .matching import JOINERS, split_words
from .word_lists import DEFINITE, FUNCTION_WORDS, INDEFINITE, SKIPPED_TAGS, TEMPLATES

IGNORED = (
    r"<[^<>]*>",  # <lora:name:1>
    r"embedding\s*:\s*\S+",
    r"\b(?:rating|source|artist|score)\s*:\s*\w+",
    r"\\\([^()]*\\\)|(?<![^,])\s*\( [^()]* \)(?=\s*(?:,|$))",  # a tag that is literal parentheses: "\(series\)"
    r":\s*\d*\s*\.?\s*\d+\s*(?=\))",  # the weight of "(cat:1.3)" where an encoder reads it as text
    r"(?<=\w)\s*\\?\((?![^()]*:\s*[\d.])[^()]*\\?\)(?=\s*(?:,|$))",  # the qualifier of a tag: "saber \(fate\)"
)


@dataclass(frozen=True)
class Unit:
    """A word, or words joined by hyphens. at: indices of its words. gap: punctuation before it."""

    text: str
    at: range
    gap: str


def units_of(text: str) -> list[Unit]:
    """Words with hyphens joined, without weights, embeddings, qualifiers and quality tags."""
    words = split_words(text)
    ignored = [m.span() for pattern in IGNORED for m in re.finditer(pattern, text, re.IGNORECASE)]
    units: list[Unit] = []
    gap = ""
    for n, word in enumerate(words):
        gap += word.gap
        if any(a <= word.start < b for a, b in ignored):
            continue
        shown = text[word.start : word.stop].lower()
        joins = units and gap in ("-", "\u2010", "\u2011") and units[-1].at.stop == n
        if (
            joins
            and shown not in FUNCTION_WORDS - {"up", "s", "t"}
            and units[-1].text not in FUNCTION_WORDS - {"t"}
        ):
            units[-1] = Unit(f"{units[-1].text}-{shown}", range(units[-1].at.start, n + 1), units[-1].gap)
        else:
            units.append(Unit(shown, range(n, n + 1), gap))
        gap = ""
    return _without_quality_tags(units)


def breaks(unit: Unit) -> bool:
    """Does punctuation before the unit end a phrase?"""
    return not set(unit.gap) <= JOINERS


def _without_quality_tags(units: list[Unit]) -> list[Unit]:
    segments: list[list[Unit]] = []
    for unit in units:
        if not segments or breaks(unit):
            segments.append([])
        segments[-1].append(unit)
    segments = [s for s in map(_without_style, segments) if s]
    return [u for s in segments if not _is_about_the_picture(s, len(segments) == 1) for u in s]


def _is_about_the_picture(segment: list[Unit], alone: bool) -> bool:
    """Quality tags, tags with a prefix, and, beside other tags, what kind of picture it is ("35mm photograph")."""
    words = [u.text for u in segment]
    if (
        " ".join(words) in SKIPPED_TAGS
        or len(words) > 1
        and words[0] in ("score", "source", "rating", "artist")
    ):
        return True
    return not alone and words[-1] in TEMPLATES and not FUNCTION_WORDS & set(words)


def _without_style(segment: list[Unit]) -> list[Unit]:
    """The segment up to "in the style of"; nothing of a segment "by somebody" or "art by somebody"."""
    words = [u.text for u in segment]
    by = words.index("by") + 1 if "by" in words[:2] and words[0] in ("by", "art", "artwork") else 0
    if by and not set(words[by : by + 1]) & (DEFINITE | INDEFINITE):
        return []
    return next(
        (segment[:n] for n in range(len(words)) if words[n : n + 4] == ["in", "the", "style", "of"]), segment
    )
