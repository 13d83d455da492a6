"""English plurals: of a noun that is counted, and the forms that a noun may have besides its own."""

from __future__ import annotations

import re

IRREGULAR = {
    "man": "men", "woman": "women", "child": "children", "person": "people", "mouse": "mice",
    "goose": "geese", "tooth": "teeth", "foot": "feet", "sheep": "sheep", "deer": "deer", "fish": "fish",
    "knife": "knives", "wolf": "wolves", "leaf": "leaves", "shelf": "shelves", "loaf": "loaves",
    "calf": "calves", "wife": "wives", "half": "halves", "scarf": "scarves", "ox": "oxen", "bus": "buses",
    "potato": "potatoes", "tomato": "tomatoes", "hero": "heroes", "mango": "mangoes",
}  # fmt: skip


def plural(noun: str) -> str:
    """The plural: "apple" -> "apples", "box" -> "boxes", "fire truck" -> "fire trucks", "man" -> "men"."""
    first, last = noun[: len(noun) - len(_last(noun))], _last(noun)
    lower = last.lower()
    many = next((b for a, b in IRREGULAR.items() if lower == a or (a == "man" and lower.endswith(a))), "")
    if many:
        return noun[: len(noun) - 3] + many if many == "men" else first + many
    if re.search(r"(?:s|x|z|ch|sh)$", lower):
        return noun + "es"
    if re.search(r"[^aeiou]y$", lower):
        return noun[:-1] + "ies"
    return noun + "s"


def is_plural(noun: str) -> bool:
    """Whether a noun without an article is in the plural already: "dogs", "people"."""
    last = _last(noun).lower()
    if last in IRREGULAR:
        return False
    return last in IRREGULAR.values() or bool(re.search(r"[^sui]s$", last))


def other_forms(noun: str) -> list[str]:
    """What the singular or plural of a noun may be, likely ones first; some are no words."""
    first, last = noun[: len(noun) - len(_last(noun))], _last(noun)
    forms = [plural(noun), *(first + a for a, b in IRREGULAR.items() if b == last.lower())]
    if last.endswith("men"):
        forms.append(noun[:-3] + "man")
    if last.endswith("ies"):
        forms.append(noun[:-3] + "y")
    if last.endswith("es"):
        forms.append(noun[:-2])
    if last.endswith("s"):
        forms.append(noun[:-1])
    return [form for form in dict.fromkeys(forms) if len(form) > 1 and form != noun]


def _last(noun: str) -> str:
    """The last word of a noun, behind a space or a hyphen."""
    return re.split(r"[\s-]", noun)[-1]
