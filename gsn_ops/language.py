"""Texts for the person at the screen in their language.

The pack speaks English inside. At its border (a line on a node, an error, the report as text) a text is
looked up in one catalogue per language, `locales/<language>/messages.json`: English with ... for what is
filled in -> the translation with {0}, {1} and so on. What is not found stays English.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
from collections.abc import Generator, Mapping
from contextvars import ContextVar
from pathlib import Path

from .remark import cut

FOLDER = Path(__file__).resolve().parents[1] / "locales"
FILLED = "..."
NOTE = ". Note: "
IN_PICTURES = "in pictures: "
"""Before a word that is one of a picture only: alone, "before" may be a choice of a node."""
APART = ((re.compile(r"\n"), "\n"), (re.compile(re.escape(NOTE)), NOTE))
"""Where a text is always taken apart: pattern, and what stands there."""
INSIDE = (
    (re.compile(r"(?<=[.?]) (?=[A-Z])"), " "),
    (re.compile("; "), "; "),
    (re.compile(r", (?![^()]*\))"), ", "),
)
"""Where it is taken apart if it is not known as one, from the strongest place."""
MOST_PARTS = 24
"""A longer row is a text of somebody else; to look for messages in it takes long."""
LEAST_LETTERS = 3
"""A pattern with fewer letters of its own would fit any text."""
PUT_OFF = re.compile(r"(Skipped|Did not act|no update steps): (.*?) \(((?:[^()]|\([^()]*\))*)\)")
"""A cure that was put before its cause, see `report.verdict.cure_first`."""


_drawn_in: ContextVar[str] = ContextVar("drawn_in", default="en")


@contextlib.contextmanager
def drawn_in(language: str) -> Generator[None]:
    """Pictures that are drawn in the block have their words in this language."""
    before = _drawn_in.set(language)
    try:
        yield
    finally:
        _drawn_in.reset(before)


def in_picture(text: str) -> str:
    """The text in the language of pictures that are drawn now; its rows begin with IN_PICTURES, or are those
    of messages.
    """
    language = _drawn_in.get()
    found = catalogue(language) or catalogue(language.split("-")[0])
    return text if found is None else found.whole.get(IN_PICTURES + text) or found.translate(text)


@functools.lru_cache
def aliases(node: str) -> list[str]:
    """Words of every language under which a node is found in ComfyUI's search, from aliases.json."""
    files = sorted(FOLDER.glob("*/aliases.json"))
    return [word for file in files for word in json.loads(file.read_text("utf-8")).get(node, [])]


def translated(text: str, language: str) -> str:
    """The text in a language such as "zh", as far as the catalogue has it; else as it is."""
    found = catalogue(language) or catalogue(language.split("-")[0])
    return text if found is None else found.translate(text)


@functools.lru_cache
def catalogue(language: str) -> Catalogue | None:
    """The catalogue of a language; None where the pack has none (English among them)."""
    file = FOLDER / language / "messages.json"
    if not re.fullmatch(r"[\w-]+", language) or not file.is_file():
        return None
    return Catalogue(json.loads(file.read_text("utf-8")))


class Catalogue:
    """Messages of one language: English with ... -> the translation with {0}, {1}, ..."""

    def __init__(self, messages: Mapping[str, str]):
        messages = {key if key == NOTE else key.strip(): text for key, text in messages.items()}
        self.whole = {key: text for key, text in messages.items() if FILLED not in key}
        filled = [
            key for key in messages if FILLED in key and len(re.findall("[a-zA-Z]", key)) >= LEAST_LETTERS
        ]
        filled.sort(key=lambda key: -len(key.replace(FILLED, "")))  # the most specific first
        self.patterns = [(_pattern(key), messages[key]) for key in filled]

    def translate(self, text: str) -> str:
        """The text, or the parts of it that are known, translated."""
        indent = text[: len(text) - len(text.lstrip(" "))]
        if indent and text not in self.whole:
            return indent + self.translate(text[len(indent) :])
        for pattern, between in APART:
            parts = pattern.split(text)
            if len(parts) > 1:
                return self.whole.get(between, between).join(map(self.translate, parts))
        return self._in_known_parts(text) or self._as_one(text) or self._in_parts(text)

    def _in_known_parts(self, text: str) -> str:
        """The text, if it is a row of messages that are all known; else "". A list within a message is cut at
        the same places: some of the parts are a message only together.
        """
        for pattern, between in INSIDE:
            parts = pattern.split(text)
            told = self._in_runs(parts, between) if 1 < len(parts) <= MOST_PARTS else None
            if told is not None:
                return between.join(told)
        return ""

    def _in_runs(self, parts: list[str], between: str) -> list[str] | None:
        """The translations of neighbours, as few together as possible; None = not all parts are known."""
        known: dict[int, list[str]] = {len(parts): []}  # from here to the end
        for start in reversed(range(len(parts))):
            for end in range(start + 1, len(parts) + 1):
                part = between.join(parts[start:end])
                if end not in known or end - start == len(parts):
                    continue
                told = self._in_known_parts(part) if end == start + 1 else ""
                one = told or self._as_one(part)
                if one is not None:
                    known[start] = [one, *known[end]]
                    break
        return known.get(0)

    def _in_parts(self, text: str) -> str:
        """The text with those parts translated that are known."""
        for pattern, between in INSIDE:
            parts = pattern.split(text)
            told = [self.translate(part) for part in parts] if len(parts) > 1 else parts
            if told != parts:
                return between.join(told)
        return text

    def _as_one(self, text: str) -> str | None:
        if text in self.whole:
            return self.whole[text]
        put_off = PUT_OFF.fullmatch(text)
        if put_off is not None:
            return self._put_off(*put_off.groups())
        for pattern, translation in self.patterns:
            match = pattern.fullmatch(text)
            if match is not None:
                return self._filled(translation, match.groups())
        return None

    def _put_off(self, head: str, cure: str, cause: str) -> str | None:
        """The cure and its cause are one message in the catalogue, cause first."""
        for first in (cause, cause[:1].upper() + cause[1:]):
            for end in ("", "."):
                told = self._as_one(f"{first}: {cure}{end}")
                why, what = cut(told or "", "\uff1a", " : ", ": ")
                if what:
                    what = what.rstrip(".\u3002")
                    return f"{self.whole.get(f'{head}:', f'{head}: ')}{what} ({why})"
        return None

    def _filled(self, translation: str, values: tuple[str, ...]) -> str:
        told = [self.translate(value) for value in values]
        return re.sub(r"{(\d+)}", lambda number: told[int(number[1])], translation)


def _pattern(key: str) -> re.Pattern[str]:
    parts = key.split(FILLED)
    return re.compile("(.*?)".join(map(re.escape, parts)), re.DOTALL)
