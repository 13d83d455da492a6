"""What a run did, as frozen data: numbers, words, maps. Made in host/, drawn in pictures.py, shown by the inspection nodes."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from torch import Tensor

SCHEMA = 1


@dataclass(frozen=True)
class SubjectReport:
    """A subject as it was used: its words, where it came from, its pieces and columns per encoder."""

    label: str
    source: str
    pieces: dict[str, tuple[str, ...]]
    columns: dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class StepReport:
    """One recipe's work at one sampling step: the numbers of the method's papers, per image.

    losses: [evaluation][image]. maxima: [image][subject] at the first look. shifts: updates. guided, success, rounds: at a
    checkpoint only, whether the image was refined, whether that reached the threshold, and in how many updates.
    maxima_after: as maxima, at the last look (guidance only; the update that follows it shows in the next step's maxima).
    """

    step: int
    sigma: float
    losses: tuple[tuple[float, ...], ...]
    maxima: tuple[tuple[float, ...], ...]
    shifts: tuple[int, ...]
    guided: tuple[bool, ...] = ()
    success: tuple[bool, ...] = ()
    rounds: tuple[int, ...] = ()
    maxima_after: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class Counters:
    """How often refinement at checkpoints was needed and helped (USTC study of Attend-and-Excite, 2024). None = undefined."""

    checkpoints: int
    guidance_rate: float | None
    success_rate: float | None
    mean_rounds: float | None


@dataclass(frozen=True)
class ActionReport:
    """One recipe's work in one run, `steps` in detail and the rest in sum.

    subjects: labels of its subjects, in the order of the maxima and maps (two recipes of one run may have different ones).
    method: name shown to people. status: one line saying what was done, or why not. step: 0-based, None if it did not run.
    reads: levels and blocks whose attention it read, and who chose them.
    losses: [shift][image], each before its update; shifts: updates made per image; forwards, backwards: model passes spent.
    maxima_before, maxima_after: [image][subject] highest attention. maps_before, maps_after: [B, k, h, w] float16 on the CPU.
    picture_before, picture_after: predicted clean latents [B, C, ...] float16 on the CPU (the same call of the model as the maps),
    scaled as the sampler node returns latents (the host's process_latent_out).
    """

    method: str
    status: str
    step: int | None = None
    sigma: float | None = None
    c: float | None = None
    losses: tuple[tuple[float, ...], ...] = ()
    loss_after: tuple[float, ...] = ()
    shifts: tuple[int, ...] = ()
    forwards: int = 0
    backwards: int = 0
    maxima_before: tuple[tuple[float, ...], ...] = ()
    maxima_after: tuple[tuple[float, ...], ...] = ()
    maps_before: Tensor | None = None
    maps_after: Tensor | None = None
    picture_before: Tensor | None = None
    picture_after: Tensor | None = None
    settings: dict[str, float | int | str | bool] | None = None
    subjects: tuple[str, ...] = ()
    steps: tuple[StepReport, ...] = ()
    counters: Counters | None = None
    reads: str = ""


def count(steps: tuple[StepReport, ...]) -> Counters | None:
    """guidance_rate = guided / checkpoints, success_rate = successes / guided, mean_rounds = rounds / checkpoints; per (image, step)."""
    tested = [s for s in steps if s.guided]
    if not tested:
        return None
    checkpoints = sum(len(s.guided) for s in tested)
    guided = sum(map(sum, (s.guided for s in tested)))
    successes, rounds = (
        sum(map(sum, values)) for values in ((s.success for s in tested), (s.rounds for s in tested))
    )
    return Counters(
        checkpoints, guided / checkpoints, successes / guided if guided else None, rounds / checkpoints
    )


@dataclass(frozen=True)
class RunReport:
    """Everything about one sampler call.

    moment: what the default moment is on this model, and who chose it.
    latent_rgb: preview colours of the latent (host/reports.py, preview_matrix), for pictures without a VAE.
    """

    version: str
    model: str
    sampler: str
    n_steps: int
    subjects: tuple[SubjectReport, ...]
    actions: tuple[ActionReport, ...]
    warnings: tuple[str, ...] = ()
    latent_rgb: tuple[tuple[float, ...], ...] | None = None
    moment: str = ""

    def to_dict(self) -> dict:
        """Plain data, tensors left out, ready for JSON (a number that is not finite becomes None)."""

        def plain(value):
            if isinstance(value, float) and not math.isfinite(value):
                return None
            if isinstance(value, Tensor):
                return None
            if hasattr(value, "__dataclass_fields__"):
                return {
                    name: plain(getattr(value, name))
                    for name in value.__dataclass_fields__
                    if not isinstance(getattr(value, name), Tensor)
                    and not name.startswith(("maps_", "picture_"))
                }
            if isinstance(value, (tuple, list)):
                return [plain(v) for v in value]
            if isinstance(value, dict):
                return {str(k): plain(v) for k, v in value.items()}
            return value

        return {"schema": SCHEMA, **plain(self)}

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1)

    def status(self) -> str:
        """One line for the screen."""
        names = ", ".join(s.label for s in self.subjects)
        return "; ".join(a.status for a in self.actions) + (f" [{names}]" if names else "")
