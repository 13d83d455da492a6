"""Text encoders one by one, for models that have several: maps of one encoder, and an objective over each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..prompt import SubjectColumns
from ..regions import Region
from .base import Objective, check, shortfall


def one_encoder(
    maps: AttentionMaps, subjects: Sequence[SubjectColumns], encoder: str
) -> tuple[AttentionMaps, list[SubjectColumns]]:
    """The maps with the spans of one encoder only, and the subjects that it knows."""
    spans, prompt = (tuple(s for s in some if s.encoder == encoder) for some in (maps.spans, maps.prompt))
    return replace(maps, spans=spans, prompt=prompt), [
        subject for subject in subjects if subject.noun.get(encoder)
    ]


def memory_key(name: str, maps: AttentionMaps) -> str:
    """Where an objective keeps something in `StepContext.memory`: apart for each set of encoders it is asked about."""
    return f"{name}:{'+'.join(dict.fromkeys(span.encoder for span in maps.spans))}"


@dataclass(frozen=True)
class ByEncoder:
    """The mean of an objective's losses on the single encoders ("separate": (L(M^CLIP) + L(M^T5)) / 2).

    An objective that is not in here averages the subject maps over the encoders before the loss. Raises ValueError if no
    encoder knows a subject.
    """

    objective: Objective

    @property
    def needs(self) -> MapNeeds:
        return self.objective.needs

    @property
    def maps(self) -> MapOptions:
        return getattr(self.objective, "maps", MapOptions())

    @property
    def role(self) -> str:
        return getattr(self.objective, "role", "wanted")

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        losses = [self.objective(*view) for view in self._views(maps, subjects, context)]
        return sum(losses) / len(losses)

    def shortfall(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext, threshold: float
    ) -> Tensor:
        """[B]: the mean of the objective's own test over the encoders."""
        tests = [
            shortfall(self.objective, *view, threshold, self.objective(*view).detach())
            for view in self._views(maps, subjects, context)
        ]
        return sum(tests) / len(tests)

    def terms(self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext):
        """Of an objective that has terms: the mean of each over the encoders."""
        terms = [self.objective.terms(*view) for view in self._views(maps, subjects, context)]
        return replace(
            terms[0],
            **{f.name: sum(getattr(t, f.name) for t in terms) / len(terms) for f in fields(terms[0])},
        )

    def check(self, subjects: Sequence[SubjectColumns], regions: Mapping[str, Region]) -> None:
        check(self.objective, subjects, regions)

    def _views(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> list[tuple]:
        """(maps, subjects, context) of each encoder that knows a subject."""
        names = list(dict.fromkeys(span.encoder for span in maps.spans))
        views = []
        for name in names:
            view, known = one_encoder(maps, subjects, name)
            if known:
                before = context.previous and one_encoder(context.previous, known, name)[0]
                views.append((view, known, replace(context, previous=before)))
        if not views:
            raise ValueError(
                f"No encoder knows any of the subjects; the encoders of this model are {', '.join(names)}."
            )
        return views
