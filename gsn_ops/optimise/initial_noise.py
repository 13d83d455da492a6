"""Initial-noise optimisation: find a start from which the subjects will appear (InitNO, Guo et al., CVPR 2024, algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..maps import AttentionMaps, MapOptions, StepContext
from ..objectives.initno import InitNO, InitNOTerms, noise_divergence
from ..prompt import SubjectColumns, SubjectPhrase
from ..schedule import Moment, Schedule
from ..subject_maps import subject_maps
from .recipe import ActiveSteps, StepResult
from .seeded_noise import generator, noise_like

BETAS = (0.9, 0.999)
MOST_RETURNS = 10_000  # Adam steps on the divergence after one on the loss; with the published numbers it needs far fewer


@dataclass(frozen=True)
class OptimiseNoise:
    """The noise phase of InitNO, at the first step of a run that starts from noise.

    rounds: fresh noises tried, each with `iterations` looks; `more`: looks spent on the best one if none succeeded.
    cross_target, overlap_target: L_c and L_s below which an image is done. divergence: KL to N(0, 1) allowed to the noise.
    learning_rate, eps: Adam's. The first round starts from the run's own noise, so an image that succeeds at once is the
    one its seed means. report, subjects, strict: as in Refine.
    """

    method: str = "InitNO noise phase"
    objective: InitNO = field(default_factory=InitNO)
    rounds: int = 5
    iterations: int = 10
    final_iterations: int = 50
    cross_target: float = 0.2
    overlap_target: float = 0.3
    divergence: float = 1e-3
    learning_rate: float = 0.01
    eps: float = 1e-3
    report: str = "full"
    subjects: tuple[SubjectPhrase, ...] = ()
    strict: bool = False
    priority = 0
    starts_from_new_noise = True

    @property
    def disabled(self) -> bool:
        return self.rounds == 0

    def scaled(self, strength: float) -> OptimiseNoise:
        return (
            replace(self, learning_rate=self.learning_rate * strength)
            if strength
            else replace(self, rounds=0)
        )

    def when(self, schedule: Schedule) -> ActiveSteps:
        found = schedule.find(Moment(percent=0.0))
        if found.step is None:
            return ActiveSteps(
                (), {}, "this run does not start from noise, so there is no initial noise to choose"
            )
        return ActiveSteps((found.step,), {found.step: self.rounds * self.iterations + self.final_iterations})

    def start(self, schedule: Schedule, seed: int = 0) -> NoiseWork:
        return NoiseWork(self, seed)


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
        return self.noise * torch.exp(self.logvar / 2) + self.mu

    def step(self, gradients: Sequence[Tensor]) -> None:
        """An Adam step on the loss, then as many on the divergence (same state) as bring it back to what is allowed."""
        self.logvar.grad, self.mu.grad = gradients
        self.adam.step()
        for _ in range(MOST_RETURNS):
            divergence = noise_divergence(self.mu[None], self.logvar[None])[0]
            if not divergence > self.recipe.divergence:
                return
            self.logvar.grad, self.mu.grad = torch.autograd.grad(divergence, (self.logvar, self.mu))
            self.adam.step()


class NoiseWork:
    """OptimiseNoise in one run. The images of a batch share forward passes and nothing else."""

    def __init__(self, recipe: OptimiseNoise, seed: int):
        self.recipe, self.seed = recipe, seed

    def __call__(
        self,
        z: Tensor,
        maps_of: Callable[[Tensor], AttentionMaps],
        subjects: tuple[SubjectColumns, ...],
        context: StepContext,
        on_shift: Callable[[int], None],
    ) -> StepResult:
        self.z, self.maps_of, self.subjects, self.context, self.on_shift = (
            z.detach().float(),
            maps_of,
            subjects,
            context,
            on_shift,
        )
        self.losses: list[Tensor] = []
        self.maxima: Tensor | None = None
        self.updates = [0] * len(z)
        self.found: dict[int, Tensor] = {}  # image -> the z that succeeded
        self.broken: set[int] = set()
        sources = [generator(self.seed, b, "initial noise") for b in range(len(z))]
        best: dict[int, NoiseCandidate] = {}
        for n in range(self.recipe.rounds):
            tried = {
                b: NoiseCandidate(noise_like(self.z[b], sources[b]) if n else self.z[b], self.recipe)
                for b in self._open()
            }
            self._iterate(tried, self.recipe.iterations)
            for b, candidate in tried.items():
                if b not in best or candidate.score < best[b].score:
                    best[b] = candidate
        last = {b: NoiseCandidate(best[b].noise, self.recipe) for b in self._open()}
        self._iterate(last, self.recipe.final_iterations)
        chosen = (
            {b: candidate.z().detach() for b, candidate in last.items()}
            | dict.fromkeys(self.broken)
            | self.found
        )
        result = torch.stack([self.z[b] if chosen[b] is None else chosen[b] for b in range(len(z))])
        made = torch.tensor(
            [0 if b in self.broken else n for b, n in enumerate(self.updates)], device=z.device
        )
        return StepResult(
            result,
            torch.stack(self.losses),
            made,
            self.maxima,
            _flags(self.broken, made),
            guided=made > 0,
            success=(made > 0) & _flags(self.found, made),
            rounds=made,
        )

    def _open(self) -> list[int]:
        """The images that are still worked on."""
        return [b for b in range(len(self.z)) if b not in self.found and b not in self.broken]

    def _iterate(self, candidates: dict[int, NoiseCandidate], looks: int) -> None:
        """Look and step; images leave as they succeed or break."""
        for _ in range(looks):
            now = self._open()
            if not now:
                return
            self.on_shift(len(self.losses))
            z = torch.stack([candidates[b].z() if b in now else self.z[b] for b in range(len(self.z))])
            maps = self.maps_of(z)
            loss = self.recipe.objective(maps, self.subjects, self.context)
            gradients = torch.autograd.grad(
                loss.sum(), [leaf for b in now for leaf in (candidates[b].logvar, candidates[b].mu)]
            )
            self.losses.append(torch.where(_flags(now, loss), loss.detach(), torch.nan))
            with torch.no_grad():
                terms = self.recipe.objective.terms(maps, self.subjects, self.context)
                if self.maxima is None:
                    options = getattr(self.recipe.objective, "maps", MapOptions())
                    self.maxima = subject_maps(maps, self.subjects, options).flatten(2).amax(-1)  # [B, k]
            for i, b in enumerate(now):
                self._judge(b, candidates[b], terms, gradients[2 * i : 2 * i + 2])

    def _judge(
        self, b: int, candidate: NoiseCandidate, terms: InitNOTerms, gradients: Sequence[Tensor]
    ) -> None:
        """Success ends the image's work before its step."""
        cross, overlap = float(terms.cross[b]), float(terms.overlap[b])
        if not (self.losses[-1][b].isfinite() and all(g.isfinite().all() for g in gradients)):
            self.broken.add(b)
            return
        # An overlap of 0 means that its gate was closed: it has not been looked at, so the score must not trust it.
        candidate.score = cross + overlap + (1 if overlap <= 1e-6 else 0)
        if cross < self.recipe.cross_target and overlap < self.recipe.overlap_target:
            self.found[b] = candidate.z().detach()
            return
        candidate.step(gradients)
        self.updates[b] += 1


def _flags(images: Collection[int], like: Tensor) -> Tensor:
    """[B] bool, True for these images."""
    return torch.tensor([b in images for b in range(len(like))], device=like.device)
