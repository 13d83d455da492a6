"""What a run did, as frozen data: made in host/sampling, printed by `text`, drawn by `views`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..regions import Region
from ..remark import with_lines

SCHEMA = 2
"""Version of the keys of `RunReport.to_dict`."""


@dataclass(frozen=True)
class SubjectReport:
    """A subject as it was used: its words, where it came from, its tokens and columns per encoder."""

    label: str
    source: str
    pieces: Mapping[str, tuple[str, ...]]
    columns: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class StepReport:
    """One recipe's work at one sampling step: the numbers of the method's papers, per image.

    losses: [evaluation][image]. updates: [image], update steps made. maxima: [image][subject], the highest
    attention at the first evaluation. guided, success, rounds: at a checkpoint only, [image]: whether the
    image was refined, whether that reached the threshold, and in how many update steps. maxima_after: as
    maxima, at the last evaluation (guidance only; the update that follows it shows in the next step's
    maxima).
    """

    step: int
    sigma: float
    losses: tuple[tuple[float, ...], ...]
    maxima: tuple[tuple[float, ...], ...]
    updates: tuple[int, ...]
    guided: tuple[bool, ...] = ()
    success: tuple[bool, ...] = ()
    rounds: tuple[int, ...] = ()
    maxima_after: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class Counters:
    """How often refinement at checkpoints was needed and succeeded (USTC study of Attend-and-Excite, 2024).

    None = undefined: no success rate without a guided image.
    """

    checkpoints: int
    guidance_rate: float | None
    success_rate: float | None
    mean_rounds: float | None


@dataclass(frozen=True)
class RecipeReport:
    """One recipe run: its totals, and every step in detail (`steps`).

    method: display name. status: one line saying what was done, or why nothing was. step: 0-based first step,
    None if the recipe did not run. sigma, c: noise level there, x = c z.
    losses: [evaluation][image], each before its update. loss_after: [image]. updates: [image], update steps
    made.
    forwards, backwards: model passes used.
    maxima_before, maxima_after: [image][subject], highest attention.
    maps_before, maps_after: subject maps [B, k, h, w], float16 on the CPU.
    predicted_before, predicted_after: predicted x0 [B, C, ...], float16 on the CPU, from the same model calls
    as the maps and scaled as the sampler node returns latents.
    settings: the recipe's options by name. subjects: labels, in the order of the maxima and maps (two recipes
    of one run may have different ones). attention_read: levels and blocks of the attention used, and who
    chose them. verdict: what became of the wanted subjects. line: the verdict, or for a recipe that did
    nothing the cure and then the cause, and remarks that matter; "" = the status. percent: share of
    the noise schedule at `step`, as at_percent takes it. regions: where the user wants a subject, by label.
    cost: its passes in images of the run without it.
    """

    method: str
    status: str
    step: int | None = None
    sigma: float | None = None
    c: float | None = None
    losses: tuple[tuple[float, ...], ...] = ()
    loss_after: tuple[float, ...] = ()
    updates: tuple[int, ...] = ()
    forwards: int = 0
    backwards: int = 0
    maxima_before: tuple[tuple[float, ...], ...] = ()
    maxima_after: tuple[tuple[float, ...], ...] = ()
    maps_before: Tensor | None = None
    maps_after: Tensor | None = None
    predicted_before: Tensor | None = None
    predicted_after: Tensor | None = None
    settings: Mapping[str, float | int | str | bool] | None = None
    subjects: tuple[str, ...] = ()
    steps: tuple[StepReport, ...] = ()
    counters: Counters | None = None
    attention_read: str = ""
    verdict: str = ""
    line: str = ""
    percent: float | None = None
    regions: Mapping[str, Region] | None = None
    cost: float | None = None

    @property
    def said(self) -> str:
        """What stands on the node: the line, else the status."""
        return self.line or self.status


TENSORS = frozenset({"maps_before", "maps_after", "predicted_before", "predicted_after", "mask"})
"""Fields that `RunReport.to_dict` leaves out."""


def count(steps: tuple[StepReport, ...]) -> Counters | None:
    """Counters over all (image, step) at a checkpoint; None for a run without checkpoints.

    guidance_rate = guided / checkpoints, success_rate = successes / guided, mean_rounds = rounds /
    checkpoints.
    """
    tested = [s for s in steps if s.guided]
    if not tested:
        return None
    checkpoints = sum(len(s.guided) for s in tested)
    guided = sum(sum(s.guided) for s in tested)
    successes = sum(sum(s.success) for s in tested)
    rounds = sum(sum(s.rounds) for s in tested)
    success_rate = successes / guided if guided else None
    return Counters(checkpoints, guided / checkpoints, success_rate, rounds / checkpoints)


@dataclass(frozen=True)
class RunReport:
    """Everything about one sampler call.

    recipes: one report per recipe on the model, those that were skipped included.
    latent_rgb: preview colours of the latent space, for images without a VAE: one row (red, green, blue) per
    channel, then the bias. default_step: the default step on this model, and who chose it.
    weights: key of the model's weights without LoRAs, by which a step that a study chose is found again.
    """

    version: str
    model: str
    sampler: str
    n_steps: int
    subjects: tuple[SubjectReport, ...]
    recipes: tuple[RecipeReport, ...]
    warnings: tuple[str, ...] = ()
    latent_rgb: tuple[tuple[float, ...], ...] | None = None
    default_step: str = ""
    weights: str = ""

    @property
    def acted(self) -> bool:
        """Whether any recipe did something."""
        return any(recipe.step is not None for recipe in self.recipes)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: tensors left out, numbers that are not finite as None."""
        return {"schema": SCHEMA, **_as_json_data(self)}

    def to_json(self) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1)

    def status(self) -> str:
        """One line for the node."""
        names = ", ".join(s.label for s in self.subjects)
        said = "; ".join(r.said for r in self.recipes) + (f" [{names}]" if names else "")
        return with_lines(said, self.warnings)


def _as_json_data(value: Any) -> Any:
    """Dataclasses and containers as dicts and lists."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if hasattr(value, "__dataclass_fields__"):
        names = [name for name in value.__dataclass_fields__ if name not in TENSORS]
        return {name: _as_json_data(getattr(value, name)) for name in names}
    if isinstance(value, tuple | list):
        return [_as_json_data(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): _as_json_data(v) for k, v in value.items()}
    return value
