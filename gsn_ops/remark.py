"""Remarks on a run: text for the report, of which the few words that matter also stand on the node."""

from __future__ import annotations

from collections.abc import Iterable


class Remark(str):
    """A remark as text. line: its few words for the status line of the node; "" = in the report only.

    Remarks without a line may as well be plain texts.
    """

    line: str

    def __new__(cls, text: str, line: str = "") -> Remark:
        remark = super().__new__(cls, text)
        remark.line = line
        return remark


def lines_of(remarks: Iterable[str]) -> list[str]:
    """The words for the status line that these remarks ask for, each once, in order."""
    lines = (remark.line for remark in remarks if isinstance(remark, Remark))
    return list(dict.fromkeys(line for line in lines if line))


def with_lines(status: str, remarks: Iterable[str]) -> str:
    """A status line, and the words that these remarks ask for."""
    lines = lines_of(remarks)
    return f"{status}. Note: {'; '.join(lines)}" if lines else status


def cut(text: str, *marks: str) -> tuple[str, str]:
    """What stands before and after the first of these marks outside of brackets; (text, "") = none."""
    depth = 0
    for at, letter in enumerate(text):
        depth += (letter in "(\uff08") - (letter in ")\uff09")
        mark = next((mark for mark in marks if depth == 0 and text.startswith(mark, at)), "")
        if mark:
            return text[:at], text[at + len(mark) :]
    return text, ""
