"""Pairs of images of Prompt-to-Prompt on an embedded model, and what the edit changed."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from gsn_ops.judge.demo_detector import detect, mask_of
from tools.host_env.inprocess import pack_module
from tools.tiny.captions import caption
from tools.tiny.prompts import Prompt
from tools.tiny.world import COLOURS, SHAPES

from .data import Record, Study, Way
from .embedded import Demo, images_of

STUDY = "edit"
METHOD = "Prompt-to-Prompt"
KINDS = ("shape", "colour")


@dataclass(frozen=True)
class Edit:
    """A source prompt and its target, in which the first object has another shape or colour."""

    source: Prompt
    target: Prompt
    words: tuple[str, ...]  # where the edited object is

    @property
    def edited(self) -> tuple[str | None, str]:
        return self.target.wanted[0]

    @property
    def others(self) -> tuple[tuple[str | None, str], ...]:
        return self.source.wanted[1:]


def edit_of(prompt: Prompt, kind: str) -> Edit:
    """The same for ever, for one prompt. Raises ValueError for another kind than those of KINDS."""
    rng = np.random.default_rng([prompt.seed, KINDS.index(kind)])
    (colour, shape), *rest = prompt.wanted
    if kind == "shape":
        new = str(rng.choice([s for s in SHAPES if s not in {s for _, s in prompt.wanted}]))
        wanted, words = ((colour, new), *rest), (shape, new)
    else:
        new = str(rng.choice([c for c in COLOURS if c not in {c for c, _ in prompt.wanted}]))
        wanted, words = ((new, shape), *rest), (shape,)
    return Edit(prompt, replace(prompt, text=caption(wanted), wanted=wanted), words)


def settings_of(way: Way) -> dict[str, Any]:
    """`cross_share=0.8, blend=1` as numbers."""
    typed = [part.split("=") for part in way.overrides.split(",") if part.strip()]
    return {name.strip(): value.strip() for name, value in typed}


def make(study: Study, way: Way, batch: Sequence[Prompt], demo: Demo) -> list[Record]:
    """The pairs of a batch of prompts: one record for each edited image."""
    settings = settings_of(way)
    kind = settings.pop("kind")
    edits = [edit_of(prompt, kind) for prompt in batch]
    begun = time.monotonic()
    latents, mask = sample(study, demo, edits, settings if way.method else None)
    seconds = time.monotonic() - begun
    records = []
    for n, edit in enumerate(edits):
        source, target = (images_of(latents[2 * n + k : 2 * n + k + 1])[0] for k in (0, 1))
        found = detect(target)
        right = edit.edited in {(f.colour, f.shape) for f in found}
        whole = set(edit.target.wanted) <= {(f.colour, f.shape) for f in found}
        outside = None if mask is None else outside_of(latents[2 * n : 2 * n + 2], mask[2 * n])
        records.append(
            Record(
                study.name,
                study.model,
                edit.source.text,
                way.seed(edit.source),
                way.name,
                study.config(way, batch),
                study.facts.get("pack", ""),
                right,
                whole,
                len(batch),
                round(seconds, 4),
                kept=kept(source, target, edit),
                outside=outside,
            )
        )
    return records


def kept(source: np.ndarray, target: np.ndarray, edit: Edit) -> float | None:
    """Mean IoU of the unedited objects' masks in both images; None if the source does not have them all."""
    seen = {(f.colour, f.shape) for f in detect(source)}
    if not set(edit.others) <= seen:
        return None
    overlaps = []
    for colour, _ in edit.others:
        one, two = mask_of(source, colour), mask_of(target, colour)
        overlaps.append(float((one & two).sum() / max(1, (one | two).sum())))
    return float(np.mean(overlaps))


def outside_of(pair: torch.Tensor, mask: torch.Tensor) -> float:
    """The largest difference of a pair of latents [2, C, H, W] outside the mask [H, W]."""
    apart = (pair[0] - pair[1]).abs().amax(0)
    return float(apart[mask == 0].max()) if (mask == 0).any() else 0.0


def sample(
    study: Study, demo: Demo, edits: Sequence[Edit], settings: dict[str, str] | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Latents [2 n, 4, 32, 32] of n pairs, sources and targets in turn, and the mask of the last step.

    settings: None = the unchanged model.
    """
    import comfy.sample

    empty = torch.zeros(1, 4, 32, 32)
    noise = torch.cat([comfy.sample.prepare_noise(empty, edit.source.seed) for edit in edits])
    (rows, extra), how = conditioning(demo, edits), study.sampling

    def run(model, noise: torch.Tensor, some: slice) -> torch.Tensor:
        own = {
            k: v[some] if isinstance(v, torch.Tensor) and len(v) == len(rows) else v for k, v in extra.items()
        }
        positive, latent = [[rows[some], own]], torch.zeros_like(noise)
        settings = (how.steps, how.cfg, how.sampler, how.scheduler, positive, demo.encode([""]), latent)
        return comfy.sample.sample(model, noise, *settings, disable_pbar=True, seed=edits[0].source.seed)

    if settings is None:  # two runs, so that a stochastic sampler draws the same noise for both
        parts = [run(demo.model, noise, slice(k, None, 2)) for k in (0, 1)]
        return torch.stack(parts, 1).flatten(0, 1), None
    edit, modulation = (
        pack_module(f"gsn_ops.{name}") for name in ("modulate.pair_edit", "host.sampling.modulation")
    )
    asked = edit.PromptToPrompt(**arguments(settings, edits[0]))
    model, book = modulation.attach_edits(demo.model, asked.check())
    latents = run(model, noise.repeat_interleave(2, 0), slice(None))
    maps = book.find(latents).recipes[0].maps_after
    return latents, None if maps is None else maps[:, 0]


def arguments(settings: dict[str, str], edit: Edit) -> dict[str, Any]:
    """Fields of the pack's edit."""
    parse = pack_module("gsn_ops.subjects.syntax").parse_subjects
    numbers = {name: float(value) for name, value in settings.items() if name not in ("blend", "blocks")}
    found: dict[str, Any] = dict(numbers)
    if settings.get("blend"):
        found["blend"] = parse(", ".join(edit.words), any_word=True)
    if settings.get("blocks"):
        found["blocks"] = settings["blocks"]
    return found


def conditioning(demo: Demo, edits: Sequence[Edit]) -> tuple[torch.Tensor, dict[str, Any]]:
    """An entry with two rows per pair. All prompts are of one form: their words are at the same columns."""
    pairs = pack_module("gsn_ops.host.prompts.prompt_pair")
    family = pack_module("gsn_ops.host.find_family").family_of(demo.model)
    made = [
        pairs.paired_conditioning(family, demo.encode([edit.source.text]), demo.encode([edit.target.text]))[0]
        for edit in edits
    ]
    extra = dict(made[0][1])
    if isinstance(extra.get("pooled_output"), torch.Tensor):
        extra["pooled_output"] = torch.cat([more["pooled_output"] for _, more in made])
    return torch.cat([rows for rows, _ in made]), extra
