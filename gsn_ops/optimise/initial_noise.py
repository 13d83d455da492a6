"""Initial-noise optimisation: find a start from which the subjects will appear (InitNO, Guo et al., CVPR 2024, algorithm 1)."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..maps import AttentionMaps, StepContext, subject_maps
from ..objectives.initno import InitNO, InitNOTerms, noise_divergence
from ..prompt import SubjectColumns, SubjectPhrase
from ..schedule import Moment, Schedule
from .when import When
from .work import Worked

BETAS = (0.9, 0.999)


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
    more: int = 50
    cross_target: float = 0.2
    overlap_target: float = 0.3
    divergence: float = 1e-3
    learning_rate: float = 0.01
    eps: float = 1e-3
    report: str = "full"
    subjects: tuple[SubjectPhrase, ...] = ()
    strict: bool = False
    order = 0

    @property
    def off(self) -> bool:
        return self.rounds == 0

    def scaled(self, strength: float) -> OptimiseNoise:
        return replace(self, learning_rate=self.learning_rate * strength) if strength else replace(self, rounds=0)

    def when(self, schedule: Schedule) -> When:
        found = schedule.find(Moment(percent=0.0))
        if found.step is None:
            return When((), {}, "this run does not start from noise, so there is no initial noise to choose")
        return When((found.step,), {found.step: self.rounds * self.iterations + self.more})

    def start(self, schedule: Schedule, seed: int = 0) -> NoiseWork:
        return NoiseWork(self, seed)


class Candidate:
    """One image's noise e with its learned mean and log-variance: z = e exp(logvar / 2) + mu."""

    def __init__(self, noise: Tensor, recipe: OptimiseNoise):
        self.noise, self.recipe = noise, recipe
        self.mu, self.logvar = (torch.zeros_like(noise).requires_grad_(True) for _ in range(2))
        self.adam = torch.optim.Adam([self.logvar, self.mu], lr=recipe.learning_rate, betas=BETAS, eps=recipe.eps)
        self.score = float("inf")

    def z(self) -> Tensor:
        return self.noise * torch.exp(self.logvar / 2) + self.mu

    def divergence(self) -> Tensor:
        return noise_divergence(self.mu[None], self.logvar[None])[0]

    def step(self, gradients: Sequence[Tensor]) -> None:
        """An Adam step on the loss, then as many on the divergence (same state) as bring it back to what is allowed."""
        self.logvar.grad, self.mu.grad = gradients
        self.adam.step()
        while (divergence := self.divergence()) > self.recipe.divergence:
            self.logvar.grad, self.mu.grad = torch.autograd.grad(divergence, (self.logvar, self.mu))
            self.adam.step()


class NoiseWork:
    """OptimiseNoise in one run. The images of a batch share forward passes and nothing else."""

    def __init__(self, recipe: OptimiseNoise, seed: int):
        self.recipe, self.seed = recipe, seed

    def __call__(self, z: Tensor, maps_of: Callable[[Tensor], AttentionMaps], subjects: tuple[SubjectColumns, ...], context: StepContext,
                 on_shift: Callable[[int], None]) -> Worked:
        self.z, self.maps_of, self.subjects, self.context, self.on_shift = z.detach().float(), maps_of, subjects, context, on_shift
        self.losses: list[Tensor] = []
        self.maxima: Tensor | None = None
        self.shifts = [0] * len(z)
        self.done: dict[int, Tensor] = {}  # image -> the z that succeeded
        self.broken: set[int] = set()
        best: list[Candidate | None] = [None] * len(z)
        for n in range(self.recipe.rounds):
            candidates = {b: Candidate(self._noise(b, n), self.recipe) for b in range(len(z)) if b not in self.done}
            self._iterate(candidates, self.recipe.iterations)
            for b, candidate in candidates.items():
                if best[b] is None or candidate.score < best[b].score:
                    best[b] = candidate
        last = {b: Candidate(c.noise, self.recipe) for b, c in enumerate(best) if b not in self.done}
        self._iterate(last, self.recipe.more)
        result = torch.stack([self.done.get(b, self.z[b]) if b in self.done or b in self.broken else last[b].z().detach() for b in range(len(z))])
        device = z.device
        success = torch.tensor([b in self.done for b in range(len(z))], device=device)
        made = torch.tensor(self.shifts, device=device)
        return Worked(result, torch.stack(self.losses), made, self.maxima, torch.tensor([b in self.broken for b in range(len(z))], device=device),
                      guided=made > 0, success=success, rounds=made)

    def _noise(self, b: int, n: int) -> Tensor:
        """Image b's noise of round n: the run's own, then fresh ones from a generator of the image's own."""
        if n == 0:
            return self.z[b]
        generator = torch.Generator("cpu").manual_seed((self.seed + 1_000_003 * b + n) % 2**63)
        return torch.randn(self.z.shape[1:], generator=generator).to(self.z)

    def _iterate(self, candidates: dict[int, Candidate], looks: int) -> None:
        """Look and step; images leave as they succeed or break."""
        for _ in range(looks):
            open_ = [b for b in candidates if b not in self.done and b not in self.broken]
            if not open_:
                return
            self.on_shift(len(self.losses))
            z = torch.stack([candidates[b].z() if b in open_ else self.z[b] for b in range(len(self.z))])
            maps = self.maps_of(z)
            loss = self.recipe.objective(maps, self.subjects, self.context)
            terms = self.recipe.objective.terms(maps, self.subjects, self.context)
            if self.maxima is None:
                self.maxima = subject_maps(maps, self.subjects, self.recipe.objective.maps).detach().flatten(2).amax(-1)  # [B, k]
            leaves = [leaf for b in open_ for leaf in (candidates[b].logvar, candidates[b].mu)]
            gradients = torch.autograd.grad(loss.sum(), leaves)
            self.losses.append(torch.where(_flags(open_, loss), loss.detach(), torch.nan))
            for i, b in enumerate(open_):
                self._judge(b, candidates[b], loss, terms, gradients[2 * i:2 * i + 2])

    def _judge(self, b: int, candidate: Candidate, loss: Tensor, terms: InitNOTerms, gradients: Sequence[Tensor]) -> None:
        cross, overlap = float(terms.cross[b].detach()), float(terms.overlap[b].detach())
        if not all(g.isfinite().all() for g in gradients) or not loss[b].isfinite():
            self.broken.add(b)
            return
        # An overlap of 0 means that its gate was closed: it has not been looked at, so the score must not trust it.
        candidate.score = cross + overlap + (1 if overlap <= 1e-6 and len(self.subjects) > 1 else 0)
        if cross < self.recipe.cross_target and overlap < self.recipe.overlap_target:
            self.done[b] = candidate.z().detach()
            return
        candidate.step(gradients)
        self.shifts[b] += 1


def _flags(images: Sequence[int], like: Tensor) -> Tensor:
    flags = torch.zeros(like.shape, dtype=torch.bool, device=like.device)
    flags[list(images)] = True
    return flags
