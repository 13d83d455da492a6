"""Steps of the sampling ODE in both directions: dx/dsigma = v(x, sigma).

v = (x - D) / sigma with the denoised prediction D. In ComfyUI's x this is the noise that an EPS or v model
predicts, and the velocity of a flow model; so one rule serves all of them. sigma rises on the way to noise
and falls on the way back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

Velocity = Callable[[Tensor, float], Tensor]
"""v(x [...], sigma) -> dx/dsigma [...]."""

EULER, MIDPOINT, FIREFLOW = "euler", "midpoint", "fireflow"
METHODS = (FIREFLOW, MIDPOINT, EULER)


def known(method: str) -> None:
    """Raises ValueError, with the choices, for a method that is none of METHODS."""
    if method not in METHODS:
        raise ValueError(f"method is '{method}': choose one of {', '.join(METHODS)}.")


def steps(velocity: Velocity, x: Tensor, sigmas: Sequence[float], method: str) -> Iterator[Tensor]:
    """The states after every step through `sigmas`, from x at sigmas[0].

    euler: first order, which is DDIM; one evaluation per step. midpoint: second order, two evaluations (the
    code of RF-Solver, arXiv 2411.04746, is this rule). fireflow: second order for one evaluation per step and
    one more, since the last midpoint's velocity predicts the next midpoint (arXiv 2412.07517). A caller may
    send a state to go on with in place of the one it got. Raises ValueError for another method.
    """
    known(method)
    last: Tensor | None = None
    for sigma, following in zip(sigmas, sigmas[1:], strict=False):
        h = following - sigma
        if method == EULER or last is None or method == MIDPOINT:
            last = velocity(x, sigma)
        if method != EULER:
            last = velocity(x + h / 2 * last, sigma + h / 2)
        x = x + h * last
        changed = yield x
        x = x if changed is None else changed


def evaluations(n_steps: int, method: str) -> int:
    """How many evaluations of the model so many steps cost."""
    return {EULER: n_steps, MIDPOINT: 2 * n_steps, FIREFLOW: n_steps + min(n_steps, 1)}[method]


def eps_of_v(x: Tensor, output: Tensor, sigma: float) -> Tensor:
    """The noise that a v-prediction model predicts, from ComfyUI's x and the network's output [...]."""
    return x * (sigma / (sigma**2 + 1)) + output / (sigma**2 + 1) ** 0.5
