"""Choosing the step by validation (Grimal et al. 2025, section 4.1), and keeping the choice for the node."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from gsn_ops.chosen_moments import ChosenMoment, with_moment

Rates = Mapping[str, Mapping[int, float]]
"""Prompt set -> candidate step -> share of right images."""


def scores(rates: Rates) -> dict[int, float]:
    """score(k) = sum over prompt sets of (s(k) - min s) / (max s - min s); a set that is flat adds 0.

    Raises ValueError if the sets have other candidates, or there is none.
    """
    candidates = {tuple(sorted(of_set)) for of_set in rates.values()}
    if len(candidates) != 1 or () in candidates:
        raise ValueError("Every prompt set needs the same candidate steps, at least one.")
    total = dict.fromkeys(candidates.pop(), 0.0)
    for of_set in rates.values():
        low, high = min(of_set.values()), max(of_set.values())
        for step, rate in of_set.items():
            total[step] += (rate - low) / (high - low) if high > low else 0.0
    return total


def best_step(rates: Rates) -> int:
    """k*, the candidate of the highest score; of equal ones the earliest."""
    found = scores(rates)
    return max(sorted(found), key=lambda step: found[step])


def keep(file: Path, model: str, method: str, chosen: ChosenMoment) -> str:
    """Writes a choice into a file of moments, the others in it stay; returns a sentence about it.

    A file or folder that cannot be read or written is said, with what to put there: nothing is lost.
    """
    entry = with_moment("", model, method, chosen)
    try:
        text = file.read_text(encoding="utf-8-sig") if file.exists() else ""
        whole = with_moment(text, model, method, chosen)
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f"{file.name}.{os.getpid()}")
        part.write_text(whole, encoding="utf-8")
        part.replace(file)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        said = f"The chosen step could not be written into {file} ({why}). Put this there yourself:"
        return f"{said}\n{entry}"
    return f"Semantic Nursing's own step (at_percent -1) is now this one for this model: {file}"


def paper_candidates(steps: int) -> tuple[int, ...]:
    """The paper's steps 0, 2, ..., 24 of 50 in a run of `steps`, each once."""
    return tuple(sorted({round(k * steps / 50) for k in range(0, 26, 2)}))


def check_candidates(candidates: list[int], steps: int) -> tuple[int, ...]:
    """The candidates, sorted. Ends the program with one sentence for one that the run does not have."""
    wrong = [k for k in candidates if not 0 <= k < steps]
    if wrong:
        sys.exit(
            f"Step {wrong[0]} is outside of a run of {steps} steps: name candidates from 0 to {steps - 1}."
        )
    if len(set(candidates)) < 2:
        sys.exit("There is nothing to choose from: name two or more different candidate steps.")
    return tuple(sorted(set(candidates)))
