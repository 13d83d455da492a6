"""The moment of Auto: in runs of few steps the states are far apart, and each is chosen by its number."""

from __future__ import annotations

from ..schedule import Moment, Schedule

PUBLISHED = Moment()
BEST = 1
"""The state that was best with few steps, on validation prompts: docs/settings.md."""


def moment_of(schedule: Schedule) -> Moment:
    """The published moment, or a state of a run of few steps.

    A sampler that adds noise anew keeps of an update only what has reached its prediction of the image: there
    it is the last state at which published methods act.
    """
    if not schedule.is_few:
        return PUBLISHED
    states = schedule.published_window() or (0,)
    if schedule.renoises:
        return Moment(step=states[-1])
    return Moment(step=states[min(BEST, len(states) - 1)])
