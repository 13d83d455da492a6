"""Whether the subjects are in an image: TIAM's rules (Grimal et al., WACV 2024), applied to detections.

A subject is right if an object of its class is there and, where it has a colour, one of that class has it.
Two objects of different classes in one place have merged and count for neither.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations

from torch import Tensor

from ..prompt import SubjectPhrase
from .classes import class_of, normalised
from .colour import RIGHT_SHARE, colour_of, colour_shares, object_pixels
from .detection import Detection, cropped, overlap, phrase_of

MERGED_IOU = 0.95
"""IoU of boxes or masks from which on two objects of different classes are one (TIAM)."""
CONFIDENCE = 0.25
"""Scores below are no detections (TIAM)."""


@dataclass(frozen=True)
class SubjectVerdict:
    """One subject in one image.

    label: as typed. judged: whether the source knows its class. present: as many objects of its class as its
    number (dog#2 needs two), and one that is its own (man, woman needs two people). count, score: objects of
    its class, and the best score. colour: the wanted one that can be judged, None = none. colour_right: None
    without one. colour_share: of the best object's pixels, None where the source names colours. merged_with:
    other subjects in the same place. unwanted: it must not be there. detections: indices of its objects in
    `ImageVerdict.detections`.
    """

    label: str
    judged: bool = True
    present: bool = False
    count: int = 0
    score: float = 0.0
    colour: str | None = None
    colour_right: bool | None = None
    colour_share: float | None = None
    merged_with: tuple[str, ...] = ()
    unwanted: bool = False
    optional: bool = False
    detections: tuple[int, ...] = ()

    def right(self, colours: bool = True) -> bool:
        """Whether it is as it should be. colours: its colour counts too."""
        if self.unwanted:
            return not self.present
        return self.present and not (colours and self.colour_right is False)


@dataclass(frozen=True)
class ImageVerdict:
    """All subjects in one image, and what was detected in it."""

    subjects: tuple[SubjectVerdict, ...]
    detections: tuple[Detection, ...]

    @property
    def asked(self) -> tuple[SubjectVerdict, ...]:
        """The subjects that count: judged, and not `dog?`."""
        return tuple(s for s in self.subjects if s.judged and not s.optional)

    def right(self, colours: bool = True) -> bool:
        """Whether all subjects are as they should be."""
        return all(s.right(colours) for s in self.asked)

    def score(self, colours: bool = True) -> float:
        """Share of the subjects that are as they should be, 0 ... 1; 1 where none has to be there."""
        rights = [s.right(colours) for s in self.asked]
        return sum(rights) / len(rights) if rights else 1.0

    def missing(self, colours: bool = True) -> tuple[str, ...]:
        """The subjects that are not as they should be, in words."""
        return tuple(_lack(s) for s in self.asked if not s.right(colours))

    def to_dict(self, colours: bool = True) -> dict:
        """The verdict as plain data."""
        subjects = [
            {**asdict(s), "right": s.right(colours), "detections": list(s.detections)} for s in self.subjects
        ]
        found = [
            {"label": d.label, "score": round(d.score, 4), "box": d.box and [round(v, 1) for v in d.box]}
            | ({"colour": d.colour} if d.colour else {})
            for d in self.detections
        ]
        return {
            "right": self.right(colours),
            "score": self.score(colours),
            "missing": list(self.missing(colours)),
            "subjects": subjects,
            "detections": found,
        }


def _lack(subject: SubjectVerdict) -> str:
    """A subject that is not right, and how."""
    if subject.unwanted:
        return f"{subject.label} (should not be there)"
    if subject.present:
        return f"{subject.label} (not {subject.colour})"
    if subject.merged_with:
        return f"{subject.label} (merged with {', '.join(subject.merged_with)})"
    return subject.label


def judge_image(
    found: Sequence[Detection],
    subjects: Sequence[SubjectPhrase],
    image: Tensor,
    *,
    confidence: float = CONFIDENCE,
    unknown: Sequence[str] = (),
) -> ImageVerdict:
    """What is to be said about one image [H, W, 3] in 0 ... 1.

    found: in this image, of any source. confidence: lower scores do not count. unknown: nouns that the source
    cannot find, whose subjects are not judged.
    """
    height, width = image.shape[:2]
    kept = [one for one in cropped(found, height, width) if one.score >= confidence]
    classes = [class_of(one.label) for one in kept]
    together = merged_pairs(kept, classes)
    lost = {i for pair in together for i in pair}
    wanted = {subject.label: class_of(subject.noun) for subject in subjects}
    nouns = {normalised(subject.noun) for subject in subjects}
    verdicts = []
    for subject in subjects:
        own = [i for i, one in enumerate(kept) if counts_for(one, subject, nouns)]
        partners = {classes[b if a in own else a] for a, b in together if (a in own) != (b in own)}
        merged = tuple(label for label, name in wanted.items() if name in partners)
        alone = [i for i in own if i not in lost]
        verdict = _of_subject(subject, [kept[i] for i in alone], image)
        judged = subject.noun not in unknown
        verdicts.append(replace(verdict, judged=judged, merged_with=merged, detections=tuple(alone or own)))
    return ImageVerdict(tuple(_each_its_own(verdicts, subjects)), tuple(kept))


def counts_for(one: Detection, subject: SubjectPhrase, nouns: Collection[str]) -> bool:
    """Whether an object is one of a subject's. nouns: of all subjects, normalised.

    A detector may name a class (person), which holds for every word of it; "man" is no woman if both are
    asked for.
    """
    if one.phrase:
        return one.phrase == phrase_of(subject)
    name = normalised(one.label)
    if class_of(name) != class_of(subject.noun):
        return False
    narrow = one.exact or (name in nouns and name != class_of(name))
    return not narrow or name == normalised(subject.noun)


def _each_its_own(
    verdicts: Sequence[SubjectVerdict], subjects: Sequence[SubjectPhrase]
) -> list[SubjectVerdict]:
    """Where subjects share objects, as a man and a woman share two people, one object is there for one of
    them: first for those whose colour was found, then in their order. Words that were found in a prompt may
    mean the same thing, so of these only equal nouns.
    """
    out = list(verdicts)
    shared: dict[tuple, dict[str, list[int]]] = {}
    for i, (verdict, subject) in enumerate(zip(verdicts, subjects, strict=True)):
        if verdict.judged and not (verdict.unwanted or verdict.optional):
            same = normalised(subject.noun) if subject.source == "found" else ""
            phrases = shared.setdefault((verdict.detections, same), {})
            phrases.setdefault(phrase_of(subject), []).append(i)
    for phrases in shared.values():
        left = max(verdicts[i].count for own in phrases.values() for i in own)
        for own in sorted(phrases.values(), key=lambda own: verdicts[own[0]].colour_right is not True):
            for i in own:
                out[i] = replace(out[i], present=out[i].present and subjects[i].occurrence <= left)
            left -= min(left, max(subjects[i].occurrence for i in own))
    return out


def merged_pairs(found: Sequence[Detection], classes: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of objects of different classes in one place.

    Two detectors may have two names for one thing (a unicorn is a horse to COCO): only objects of one source.
    """
    return [
        (i, j)
        for i, j in combinations(range(len(found)), 2)
        if classes[i] != classes[j]
        and found[i].source == found[j].source
        and overlap(found[i], found[j]) >= MERGED_IOU
    ]


def _of_subject(subject: SubjectPhrase, own: Sequence[Detection], image: Tensor) -> SubjectVerdict:
    """The verdict on one subject from the objects of its class that have not merged."""
    colour = colour_of(subject.modifiers)
    right, share = (None, None) if colour is None else _coloured(own, colour, subject.occurrence, image)
    return SubjectVerdict(
        subject.label,
        present=len(own) >= subject.occurrence,
        count=len(own),
        score=max((one.score for one in own), default=0.0),
        colour=colour,
        colour_right=right,
        colour_share=share,
        unwanted=subject.role == "unwanted",
        optional=subject.optional,
    )


def _coloured(own: Sequence[Detection], colour: str, needed: int, image: Tensor) -> tuple[bool, float | None]:
    """Whether `needed` objects have a colour, and the share of it in the best one (None if it was named)."""
    if any(one.colour is not None for one in own):
        return sum(one.colour == colour for one in own) >= needed, None
    shares = sorted(
        (colour_shares(object_pixels(image, one.mask, one.box)).get(colour, 0.0) for one in own), reverse=True
    )
    right = sum(share >= RIGHT_SHARE for share in shares) >= needed
    return right, shares[0] if shares else None


def tiam(verdicts: Sequence[ImageVerdict], colours: bool = False) -> float:
    """TIAM: share of the images in which all subjects are right (Grimal et al., WACV 2024)."""
    return sum(verdict.right(colours) for verdict in verdicts) / max(len(verdicts), 1)
