"""Initial-noise optimisation: find noise from which the subjects appear (InitNO, Guo et al., CVPR 2024)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from ..maps import AttentionMaps, StepContext
from ..objectives.base import Objective, evaluate_loss, own_maxima
from ..objectives.initno import InitNO, InitNOTerms, noise_divergence
from ..prompt import SubjectColumns
from ..schedule import Moment, Schedule
from .recipe import (
    NO_EXTRA_INPUTS,
    ActiveSteps,
    ExtraInputs,
    MapsOf,
    OnEvaluation,
    Priority,
    Recipe,
    StepResult,
    Worker,
)
from .seeded_noise import generator, noise_like
from .setting import learning_rate_setting, setting

BETAS = (0.9, 0.999)
MAX_RETURN_STEPS = 10_000
"""Adam steps on the divergence after one on the loss; with the published numbers it needs far fewer."""


class ObjectiveWithTerms(Objective, Protocol):
    """An objective that also gives the terms which decide about success."""

    def terms(
        self, maps: AttentionMaps, subjects: Sequence[SubjectColumns], context: StepContext
    ) -> InitNOTerms: ...


@dataclass(frozen=True, kw_only=True)
class OptimiseNoise(Recipe):
    """The noise phase of InitNO (algorithm 1), at the first step of a run that starts from noise.

    rounds: number of noise candidates, `iterations` evaluations each; final_iterations: evaluations of the
    best candidate if none succeeded. cross_target, overlap_target: L_c and L_s below which an image is done.
    divergence: KL to N(0, 1) allowed to the noise. learning_rate, eps: Adam's. The first candidate is the
    run's own noise, so an image that succeeds at once is the one its seed means.
    """

    method: str = "InitNO noise phase"
    objective: ObjectiveWithTerms = field(default_factory=InitNO)
    rounds: int = setting(5, at_least=0, cure="choose 0 (off) or more; 5 is the published number")
    iterations: int = setting(10, at_least=1, cure="choose 1 or more; 10 is the published number")
    final_iterations: int = setting(50, at_least=0, cure="choose 0 or more; 50 is the published number")
    cross_target: float = setting(0.2, overridable=False)
    overlap_target: float = setting(0.3, overridable=False)
    divergence: float = setting(1e-3, overridable=False)
    learning_rate: float = learning_rate_setting(0.01)
    eps: float = setting(1e-3, more_than=0, finite=True, cure="it must be greater than 0 (published: 0.001)")

    priority = Priority.NOISE
    starts_from_new_noise = True

    @property
    def disabled(self) -> bool:
        return self.rounds == 0

    def scaled(self, strength: float) -> OptimiseNoise:
        if strength == 0:
            return replace(self, rounds=0)
        return replace(self, learning_rate=self.learning_rate * strength)

    def active_steps(self, schedule: Schedule) -> ActiveSteps:
        step = schedule.find(Moment(percent=0.0)).step
        if step is None:
            reason = "this run does not start from noise, so there is no initial noise to choose"
            return ActiveSteps((), {}, reason)
        return ActiveSteps((step,), {step: self.rounds * self.iterations + self.final_iterations})

    def start(self, schedule: Schedule, seed: int = 0) -> NoiseWorker:
        return NoiseWorker(self, seed)


class NoiseWorker(Worker):
    """An OptimiseNoise in one run. It carries nothing: there is one step."""

    def __init__(self, recipe: OptimiseNoise, seed: int):
        self.recipe, self.seed = recipe, seed

    def __call__(
        self,
        z: Tensor,
        maps_of: MapsOf,
        subjects: tuple[SubjectColumns, ...],
        context: StepContext,
        on_evaluation: OnEvaluation,
        extra: ExtraInputs = NO_EXTRA_INPUTS,
    ) -> StepResult:
        search = NoiseSearch(self.recipe, z, maps_of, subjects, context, on_evaluation)
        return search.run([generator(self.seed, b, "initial noise") for b in range(len(z))])


class NoiseCandidate:
    """One image's noise e with its learned mean and log-variance: z = e exp(logvar / 2) + mu."""

    def __init__(self, noise: Tensor, recipe: OptimiseNoise):
        self.noise, self.recipe = noise, recipe
        self.mu, self.logvar = (torch.zeros_like(noise).requires_grad_(True) for _ in range(2))
        self.adam = torch.optim.Adam(
            [self.logvar, self.mu], lr=recipe.learning_rate, betas=BETAS, eps=recipe.eps
        )
        self.score = float("inf")

    def z(self) -> Tensor:
        """The latent of this candidate, with a graph to mu and logvar."""
        return self.noise * torch.exp(self.logvar / 2) + self.mu

    def step(self, gradients: Sequence[Tensor]) -> None:
        """An Adam step on the loss, then steps on the divergence (same state) until it is allowed again."""
        self.logvar.grad, self.mu.grad = gradients
        self.adam.step()
        for _ in range(MAX_RETURN_STEPS):
            divergence = noise_divergence(self.mu[None], self.logvar[None])[0]
            if not divergence > self.recipe.divergence:
                return
            self.logvar.grad, self.mu.grad = torch.autograd.grad(divergence, (self.logvar, self.mu))
            self.adam.step()


class NoiseSearch:
    """The noise phase of one batch z [B, ...]. Its images share forward passes and nothing else."""

    def __init__(
        self,
        recipe: OptimiseNoise,
        z: Tensor,
        maps_of: MapsOf,
        subjects: tuple[SubjectColumns, ...],
        context: StepContext,
        on_evaluation: OnEvaluation,
    ):
        self.recipe, self.z = recipe, z.detach().float()
        self.maps_of, self.on_evaluation = maps_of, on_evaluation
        self.subjects, self.context = subjects, context
        self.losses: list[Tensor] = []
        self.maxima: Tensor | None = None
        self.updates = [0] * len(z)
        self.found: dict[int, Tensor] = {}  # image -> the z that succeeded
        self.failed: set[int] = set()  # images whose loss or gradient was not finite

    def run(self, sources: Sequence[torch.Generator]) -> StepResult:
        """All rounds; one generator of new noise per image."""
        best: dict[int, NoiseCandidate] = {}
        for n in range(self.recipe.rounds):
            tried = {}
            for b in self._open():
                noise = noise_like(self.z[b], sources[b]) if n else self.z[b]
                tried[b] = NoiseCandidate(noise, self.recipe)
            self._iterate(tried, self.recipe.iterations)
            for b, candidate in tried.items():
                if b not in best or candidate.score < best[b].score:
                    best[b] = candidate
        last = {b: NoiseCandidate(best[b].noise, self.recipe) for b in self._open()}
        self._iterate(last, self.recipe.final_iterations)
        return self._result(last)

    def _result(self, last: dict[int, NoiseCandidate]) -> StepResult:
        """Per image: the z that succeeded, else that of its last candidate; the z of the run where it
        failed.
        """
        chosen = dict(enumerate(self.z))
        chosen |= {b: candidate.z().detach() for b, candidate in last.items() if b not in self.failed}
        chosen |= self.found
        counts = [0 if b in self.failed else n for b, n in enumerate(self.updates)]
        made = torch.tensor(counts, device=self.z.device)
        assert self.maxima is not None, "at least one evaluation was made"
        return StepResult(
            torch.stack([chosen[b] for b in range(len(self.z))]),
            torch.stack(self.losses),
            made,
            self.maxima,
            _flags(self.failed, made),
            guided=made > 0,
            success=(made > 0) & _flags(self.found, made),
            rounds=made,
        )

    def _open(self) -> list[int]:
        """The images that are still worked on."""
        return [b for b in range(len(self.z)) if b not in self.found and b not in self.failed]

    def _iterate(self, candidates: dict[int, NoiseCandidate], evaluations: int) -> None:
        """Evaluate and step; images leave as they succeed or fail."""
        for _ in range(evaluations):
            now = self._open()
            if not now:
                return
            self.on_evaluation(len(self.losses))
            z = torch.stack([candidates[b].z() if b in now else self.z[b] for b in range(len(self.z))])
            maps = self.maps_of(z)
            loss = evaluate_loss(self.recipe.objective, maps, self.subjects, self.context)
            leaves = []
            for b in now:
                leaves += [candidates[b].logvar, candidates[b].mu]
            gradients = torch.autograd.grad(loss.sum(), leaves)
            self.losses.append(torch.where(_flags(now, loss), loss.detach(), torch.nan))
            with torch.no_grad():
                terms = self.recipe.objective.terms(maps, self.subjects, self.context)
            if self.maxima is None:
                self.maxima = own_maxima(self.recipe.objective, maps, self.subjects)  # [B, k]
            for i, b in enumerate(now):
                self._judge(b, candidates[b], terms, gradients[2 * i : 2 * i + 2])

    def _judge(
        self, b: int, candidate: NoiseCandidate, terms: InitNOTerms, gradients: Sequence[Tensor]
    ) -> None:
        """Success ends the image's work before its step."""
        cross, overlap = float(terms.cross[b]), float(terms.overlap[b])
        if not (self.losses[-1][b].isfinite() and all(g.isfinite().all() for g in gradients)):
            self.failed.add(b)
            return
        # An overlap of 0 means that its gate was closed: it is unknown, so the score must not trust it.
        candidate.score = cross + overlap + (1 if overlap <= 1e-6 else 0)
        if cross < self.recipe.cross_target and overlap < self.recipe.overlap_target:
            self.found[b] = candidate.z().detach()
            return
        candidate.step(gradients)
        self.updates[b] += any(g.any() for g in gradients)  # a gradient of 0 moves nothing


def _flags(images: Collection[int], like: Tensor) -> Tensor:
    """[B] bool, True for these images."""
    return torch.tensor([b in images for b in range(len(like))], device=like.device)
