r"""Subjects: what people type, and which columns of the text those words are.

Typed syntax: phrases separated by commas, semicolons or lines, or in brackets: `red car, blue bench`, `[red car] [blue bench]`.
The last word is the noun, the others are its modifiers; articles and `and` are left out. `car* red` marks the noun.
A noun of several words is quoted or joined: `green "solar system"`, `solar_system`, `t-shirt`; common ones ("hot dog",
"teddy bear": words.COMPOUNDS) need no mark. `dog#2` is the second place at which the phrase stands; a phrase typed twice
takes the first and the second. `-glasses` names something unwanted (method Neglect). `@spacy` (or `@spacy:en_core_web_sm`)
alone lets spaCy find the subjects instead of the built-in parser.
Weights `(cat:1.3)` are dropped, `saber \(fate\)` keeps its literal parentheses as a
qualifier after the noun.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import count

from ..prompt import SubjectPhrase
from . import spacy_parser
from .matching import split_words
from .word_lists import COMPOUNDS, CONJUNCTIONS, DEFINITE, INDEFINITE

GLUE = DEFINITE | INDEFINITE | CONJUNCTIONS | {"of", "with", "in", "on"}
SPACY = "spacy"  # the source of a phrase that is no thing, but asks for spaCy; its noun is the model's name
OPEN, CLOSE, QUOTED_SPACE = "\x00", "\x01", "\x02"
SYNTAX = "Type phrases separated by commas, for example: red car, blue bench. The last word is the noun; dog#2 is the second dog."


def parse_subjects(text: str) -> tuple[SubjectPhrase, ...]:
    """The typed phrases, in order; () for an empty field. Raises ValueError naming the phrase that cannot be read."""
    text = text.replace("\\(", OPEN).replace("\\)", CLOSE)
    text = re.sub(
        r'["\u201c]([^"\u201c\u201d\n]*)["\u201d]', lambda m: re.sub(r"\s+", QUOTED_SPACE, m[1].strip()), text
    )
    parts = [
        part
        for inside, outside in re.findall(r"\[([^\[\]]*)\]|([^\[\]]+)", text)
        for part in ([re.sub("[,;]", " ", inside)] if inside else re.split(r"[,;\n]", outside))
    ]
    parts = [part for part in parts if part.strip(" \t\r\n,;")]
    requests = [part.strip() for part in parts if part.strip().lower().startswith("@spacy")]
    if requests:
        return (_parse_request(requests[0], alone=len(parts) == 1),)
    return tuple(_numbered([_parse_phrase(part) for part in parts]))


def _parse_request(request: str, alone: bool) -> SubjectPhrase:
    """The phrase that stands for "@spacy" or "@spacy:model"."""
    if not alone:
        raise ValueError(
            f"'{request}' finds the subjects by itself, so it stands alone: remove it, or remove the other subjects."
        )
    model = re.fullmatch(r"(?i:@spacy)(?::\s*([a-z]{2,3}_\w+))?", request)
    if not model:
        raise ValueError(
            f"'{request}' cannot be read: write @spacy, or @spacy: and the name of a model, for example @spacy:en_core_web_sm."
        )
    return SubjectPhrase(request, model[1] or spacy_parser.MODEL, source=SPACY)


def _numbered(phrases: list[SubjectPhrase]) -> list[SubjectPhrase]:
    """Phrases typed more than once get the numbers that are still free: "dog, dog" is the first and the second dog."""
    taken = {(p.noun, p.modifiers, p.occurrence) for p in phrases if p.occurrence > 1}
    out = []
    for phrase in phrases:
        if phrase.occurrence == 1:
            n = next(n for n in count(1) if (phrase.noun, phrase.modifiers, n) not in taken)
            taken.add((phrase.noun, phrase.modifiers, n))
            phrase = replace(phrase, occurrence=n, label=phrase.label + (f"#{n}" if n > 1 else ""))
        out.append(phrase)
    return out


def _parse_phrase(part: str) -> SubjectPhrase:
    part = part.strip(" \t\r\n,;")
    role = "unwanted" if re.match(r"-\s*\w", part) else "wanted"
    part = part.lstrip("- ") if role == "unwanted" else part
    shown = part.strip(" \t\r\n,;").replace(OPEN, "\\(").replace(CLOSE, "\\)").replace(QUOTED_SPACE, " ")
    part = re.sub(r":\s*[-+]?\d*\.?\d+\s*(?=\))", "", part)  # the weight of "(cat:1.3)"
    part = re.sub(r"[()]", " ", part)
    number = re.search(r"#\s*(\S*)\s*$", part)
    if number and not re.fullmatch(r"[1-9]\d*", number[1]):
        raise ValueError(
            f"'{shown}': the number after # must be 1, 2, 3, ... (dog#2 is the second dog in the prompt)."
        )
    occurrence = int(number[1]) if number else 1
    qualifier = re.search(f"{OPEN}[^{OPEN}{CLOSE}]*{CLOSE}", part[: number.start()] if number else part)
    plain = re.sub(f"{OPEN}[^{OPEN}{CLOSE}]*{CLOSE}", " ", part[: number.start()] if number else part)
    words = [w for w in plain.split() if split_words(w)]
    if not words:
        raise ValueError(f"The subject '{shown}' has no word in it. {SYNTAX}")
    noun, modifiers = _noun_and_modifiers(words, shown)
    label = " ".join(w.replace("*", "").replace(QUOTED_SPACE, " ") for w in words)
    if qualifier:
        label += f" ({qualifier[0][1:-1].strip()})"
    return SubjectPhrase(
        label + (f"#{occurrence}" if occurrence > 1 else ""),
        noun,
        modifiers,
        role=role,
        occurrence=occurrence,
    )


def _noun_and_modifiers(words: list[str], shown: str) -> tuple[str, tuple[str, ...]]:
    marked = [n for n, w in enumerate(words) if w.endswith("*")]
    if len(marked) > 1:
        raise ValueError(
            f"'{shown}': only one word can be marked as the noun with *. Separate subjects with commas."
        )
    words = [w.replace("*", "").replace(QUOTED_SPACE, " ") for w in words]
    first, last = (marked[0], marked[0] + 1) if marked else (len(words) - 1, len(words))
    if not marked:
        size = next((k for k in (3, 2) if " ".join(words[-k:]).lower() in COMPOUNDS), 1)
        first = max(len(words) - size, 0)
    rest = words[:first] + words[last:]
    return " ".join(words[first:last]), tuple(w for w in rest if w.lower() not in GLUE)
