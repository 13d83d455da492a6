"""The labelled lines of an LLM's answer ("Objects: ...", "Background prompt: ..."), and what is around it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .lines import LayoutError
from .literal import QUOTES, Literal

_LABEL = (
    r"^[ \t>*_#\-\d.)]*[\"']?(?:{name})[\"']?[ \t]*[*_]*[ \t]*(?:[:=][ \t]*[*_]*|$)"
    r"{inline}"
)
_INLINE = r"|(?<=[\w\]).;,\"'])[ \t]+{name}[ \t_]prompt[ \t]*:"
_PROMPT = r"(?:[ \t_\\-]*(?:prompts?|descriptions?))?"


def _label(name: str, inline: str = "") -> str:
    """The label at the start of a line: "Name:", or "### Name" alone; inline: also behind something else."""
    behind = _INLINE.format(name=inline) if inline else ""
    return f"(?im){_LABEL.format(name=name, inline=behind)}"


OBJECTS = re.compile(
    _label(
        r"(?:objects?|layout|bounding boxes|boxes|objets?|\u5bf9\u8c61|\u7269\u4f53|"
        r"\u30aa\u30d6\u30b8\u30a7\u30af\u30c8)(?: with [a-z ]+| ?\(\d+\))?"
    )
)
BACKGROUND = re.compile(
    _label(
        rf"background{_PROMPT}|(?:\w+ (?:de l|d)['\u2019])?arri\u00e8re-plan|"
        r"\u80cc\u666f(?:\u63d0\u793a\u8bcd?|\u63cf\u8ff0|\u30d7\u30ed\u30f3\u30d7\u30c8)?",
        "background",
    )
)
NEGATIVE = re.compile(
    _label(
        rf"negatives?{_PROMPT}|(?:prompt|invite) n\u00e9gati(?:f|ve)|"
        r"(?:\u8d1f\u9762|\u8d1f\u5411|\u53cd\u5411|\u5426\u5b9a|\u30cd\u30ac\u30c6\u30a3\u30d6)"
        r"(?:\u63d0\u793a\u8bcd?|\u30d7\u30ed\u30f3\u30d7\u30c8)?",
        "negative",
    )
)
"""Also in the languages of the pack: a model that is asked in one may answer in it."""
CAPTION = re.compile(_label("(?:caption|instruction|user|prompt)"))
"""The question of a new example, which a model may invent behind its answer."""
_TAGS = "|".join("think thinking thought thoughts reasoning reflection analysis seed:think".split())
THINKING = re.compile(
    rf"<({_TAGS})>.*?(?:</\1>|\Z)|\[THINK\].*?(?:\[/THINK\]|\Z)|\u25c1think\u25b7.*?(?:\u25c1/think\u25b7|\Z)|"
    r"<\|channel\|>\s*(?:analysis|commentary).*?(?:<\|channel\|>\s*final|\Z)",
    re.DOTALL | re.IGNORECASE,
)
THOUGHT = re.compile(rf"\A.*(?:</(?:{_TAGS})>|\[/THINK\]|\u25c1/think\u25b7)", re.DOTALL | re.IGNORECASE)
"""A thought whose beginning stood in the model's template."""
FENCE = re.compile(r"^[ \t]*(?:```|~~~)[^\n]*$", re.MULTILINE)
SPECIAL = re.compile(
    r"<\|(?:start|channel)\|>[ \t]*\w*|<\|[^|<>\n]{1,40}\|>|<\uff5c[^\uff5c\n]{1,40}\uff5c>|</?s>|"
    r"<(?:eos|bos|pad|end_of_turn|start_of_turn)>|\[/?INST\]"
)
"""Tokens that end a turn, which some nodes leave in the text."""
SAME = {"\u2212": "-", "\ufeff": " ", "\u200b": " ", "\u3001": ",", "\u3010": "[", "\u3011": "]"} | {
    chr(ord(mark) + 0xFEE0): mark for mark in "(),-.:;=[]{}%0123456789"
}
"""Marks as a Chinese or Japanese model writes them."""
NOTHING = frozenset(
    "none n/a na null nothing empty no - aucun aucune rien \u65e0 \u6ca1\u6709 \u306a\u3057".split()
)
NOT_NEEDED = re.compile(
    r"(?:none|nothing|not)\b.{0,20}\b(?:needed|specified|given|required|applicable|mentioned)"
)
BRACKETED = re.compile(r"^[\[(]\s*([^\[\]()]*)[\])]$")
ENDS_OBJECTS = re.compile(r"^[^\n]*(?:background|negative)[^\n:]*(?::|$)", re.IGNORECASE | re.MULTILINE)
LISTED = re.compile(r"[ \t]*(?:[-*\u2022]|\d{1,2}[.)])[ \t]+")
EXPLAINS = re.compile(r"\s*(?:I|I'm|We|This|These|Here|Note|Let)\b")
"""Behind an answer, not in it: "I placed the cat on the left"."""
MAX_LISTS = 5
"""Lists of objects of one answer that are tried."""


@dataclass(frozen=True)
class Labelled:
    """An answer. objects: where its list may begin, the likeliest place first."""

    text: str
    objects: tuple[int, ...]
    background: str
    negative: str


def blanked(text: str) -> str:
    """The text with a model's reasoning, code fences and special tokens as spaces, so that lines keep their
    numbers; full-width marks as those of ASCII.
    """

    def blank(found: re.Match) -> str:
        return re.sub(r"[^\n]", " ", found[0])

    for pattern in (THINKING, THOUGHT, SPECIAL, FENCE):
        text = pattern.sub(blank, text)
    return text.translate(str.maketrans(SAME))


def read_labels(text: str) -> Labelled:
    """The labelled lines of an answer that was `blanked`.

    Of several lists of objects the last one comes first, as a model that thinks aloud corrects itself; but
    none behind an example that the model invented behind its answer.
    """
    lists = [found.end() for found in OBJECTS.finditer(text)]
    invented = next((c.start() for c in CAPTION.finditer(text) if lists and c.start() > lists[0]), len(text))
    answer = text[:invented]
    kept = [start for start in lists if start <= invented]
    return Labelled(
        text, tuple(reversed(kept[-MAX_LISTS:])), _labelled(answer, BACKGROUND), _labelled(answer, NEGATIVE)
    )


def _labelled(text: str, label: re.Pattern) -> str:
    """What stands behind the last such label: the rest of its line, or the line or list below."""
    found = list(label.finditer(text))
    if not found:
        return ""
    line, _, below = text[found[-1].end() :].partition("\n")
    ends = [other for other in (BACKGROUND.search(line), NEGATIVE.search(line)) if other]
    line = line[: min((end.start() for end in ends), default=len(line))]
    if line.strip():
        return without_none(_literal(line.strip()))
    is_heading = not found[-1][0].rstrip(" \t*_").endswith((":", "="))
    return without_none(_paragraph(below.lstrip("\n") if is_heading else below))


def _literal(line: str) -> object:
    """The literal that a line is, as in JSON, or its text."""
    if line[:1] in tuple('"[{'):
        try:
            literal = Literal(line, 0)
        except LayoutError:
            return line
        return line if line[literal.stop :].strip(" ,}") else literal.value
    return line


def _paragraph(below: str) -> list[str]:
    """The line at the start of a text, or the lines of its list; [] if it begins with something else."""
    parts: list[str] = []
    for line in below.split("\n"):
        item = LISTED.match(line)
        labelled = any(label.match(line) for label in (OBJECTS, BACKGROUND, NEGATIVE, CAPTION))
        said = any(mark in line for mark in ":[{(}") or EXPLAINS.match(line)
        other = not item and (said or parts)
        if not line.strip() or labelled or other:
            break
        parts.append(line[item.end() :] if item else line)
        if not item:
            break
    return parts


def is_nothing(text: str) -> bool:
    """Whether a text says that there is nothing: "None.", "(none)", "n/a", "not needed"."""
    plain = text.strip(" \t.*_`\"',\u3002").lower()
    plain = BRACKETED.sub(r"\1", plain)
    return not plain or plain in NOTHING or bool(NOT_NEEDED.fullmatch(plain))


def without_none(value: object) -> str:
    """A text (or several, or a dictionary's) without quotes and emphasis; "" for none, and for all else."""
    if isinstance(value, Mapping):
        value = next((part for part in value.values() if isinstance(part, str)), "")
    if isinstance(value, list):
        value = ", ".join(part for part in value if isinstance(part, str))
    if not isinstance(value, str):
        return ""
    line = " ".join(value.split()).strip(" *_`,}")
    if len(line) > 1 and QUOTES.get(line[0]) == line[-1]:
        line = line[1:-1].strip()
    line = line.strip('"') if line.count('"') % 2 else line
    return "" if is_nothing(line) else line
