"""Part a: maps, gradients, batches, off = stock and a clean exit, of every architecture, against an
explicit softmax on the CPU.
"""

from __future__ import annotations

import functools
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tests.support.architectures import ARCHITECTURES, Architecture
from tests.support.softmax_oracle import written_out

from . import checks, scene
from .device import allocated, device
from .host import pack

SMOKE = ("SD1", "SD3", "Flux")
BATCH = 2
ALONE = {"fp32": 1e-4, "fp16": 5e-3, "bf16": 5e-2}
"""How far, of its greatest element, an image's gradient in a batch may be from what it is alone."""

AGAIN = {"fp32": 1e-5, "fp16": 2e-3, "bf16": 2e-2}
"""How far that of a pass that ends early may be from that of a complete one: a device adds up in any
order.
"""


@dataclass
class Case:
    """One architecture in one precision on the device."""

    arch: Architecture
    dtype: str
    model: object

    @functools.cached_property
    def prompts(self) -> tuple[list, list]:
        """CONDITIONINGs, positive (with what a text node remembers: a word a row, from row 1 on) and
        negative.
        """
        prompt = pack("prompt")
        pieces, at = [], 0
        for row, word in enumerate(scene.TEXT.split(), 1):
            pieces.append(prompt.Piece(word, at, at + len(word), row))
            at += len(word) + 1
        chunk = (1, len(pieces) + 1, self.arch.rows)
        encoder = prompt.EncoderTokens("text", scene.TEXT, tuple(pieces), (chunk,), self.arch.tensor)
        rows, more = self.arch.conditioning()
        memory = prompt.PromptTokens((encoder,), self.arch.rows)
        return [[rows, {**more, "gsn": memory}]], [[rows, more]]

    def sample(self, model=None, batch: int = BATCH) -> Tensor:
        return scene.sample(model or self.model, self.prompts, self.arch.latent(batch), self.arch.sigma)

    def at_state(self, work: Callable, batch: int = BATCH):
        return scene.at_state(self.model, self.prompts, self.arch.latent(batch), self.arch.sigma, work)


def load(name: str, dtype: str) -> Case:
    with torch.inference_mode():
        model = scene.patcher(ARCHITECTURES[name].build(scene.DTYPES[dtype]))
    case = Case(ARCHITECTURES[name], dtype, model)
    case.sample()  # loads it, which leaves ComfyUI's own marks on its modules
    return case


def explicit(case: Case, z: Tensor, conds: dict, columns: slice) -> tuple[Tensor, Tensor]:
    """Maps and gradient by the oracle: float32, on the CPU, with the same weights rounded to the same
    precision.
    """
    arch, (h, w) = case.arch, case.arch.grid
    model = arch.build()
    with torch.no_grad():
        for p in model.diffusion_model.parameters():
            p.copy_(p.to(scene.DTYPES[case.dtype]))
    conds = {name: _on_cpu(value) for name, value in conds.items()}
    if (
        "guidance" in conds
    ):  # ComfyUI multiplies it by 1000 in the precision of the network, which rounds 3500 to 3504 in bf16
        dtype = scene.DTYPES[case.dtype]
        conds["guidance"] = (1000 * conds["guidance"].to(dtype)).float() / 1000
    leaf = z.float().cpu().clone().requires_grad_(True)
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        written_out(model.diffusion_model, arch.attends) as seen,
    ):
        x = leaf * arch.scale(arch.sigma)
        model.apply_model(x, torch.full((len(z),), arch.sigma), transformer_options={}, **conds)
        text = slice(arch.text + columns.start, arch.text + columns.stop)
        image = slice(arch.image, arch.image + h * w)
        found = [p for p in seen.found if p.shape[-1] == arch.keys and p.shape[-2] in (h * w, arch.queries)]
        maps = torch.stack([p[:, :, image, text].unflatten(2, (h, w)).mean(1) for p in found]).mean(0)
        (gradient,) = torch.autograd.grad(scene.weighted(maps).sum(), leaf)
    return maps.detach(), gradient


def _on_cpu(value):
    if isinstance(value, (list, tuple)):
        return type(value)(map(_on_cpu, value))
    if not isinstance(value, Tensor):
        return value
    value = value.detach().cpu().clone()
    return value.float() if value.is_floating_point() else value


def slope_by_differences(here: scene.Here, step: float = 0.05) -> float:
    """How steep the loss is along its gradient, by central differences, over its length: 1 if right."""
    with scene.differentiable(here):
        probe, z = here.probe(), here.z
        gradient = scene.gradient(probe, z)[1]
        length = gradient.norm()
        losses = []
        for sign in (1, -1):
            seen = probe.maps_of(z + sign * step * gradient / length)
            losses.append(sum(scene.weighted(m.double()).sum() for m in seen.cross.values()))
        return float((losses[0] - losses[1]) / (2 * step * length))


def passes(here: scene.Here) -> dict:
    """Full and cut pass of a batch, and its first image's pass alone."""
    with scene.differentiable(here):
        probe, z = here.probe(), here.z
        full, cut = scene.gradient(probe, z), scene.gradient(probe, z)
        return {"full": full, "cut": cut, "z": z, "conds": here.conds(), "columns": probe.columns}


def check(case: Case) -> tuple[list[str], dict]:
    """Faults of one architecture, and the numbers they were judged by."""
    stock = case.sample()
    finite = bool(torch.isfinite(stock).all())  # small random weights can be too much for float16
    faults = checks.same_bits("a second stock run", case.sample(), stock)
    case.at_state(passes)  # once, for what libraries keep for themselves
    before, memory = checks.state(case.model), allocated()
    seen = case.at_state(passes)
    maps, right = explicit(case, seen["z"], seen["conds"], seen["columns"])
    ours = seen["full"]
    if not finite and not bool(torch.isfinite(ours[0]).all()):
        return faults, {
            "stock_finite": False,
            "left_out": "these random weights are too much for this precision",
        }
    faults += checks.gradient_faults(ours[1], right, checks.MODEST[case.dtype])
    faults += checks.near("the cut pass", seen["cut"][1], ours[1], AGAIN[case.dtype])
    numbers = checks.agreement(ours[1], right) | {
        "maps": float((ours[0].cpu() - maps).abs().max()),
        "stock_finite": finite,
    }
    if case.dtype == "fp32":
        numbers["slope"] = case.at_state(slope_by_differences)
        faults += checks.slope_faults(numbers["slope"])
    alone = case.at_state(passes, batch=1)
    if torch.equal(alone["z"][0], seen["z"][0]):
        faults += checks.near("an image alone", alone["full"][1][0], ours[1][0], ALONE[case.dtype])
        numbers["alone"] = checks.distance(alone["full"][1][0], ours[1][0])
    del seen, alone, ours
    faults += refined(case, stock) if finite else []
    gc.collect()
    faults += checks.left_behind(before, checks.state(case.model))
    return faults + checks.still_held(memory, allocated()), numbers


def refined(case: Case, stock: Tensor) -> list[str]:
    """A run with update steps changes every image and stays finite; switched off, or not reached, it is
    stock.
    """
    faults = []
    for name, model in (
        ("off", scene.attach(case.model, 0)[0]),
        ("not reached", scene.attach(case.model, step=999)[0]),
    ):
        faults += checks.same_bits(name, case.sample(model), stock)
    model, book = scene.attach(case.model, step=0)
    out = case.sample(model)
    (report,) = book.last().recipes
    if not bool(torch.isfinite(out).all()):
        faults.append("the refined latent is not finite")
    if report.updates != (2,) * BATCH:
        faults.append(f"update steps made: {report.updates}; said: {report.status}")
    if any(torch.equal(a, b) for a, b in zip(out, stock, strict=True)):
        faults.append("a refined image is the stock one")
    return faults + checks.same_bits("stock after a refinement", case.sample(), stock)


def run(note: Callable[[str, dict], None], dtype: str, smoke: bool) -> None:
    """Every architecture; `note(name, numbers)` keeps what was found at once."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    settings = {
        "tf32_matmul": torch.backends.cuda.matmul.allow_tf32,
        "tf32_cudnn": torch.backends.cudnn.allow_tf32,
    }
    if dtype == "fp32":
        torch.backends.cudnn.allow_tf32 = (
            False  # it rounds convolutions to 10 bits, which is not what is looked at
        )
    note(
        "settings",
        {
            "dtype": dtype,
            "before": settings,
            "cudnn_tf32": torch.backends.cudnn.allow_tf32,
            "deterministic": "warn only",
            "device": str(device()),
        },
    )
    for name in SMOKE if smoke else ARCHITECTURES:
        begun, faults, numbers = time.perf_counter(), [], {}
        try:
            faults, numbers = check(load(name, dtype))
        except Exception as error:
            faults = [f"{type(error).__name__}: {str(error)[:400]}"]
        note(name, {"faults": faults, **numbers, "seconds": round(time.perf_counter() - begun, 2)})
