"""Reading the attention between two calls of the model, where no state of the sampler lies.

With few steps the states of a sampler are far apart. Between two of them it moves on a straight line, so that
any point of it is known for nothing; what an update does to it is added to the next state.
"""

from __future__ import annotations

from torch import Tensor

from ..schedule import FoundStep, Moment, Schedule

NO, EXACT, MIDDLE = "no", "exact", "middle"
BETWEEN = (NO, EXACT, MIDDLE)
"""Where a method reads: at a state, at the wanted noise level itself, or halfway to the next state."""
HANDED_ON = 1.0
"""Share of an update that the next state gets. 1 = the velocity stays as it is; the noise level of the next
state over that of the point if an update is one of the noise, the ratio of image if it is one of the image.
"""
AT_A_STATE = 1e-3
"""Relative distance of a noise level from a state's at which it is that state's."""

NOT_BETWEEN = "at the step itself, not between two: {}"
RENOISES = "this sampler adds noise anew at every step"
OWN_STEPS = "this sampler has steps of its own"
NO_NEXT = "no call of the model follows"
BY_NUMBER = "the step was chosen by its number, choose between=middle"


def point_between(x: Tensor, denoised: Tensor, sigma: float, level: float) -> Tensor:
    """The point at a lower noise level on the way from the state x [B, ...] at sigma to its prediction of the
    image: x + (level - sigma) (x - denoised) / sigma, as Euler's method moves.
    """
    return x + (level - sigma) * (x - denoised) / sigma


def handed_on(following: Tensor, displacement: Tensor, share: float = HANDED_ON) -> Tensor:
    """The next state [B, ...] with this share of the displacement of a point before it.

    A displacement of 0 leaves the state as it is, bit for bit.
    """
    return following + share * displacement


def find_between(schedule: Schedule, moment: Moment, between: str) -> tuple[FoundStep, bool]:
    """The step whose state gets the update and the noise level at which the attention is read; and whether
    that is between two calls.

    Where it cannot be, it is the nearest step, with a note that says why.
    """
    nearest = schedule.find(moment)
    if between == NO or nearest.step is None:
        return nearest, False
    if schedule.renoises:
        return _at_the_state(nearest, RENOISES), False
    if between == EXACT:
        return _at_the_level(schedule, moment, nearest)
    if not _follows(schedule, nearest.step):
        return _at_the_state(nearest, NO_NEXT), False
    ends = schedule.sigmas[nearest.step : nearest.step + 2]
    return FoundStep(nearest.step + 1, sum(ends) / 2), True


def _at_the_level(schedule: Schedule, moment: Moment, nearest: FoundStep) -> tuple[FoundStep, bool]:
    if moment.step >= 0:
        return _at_the_state(nearest, BY_NUMBER), False
    wanted = schedule.level_of(moment)
    above = [i for i, s in enumerate(schedule.sigmas[:-1]) if s > wanted * (1 + AT_A_STATE)]
    if not above or any(abs(s - wanted) <= AT_A_STATE * wanted for s in schedule.sigmas):
        return nearest, False
    if not _follows(schedule, above[-1]):
        return _at_the_state(nearest, NO_NEXT), False
    return FoundStep(above[-1] + 1, wanted), True


def _follows(schedule: Schedule, step: int) -> bool:
    """Whether the model is called once more after this step, on less noise."""
    return step + 1 < schedule.n_steps and 0 < schedule.sigmas[step + 1] < schedule.sigmas[step]


def _at_the_state(found: FoundStep, why: str) -> FoundStep:
    note = "; ".join(filter(None, [found.note, NOT_BETWEEN.format(why)]))
    return FoundStep(found.step, found.sigma, found.reason, note)
