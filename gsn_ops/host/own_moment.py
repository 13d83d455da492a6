"""The step that a study chose for this model, from ComfyUI's user folder, or this pack for a demo model.

A model is known by a key of its weights, not by its file's name: a sample of the values in half precision, so
that the file on a GPU and on a CPU is the same model. LoRAs do not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import folder_paths
import torch
from torch import Tensor

from ..chosen_moments import FILE, ChosenMoment, read_moments
from ..optimise.auto import AUTO
from ..remark import Remark
from ..schedule import Moment

TENSORS, VALUES = 48, 64
"""How many weights are looked at, and how many numbers of each: under a millisecond on a CPU."""


OF_DEMO_MODELS = {
    "demo model (MM-DiT)": {AUTO: ChosenMoment(0.2, reads="encoders=clip, blocks=3")},
    "demo model (turbo)": {
        AUTO: ChosenMoment(0.25, reads="encoders=clip, blocks=2-3, present_at=0.97, stop_at_presence=0.97")
    },
}
"""Name -> method -> what was best on validation prompts (docs/settings.md)."""


def moments_file() -> Path:
    """`user/gsn/moments.json` of this ComfyUI."""
    return Path(folder_paths.get_user_directory()) / "gsn" / "moments.json"


def file_stamp() -> str:
    """A text that changes when the file changes; "" without one."""
    try:
        stat = moments_file().stat()
    except OSError:
        return ""
    return f"{stat.st_mtime_ns} {stat.st_size}"


def weights_key(model) -> str:
    """The key of a MODEL's weights, 16 hex digits: names and shapes of all, and a sample of the values.

    Values are those of the file, without LoRAs, whether or not they are patched in at this moment.
    """
    network = model.model.diffusion_model
    named = sorted(network.named_parameters())
    digest = hashlib.sha256("\n".join(f"{name} {tuple(p.shape)}" for name, p in named).encode())
    matrices = [(name, weight) for name, weight in named if weight.ndim > 1]
    for name, weight in matrices[:: max(1, len(matrices) // TENSORS)][:TENSORS]:
        digest.update(_sample(_unpatched(model, f"diffusion_model.{name}", weight)))
    return digest.hexdigest()[:16]


def _unpatched(model, key: str, weight: Tensor) -> Tensor:
    """The weight as it was before LoRAs were patched in."""
    backup, hooked = model.backup.get(key), model.hook_backup.get(key)
    if hooked is not None:
        return hooked[0]
    return weight if backup is None else backup.weight


def _sample(weight: Tensor) -> bytes:
    """VALUES numbers of a weight, spread evenly; b"" for a kind of weight that shows no numbers."""
    try:
        flat = weight.detach().reshape(-1)
        picked = flat[:: max(1, flat.numel() // VALUES)][:VALUES]
        return picked.cpu().to(torch.float16).numpy().tobytes()
    except (RuntimeError, NotImplementedError, TypeError):
        return b""


@dataclass(frozen=True)
class OwnMoment:
    """What was chosen for a model. moment: None = the method's own. reads: as typed in overrides. remarks:
    what to say about it.
    """

    moment: Moment | None = None
    reads: str = ""
    remarks: tuple[Remark, ...] = ()


def own_moment(model, *methods: str) -> OwnMoment:
    """The step chosen for this model and the first of these methods that has one: in the user's file, else by
    this pack for its demo models.

    A file that cannot be used is said, and costs nothing else.
    """
    try:
        in_file = read_moments(moments_file().read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return _of_demo_model(model, methods)
    except (OSError, UnicodeDecodeError) as error:
        return OwnMoment(remarks=(_unused(f"it cannot be read ({type(error).__name__})"),))
    except ValueError as error:
        return OwnMoment(remarks=(_unused(str(error)),))
    of_model = in_file.get(weights_key(model), {})
    chosen = next((of_model[method] for method in methods if method in of_model), None)
    if chosen is None:
        return _of_demo_model(model, methods)
    share = f"{100 * chosen.at_percent:.3g} %"
    found = f"own step: {share} of the noise schedule, from {FILE}: chosen for this model"
    measured = f" on {chosen.images} images ({chosen.date})" if chosen.images else ""
    remark = Remark(f"{found}{measured}{_reading(chosen)}", line=f"own step {share}, from moments.json")
    return OwnMoment(Moment(percent=chosen.at_percent), chosen.reads, (remark,))


def _of_demo_model(model, methods: Sequence[str]) -> OwnMoment:
    """What this pack chose for a demo model; nothing for another one."""
    of_model = OF_DEMO_MODELS.get(getattr(model.model.model_config, "demo_name", ""), {})
    chosen = next((of_model[method] for method in methods if method in of_model), None)
    if chosen is None:
        return OwnMoment()
    share = f"{100 * chosen.at_percent:.3g} %"
    text = f"own step: {share} of the noise schedule, chosen for this demo model"
    return OwnMoment(Moment(percent=chosen.at_percent), chosen.reads, (Remark(f"{text}{_reading(chosen)}"),))


def _reading(chosen: ChosenMoment) -> str:
    return f"; it reads {chosen.reads}" if chosen.reads else ""


def _unused(why: str) -> Remark:
    return Remark(
        f"{FILE} is not used, {why}: the method's published step is taken. Delete the file or choose the "
        "step again.",
        line="moments.json is not used",
    )
