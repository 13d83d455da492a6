"""Moments of a sampling run, step sizes over it, and the two spaces x (sampler) and z (network)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

NEAR_FACTOR = (
    1.5  # a step further away than this factor is another place of the run (models with an open sigma scale)
)
NEAR_FLOW = 0.1  # the same for flow models, where sigma is the share of noise, 0 ... 1
WINDOW_SLACK = (
    1e-3  # a step whose noise level is that of the window's edge belongs to it, whatever float made of it
)
SMALLEST_PERCENT = (
    1e-6  # the host answers 0 % with "infinite" noise; just above it is the model's own maximum
)

Latent = TypeVar("Latent", float, Tensor)


@dataclass(frozen=True)
class Moment:
    """A moment of a run: step (0-based in the sampler call) if >= 0, else sigma if > 0, else the host's percent."""

    percent: float = 0.18
    sigma: float = 0.0
    step: int = -1


@dataclass(frozen=True)
class Found:
    """Where to act: step, or None with a reason for people. sigma: noise level of that step, or the wanted one."""

    step: int | None
    sigma: float
    reason: str = ""


@dataclass(frozen=True)
class Schedule:
    """The noise levels of one run (n_steps + 1 of them) and the host's own meaning of percent. flow: sigma is a share of noise."""

    sigmas: tuple[float, ...]
    percent_to_sigma: Callable[[float], float]
    flow: bool = False

    @property
    def n_steps(self) -> int:
        return len(self.sigmas) - 1

    def find(self, moment: Moment) -> Found:
        """The step of a moment, see `find_step`."""
        return find_step(moment, self.sigmas, self.percent_to_sigma, self.flow)

    def window(self, start_percent: float, end_percent: float) -> tuple[int, ...]:
        """The steps from start to end (shares of the noise schedule, both included)."""
        high, low = (self.percent_to_sigma(p) for p in (start_percent, end_percent))
        slack = 1 + WINDOW_SLACK
        return tuple(
            i for i, s in enumerate(self.sigmas[:-1]) if s > 0 and low <= s * slack and s <= high * slack
        )


def find_step(
    moment: Moment, sigmas: Sequence[float], percent_to_sigma: Callable[[float], float], flow: bool = False
) -> Found:
    """The step of a run that is nearest to a moment.

    sigmas: noise levels as handed to the sampler, n_steps + 1 of them (the last one is where the run ends, not a step).
    flow: sigma is a share of noise (0 ... 1) and distances are plain; else distances are ratios.
    A run without a step near the wanted level (second pass, split sigmas) gives step None and a reason. Rule of the GSN
    literature: a step further away than a factor 1.5 (flow: 0.1) would act on another stage of the picture.
    """
    levels = [float(s) for s in sigmas[:-1]]
    if moment.step >= 0:
        if moment.step < len(levels):
            return Found(moment.step, levels[moment.step])
        return Found(
            None,
            0.0,
            f"at_step is {moment.step}, but this run has {len(levels)} steps, counted from 0: "
            f"choose a smaller at_step, or -1 to choose by at_percent.",
        )
    wanted = float(
        moment.sigma if moment.sigma > 0 else percent_to_sigma(max(moment.percent, SMALLEST_PERCENT))
    )
    steps = [i for i, s in enumerate(levels) if s > 0]
    if not steps:
        return Found(None, wanted, "This run has no step with noise in it.")
    if wanted <= 0:
        return Found(
            None,
            wanted,
            f"at_percent {moment.percent:g} is the end of sampling, where no step is left: "
            f"choose a smaller at_percent.",
        )

    def distance(i: int) -> float:
        return abs(levels[i] - wanted) if flow else abs(math.log(levels[i] / wanted))

    nearest = min(steps, key=distance)
    if distance(nearest) <= (NEAR_FLOW if flow else math.log(NEAR_FACTOR)):
        return Found(nearest, levels[nearest])
    high, low = max(levels), min(levels[i] for i in steps)
    source = (
        f"at_sigma {moment.sigma:g}"
        if moment.sigma > 0
        else f"at_percent {moment.percent:g} = sigma {wanted:.3g}"
    )
    if wanted > high:
        cure = "it starts with too little noise: raise denoise (or start earlier), or choose a later moment"
    elif wanted < low:
        cure = "it ends before: choose an earlier moment, or act in the run that goes on from here"
    else:
        cure = "its steps are too far apart there: take more steps, or name one with at_step"
    return Found(
        None,
        wanted,
        f"The wanted noise level ({source}) is not in this run, which goes from sigma "
        f"{high:.3g} to {low:.3g} in {len(levels)} steps; {cure}.",
    )


def step_size(
    index: int,
    n_steps: int,
    factor: float = 20.0,
    start: float = 1.0,
    end: float = 0.5,
    function: str = "sqrt",
) -> float:
    """a_i = factor * f(s_i), s = linspace(start, end, n_steps): gradient step size of Attend-and-Excite, SIGGRAPH 2023.

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
    """Sampler space to network space: z = x / c, c = sqrt(1 + sigma^2) for EPS and v-prediction models, 1 for flow."""
    return x / c


def to_x(z: Latent, c: float) -> Latent:
    """Network space to sampler space: x = c z. A gradient step of size a in z is one of size a c^2 in x."""
    return z * c
