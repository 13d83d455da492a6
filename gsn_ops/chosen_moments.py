"""Steps that a study chose for a model: the text of `moments.json`, read and written.

    {"gsn_moments": 1, "models": {"<key of the weights>": {"<method>": {"at_percent": 0.1, ...}}}}

Noise levels are stored as ComfyUI's percent of the noise schedule: the same share means the same stage of an
image whatever the number of steps, the scheduler, or (flow models) the shift for a resolution.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

VERSION = 1
"""Of the file; a file of another version is left alone."""
FILE = "user/gsn/moments.json"
"""As texts name it; in ComfyUI's user folder."""


@dataclass(frozen=True)
class ChosenMoment:
    """What a study chose for one method on one model.

    at_percent: share of the noise schedule, 0 ... 1. sigma, step, steps: noise level and 0-based step of the
    run it was measured in, and how many steps that had. images: how many were judged. date: ISO, of the
    choice. command: what chose it. reads: settings of what the objective read then, as typed in overrides
    ("encoders=clip, blocks=3").
    """

    at_percent: float
    sigma: float = 0.0
    step: int = -1
    steps: int = 0
    images: int = 0
    date: str = ""
    command: str = ""
    reads: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.reads, str):
            raise ValueError(f"reads is {self.reads!r}, not a text")
        if isinstance(self.at_percent, bool) or not isinstance(self.at_percent, int | float):
            raise ValueError(f"at_percent is {self.at_percent!r}, not a number")
        if not 0 <= self.at_percent < 1:  # NaN neither
            raise ValueError(f"at_percent is {str(self.at_percent)[:20]}, not a share of the run from 0 to 1")


Moments = dict[str, dict[str, ChosenMoment]]
"""Key of a model's weights -> method -> the moment."""


def read_moments(text: str) -> Moments:
    """The moments in the text of a file. Raises ValueError that says what is wrong with it."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    version = whole.get("gsn_moments") if isinstance(whole, dict) else None
    if version is None:
        raise ValueError("it is no file of steps that a study chose")
    if version != VERSION:
        raise ValueError(f"it has version {version}, this pack reads version {VERSION}")
    models = whole.get("models")
    if not isinstance(models, dict) or not all(isinstance(m, dict) for m in models.values()):
        raise ValueError("it has no list of models")
    return {
        model: {method: _moment(method, entry) for method, entry in chosen.items()}
        for model, chosen in models.items()
    }


def _moment(method: str, entry: Any) -> ChosenMoment:
    """One entry; keys that this version does not know are left out."""
    if not isinstance(entry, dict) or "at_percent" not in entry:
        raise ValueError(f"the entry of {method} has no at_percent")
    known = {field.name for field in fields(ChosenMoment)}
    try:
        return ChosenMoment(**{name: value for name, value in entry.items() if name in known})
    except ValueError as error:
        raise ValueError(f"the entry of {method}: {error}") from None


def with_moment(text: str, model: str, method: str, chosen: ChosenMoment) -> str:
    """The text of a file ("" = none) with one more entry; the others stay.

    Raises ValueError for a file that cannot be read: it is not overwritten.
    """
    moments = read_moments(text) if text else {}
    moments = {**moments, model: {**moments.get(model, {}), method: chosen}}
    models = {key: {name: asdict(one) for name, one in own.items()} for key, own in moments.items()}
    return json.dumps({"gsn_moments": VERSION, "models": models}, indent=1) + "\n"
