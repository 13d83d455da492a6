"""What a vision model answered about an image, as detections: JSON, lines "cat: yes", or yes and no."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..prompt import SubjectPhrase
from .answer_json import from_json
from .answer_words import BOTH_COLONS, count_of, is_number
from .classes import class_of, normalised, same_class
from .colour import colour_of
from .detection import Detection, phrase_of

THOUGHTS = re.compile(r"^.*</think>|<think>.*$", re.DOTALL)
"""What a model thought before it answered; one that was cut off has not answered."""
FENCE = re.compile(r"```\w*")
LINE = re.compile(
    rf"^[\s\-*\u2022\d.)]*(?P<name>.+?)\s*(?:[{BOTH_COLONS}=]|\s-+>?|\u2192)\s*(?P<said>.+?)\s*$"
)
TABLE_ROW = re.compile(r"^\s*\|\s*([^|]*\w[^|]*?)\s*\|\s*([^|]+?)\s*(?:\|.*)?$", re.MULTILINE)
PARTS = re.compile(rf"[,;\uff0c\uff1b\u3001](?=[^,;\uff0c\uff1b\u3001]*[{BOTH_COLONS}=])")
MARKS = " \t\"'`{}[]()\u201c\u201d\u300c\u300d"
ARTICLE = re.compile(r"(?:an?|the|any)\s+", re.IGNORECASE)
SENTENCE = re.compile(r"\W*(yes|no)\s*[,.!]", re.IGNORECASE)
CANNOT_READ = (
    "The vision model's answer cannot be read: it says nothing about {missing}. Ask it for one line per "
    'subject, such as `cat: yes`, or for JSON such as {{"cat": true}}. It answered: {answer}'
)
SHOWN = 160  # letters of an answer in an error


def detections_of_answer(answer: str, subjects: Sequence[SubjectPhrase]) -> list[Detection]:
    """The subjects that the answer says are there, as often as it says, each for its own phrase alone.

    A subject with a colour that is said to be there has this colour. Raises ValueError for an answer that
    does not name every subject.
    """
    text = FENCE.sub(" ", THOUGHTS.sub(" ", answer)).strip()
    phrases: dict[str, list[SubjectPhrase]] = {}
    for subject in subjects:
        phrases.setdefault(phrase_of(subject), []).append(subject)
    said = from_json(text) or _from_lines(text)
    found = {name: _objects(own, phrases, said) for name, own in phrases.items()}
    if None in found.values():
        said = _in_order(text, subjects)
        found = {name: _objects(own, phrases, said) if said else found[name] for name, own in phrases.items()}
    missing = [own[-1].label for name, own in phrases.items() if found[name] is None]
    if missing:
        shown = text if len(text) <= SHOWN else text[:SHOWN] + "..."
        raise ValueError(CANNOT_READ.format(missing=", ".join(missing), answer=shown or "nothing"))
    return [
        Detection(own[0].noun, colour=colour_of(own[0].modifiers), phrase=name)
        for name, own in phrases.items()
        for _ in range(found[name] or 0)
    ]


def _objects(
    own: Sequence[SubjectPhrase], phrases: Mapping[str, Sequence[SubjectPhrase]], said: Mapping[str, Any]
) -> int | None:
    """How many objects of one phrase there are; None where not enough is said. own: dog, dog#2, ...

    "dog: yes" says nothing about a second dog, "dog: 2" does.
    """
    others = [subjects[0] for subjects in phrases.values() if subjects is not own]
    alone = all(class_of(other.noun) != class_of(own[0].noun) for other in others)
    first = _said_of(phrase_of(own[0]), own[0].noun if alone else None, said)
    total = count_of(first)
    for subject in own:
        numbered = _said_of(subject.label, None, said) if subject.occurrence > 1 else None
        count = count_of(numbered)
        if count is not None:
            total = max(total or 0, subject.occurrence if count else 0)
        elif subject.occurrence > 1 and total and not is_number(first):
            return None
    return total


def _said_of(label: str, noun: str | None, said: Mapping[str, Any]) -> Any:
    """What is said about a label, else about the class of its noun, if one is given; None for nothing."""
    for name, value in said.items():
        if normalised(ARTICLE.sub("", name, count=1)) == normalised(label):
            return value
    for name, value in said.items():
        if noun is not None and same_class(ARTICLE.sub("", name, count=1), noun):
            return value
    return None


def _from_lines(text: str) -> dict[str, Any]:
    """{name: what is said} of lines "name: said", and of the rows of a table."""
    lines = TABLE_ROW.sub(r"\1: \2", text).splitlines()
    parts = [part for line in lines for part in PARTS.split(line)]
    plain = [part.replace("*", "").replace("`", "").lstrip(MARKS) for part in parts]  # Markdown, Python
    return {match["name"].strip(MARKS): match["said"] for part in plain if (match := LINE.match(part))}


def _in_order(text: str, subjects: Sequence[SubjectPhrase]) -> dict[str, Any]:
    """A word for each subject in their order ("yes, no"), or a sentence about the only one; {} for others."""
    words = [word for word in re.split(r"[\s,;.]+", text) if word]
    sentence = SENTENCE.match(text)
    if len(subjects) == 1 and sentence:
        words = [sentence[1]]
    if len(words) != len(subjects) or any(count_of(word) is None for word in words):
        return {}
    return {subject.label: word for subject, word in zip(subjects, words, strict=True)}
