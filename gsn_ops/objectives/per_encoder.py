"""Models with several text encoders: the maps of one encoder, and an objective evaluated on each encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import Tensor

from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..prompt import SubjectColumns
from ..regions import Region
from ..subject_maps import total
from .base import Objective, check_prompt, evaluate_loss, map_options, reason_to_skip, role_of, shortfall


def one_encoder(
    maps: AttentionMaps, subjects: Sequence[SubjectColumns], encoder: str
) -> tuple[AttentionMaps, list[SubjectColumns]]:
    """The maps with the spans of one encoder only, and the subjects that it has."""
    spans = tuple(span for span in maps.spans if span.encoder == encoder)
    prompt = tuple(span for span in maps.prompt if span.encoder == encoder)
    known = [subject for subject in subjects if subject.noun.get(encoder)]
    return replace(maps, spans=spans, prompt=prompt), known


def memory_key(name: str, maps: AttentionMaps) -> str:
    """The key in `StepContext.memory` of what an objective keeps separately for each set of encoders."""
    return f"{name}:{'+'.join(dict.fromkeys(span.encoder for span in maps.spans))}"


@dataclass(frozen=True)
class ByEncoder:
    """The mean of an objective's losses on the single encoders, (L(M^CLIP) + L(M^T5)) / 2: encoders=separate.

    Authors' code of Latent Refine on SD3. An objective by itself averages the subject maps over the encoders
    before the loss. Raises ValueError if no encoder has a subject.
    """

    objective: Objective

    @property
    def needs(self) -> MapNeeds:
        """What the objective needs captured."""
        return self.objective.needs

    @property
    def maps(self) -> MapOptions:
        """How the objective processes its maps."""
        return map_options(self.objective)

    @property
    def role(self) -> str:
        """The role of the subjects that the objective reads."""
        return role_of(self.objective)

    def __call__(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> Tensor:
        losses = [evaluate_loss(self.objective, *view) for view in self._views(maps, subjects, context)]
        return total(losses) / len(losses)

    def shortfall(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext, threshold: float
    ) -> Tensor:
        """[B]: the mean of the objective's own test over the encoders."""
        tests = [
            shortfall(self.objective, *view, threshold, self.objective(*view).detach())
            for view in self._views(maps, subjects, context)
        ]
        return total(tests) / len(tests)

    def terms(self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext) -> Any:
        """Of an objective that has terms, as InitNO's: the mean of each over the encoders."""
        inner: Any = self.objective
        terms = [inner.terms(*view) for view in self._views(maps, subjects, context)]
        names = [f.name for f in fields(terms[0])]
        means = {name: total(getattr(t, name) for t in terms) / len(terms) for name in names}
        return replace(terms[0], **means)

    def check(self, subjects: Sequence[SubjectColumns], regions: Mapping[str, Region]) -> None:
        """The objective's own check."""
        check_prompt(self.objective, subjects, regions)

    def cannot_act(
        self, subjects: Sequence[SubjectColumns], regions: Mapping[str, Region], compares: bool
    ) -> str:
        """The objective's own reason."""
        return reason_to_skip(self.objective, subjects, regions, compares)

    def _views(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> list[tuple[AttentionMaps, list[SubjectColumns], StepContext]]:
        """(maps, subjects, context) of each encoder that has a subject."""
        names = list(dict.fromkeys(span.encoder for span in maps.spans))
        views = []
        for name in names:
            view, known = one_encoder(maps, subjects, name)
            if known:
                before = context.previous and one_encoder(context.previous, known, name)[0]
                views.append((view, known, replace(context, previous=before)))
        if not views:
            raise ValueError(
                "No encoder knows any of the subjects: name words of the prompt "
                f"(encoders: {', '.join(names)})."
            )
        return views


def innermost(objective: Objective) -> Objective:
    """The objective itself, or the one that is evaluated per encoder."""
    return objective.objective if isinstance(objective, ByEncoder) else objective


def encoders_read(objective: Objective) -> str:
    """How several text encoders are read: "separate", "average", or the name of the one read alone."""
    if isinstance(objective, ByEncoder):
        return "separate"
    return "average" if objective.needs.encoders == "all" else objective.needs.encoders
