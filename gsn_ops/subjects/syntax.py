r"""The syntax of the subjects field, as text -> phrases.

Phrases are separated by commas, semicolons, `|`, `/`, full stops, tabs, lines, or a `+`, dash, bullet, arrow,
"vs" or BREAK between spaces, also by the wide marks of Chinese and Japanese, or stand in brackets: `red car,
blue bench`, `[red car] [blue bench]`; a JSON list is read as its entries. `and` separates two things
("cat and dog"), not two modifiers ("red and blue table"). The last word is the noun, in "woman in a red
dress" the last one before the preposition; the others are its modifiers; articles are left out, and so is a
number in front ("2 dogs"). `car* red` marks the noun. A noun of several words is quoted or joined:
`green "solar system"`, `solar_system`, `t-shirt`; common ones ("hot dog", "teddy bear":
word_lists.COMPOUNDS) need no mark. `dog#2` is the second occurrence of the phrase; a phrase typed twice
takes the first and the second. `dog?` may be missing from the prompt, as with wildcards. `-glasses`,
`no glasses` and `without glasses` name something unwanted (method Neglect); of a list whose every line
begins with a dash, a bullet or a number, these are dropped. `@spacy` (or `@spacy:en_core_web_sm`) alone
requests that spaCy finds the subjects instead of the built-in parser. Weights `(cat:1.3)`, `cat:1.3` are
dropped; `saber \(fate\)` keeps its literal parentheses as a qualifier after the noun.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ..prompt import SubjectPhrase
from . import spacy_parser
from .matching import split_words
from .word_lists import COMPOUNDS, CONJUNCTIONS, DEFINITE, FUNCTION_WORDS, INDEFINITE, is_adjective, is_adverb

LEFT_OUT = DEFINITE | INDEFINITE | CONJUNCTIONS | {"of", "with", "in", "on"}
"""Words of a phrase that are no modifiers."""
SPACY = "spacy"
"""`SubjectPhrase.source` of a request to find the subjects with spaCy; its noun is the model's name."""
NO_THINGS = FUNCTION_WORDS - frozenset("can will down past inside break s t d m".split())
"""Words that name nothing by themselves; the others of the list are also nouns or letters."""
MARKS = ",;|/\uff0c\u3001\uff1b\uff5c\u3002\u060c"
"""Between phrases; with those of full width, the ideographic comma and stop, and the Arabic comma."""
BREAKS = "\t\r\n\v\u2028"
SEPARATORS = f" {BREAKS}.{MARKS}"
DASHES = "-\u2212\u2013\u2014"
"""The dash as keyboards and word processors write it."""
BETWEEN_SPACES = re.compile(
    rf"\s+(?:[{DASHES}+.\u2022\u00b7]|[-=]>|\u2192|(?i:vs\.?|versus))\s+"
    r"|(?<=\w{3})(?<!\b[Mm]rs)\.\s+"
)
"""Between phrases where spaces stand around it; and the full stop of a word that is no abbreviation."""
PARTS = re.compile(r"(?<!\S)(?:BREAK|AND)(?!\S)")
"""Between the parts of a prompt."""
BULLET = re.compile(rf"\s*(?:[{DASHES}*+\u2022\u00b7]\s*|\(?(?:\d{{1,3}}[.):]|[A-Za-z]\))(?!\d)\s*)(?=\S)")
"""What a line of a list begins with: a dash, a bullet, "1.", "1)" or "a)"."""
JSON_LIST = re.compile(r"\s*\[\s*(?=[\"'])(.*)\]\s*", re.DOTALL)
UNWANTED = re.compile(
    rf"[{DASHES}][{DASHES} ]*(?=\w)"
    r"|(?:no|without(?: any)?)\s+(?!.*\b(?:signs?|symbols?|stickers?|zone)$)(?=\w)",
    re.IGNORECASE,
)
"""Before something unwanted; a "no smoking sign" is a thing."""
NUMBER = re.compile(r"\A\s*\(?\d{1,3}[.):]\s+(?=\S)")
NOUN_ENDS = frozenset(
    "in on at with without wearing holding carrying riding under over above below near beside next behind "
    "inside outside by from against atop around between".split()
)
"""Behind the noun: what follows tells it from others ("the woman in a red dress")."""
MAY_BE_MISSING = ("?", "\uff1f")
"""Behind a phrase that the prompt need not have."""
WEIGHT = re.compile(r":\s*[-+]?\d*\.?\d+\s*(?=[()]|$)")
# These stand for "\(", "\)", a space in quotes and a slash in a qualifier while parsing.
OPEN, CLOSE, QUOTED_SPACE, SLASH = "\x00", "\x01", "\x02", "\x03"
QUALIFIER = f"{OPEN}[^{OPEN}{CLOSE}]*{CLOSE}"
EXPLANATION = (
    "Type phrases separated by commas, for example: red car, blue bench. The last word is the noun; "
    "dog#2 is the second dog."
)


def parse_subjects(text: str, any_word: bool = False) -> tuple[SubjectPhrase, ...]:
    """The typed phrases, in order; () for an empty field.

    any_word: also words that name no thing ("behind"). Raises ValueError naming a phrase that cannot be read,
    or that names no thing.
    """
    entries = JSON_LIST.fullmatch(text)
    if entries:
        text = ", ".join(entry for _, entry in re.findall(r"([\"'])(.*?)\1(?=\s*(?:,|\Z))", entries[1]))
    text = text.replace("\\(", OPEN).replace("\\)", CLOSE)
    text = re.sub(
        r'["\u201c]([^"\u201c\u201d\n]*)["\u201d]', lambda m: re.sub(r"\s+", QUOTED_SPACE, m[1].strip()), text
    )
    text = re.sub(QUALIFIER + r"|@spacy\S*", lambda m: m[0].replace("/", SLASH), text)
    parts = [part for part in _split_phrases(without_bullets(PARTS.sub(",", text))) if part.strip(SEPARATORS)]
    requests = [part.strip() for part in parts if part.strip().lower().startswith("@spacy")]
    if requests:
        return (_parse_request(requests[0], alone=len(parts) == 1),)
    return tuple(_numbered([_parse_phrase(part.replace(SLASH, "/"), any_word) for part in parts]))


def without_bullets(text: str) -> str:
    """The text without the dashes, bullets or numbers before its lines, if it is a list of several lines."""
    lines = [line for line in text.splitlines() if line.strip(SEPARATORS)]
    if len(lines) > 1 and all(BULLET.match(line) for line in lines):
        return "\n".join(BULLET.sub("", line, count=1) for line in lines)
    return text


def _split_phrases(text: str) -> list[str]:
    parts: list[str] = []
    for inside, outside in re.findall(r"\[([^\[\]]*)\]|([^\[\]]+)", text):
        if inside:
            parts.append(re.sub(f"[{MARKS}]", " ", inside))
        else:
            for part in re.split(rf"[{MARKS}{BREAKS}]", outside):
                for phrase in BETWEEN_SPACES.split(part.strip()):
                    parts += _split_at_and(phrase)
    return parts


def _split_at_and(part: str) -> list[str]:
    """ "red cat and dog" as two phrases; "red and blue table" as one."""
    out: list[list[str]] = [[]]
    before = ""  # the last word of the phrase that names or describes
    for word in part.split():
        if word.lower() in CONJUNCTIONS and before and not is_adjective(before):
            out.append([])
            before = ""
            continue
        out[-1].append(word)
        if not is_adverb(word) and word.lower() not in LEFT_OUT:
            before = word.strip("()").lower()
    return [" ".join(words) for words in out]


def _parse_request(request: str, alone: bool) -> SubjectPhrase:
    """The phrase that stands for "@spacy" or "@spacy:model"."""
    if not alone:
        raise ValueError(
            f"'{request}' finds the subjects by itself, so it stands alone: remove it, or remove the other "
            "subjects."
        )
    model = re.fullmatch(r"(?i:@spacy)(?::\s*([a-z]{2,3}_\w+))?", request)
    if not model:
        raise ValueError(
            f"'{request}' cannot be read: write @spacy, or @spacy: and the name of a model, for example "
            "@spacy:en_core_web_sm."
        )
    return SubjectPhrase(request, model[1] or spacy_parser.MODEL, source=SPACY)


def _numbered(phrases: Sequence[SubjectPhrase]) -> list[SubjectPhrase]:
    """Phrases typed more than once get the numbers that are still free: "dog, dog" is dog#1 and dog#2."""
    taken = {(p.noun, p.modifiers, p.occurrence) for p in phrases if p.occurrence > 1}
    last: dict[tuple, int] = {}
    out = []
    for phrase in phrases:
        if phrase.occurrence == 1:
            key = (phrase.noun, phrase.modifiers)
            n = last.get(key, 0) + 1
            while (*key, n) in taken:
                n += 1
            last[key] = n
            phrase = replace(phrase, occurrence=n, label=phrase.label + (f"#{n}" if n > 1 else ""))
        out.append(phrase)
    return out


def _parse_phrase(part: str, any_word: bool = False) -> SubjectPhrase:
    part = _unquoted(NUMBER.sub("", part.strip(SEPARATORS)))
    unwanted = UNWANTED.match(part)
    role = "unwanted" if unwanted else "wanted"
    part = part[unwanted.end() :] if unwanted else part
    optional = part.rstrip(SEPARATORS).endswith(MAY_BE_MISSING) and bool(split_words(part))
    part = part.rstrip(SEPARATORS + "".join(MAY_BE_MISSING)) if optional else part
    shown = part.strip(SEPARATORS).replace(OPEN, "\\(").replace(CLOSE, "\\)").replace(QUOTED_SPACE, " ")
    part = WEIGHT.sub("", part)  # of "(cat:1.3)" and "cat:1.3"
    part = re.sub(r"[()]", " ", part)
    part, occurrence = _split_occurrence(part, shown)
    qualifier = re.search(QUALIFIER, part)
    words = [w for w in re.sub(QUALIFIER, " ", part).split() if split_words(w)]
    if not words:
        raise ValueError(f"The subject '{shown}' has no word in it. {EXPLANATION}")
    if not any_word and all(word.lower() in NO_THINGS for word in words):
        raise ValueError(f"The subject '{shown}' names no thing. {EXPLANATION}")
    noun, modifiers = _noun_and_modifiers(words, shown)
    if len(words) > 1 and words[0].lower() in CONJUNCTIONS:
        words = words[1:]  # "a cat, and a dog"
    label = " ".join(_unmarked(w) for w in words)
    label += f" ({qualifier[0][1:-1].strip()})" if qualifier else ""
    label += f"#{occurrence}" if occurrence > 1 else ""
    return SubjectPhrase(label, noun, modifiers, role=role, occurrence=occurrence, optional=optional)


def _unquoted(part: str) -> str:
    """Without single quotes around the whole phrase."""
    found = re.fullmatch(r"(['\u2018`])([^'\u2018\u2019`]+)['\u2019`]", part)
    return found[2] if found else part


def _split_occurrence(part: str, shown: str) -> tuple[str, int]:
    """The phrase without "#2", and the number (1 if there is none)."""
    number = re.search(r"#\s*(\S*)\s*$", part)
    if not number:
        return part, 1
    if not re.fullmatch(r"[1-9]\d*", number[1]):
        raise ValueError(
            f"'{shown}': the number after # must be 1, 2, 3, ... (dog#2 is the second dog in the prompt)."
        )
    return part[: number.start()], int(number[1])


def _unmarked(word: str) -> str:
    return word.replace("*", "").replace(QUOTED_SPACE, " ")


def _noun_and_modifiers(words: list[str], shown: str) -> tuple[str, tuple[str, ...]]:
    marked = [n for n, w in enumerate(words) if w.endswith("*")]
    if len(marked) > 1:
        raise ValueError(
            f"'{shown}': only one word can be marked as the noun with *. Separate subjects with commas."
        )
    words = [_unmarked(w) for w in words]
    if marked:
        first, last = marked[0], marked[0] + 1
    else:
        first, last = _place_of_noun([word.lower() for word in words])
    rest = [w for w in words[:first] + words[last:] if w.lower() not in LEFT_OUT | NOUN_ENDS]
    if rest and first and words[0].isdigit() and rest[0] == words[0]:
        rest = rest[1:]  # "2 dogs"
    return " ".join(words[first:last]), tuple(rest)


def _place_of_noun(words: Sequence[str]) -> tuple[int, int]:
    """First word of the noun, and the word behind it: the last word, that before a preposition, a compound,
    or a name with its number ("fiat 500").
    """
    last = next((n for n, word in enumerate(words) if word in NOUN_ENDS), len(words))
    if all(word in LEFT_OUT for word in words[:last]):
        last = len(words)
    size = next((k for k in (3, 2) if " ".join(words[max(last - k, 0) : last]) in COMPOUNDS), 1)
    if words[last - 1].isdigit() and last > 1:
        size = 2
    return max(last - size, 0), last
