"""Choosing a step by percent, sigma or index; step sizes; the two spaces x (sampler) and z (network)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

NEAR_FACTOR = 1.5
"""A step whose sigma differs by more than this factor is said to be off (EPS, v-prediction)."""
NEAR_FLOW = 0.1
"""The same as a difference, for flow models, whose sigma is the share of noise, 0 ... 1."""
FEW = 8
"""Steps up to which a run has few: its states are far apart."""
PURE_NOISE = 0.01
"""Share of the noise schedule of a flow model before which all states count as pure noise: the ratio of noise
to image has no end there.
"""
WINDOW_END = 1.624
"""Noise level of step 24 of 50 of SD1, the last one at which published methods act; of a flow model its ratio
of noise to image without the shift for a resolution, sigma / (1 - sigma) / shift.
"""
WINDOW_SLACK = 1e-3
"""Relative tolerance of a window, so that rounding does not exclude the step at its edge."""
PUBLISHED_STEPS = 50
"""Sampling steps of published runs."""
SMALLEST_PERCENT = 1e-6
"""ComfyUI gives an infinite sigma for 0 %; this percent gives the model's own maximum."""
BISECTIONS = 30
"""Halvings of 0 ... 1 when a noise level is sought: to a billionth."""

END_OF_SAMPLING = (
    "at_percent {:g} is the end of sampling, where no step is left: choose a smaller at_percent."
)

Latent = TypeVar("Latent", float, Tensor)


@dataclass(frozen=True)
class Moment:
    """A choice of a step: `step` (0-based) if >= 0, else `sigma` if > 0, else ComfyUI's `percent`."""

    percent: float = 0.18
    sigma: float = 0.0
    step: int = -1

    def check(self) -> None:
        """Raises ValueError, with the cure, for a percent or sigma that no run has."""
        if not 0 <= self.percent <= 1:
            raise ValueError(
                f"at_percent is {self.percent:g}: it is a share of the run and lies between 0 (start) and 1 "
                "(end)."
            )
        if not (math.isfinite(self.sigma) and self.sigma >= 0):
            raise ValueError(
                f"at_sigma is {self.sigma:g}: choose a noise level greater than 0, or 0 to choose by "
                "at_percent."
            )


@dataclass(frozen=True)
class FoundStep:
    """A step of a run, or None with the reason in words.

    sigma: noise level of that step, or the wanted one. note: how far off the wanted level it is, if that is
    much.
    """

    step: int | None
    sigma: float
    reason: str = ""
    note: str = ""


@dataclass(frozen=True)
class Schedule:
    """The noise levels of one run.

    sigmas: n_steps + 1 of them. percent_to_sigma: ComfyUI's own meaning of a percent on this model.
    flow: sigma is a share of noise, 0 ... 1. from_noise: the run starts from an empty latent, so its first
    state is where an image begins, whatever its noise level. plain_passes: of the model, in the run without
    this pack; 0 = not known. renoises: the sampler adds noise anew at every step, so that only what has
    reached a prediction of the image stays.
    """

    sigmas: tuple[float, ...]
    percent_to_sigma: Callable[[float], float]
    flow: bool = False
    from_noise: bool = False
    plain_passes: int = 0
    renoises: bool = False

    @property
    def n_steps(self) -> int:
        """Number of sampling steps."""
        return len(self.sigmas) - 1

    def find(self, moment: Moment) -> FoundStep:
        """The step that is nearest to a moment, see `find_step`."""
        return find_step(moment, self.sigmas, self.percent_to_sigma, self.flow, self.from_noise)

    def level_of(self, moment: Moment) -> float:
        """The noise level that a moment wants; of a step's number, that of the step."""
        if moment.step >= 0:
            return self.sigmas[moment.step]
        if moment.sigma > 0:
            return moment.sigma
        return float(self.percent_to_sigma(max(moment.percent, SMALLEST_PERCENT)))

    def percent_of(self, sigma: float) -> float:
        """The share of the noise schedule whose noise level is sigma: the inverse of `percent_to_sigma`.

        0 for a level at or above the model's highest, below 1 always.
        """
        low, high = 0.0, 1.0
        if sigma >= self.percent_to_sigma(SMALLEST_PERCENT):
            return 0.0
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            above = self.percent_to_sigma(middle) > sigma
            low, high = (middle, high) if above else (low, middle)
        return low

    @property
    def is_part(self) -> bool:
        """Whether other steps come before or after: it ends with noise left, or begins from an image below
        the model's highest noise level.
        """
        begins_within = not self.from_noise and self.percent_of(self.sigmas[0] * (1 + WINDOW_SLACK)) > 0
        return self.sigmas[-1] > 0 or begins_within

    def position(self, step: int) -> tuple[float, int]:
        """(step, number of steps) for what changes over a run.

        In a part of one: where the published run of 50 steps has this noise level.
        """
        if not self.is_part:
            return step, self.n_steps
        return published_step(self.percent_of(self.sigmas[step])), PUBLISHED_STEPS

    @property
    def is_few(self) -> bool:
        """Whether its states are far apart."""
        return self.n_steps <= FEW

    @property
    def shift(self) -> float:
        """A flow model's shift for a resolution, from its schedule's middle; 1 for other models."""
        return noise_to_image(self.percent_to_sigma(0.5)) if self.flow else 1.0

    def published_window(self) -> tuple[int, ...]:
        """The steps down to the lowest noise level at which published methods act."""
        lowest = flow_level(WINDOW_END, self.shift) if self.flow else WINDOW_END
        slack = 1 + WINDOW_SLACK
        return tuple(i for i, s in enumerate(self.sigmas[:-1]) if s > 0 and s * slack >= lowest)

    def window(self, start_percent: float, end_percent: float) -> tuple[int, ...]:
        """The steps from start to end (shares of the noise schedule, both included)."""
        high, low = self.percent_to_sigma(start_percent), self.percent_to_sigma(end_percent)
        slack = 1 + WINDOW_SLACK
        return tuple(
            i for i, s in enumerate(self.sigmas[:-1]) if s > 0 and low <= s * slack and s <= high * slack
        )


def published_percent(step: float) -> float:
    """Share of the noise schedule at step k of 50 (SD1, ddim_uniform: t = 981 - 20 k of 0 ... 999)."""
    return 1 - (981 - 20 * step) / 999


def published_step(percent: float) -> float:
    """The inverse of `published_percent`, not below 0."""
    return max(0.0, (981 - 999 * (1 - percent)) / 20)


def noise_to_image(sigma: float, shift: float = 1.0) -> float:
    """Noise to image of a flow model without the shift for a resolution: sigma / (1 - sigma) / shift.

    The noise level of a model that adds noise to the image (EPS) is this ratio itself, so moments of both
    kinds of model compare by it. Infinite for pure noise, sigma 1.
    """
    return math.inf if sigma >= 1 else sigma / (1 - sigma) / shift


def flow_level(ratio: float, shift: float = 1.0) -> float:
    """A flow model's sigma at a ratio of noise to image: the inverse of `noise_to_image`."""
    return 1.0 if math.isinf(ratio) else shift * ratio / (1 + shift * ratio)


def find_step(
    moment: Moment,
    sigmas: Sequence[float],
    percent_to_sigma: Callable[[float], float],
    flow: bool = False,
    from_noise: bool = False,
) -> FoundStep:
    """The step of a run that is nearest to a moment.

    sigmas: noise levels as passed to the sampler, n_steps + 1 of them (the last one is where the run ends,
    not a step). flow: sigma is a share of noise (0 ... 1) and distances are differences; else distances are
    ratios. In a flow model's run of few steps, where differences say little, they are ratios of noise to
    image, sigma / (1 - sigma): independent of the shift for a resolution. A run that passes the wanted level
    gives its nearest step, with a note if that is off by more than a factor 1.5 (differences: 0.1), and so
    does one that begins below a level of the model with an empty latent (from_noise: few steps of some
    schedulers). Another one that begins below it or ends at or above it (second pass, split sigmas) gives
    step None and a reason: an update there would act on another stage of the image.
    """
    levels = [float(s) for s in sigmas[:-1]]
    if moment.step >= 0:
        return _step_by_index(moment.step, levels)
    percent = max(moment.percent, SMALLEST_PERCENT)
    wanted = float(moment.sigma if moment.sigma > 0 else percent_to_sigma(percent))
    noisy = [i for i, s in enumerate(levels) if s > 0]
    if not noisy:
        return FoundStep(None, wanted, "This run has no step with noise in it.")
    if wanted <= 0:
        return FoundStep(None, wanted, END_OF_SAMPLING.format(moment.percent))

    differences = flow and len(levels) > FEW
    highest = float(percent_to_sigma(PURE_NOISE))
    distance = {i: _distance(levels[i], wanted, highest, flow, differences) for i in noisy}
    nearest, apart = min(distance.items(), key=lambda pair: pair[1])
    if apart <= (NEAR_FLOW if differences else math.log(NEAR_FACTOR)):
        return FoundStep(nearest, levels[nearest])
    begins_below = from_noise and max(levels) < wanted <= float(percent_to_sigma(SMALLEST_PERCENT))
    if begins_below or min(float(s) for s in sigmas) * (1 + WINDOW_SLACK) < wanted <= max(levels):
        told = f"{apart:.2g}" if differences else f"{math.exp(apart):.2g} times"
        return FoundStep(nearest, levels[nearest], note=_how_far_off(nearest, levels[nearest], wanted, told))
    return FoundStep(None, wanted, _why_none_is_near(moment, wanted, levels))


def _distance(level: float, wanted: float, highest: float, flow: bool, differences: bool) -> float:
    """How far a noise level is from the wanted one: a difference, or the logarithm of a factor.

    highest: of a flow model, the level from which on all are pure noise.
    """
    if differences:
        return abs(level - wanted)
    if flow:
        return abs(_log_ratio(min(level, highest)) - _log_ratio(min(wanted, highest)))
    return abs(math.log(level / wanted))


def _log_ratio(sigma: float) -> float:
    """ln of noise to image of a flow model, of a level between pure noise and none."""
    sigma = min(max(sigma, 1e-9), 1 - 1e-9)
    return math.log(sigma / (1 - sigma))


def _how_far_off(step: int, level: float, wanted: float, apart: str) -> str:
    more = "more" if level > wanted else "less"
    return f"step {step} is the nearest: {apart} {more} noise than at the wanted sigma {wanted:.3g}"


def _step_by_index(step: int, levels: Sequence[float]) -> FoundStep:
    if step < len(levels):
        return FoundStep(step, levels[step])
    return FoundStep(
        None,
        0.0,
        f"at_step is {step}, but this run has {len(levels)} steps, counted from 0: "
        "choose a smaller at_step, or -1 to choose by at_percent.",
    )


def _why_none_is_near(moment: Moment, wanted: float, levels: Sequence[float]) -> str:
    high, low = max(levels), min(s for s in levels if s > 0)
    source = f"at_percent {moment.percent:g} = sigma {wanted:.3g}"
    if moment.sigma > 0:
        source = f"at_sigma {moment.sigma:g}"
    cure = "it ends before: choose an earlier step, or patch the run that continues from here"
    if wanted > high:
        cure = (
            "it starts with too little noise: raise denoise (or start earlier), choose a later step, or "
            "connect this node to the model of the steps before (of two Wan 2.2 models the high-noise one)"
        )
    return (
        f"The wanted noise level ({source}) is not in this run, which goes from sigma "
        f"{high:.3g} to {low:.3g} in {len(levels)} steps; {cure}."
    )


def step_size(
    index: float,
    n_steps: int,
    factor: float = 20.0,
    start: float = 1.0,
    end: float = 0.5,
    function: str = "sqrt",
) -> float:
    """a_i = factor f(s_i), s = linspace(start, end, n_steps): step size of Attend-and-Excite, SIGGRAPH 2023.

    Unnumbered; the decay over the steps is that of the authors' code.
    function: "sqrt", "linear", "constant" (f = 1) or "cosine" (half a cosine from 0 at s = 0 to 1 at s = 1).
    Raises ValueError for another one.
    """
    s = start + (end - start) * index / max(1, n_steps - 1)
    shapes = {
        "sqrt": math.sqrt,
        "linear": float,
        "constant": lambda _: 1.0,
        "cosine": lambda v: (1 - math.cos(math.pi * v)) / 2,
    }
    if function not in shapes:
        raise ValueError(f"Unknown step size function '{function}': choose one of {', '.join(shapes)}.")
    return factor * shapes[function](max(0.0, s))


def to_z(x: Latent, c: float) -> Latent:
    """Sampler space to network space: z = x / c.

    c = sqrt(1 + sigma^2) for EPS and v-prediction models, 1 for flow. Published step sizes and learning rates
    are those of z.
    """
    return x / c


def to_x(z: Latent, c: float) -> Latent:
    """Network space to sampler space: x = c z. A gradient step of size a in z is one of size a c^2 in x."""
    return z * c
