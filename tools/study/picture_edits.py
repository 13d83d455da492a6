"""Edits of drawn pictures on the embedded models: is the edit made, and does the rest stay?

    python3 tools/dev.py run -m tools.study.picture_edits --model sd --pictures 40
    python3 tools/dev.py run -m tools.study.picture_edits --model sd3 --ways sdedit flowedit --pictures 200

A picture shows two shapes; the first one shall get another colour and shape ("a red circle and a blue
square" -> "a green star and a blue square"). Ways: sdedit, a KSampler on the picture with the target prompt;
diffedit, the mask of the two prompts, the picture's way to noise, and back inside the mask; flowedit. *Edit
right*: the new object is there in its colour and shape. *All right*: the other one too. *Kept*: overlap (IoU)
of the other object's mask before and after. *Outside*: the mean and the largest difference of the picture
(0 ... 1) outside the true place of the edited object and two pixels around it. *Mask*: overlap of the found
mask with that place. What was made is kept; the same command goes on where it was ended.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from gsn_ops.judge.demo_detector import detect, mask_of
from tools.host_env.inprocess import pack_module
from tools.host_env.paths import HOST_DIR
from tools.tiny.captions import caption
from tools.tiny.latent_frame import latent_to_rgb
from tools.tiny.world import COLOURS, SHAPES

from .data import HOW
from .embedded import Demo, images_of
from .inversion import BATCH, SEED, Pictures, pictures
from .json_lines import JsonLines
from .paired_statistics import percent

RECORDS = HOST_DIR / "study" / "picture_edits.jsonl"
WAYS = ("sdedit", "diffedit", "flowedit")
HEADS = (
    "way",
    "edit right (95 %)",
    "all right (95 %)",
    "kept: IoU",
    "outside: mean",
    "outside: most",
    "mask: IoU",
)
FLOW_STRENGTH, FLOW_CFGS = 0.66, (3.5, 13.5)


@dataclass(frozen=True)
class Asked:
    """Pictures, and what their first objects shall be: (colour, shape) of both objects after the edit."""

    pictures: Pictures
    wanted: tuple[tuple[tuple[str, str], ...], ...]

    @property
    def texts(self) -> list[str]:
        return [caption(wanted) for wanted in self.wanted]


def asked(number: int) -> Asked:
    """A batch of pictures with their targets, the same for ever."""
    some, rng, wanted = pictures(BATCH, SEED + number), np.random.default_rng([SEED, number]), []
    for i in range(BATCH):
        (colour, shape), other = some.scenes.objects(i)
        new = (
            str(rng.choice([c for c in COLOURS if c not in (colour, other[0])])),
            str(rng.choice([s for s in SHAPES if s not in (shape, other[1])])),
        )
        wanted.append((new, other))
    return Asked(some, tuple(wanted))


def sdedit(demo: Demo, batch: Asked, args: argparse.Namespace, seed: int) -> torch.Tensor:
    """ComfyUI's image to image: the picture with noise, sampled with the target prompt."""
    import comfy.sample

    given, how = batch.pictures.latents, HOW[args.model]
    noise = comfy.sample.prepare_noise(given, seed)
    prompts = demo.encode(batch.texts), demo.encode([""])
    run = (args.steps, args.cfg or how.cfg, "euler", how.scheduler, *prompts, given)
    return comfy.sample.sample(demo.model, noise, *run, denoise=args.strength, disable_pbar=True, seed=seed)


def diffedit(
    demo: Demo, batch: Asked, args: argparse.Namespace, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The edited latents and the masks [B, h, w]."""
    import comfy.samplers

    masks, inversion, sampler = (
        pack_module(f"gsn_ops.host.editing.{name}") for name in ("diff_edit", "invert", "inversion_sampler")
    )
    given, how = {"samples": batch.pictures.latents}, HOW[args.model]
    source, target = demo.encode(batch.pictures.texts), demo.encode(batch.texts)
    found = masks.find_mask(demo.model, source, target, given, masks.MaskSettings(seed))
    numbers = (args.steps, how.scheduler, args.strength)
    made = inversion.invert(demo.model, source, given, numbers, "fireflow", False)
    guider = comfy.samplers.CFGGuider(demo.model)
    guider.set_conds(target, demo.encode([""]))
    guider.set_cfg(args.cfg or how.cfg)
    back = sampler.InversionSampler("fireflow", made.trajectory, found.mask)
    noise = made.noise.generate_noise(given)
    edited = guider.sample(noise, given["samples"], back, made.sigmas, disable_pbar=True, seed=seed)
    return edited, found.mask


def flowedit(demo: Demo, batch: Asked, args: argparse.Namespace, seed: int) -> torch.Tensor:
    """FlowEdit at the published strength and guidance of SD3."""
    flow, pair, inversion = (
        pack_module(f"gsn_ops.host.editing.{name}") for name in ("flow_edit", "pair_guider", "invert")
    )
    given = batch.pictures.latents
    prompts = [demo.encode(texts) for texts in (batch.pictures.texts, batch.texts, [""])]
    guider = pair.PairGuider(demo.model, *prompts, tuple(args.flow_cfg))
    sigmas = inversion.schedule(demo.model, args.steps, HOW[args.model].scheduler, args.flow_strength)
    noise = torch.zeros_like(given)
    return guider.sample(noise, given, flow.FlowEditSampler(), sigmas, disable_pbar=True, seed=seed)


def verdicts(batch: Asked, edited: torch.Tensor, masks: torch.Tensor | None) -> list[dict]:
    """One record per picture."""
    records, drawn = [], batch.pictures
    before, after = (latent_to_rgb(z).clamp(0, 1).numpy() for z in (drawn.latents, edited))
    shown, made = images_of(drawn.latents), images_of(edited)
    for i, (new, other) in enumerate(batch.wanted):
        found = {(f.colour, f.shape) for f in detect(made[i])}
        place = drawn.masks[i, 0] >= 0.5
        apart = np.abs(after[i] - before[i]).max(-1)[~grown(grown(drawn.masks[i, 0] > 0))]
        one, two = mask_of(shown[i], other[0]), mask_of(made[i], other[0])
        overlap = None if masks is None else iou(masks[i].numpy() > 0.5, place)
        records.append(
            {
                "edit": new in found,
                "all": {new, other} <= found,
                "kept": iou(one, two),
                "mean": float(apart.mean()),
                "most": float(apart.max()),
                "mask": overlap,
            }
        )
    return records


def iou(one: np.ndarray, two: np.ndarray) -> float:
    return float((one & two).sum() / max(1, (one | two).sum()))


def grown(mask: np.ndarray) -> np.ndarray:
    """A mask and its eight neighbours."""
    wide = np.pad(mask, 1)
    h, w = mask.shape
    return np.any([wide[y : y + h, x : x + w] for y in range(3) for x in range(3)], axis=0)


def settings_of(way: str, args: argparse.Namespace) -> list:
    """What a record depends on, besides the picture."""
    if way == "flowedit":
        return [args.steps, args.flow_strength, *args.flow_cfg]
    return [args.steps, args.strength, args.cfg or HOW[args.model].cfg]


def measure(args: argparse.Namespace, kept: JsonLines) -> list[dict]:
    """All records of the study, those of the file first."""
    demo, records = Demo(layout=args.model), []
    makers = {"sdedit": sdedit, "diffedit": diffedit, "flowedit": flowedit}
    for number in range((args.pictures + BATCH - 1) // BATCH):
        for way in args.ways:
            key = {"model": args.model, "way": way, "settings": settings_of(way, args), "batch": number}
            old = next((r for r in kept.read if all(r[k] == v for k, v in key.items())), None)
            if old is None:
                batch = asked(number)
                made = makers[way](demo, batch, args, SEED + number)
                edited, masks = made if isinstance(made, tuple) else (made, None)
                old = {**key, "pictures": verdicts(batch, edited, masks)}
                kept.append([old])
            records.append(old)
    return records


def table(records: Sequence[dict], ways: Sequence[str]) -> str:
    """One row per way."""
    lines = ["| " + " | ".join(HEADS) + " |", "|---" * len(HEADS) + "|"]
    for way in ways:
        found = [p for r in records if r["way"] == way for p in r["pictures"]]
        masks = [p["mask"] for p in found if p["mask"] is not None]
        cells = [
            percent(sum(p["edit"] for p in found), len(found)),
            percent(sum(p["all"] for p in found), len(found)),
            f"{fmean(p['kept'] for p in found):.3f}",
            f"{fmean(p['mean'] for p in found):.4f}",
            f"{max(p['most'] for p in found):.3f}",
            f"{fmean(masks):.3f}" if masks else "",
        ]
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=("sd", "sd3"), default="sd")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["sdedit", "diffedit"])
    parser.add_argument("--pictures", type=int, default=40, help=f"in batches of {BATCH}")
    parser.add_argument("--steps", type=int, default=16, help="of the part of the schedule that is run")
    parser.add_argument("--strength", type=float, default=0.8, help="of SDEdit and DiffEdit")
    parser.add_argument("--cfg", type=float, help="of SDEdit and DiffEdit (default: the model's)")
    parser.add_argument("--flow-strength", type=float, default=FLOW_STRENGTH)
    parser.add_argument("--flow-cfg", type=float, nargs=2, default=FLOW_CFGS, metavar=("SOURCE", "TARGET"))
    parser.add_argument("--records", type=Path, default=RECORDS)
    args = parser.parse_args()
    with torch.no_grad():
        records = measure(args, JsonLines(args.records))
    print(f"{args.pictures} pictures, {args.model}, {args.steps} steps\n")
    print(table(records, args.ways))


if __name__ == "__main__":
    main()
