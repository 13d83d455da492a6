"""What a vision model answered about an image, as detections: JSON, lines "cat: yes", or yes and no."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..prompt import SubjectPhrase
from .classes import normalised, same_class
from .colour import colour_of
from .detection import Detection

YES = frozenset("yes true present visible y found correct".split())
NO = frozenset("no false absent missing none not n incorrect".split())
THOUGHTS = re.compile(r"<think>.*?</think>|```\w*", re.DOTALL)
LINE = re.compile(r"^[\s\-*\u2022\d.)]*(?P<name>.+?)\s*(?:[:=]|\s-+>?|\u2192)\s*(?P<said>.+?)\s*$")
NUMBER_WORDS: dict[str, int] = {
    word: n for n, word in enumerate("zero one two three four five six seven eight nine ten".split())
}
SAYS = ("present", "visible", "answer", "count")
"""Keys of JSON under which it is said whether a thing is there."""
CANNOT_READ = (
    "The vision model's answer cannot be read: it says nothing about {missing}. Ask it for one line per "
    'subject, such as `cat: yes`, or for JSON such as {{"cat": true}}. It answered: {answer}'
)
SHOWN = 160  # letters of an answer in an error


def detections_of_answer(answer: str, subjects: Sequence[SubjectPhrase]) -> list[Detection]:
    """The subjects that the answer says are there, as often as it says, with the noun as label.

    A subject with a colour that is said to be there has this colour. Raises ValueError for an answer that
    does not name every subject.
    """
    text = THOUGHTS.sub(" ", answer).strip()
    said = _from_json(text) or _from_lines(text)
    counts = {subject.label: _count_for(subject, said) for subject in subjects}
    bare = [_count(word) for word in re.split(r"[\s,;.]+", text) if word]
    if None in counts.values() and len(bare) == len(subjects) and None not in bare:
        counts = dict(zip(counts, bare, strict=True))
    missing = [label for label, count in counts.items() if count is None]
    if missing:
        shown = text if len(text) <= SHOWN else text[:SHOWN] + "..."
        raise ValueError(CANNOT_READ.format(missing=", ".join(missing), answer=shown or "nothing"))
    return [
        Detection(subject.noun, colour=colour_of(subject.modifiers))
        for subject in subjects
        for _ in range(_new_ones(subject, counts[subject.label] or 0))
    ]


def _new_ones(subject: SubjectPhrase, count: int) -> int:
    """Objects that an answer about this subject adds: dog#2 is one more than dog."""
    return min(count, 1) if subject.occurrence > 1 else count


def _from_json(text: str) -> dict[str, Any]:
    """{name: what is said} of a JSON object or list in a text; {} if there is none."""
    found = re.search(r"[\[{].*[\]}]", text, re.DOTALL)
    try:
        data = json.loads(found[0]) if found else {}
    except ValueError:
        return {}
    if isinstance(data, Mapping) and len(data) == 1 and isinstance(next(iter(data.values())), Mapping | list):
        inner = next(iter(data.values()))  # {"objects": ...}
        data = data if isinstance(inner, Mapping) and set(inner) & set(SAYS) else inner
    if isinstance(data, Mapping):
        return {str(name): value for name, value in data.items()}
    said: dict[str, Any] = {}
    for one in data:
        if isinstance(one, str):
            said[one] = True  # a list of what is there
        elif isinstance(one, Mapping):
            name = next(
                (one[key] for key in ("subject", "object", "name", "thing", "label") if key in one), ""
            )
            said[str(name)] = {key: value for key, value in one.items() if value != name}
    return said


def _from_lines(text: str) -> dict[str, Any]:
    """{name: what is said} of lines "name: said"."""
    parts = [part for line in text.splitlines() for part in re.split(r"[,;](?=[^,;]*[:=])", line)]
    plain = [part.replace("*", "").replace("`", "") for part in parts]  # Markdown
    return {match["name"]: match["said"] for part in plain if (match := LINE.match(part))}


def _count_for(subject: SubjectPhrase, said: Mapping[str, Any]) -> int | None:
    """How many of a subject there are, None where nothing is said about it."""
    for name, value in said.items():
        if normalised(name) == normalised(subject.label):
            return _count(value)
    for name, value in said.items():
        if same_class(name, subject.noun) or normalised(name) == normalised(f"{subject.noun}"):
            return _count(value)
    return None


def _count(value: Any) -> int | None:
    """A statement as a number of objects, None if it is not one."""
    if isinstance(value, Mapping):
        parts = [_count(value[key]) for key in SAYS if key in value]
        known = [part for part in parts if part is not None]
        return min(known[0], known[-1]) if 0 in known else max(known, default=None)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return max(int(value), 0)
    word = re.match(r"\W*(\w+)", str(value).lower())
    if word is None:
        return None
    if word[1].isdigit():
        return int(word[1])
    if word[1] in NUMBER_WORDS:
        return NUMBER_WORDS[word[1]]
    if word[1] in YES or word[1] in NO:
        return int(word[1] in YES)
    return None
