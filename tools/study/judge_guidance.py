"""Guidance by a Judge on the embedded models: does its loss fall, and are more pictures right?

    nice -n 10 python3 tools/dev.py run -m tools.study.judge_guidance --model sd --pictures 24
    nice -n 10 python3 tools/dev.py run -m tools.study.judge_guidance --model sd3 --ways shapes --pictures 200

Prompts of two objects of the test split, the same noise for every way. shapes: the differentiable overlap
with colours and shapes; clip: a CLIP of the shapes world, trained here (demo_clip.py). Both see the preview
colours. *Right*: the detector, which is neither of them, finds every object in its colour. *Loss*: of the
finished pictures, by shapes and by clip. What was made is kept; the same command goes on where it was ended.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from gsn_ops.judge.demo_detector import detect, success
from gsn_ops.judge.picture_loss import ClipLoss, ShapesLoss
from tools.host_env.inprocess import pack_module
from tools.host_env.paths import HOST_DIR
from tools.tiny.latent_frame import latent_to_rgb
from tools.tiny.prompts import Prompt, prompts

from .data import HOW, PLAIN
from .demo_clip import DemoClip, demo_clip, found_at_once
from .embedded import Demo, images_of
from .json_lines import JsonLines
from .paired_statistics import compare, percent

RECORDS = HOST_DIR / "study" / "judge_guidance.jsonl"
WAYS = ("shapes", "clip")
BATCH = 8
HEADS = ("way", "scale", "right (95 %)", "fixed", "broken", "McNemar p", "loss: shapes", "loss: clip")


@dataclass(frozen=True)
class EachItsOwn:
    """A loss with a prompt of its own for each image."""

    losses: Sequence[Any]
    name: str = "study"

    def __call__(self, pictures: Tensor) -> Tensor:
        return torch.cat([loss(one[None]) for loss, one in zip(self.losses, pictures, strict=True)])


def losses_of(clip: DemoClip | None, batch: Sequence[Prompt]) -> dict[str, EachItsOwn]:
    """Way -> the loss of a batch; without a CLIP that of the shapes alone."""
    found = {"shapes": EachItsOwn([ShapesLoss(prompt.wanted) for prompt in batch])}
    if clip is not None:
        texts = clip.texts([prompt.text for prompt in batch])
        found["clip"] = EachItsOwn([ClipLoss(clip.images, text) for text in texts])
    return found


def made_by(
    demo: Demo, clip: DemoClip | None, batch: Sequence[Prompt], way: str, scale: float, args
) -> list[dict]:
    """One record per picture of a batch."""
    guidance, pictures = (
        pack_module(f"gsn_ops.host.{name}")
        for name in ("sampling.picture_guidance", "judge.predicted_picture")
    )
    losses, model = losses_of(clip, batch), demo.model
    if way != PLAIN:
        see, window = pictures.PreviewColours(model), (0.0, args.until)
        what = guidance.PictureGuidance(losses[way], see, (), scale, window)
        model = guidance.attach_guidance(model, what)
    latents = demo.sample(model, batch, HOW[args.model])
    shown = latent_to_rgb(latents)
    ends = {name: loss(shown).tolist() for name, loss in losses.items()}
    found = [detect(image) for image in images_of(latents)]
    return [
        {
            "right": bool(success(found[i], list(prompt.wanted))[1]),
            **{name: one[i] for name, one in ends.items()},
        }
        for i, prompt in enumerate(batch)
    ]


def measure(args: argparse.Namespace, kept: JsonLines) -> list[dict]:
    """All records of the study, those of the file first."""
    demo, records = Demo(layout=args.model), []
    clip = demo_clip() if "clip" in args.ways else None
    if clip is not None:
        print(f"demo CLIP: {100 * found_at_once(clip):.0f} % of 100 new pictures have their caption nearest")
    asked = prompts(2, args.pictures, "test")
    ways = [(PLAIN, 0.0), *((way, scale) for way in args.ways for scale in args.scales)]
    for number in range(0, args.pictures, BATCH):
        for way, scale in ways:
            until = 0.0 if way == PLAIN else args.until
            key = {"model": args.model, "way": way, "scale": scale, "until": until, "batch": number // BATCH}
            old = next((r for r in kept.read if all(r[k] == v for k, v in key.items())), None)
            if old is None:
                batch = asked[number : number + BATCH]
                old = {**key, "pictures": made_by(demo, clip, batch, way, scale, args)}
                kept.append([old])
            records.append(old)
    return records


def table(records: Sequence[dict]) -> str:
    """One row per way and scale."""
    lines = ["| " + " | ".join(HEADS) + " |", "|---" * len(HEADS) + "|"]
    by_way: dict[tuple[str, float], list[dict]] = {}
    for record in records:
        by_way.setdefault((record["way"], record["scale"]), []).extend(record["pictures"])
    plain = by_way[PLAIN, 0.0]
    for (way, scale), found in by_way.items():
        against = compare(zip((p["right"] for p in plain), (p["right"] for p in found), strict=True))
        cells = [way, f"{scale:g}", percent(sum(p["right"] for p in found), len(found))]
        if way == PLAIN:
            cells[1] = ""
        same = way == PLAIN
        cells += ["", "", ""] if same else [str(against.fixed), str(against.broken), f"{against.p:.2g}"]
        for name in WAYS:
            known = [p[name] for p in found if name in p]
            cells.append(f"{fmean(known):.3f}" if known else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=("sd", "sd3"), default="sd")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--scales", nargs="+", type=float, default=[0.03, 0.1])
    parser.add_argument("--until", type=float, default=0.6, help="end of the window")
    parser.add_argument("--pictures", type=int, default=24, help=f"in batches of {BATCH}")
    parser.add_argument("--records", type=Path, default=RECORDS)
    args = parser.parse_args()
    with torch.no_grad():
        records = measure(args, JsonLines(args.records))
    print(f"{args.pictures} pictures, {args.model}, {HOW[args.model]}\n")
    print(table(records))


if __name__ == "__main__":
    main()
