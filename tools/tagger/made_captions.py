"""Captions, tag lists and requests made of word lists: the tagger's second source, with certain tags."""

from __future__ import annotations

import random
from collections.abc import Callable

from . import vocabulary as words

Tagged = list[tuple[str, str, str]]
"""(word, mark before it, tag)."""

VOWELS = "aeiou"


def plural(noun: str) -> str:
    """The plural of a regular noun; others as the language has them."""
    special = {
        "man": "men",
        "woman": "women",
        "child": "children",
        "person": "people",
        "mouse": "mice",
        "goose": "geese",
        "sheep": "sheep",
        "deer": "deer",
        "fish": "fish",
        "foot": "feet",
        "wolf": "wolves",
        "knife": "knives",
        "leaf": "leaves",
        "shelf": "shelves",
        "calf": "calves",
        "loaf": "loaves",
        "scarf": "scarves",
        "policeman": "policemen",
        "fisherman": "fishermen",
    }
    if noun in special:
        return special[noun]
    if noun.endswith(("s", "x", "ch", "sh", "z")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in VOWELS:
        return noun[:-1] + "ies"
    return noun + "s"


def forms(entry: str) -> dict[str, str]:
    """Base, s, past, en and ing of a verb, "sit:sat:sat" or "walk"."""
    base, *irregular = entry.split(":")
    short = len(base) <= 4 or base in ("scrub", "admit")
    doubled = base
    if (
        short
        and base[-1] not in "wxyhkrsnl" + VOWELS
        and base[-2] in VOWELS
        and base[-3:-2] not in (*VOWELS, "")
    ):
        doubled = base + base[-1]
    if base in ("run", "spin", "stir", "cut", "win", "pin", "skim", "plan"):
        doubled = base + base[-1]
    stem = base[:-1] if base.endswith("e") and not base.endswith(("ee", "oe", "ye")) else doubled
    ing = {"lie": "lying", "tie": "tying", "untie": "untying", "ski": "skiing"}.get(base, stem + "ing")
    past = base + "d" if base.endswith("e") else doubled + "ed"
    if base.endswith("y") and base[-2] not in VOWELS:
        past = base[:-1] + "ied"
    past, en = irregular or (past, past)
    third = {"have": "has", "do": "does", "go": "goes"}.get(base, plural(base))
    return {"base": base, "s": third, "past": past, "en": en, "ing": ing}


class Maker:
    """Draws sentences; the same seed makes the same ones."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.nouns = words.NOUNS.split()
        self.verbs = [forms(entry) for entry in words.VERBS.split()]
        self.adjectives = words.ADJECTIVES.split()
        self.adverbs = words.ADVERBS.split()

    def sentence(self) -> Tagged:
        """One prompt: clauses, fragments, lists of tags."""
        kinds: list[tuple[Callable[[], Tagged], int]] = [
            (self._clause, 10),
            (self._fragment, 6),
            (self._tags, 3),
            (self._request, 2),
            (self._long, 4),
            (self._bare, 2),
            (self._about, 2),
            (self._described, 2),
        ]
        makers, weights = zip(*kinds)
        return [self._rare(*word) for word in self.random.choices(makers, weights)[0]()]

    def _rare(self, word: str, gap: str, tag: str) -> tuple[str, str, str]:
        """Now and then a word that nobody has seen, with the same ending: then ending and place count."""
        if tag in ("NOUN", "ADJ", "VERB", "ING", "EN") and len(word) > 3 and self._chance(0.12):
            keep = {"ING": 3, "EN": 2, "ADJ": 3}.get(tag, 1)
            start = "".join(self.random.choices("bcdfgklmnprst", k=2))
            return start[0] + self.random.choice("aeiou") + start[1] + word[-keep:], gap, tag
        return word, gap, tag

    def _chance(self, p: float) -> bool:
        return self.random.random() < p

    def _of(self, text: str, tag: str) -> Tagged:
        return [(word, "", tag) for word in text.split()]

    def _noun(self, many: bool) -> Tagged:
        noun = self.random.choice(self.nouns)
        if many and self._chance(0.1):
            noun = self.random.choice(words.PLURAL_ONLY.split())
        elif many:
            noun = plural(noun)
        first = self.random.choice(self.nouns)
        return [*([(first, "", "NOUN")] if self._chance(0.07) else []), (noun, "", "NOUN")]

    def _adjectives(self, p: float = 0.5) -> Tagged:
        out: Tagged = []
        while self._chance(p) and len(out) < 3:
            kind = self.random.random()
            if kind < 0.8:
                out.append((self.random.choice(self.adjectives), "", "ADJ"))
            elif kind < 0.92:
                out.append((self.random.choice(self.verbs)["en"], "", "EN"))
            else:
                out.append((self.random.choice(self.verbs)["ing"], "", "ING"))
            p *= 0.5
        if len(out) == 2 and self._chance(0.4):
            joint = self.random.choice([("and", "", "CONJ"), None])
            out = [out[0], joint, out[1]] if joint else [out[0], (out[1][0], ",", out[1][2])]
        return out

    def _thing(self, many: bool) -> Tagged:
        """A noun phrase."""
        kind = self.random.random()
        if kind < 0.06:
            owner = self._noun(False)
            noun = self._noun(many)
            determiner = self.random.choice(("a", "the"))
            return [*self._of(determiner, "DET"), *owner, (noun[0][0], "'", "NOUN"), *noun[1:]]
        body = [*self._adjectives(), *self._noun(many)]
        if many:
            start = self.random.choice(
                (
                    "two NUM",
                    "three NUM",
                    "several ADJ",
                    "some DET",
                    "the DET",
                    "many ADJ",
                    *[""] * 6,
                    "five NUM",
                    "these DET",
                    "his PRON",
                    "2 NUM",
                    "3 NUM",
                    "her PRON",
                    "a DET",
                )
            )
            if start == "a DET":
                group = self.random.choice(
                    ("group", "pair", "bunch", "stack", "row", "pile", "flock", "couple")
                )
                return [("a", "", "DET"), (group, "", "NOUN"), ("of", "", "ADP"), *body]
        else:
            start = self.random.choice(
                (
                    "a DET",
                    "a DET",
                    "a DET",
                    "the DET",
                    "the DET",
                    "his PRON",
                    "her PRON",
                    "its PRON",
                    "one NUM",
                    "another DET",
                    "each DET",
                    "this DET",
                    "their PRON",
                    "",
                )
            )
        if not start:
            return body
        word, tag = start.split()
        if word == "a" and body[0][0][0] in VOWELS:
            word = "an"
        return [(word, "", tag), *body]

    def _place(self) -> Tagged:
        """Preposition and noun phrase."""
        if self._chance(0.15):
            link = self.random.choice(words.LONG_PREPOSITIONS).split()
            tags = ["ADP" if w in ("in", "on", "of", "to", "out") else "NOUN" for w in link]
            if link[0] == "next":
                tags = ["ADJ", "ADP"]
            if "the" in link:
                tags[link.index("the")] = "DET"
            start = [(w, "", t) for w, t in zip(link, tags)]
        else:
            start = [(self.random.choice(words.PREPOSITIONS), "", "ADP")]
        return [*start, *self._thing(self._chance(0.3))]

    def _rest(self) -> Tagged:
        """What may follow a verb."""
        out: Tagged = []
        if self._chance(0.15):
            out.append((self.random.choice(self.adverbs), "", "ADV"))
        if self._chance(0.08):
            return [*out, (self.random.choice(("it", "them", "him", "her")), "", "PRON")]
        if self._chance(0.45):
            out += self._thing(self._chance(0.4))
            if self._chance(0.1):
                out += [("and", "", "CONJ"), *self._thing(self._chance(0.3))]
            if self._chance(0.12):
                out += [("to", "", "ADP"), *self._thing(self._chance(0.3))]
        if self._chance(0.55):
            out += self._place()
        if self._chance(0.1):
            out += [
                ("to", "", "ADP"),
                (self.random.choice(self.verbs)["base"], "", "VERB"),
                *self._thing(False),
            ]
        return out

    def _verb(self, many: bool) -> Tagged:
        """The verb of a clause with what follows."""
        verb = self.random.choice(self.verbs)
        kind = self.random.random()
        be = "are" if many else "is"
        adverb = self._of(self.random.choice(self.adverbs), "ADV") if self._chance(0.08) else []
        if kind < 0.38:
            return [*adverb, (verb["base" if many else "s"], "", "VERB"), *self._rest()]
        if kind < 0.6:
            return [*adverb, (verb["past"], "", "VERB"), *self._rest()]
        if kind < 0.74:
            return [(be, "", "AUX"), *adverb, (verb["ing"], "", "ING"), *self._rest()]
        if kind < 0.82:
            return [(be, "", "AUX"), *adverb, (verb["en"], "", "EN"), *self._place()]
        if kind < 0.86:
            return [("can", "", "AUX"), (verb["base"], "", "VERB"), *self._rest()]
        adjective = (self.random.choice(self.adjectives), "", "ADJ")
        if kind < 0.93:
            return [(be, "", "AUX"), adjective]
        return [(be, "", "AUX"), *self._place()]

    def _subject(self) -> tuple[Tagged, bool]:
        many = self._chance(0.3)
        thing = self._thing(many)
        if self._chance(0.15):
            return [*thing, ("and", "", "CONJ"), *self._thing(self._chance(0.3))], True
        if self._chance(0.12):
            return [*thing, *self._place()], many
        if self._chance(0.06):
            more, marks = [], (",", "and")
            for mark in self.random.choice((marks, ("and",), (",", ",", "and"))):
                noun = [*self._adjectives(0.2), *self._noun(self._chance(0.3))]
                if mark == "and":
                    more += [("and", "", "CONJ"), *noun]
                else:
                    more += [(noun[0][0], ",", noun[0][2]), *noun[1:]]
            return [*thing, *more], True
        if self._chance(0.12):
            return [
                *thing,
                (self.random.choice(("that", "which", "who")), "", "PRON"),
                *self._verb(many),
            ], many
        return thing, many

    def _described(self) -> Tagged:
        """ "the dog is small and brown", "the mood is calm"."""
        many = self._chance(0.3)
        out = [
            *self._thing(many),
            ("are" if many else "is", "", "AUX"),
            (self.random.choice(self.adjectives), "", "ADJ"),
        ]
        if self._chance(0.6):
            out += [("and", "", "CONJ"), (self.random.choice(self.adjectives), "", "ADJ")]
        if self._chance(0.3):
            out += [(self.random.choice(self.verbs)["ing"], "", "ING"), *self._rest()]
        return out

    def _clause(self) -> Tagged:
        subject, many = self._subject()
        out = [*subject, *self._verb(many)]
        if self._chance(0.15):
            link = self.random.choice(("while ADP", "as ADP", "and CONJ")).split()
            out += [(link[0], self.random.choice(("", ",")), link[1]), *self._clause()]
        return out

    def _fragment(self) -> Tagged:
        """A noun phrase with participles and places, as most prompts are."""
        thing = self._thing(self._chance(0.25))
        verb = self.random.choice(self.verbs)
        kind = self.random.random()
        if kind < 0.35:
            adverb = self._of(self.random.choice(self.adverbs), "ADV") if self._chance(0.1) else []
            thing += [*adverb, (verb["ing"], "", "ING"), *self._rest()]
        elif kind < 0.5:
            thing += [(verb["en"], "", "EN"), *self._place()]
        elif kind < 0.65:
            thing += [("with", "", "ADP"), *self._thing(self._chance(0.4))]
        elif kind < 0.8:
            thing += self._place()
        if self._chance(0.2):
            thing += [("and", "", "CONJ"), *self._thing(self._chance(0.3))]
        return thing

    def _tags(self) -> Tagged:
        out: Tagged = []
        for _ in range(self.random.randint(2, 9)):
            kind = self.random.random()
            if kind < 0.75:
                part = [*self._adjectives(0.6), *self._noun(self._chance(0.4))]
            elif kind < 0.85:
                verb = self.random.choice(self.verbs)
                part = [(verb["ing"], "", "ING"), *(self._noun(False) if self._chance(0.6) else [])]
            else:
                part = [(self.random.choice(self.adjectives), "", "ADJ")]
            part[0] = (part[0][0], "," if out else "", part[0][2])
            out += part
        return out

    def _request(self) -> Tagged:
        verb = self.random.choice(
            ("create", "draw", "generate", "make", "paint", "show", "design", "imagine")
        )
        out = [(verb, "", "VERB")]
        if self._chance(0.3):
            out = [("please", "", "ADV"), *out]
        if self._chance(0.3):
            out += [("me", "", "PRON")]
        if self._chance(0.5):
            what = self.random.choice(("image", "picture", "photo", "illustration", "painting", "drawing"))
            out += [("an" if what[0] in VOWELS else "a", "", "DET"), (what, "", "NOUN"), ("of", "", "ADP")]
        return [*out, *self._fragment()]

    def _about(self) -> Tagged:
        what = self.random.choice(
            ("image", "picture", "photo", "photograph", "scene", "painting", "illustration")
        )
        start = [(self.random.choice(("the", "this")), "", "DET"), (what, "", "NOUN")]
        if self._chance(0.3):
            clause = self._clause()
            return [("in", "", "ADP"), *start, (clause[0][0], ",", clause[0][2]), *clause[1:]]
        verb = self.random.choice(("shows", "captures", "depicts", "features", "portrays", "presents"))
        return [*start, (verb, "", "VERB"), *self._fragment()]

    def _bare(self) -> Tagged:
        """Without articles: "cat sits on chair"."""
        many = self._chance(0.3)
        verb = self.random.choice(self.verbs)
        form = self.random.choice(("base" if many else "s", "ing", "ing"))
        out = [
            *self._adjectives(0.3),
            *self._noun(many),
            (verb[form], "", "ING" if form == "ing" else "VERB"),
        ]
        if self._chance(0.5):
            out += [*self._adjectives(0.3), *self._noun(self._chance(0.3))]
        return [*out, (self.random.choice(words.PREPOSITIONS), "", "ADP"), *self._noun(self._chance(0.3))]

    def _long(self) -> Tagged:
        out = self._clause()
        for _ in range(self.random.randint(1, 3)):
            part = self.random.choice((self._clause, self._fragment, self._clause))()
            if self._chance(0.2):
                part = [*self._place(), *part]
            mark = self.random.choice((",", ".", "."))
            out += [(part[0][0], mark, part[0][2]), *part[1:]]
        return out
