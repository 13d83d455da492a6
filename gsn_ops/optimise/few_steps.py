"""The moment of Auto: in runs of few steps the states are far apart, and each is chosen by its number."""

from __future__ import annotations

from ..schedule import Moment, Schedule

PUBLISHED = Moment()


def moment_of(schedule: Schedule) -> Moment:
    """The published moment, or a state of a run of few steps: the middle one of those at which published
    methods act (step 2 of 8, step 1 of 4), which was best on validation prompts (docs/settings.md).

    A sampler that adds noise anew keeps of an update only what has reached its prediction of the image: there
    it is the last state at which published methods act. A run without such a state (a second pass, the
    low-noise one of two models) has the published moment, so that it is left alone as with many steps.
    """
    states = schedule.published_window() if schedule.is_few else ()
    if not states:
        return PUBLISHED
    if schedule.renoises:
        return Moment(step=states[-1])
    return Moment(step=states[len(states) // 2])
