"""A prompt as words to parse, with parts of speech, without what speaks of the image, style and quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .image_words import (
    ARTISTS,
    CAMERA_BRANDS,
    REQUESTS,
    SKIPPED_TAGS,
    STYLE_HEADS,
    STYLE_STARTS,
    STYLE_WORDS,
    TEMPLATES,
    UNITS,
)
from .matching import ELISION, JOINERS, TextWord, split_words
from .readable_text import readable
from .tagger import tag
from .word_lists import DEFINITE, FUNCTION_WORDS, INDEFINITE, MATERIALS, words_of

HYPHENS = ("-", "\u2010", "\u2011")
ENDS = frozenset(".!?;:\n\u3002")
"""Marks after which a sentence, or a part of a structured prompt, begins."""
KIND_LINKS = words_of("of with for showing featuring depicting")
POLITE = words_of("please can could would will you i we me us want like need to see us have get")
ALSO_THINGS = words_of(
    "pencil lens oil ink charcoal film shadow shadows light lights landscape portrait mode ray shot line "
    "field texture glow life acrylic white golden blue grey gray unity blender engine polaroid "
    "furry anthro safe fantasy landscape horror fine winner"
)
"""Words of style that name things when they are a tag of their own."""
CAMERA_VERBS = frozenset(
    (verb, link)
    for verb in ("shot", "photographed", "filmed", "captured", "taken")
    for link in ("on", "with", "from", "using", "at")
) - {("taken", "from"), ("taken", "at"), ("captured", "from"), ("captured", "at")}
MAX_LIST = 5
"""Tags of a list of things; longer ones also name materials of what stands before them."""
MAX_TAG = 6
"""Words of a tag that speaks of the image; a longer one is a sentence."""


@dataclass(frozen=True)
class PromptWord:
    """A word, or words joined by hyphens. at: indices of its words in `split_words`.

    gap: the marks before it, a line feed where a part of the prompt ends. tag: one of tagger.TAGS.
    owner: whether "'s" follows. name: whether its capital letter marks it as a name.
    """

    text: str
    at: range
    gap: str
    tag: str = ""
    owner: bool = False
    name: bool = False


def prompt_words(text: str) -> list[PromptWord]:
    """The words of a prompt, hyphens joined, without weights, embeddings, qualifiers, quality and style."""
    return _without_image_tags(_tagged(_joined(text)))


def _joined(text: str) -> list[PromptWord]:
    """The words that can be read, with hyphens and digits joined."""
    shown = readable(text)
    names = _capitals_mark_names(text)
    found: list[PromptWord] = []
    end = last = 0
    for n, word in enumerate(split_words(text)):
        if shown[word.start] != text[word.start]:
            continue
        between = shown[end : word.start]
        gap = "".join(c for c in ELISION.sub("", between) if c == "\n" or not c.isspace())
        written = _as_written(word, text)
        if found and between.lstrip()[:1] in ("'", "\u2019"):
            found[-1] = replace(found[-1], owner=True)
        number = word.start == end and written.isdigit() and found and found[-1].text[-1].isdigit()
        close_up = written == "up" and found and found[-1].text == "close" and not gap
        hyphen = (
            found
            and (gap in HYPHENS or close_up)
            and last == n - 1
            and (close_up or _can_be_joined(found[-1].text, written))
        )
        if number or hyphen:
            mark = "" if number else "-"
            before = found.pop()
            found.append(
                PromptWord(f"{before.text}{mark}{written}", range(before.at.start, n + 1), before.gap)
            )
        else:
            capital = text[word.start].isupper() and word.stop > word.start + 1
            name = capital and names and bool(found) and not ENDS & set(gap)
            found.append(PromptWord(written, range(n, n + 1), gap, name=name))
        end, last = word.stop, n
    return found


def _capitals_mark_names(text: str) -> bool:
    """Whether few words begin with a capital letter; in headlines and in capitals all do."""
    firsts = [word[0] for word in text.split() if word[0].isalpha()]
    return 2 * sum(first.isupper() for first in firsts) < len(firsts)


def _tagged(words: Sequence[PromptWord]) -> list[PromptWord]:
    tags = tag([(word.text, _mark(words, n)) for n, word in enumerate(words)])
    for n, word in enumerate(words):
        if word.name:
            tags[n] = "NOUN"
    kinds = [
        n for n in range(len(words) - 1) if words[n].text in TEMPLATES and words[n + 1].text in KIND_LINKS
    ]
    kinds += [n for n in range(1, len(words) - 1) if _is_kind_of_image(words, tags, n)]
    for n in kinds:
        tags[n] = "NOUN"  # "full shot of", "book cover illustration"
    return [replace(word, tag=found) for word, found in zip(words, tags)]


def _is_kind_of_image(words: Sequence[PromptWord], tags: Sequence[str], n: int) -> bool:
    """Whether word n is part of a compound like "book cover illustration"."""
    joined = not begins_phrase(words[n]) and not begins_phrase(words[n + 1])
    return joined and words[n].text in TEMPLATES and tags[n - 1] == "NOUN" and words[n + 1].text in TEMPLATES


def _mark(words: Sequence[PromptWord], n: int) -> str:
    """The mark before a word as the tagger knows it."""
    if begins_phrase(words[n]):
        return "." if ENDS & set(words[n].gap) else ","
    return "'" if n and words[n - 1].owner else ""


def _as_written(word: TextWord, text: str) -> str:
    """In lower case, but with its accents."""
    return text[word.start : word.stop].lower()


def _can_be_joined(first: str, second: str) -> bool:
    """Whether two words with a hyphen between them are one word: no function words but "up", "s" and "t"."""
    return second not in FUNCTION_WORDS - {"up", "s", "t"} and first not in FUNCTION_WORDS - {"t"}


def begins_phrase(word: PromptWord) -> bool:
    """Whether the punctuation before the word ends the phrase before it."""
    return not set(word.gap) <= JOINERS


def begins_sentence(word: PromptWord) -> bool:
    """Whether a full stop, a colon or the end of a line stands before the word."""
    return bool(ENDS & set(word.gap))


def _without_image_tags(words: list[PromptWord]) -> list[PromptWord]:
    segments: list[list[PromptWord]] = []
    for word in words:
        if not segments or begins_phrase(word):
            segments.append([])
        segments[-1].append(word)
    alone, listed = len(segments) == 1, is_short_list(words)
    segments = [_without_request(_without_style(segment)) for segment in segments]
    kept = [
        segment
        for segment in segments
        if segment and (listed and segment[0].text in MATERIALS or not is_about_the_image(segment, alone))
    ]
    return [word for segment in kept for word in segment]


def is_short_list(words: Sequence[PromptWord]) -> bool:
    """Whether a prompt is a few tags of a single word, of which a material is a thing: "rock, paper"."""
    return 0 < len(words) <= MAX_LIST and all(map(begins_phrase, words[1:])) and words[0].text.isalpha()


def is_about_the_image(segment: Sequence[PromptWord], alone: bool = False) -> bool:
    """Quality tags, tags with a prefix and, among other tags, style and the kind of image."""
    words = [word.text for word in segment]
    if " ".join(words) in SKIPPED_TAGS:
        return True
    if any(" ".join(words[:k]) in STYLE_STARTS for k in (1, 2, 3)) and (len(words) > 1 or not alone):
        return not (words[0] in ("made", "drawn") and alone)
    if words[0] in CAMERA_BRANDS and len(words) <= MAX_TAG:
        return True
    if len(words) > MAX_TAG or (DEFINITE | INDEFINITE) & set(words):
        return False
    if _is_camera(words) or ARTISTS & set(words) and not alone:
        return True
    if _is_style(words):
        return True
    return not alone and words[-1] in TEMPLATES | STYLE_HEADS and not FUNCTION_WORDS - {"of"} & set(words)


def _is_camera(words: Sequence[str]) -> bool:
    """ "Leica M10", "85mm f/1.4", "ISO 100"."""
    if CAMERA_BRANDS & set(words):
        return True
    measured = [word for word in words if not (word.isdigit() or word in UNITS or word in STYLE_WORDS)]
    few = len(measured) <= 1 and all(len(word) <= 3 for word in measured)
    return any(word.isdigit() for word in words) and bool(UNITS & set(words)) and few


def _is_style(words: Sequence[str]) -> bool:
    """Whether all words speak of style; a number alone does not."""
    if len(words) == 1 and words[0] in ALSO_THINGS:
        return False
    rest = [word for word in words if word not in STYLE_WORDS and word not in STYLE_HEADS]
    return all(word in ("of", "and", "in") or word.isdigit() for word in rest) and len(rest) < len(words)


def _without_style(segment: list[PromptWord]) -> list[PromptWord]:
    """The segment up to "in the style of"; nothing of a segment "by somebody" or "art by somebody"."""
    words = [word.text for word in segment]
    by = words.index("by") + 1 if "by" in words[:2] and words[0] in ("by", "art", "artwork") else 0
    if by and not set(words[by : by + 1]) & (DEFINITE | INDEFINITE):
        return []
    for n in range(len(words)):
        if tuple(words[n : n + 2]) in CAMERA_VERBS:
            return segment[:n]
        if words[n : n + 4] == ["in", "the", "style", "of"]:
            return segment[:n] + _shown_in_style(segment, n, n + 5)
        if words[n : n + 3] == ["the", "style", "of"] and n < 2:
            return []
        if words[n] == "in" and "style" in words[n + 2 : n + 5]:
            end = words.index("style", n + 2) + 1
            shown = _shown_in_style(segment, n, end)
            if shown or end == len(words):
                return segment[:n] + shown
    return segment


def _shown_in_style(segment: Sequence[PromptWord], n: int, after: int) -> list[PromptWord]:
    """ "of a cat" in "a painting in the style of Goya of a cat": of a kind of image before word n, what it
    shows, behind word `after`.
    """
    if not n or segment[n - 1].text not in TEMPLATES:
        return []
    for k in range(after, min(after + 6, len(segment) - 1)):
        if segment[k].text in KIND_LINKS and segment[k + 1].text in DEFINITE | INDEFINITE:
            return list(segment[k:])
    return []


def _without_request(segment: list[PromptWord]) -> list[PromptWord]:
    """The segment without "please draw me" or "I want to see" before a thing."""
    n = 0
    while n < len(segment) and segment[n].text in POLITE | REQUESTS:
        n += 1
    asked = any(word.text in REQUESTS for word in segment[:n])
    if not asked or n == len(segment):
        return segment
    starts_thing = segment[n].text in DEFINITE | INDEFINITE or segment[n].text.isdigit()
    return segment[n:] if starts_thing else segment
