"""Null-text inversion of drawn pictures on the UNet demo model: do they come back with guidance?

    nice -n 10 python3 tools/dev.py run -m tools.study.null_text --pictures 56 --write docs/inversion.md

The pictures and edits are those of picture_edits: two shapes, of which the first one shall get another
colour and shape. Each picture goes to noise without guidance; then Prompt-to-Prompt with LocalBlend samples
it and its edit side by side at CFG 7.5. Ways: the empty negative prompt, and the embeddings of Null-Text
Inversion at a learning rate. *Back*: PSNR of the picture (peak 1), the mean and the worst one. The other
columns are those of picture_edits. What was made is kept; the same command goes on where it was ended.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import torch

from tools.host_env.inprocess import pack_module
from tools.host_env.paths import HOST_DIR
from tools.tiny.prompts import Prompt

from .data import HOW
from .edited_pairs import Edit, arguments, conditioning
from .embedded import Demo
from .inversion import BATCH, psnr
from .json_lines import JsonLines
from .paired_statistics import percent
from .picture_edits import Asked, asked, verdicts
from .tables import markdown, write_between

RECORDS = HOST_DIR / "study" / "null_text.jsonl"
HEADS = (
    "negative prompt",
    "back: PSNR (worst)",
    "edit right (95 %)",
    "all right (95 %)",
    "kept: IoU",
    "outside: mean",
    "outside: most",
)
NONE = 0.0
"""The learning rate of the way without embeddings."""


def edits_of(batch: Asked) -> list[Edit]:
    """The batch as edits of prompts."""
    found = []
    for i, (text, wanted) in enumerate(zip(batch.pictures.texts, batch.wanted, strict=True)):
        before = tuple(batch.pictures.scenes.objects(i))
        source, target = (Prompt(t, w, 0, False) for t, w in ((text, before), (batch.texts[i], wanted)))
        found.append(Edit(source, target, (before[0][1], wanted[0][1])))
    return found


def inverted(demo: Demo, batch: Asked, args: argparse.Namespace):
    """The batch's way to noise."""
    given, numbers = {"samples": batch.pictures.latents}, (args.steps, HOW["sd"].scheduler, 1.0)
    invert = pack_module("gsn_ops.host.editing.invert").invert
    return invert(demo.model, demo.encode(batch.pictures.texts), given, numbers, args.method, False)


def negative_of(demo: Demo, batch: Asked, trajectory, rate: float, args: argparse.Namespace) -> list:
    """The negative conditioning of a way."""
    empty = demo.encode([""])
    if rate == NONE:
        return empty
    null_text = pack_module("gsn_ops.host.editing.null_text")
    settings = null_text.NullTextSettings(args.cfg, args.iterations, rate)
    positive = demo.encode(batch.pictures.texts)
    return null_text.optimise_null_text(demo.model, positive, empty, trajectory, settings).conditioning


def edited(demo: Demo, batch: Asked, made, negative: list, args: argparse.Namespace) -> torch.Tensor:
    """Latents [2 B, 4, 32, 32]: each picture as it comes back, then its edit."""
    import comfy.samplers

    edits = edits_of(batch)
    edit, modulation = (
        pack_module(f"gsn_ops.{name}") for name in ("modulate.pair_edit", "host.sampling.modulation")
    )
    settings = edit.PromptToPrompt(**arguments({"blend": "1"}, edits[0]))
    model, _ = modulation.attach_edits(demo.model, settings.check())
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds([list(conditioning(demo, edits))], negative)
    guider.set_cfg(args.cfg)
    latent = made.latent["samples"].repeat_interleave(2, 0)
    euler = comfy.samplers.sampler_object("euler")
    return guider.sample(torch.zeros_like(latent), latent, euler, made.sigmas, disable_pbar=True, seed=0)


def pictures_of(demo: Demo, batch: Asked, rate: float, args: argparse.Namespace) -> list[dict]:
    """One record per picture."""
    made = inverted(demo, batch, args)
    pairs = edited(demo, batch, made, negative_of(demo, batch, made.trajectory, rate, args), args)
    back = psnr(batch.pictures.latents, pairs[0::2])
    return [{**one, "psnr": p} for one, p in zip(verdicts(batch, pairs[1::2], None), back, strict=True)]


def measure(args: argparse.Namespace, kept: JsonLines) -> list[dict]:
    """All records of the study, those of the file first."""
    demo, records = Demo(), []
    settings = [args.method, args.steps, args.cfg, args.iterations]
    for number in range((args.pictures + BATCH - 1) // BATCH):
        for rate in (NONE, *args.rates):
            key = {"settings": settings, "rate": rate, "batch": number}
            old = next((r for r in kept.read if all(r[k] == v for k, v in key.items())), None)
            if old is None:
                begun = time.monotonic()
                found = pictures_of(demo, asked(number), rate, args)
                old = {**key, "pictures": found, "seconds": time.monotonic() - begun}
                kept.append([old])
            records.append(old)
    return records


def table(records: Sequence[dict]) -> list[str]:
    """One row per way."""
    rows = []
    for rate in dict.fromkeys(r["rate"] for r in records):
        found = [p for r in records if r["rate"] == rate for p in r["pictures"]]
        rows.append(
            (
                "empty" if rate == NONE else f"Null-text, learning rate {rate:g}",
                f"{fmean(p['psnr'] for p in found):.1f} ({min(p['psnr'] for p in found):.1f})",
                percent(sum(p["edit"] for p in found), len(found)),
                percent(sum(p["all"] for p in found), len(found)),
                f"{fmean(p['kept'] for p in found):.3f}",
                f"{fmean(p['mean'] for p in found):.4f}",
                f"{max(p['most'] for p in found):.3f}",
            )
        )
    return markdown(HEADS, rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=56, help=f"in batches of {BATCH}")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.01, 0.05], help="learning rates")
    parser.add_argument("--iterations", type=int, default=10, help="most updates per step")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cfg", type=float, default=7.5)
    parser.add_argument("--method", choices=("euler", "midpoint", "fireflow"), default="fireflow")
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--write", type=Path, help="a markdown file to put the table into")
    args = parser.parse_args()
    with torch.no_grad():
        records = measure(args, JsonLines(args.records))
    n = sum(len(r["pictures"]) for r in records) // (1 + len(args.rates))
    how = f"{args.steps} steps, cfg {args.cfg:g}, inverted by {args.method}"
    text = "\n".join([f"{n} pictures, {how}, up to {args.iterations} updates per step:", "", *table(records)])
    print(text)
    if args.write:
        write_between(args.write, text, "study null-text")


if __name__ == "__main__":
    main()
