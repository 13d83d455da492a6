"""A prompt as words to parse: without weights, embeddings, qualifiers, quality tags and styles."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .matching import JOINERS, TextWord, split_words
from .word_lists import DEFINITE, FUNCTION_WORDS, INDEFINITE, SKIPPED_TAGS, TEMPLATES

IGNORED = (
    r"<[^<>]*>",  # <lora:name:1>
    r"embedding\s*:\s*\S+",
    r"\b(?:rating|source|artist|score)\s*:\s*\w+",
    r"\\\([^()]*\\\)|(?<![^,])\s*\( [^()]* \)(?=\s*(?:,|$))",  # a tag in literal parentheses: "\(series\)"
    r":\s*\d*\s*\.?\s*\d+\s*(?=\))",  # the weight of "(cat:1.3)" where an encoder reads it as text
    r"(?<=\w)\s*\\?\((?![^()]*:\s*[\d.])[^()]*\\?\)(?=\s*(?:,|$))",  # a tag's qualifier: "saber \(fate\)"
)
HYPHENS = ("-", "\u2010", "\u2011")


@dataclass(frozen=True)
class PromptWord:
    """A word, or words joined by hyphens. at: indices of its words in `split_words`.

    gap: the marks before it.
    """

    text: str
    at: range
    gap: str


def prompt_words(text: str) -> list[PromptWord]:
    """The words of a prompt, hyphens joined, without weights, embeddings, qualifiers and quality tags."""
    ignored = [m.span() for pattern in IGNORED for m in re.finditer(pattern, text, re.IGNORECASE)]
    found: list[PromptWord] = []
    gap = ""
    for n, word in enumerate(split_words(text)):
        gap += word.gap
        if any(start <= word.start < stop for start, stop in ignored):
            continue
        shown = _as_written(word, text)
        if found and gap in HYPHENS and found[-1].at.stop == n and _can_be_joined(found[-1].text, shown):
            last = found.pop()
            found.append(PromptWord(f"{last.text}-{shown}", range(last.at.start, n + 1), last.gap))
        else:
            found.append(PromptWord(shown, range(n, n + 1), gap))
        gap = ""
    return _without_quality_tags(found)


def _as_written(word: TextWord, text: str) -> str:
    """In lower case, but with its accents."""
    return text[word.start : word.stop].lower()


def _can_be_joined(first: str, second: str) -> bool:
    """Whether two words with a hyphen between them are one word: no function words but "up", "s" and "t"."""
    return second not in FUNCTION_WORDS - {"up", "s", "t"} and first not in FUNCTION_WORDS - {"t"}


def begins_phrase(word: PromptWord) -> bool:
    """Whether the punctuation before the word ends the phrase before it."""
    return not set(word.gap) <= JOINERS


def _without_quality_tags(words: list[PromptWord]) -> list[PromptWord]:
    segments: list[list[PromptWord]] = []
    for word in words:
        if not segments or begins_phrase(word):
            segments.append([])
        segments[-1].append(word)
    segments = [segment for segment in map(_without_style, segments) if segment]
    alone = len(segments) == 1
    kept = [segment for segment in segments if not _is_about_the_image(segment, alone)]
    return [word for segment in kept for word in segment]


def _is_about_the_image(segment: list[PromptWord], alone: bool) -> bool:
    """Quality tags, tags with a prefix and, among other tags, the kind of image ("35mm photograph")."""
    words = [word.text for word in segment]
    if " ".join(words) in SKIPPED_TAGS:
        return True
    if len(words) > 1 and words[0] in ("score", "source", "rating", "artist"):
        return True
    return not alone and words[-1] in TEMPLATES and not FUNCTION_WORDS & set(words)


def _without_style(segment: list[PromptWord]) -> list[PromptWord]:
    """The segment up to "in the style of"; nothing of a segment "by somebody" or "art by somebody"."""
    words = [word.text for word in segment]
    by = words.index("by") + 1 if "by" in words[:2] and words[0] in ("by", "art", "artwork") else 0
    if by and not set(words[by : by + 1]) & (DEFINITE | INDEFINITE):
        return []
    for n in range(len(words)):
        if words[n : n + 4] == ["in", "the", "style", "of"]:
            return segment[:n]
    return segment
