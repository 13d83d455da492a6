"""Reads one Python or JSON literal as LLMs write them. Nothing is evaluated.

Lists, tuples, dictionaries, texts, numbers, None, true and false; also single and typographic quotes, an
apostrophe inside single quotes, comments, commas that are missing or trail, words without quotes, "20%" and
"20px".
"""

from __future__ import annotations

import re
from typing import Any

from .lines import error_at

MAX_DEPTH = 12
CLOSING = {"[": "]", "(": ")", "{": "}"}
QUOTES = {
    '"': '"', "'": "'", "`": "`", "\u201c": "\u201d", "\u2018": "\u2019", "\u00ab": "\u00bb",
    "\u300c": "\u300d", "\u300e": "\u300f",
}  # fmt: skip
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?(\s*%|\s*px\b)?(?![\w.])")
BARE = re.compile(r"[^\s,:;()\[\]{}\"'`#=][^,:;()\[\]{}\"`\n#=]*")
SKIPPED = re.compile(r"(?:\s+|#[^\n]*|//[^\n]*|/\*.*?\*/|\\(?=\s*\n))*", re.DOTALL)
CODED = re.compile(r"(?:\\u[0-9a-fA-F]{4})+")
"""Characters as JSON writes them in ASCII: "caf\\u00e9"."""
ESCAPES = {"n": "\n", "t": " ", "r": " "}
WORDS: dict[str, Any] = {"none": None, "null": None, "true": True, "false": False}


class Percent(float):
    """A number that was written with a percent sign."""


class Literal:
    """A literal that begins at a position of a text; `value`, and `stop`, the position behind it.

    entries: where the items of its outermost list begin. Raises LayoutError, with the line, for what cannot
    be read.
    """

    def __init__(self, text: str, start: int):
        self.text, self.stop = text, start
        self.entries: list[int] = []
        self.value = self._value(0)

    def _skip(self) -> str:
        """Passes spaces and comments; the next character, "" at the end."""
        found = SKIPPED.match(self.text, self.stop)
        self.stop = found.end() if found else self.stop
        return self.text[self.stop : self.stop + 1]

    def _value(self, depth: int) -> Any:
        mark = self._skip()
        if depth > MAX_DEPTH:
            raise error_at(self.text, self.stop, "its brackets are nested too deep")
        if mark in CLOSING and mark:
            return self._dictionary(depth) if mark == "{" else self._items(CLOSING[mark], depth)
        if mark in QUOTES and mark:
            return self._text(QUOTES[mark])
        number = NUMBER.match(self.text, self.stop)
        if number:
            self.stop = number.end()
            return _number(number)
        word = BARE.match(self.text, self.stop)
        if not word:
            raise error_at(
                self.text, self.stop, f"'{mark}' stands where a value should be" if mark else "it ends early"
            )
        self.stop = word.end()
        typed = word[0].strip()
        return WORDS.get(typed.lower(), typed)

    def _items(self, closing: str, depth: int) -> list[Any]:
        opened = self.stop
        self.stop += 1
        items: list[Any] = []
        while (mark := self._skip()) != closing:
            if not mark or mark in "])}":
                raise error_at(self.text, opened, f"its '{self.text[opened]}' is never closed")
            if mark == ",":
                self.stop += 1
                continue
            if depth == 0:
                self.entries.append(self.stop)
            items.append(self._value(depth + 1))
        self.stop += 1
        return items

    def _dictionary(self, depth: int) -> dict[str, Any] | list[Any]:
        """A dictionary; a list, if it is a set."""
        opened = self.stop
        self.stop += 1
        found: dict[str, Any] = {}
        bare: list[Any] = []
        while (mark := self._skip()) != "}":
            if not mark or mark in "])":
                raise error_at(self.text, opened, "its '{' is never closed")
            if mark in ",;":
                self.stop += 1
                continue
            start = self.stop
            key = self._value(depth + 1)
            if self._skip() in (":", "="):
                self.stop += 1
                found[str(key)] = self._value(depth + 1)
            else:
                bare.append(key)
            if depth == 0:
                self.entries.append(start)
        self.stop += 1
        if found and bare:
            raise error_at(self.text, opened, "an entry between its braces has no value")
        return bare or found

    def _text(self, closing: str) -> str:
        opened = self.stop
        at = opened + 1
        out: list[str] = []
        while at < len(self.text):
            mark = self.text[at]
            coded = CODED.match(self.text, at)
            if coded:
                out.append(_decoded(coded[0]))
                at = coded.end()
                continue
            if mark == "\\" and at + 1 < len(self.text):
                out.append(ESCAPES.get(self.text[at + 1], self.text[at + 1]))
                at += 2
                continue
            if mark == closing and self._ends_text(at):
                self.stop = at + 1
                return "".join(out)
            if mark == "\n" and closing != '"':
                break
            out.append(mark)
            at += 1
        raise error_at(self.text, opened, "its quotation mark is never closed")

    def _ends_text(self, at: int) -> bool:
        """Whether the quotation mark at a position ends the text: an apostrophe stands between letters."""
        behind = self.text[at + 1 : at + 2]
        return not behind.isalnum() or not self.text[at - 1].isalnum()


def _decoded(coded: str) -> str:
    """The characters of "\\ud83d\\ude00": two units may be one of them, and half of one is none."""
    return bytes.fromhex(coded.replace("\\u", "")).decode("utf-16-be", "replace")


def number_in(text: str) -> float | None:
    """The number that a text is, as in "50", "50px" or "10%"; None if it is none."""
    found = NUMBER.fullmatch(text.strip())
    return _number(found) if found else None


def _number(found: re.Match) -> int | float:
    unit = (found[1] or "").strip()
    typed = found[0][: len(found[0]) - len(found[1] or "")]
    if unit == "%":
        return Percent(typed)
    value = float(typed)
    return int(value) if typed.lstrip("+-").isdigit() and len(typed) < 16 else value
