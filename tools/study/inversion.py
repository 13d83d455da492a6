"""There and back: how much of a picture is lost on the way to noise and back, on the embedded models.

    python3 tools/dev.py run -m tools.study.inversion --model sd
    python3 tools/dev.py run -m tools.study.inversion --model sd3 --images 32 --steps 8 16

The pictures are drawn, not generated: two shapes of the shapes world, with their caption as the prompt. PSNR
is that of the picture (peak 1) after the way to noise and back, both without guidance. What was measured is
kept; the same command goes on where it was ended.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tools.host_env.inprocess import pack_module
from tools.host_env.paths import HOST_DIR
from tools.tiny.captions import caption
from tools.tiny.latent_frame import latent_to_rgb, rgb_to_latent
from tools.tiny.world import Scenes, render, sample_scenes

from .data import HOW
from .embedded import Demo
from .json_lines import JsonLines

RECORDS = HOST_DIR / "study" / "inversion.jsonl"
METHODS = ("euler", "midpoint", "fireflow")
COSTS = {"euler": "n", "midpoint": "2 n", "fireflow": "n + 1"}
BATCH = 8
SEED = 20_261_126


@dataclass(frozen=True)
class Pictures:
    """Drawn pictures: latents [B, 4, 32, 32], captions, and the scenes they are of."""

    latents: torch.Tensor
    texts: list[str]
    scenes: Scenes
    masks: np.ndarray  # [B, 3, 32, 32] in 0 ... 1, per object


def pictures(count: int, seed: int = SEED) -> Pictures:
    """So many pictures of two shapes."""
    scenes = sample_scenes(np.random.default_rng([seed, count]), count, share=(0.0, 1.0, 0.0))
    images, masks = render(scenes)
    latents = rgb_to_latent(torch.from_numpy(images).float() / 255)
    return Pictures(latents, [caption(scenes.objects(i)) for i in range(count)], scenes, masks / 255)


def batches(count: int) -> Iterator[tuple[int, Pictures]]:
    """(number, pictures) of batches of BATCH pictures, each with a seed of its own, so that a longer study
    begins with the shorter one.
    """
    for number in range((count + BATCH - 1) // BATCH):
        yield number, pictures(BATCH, SEED + number)


def psnr(latents: torch.Tensor, found: torch.Tensor) -> list[float]:
    """PSNR in dB of each picture, peak 1."""
    apart = latent_to_rgb(latents).clamp(0, 1) - latent_to_rgb(found).clamp(0, 1)
    errors = apart.double().square().flatten(1).mean(1).clamp(min=1e-15)
    return (-10 * errors.log10()).tolist()


def there_and_back(demo: Demo, some: Pictures, steps: int, scheduler: str, method: str) -> list[float]:
    """PSNR of every picture of a batch."""
    inversion = pack_module("gsn_ops.host.editing.invert")
    made = inversion.invert(
        demo.model, demo.encode(some.texts), {"samples": some.latents}, (steps, scheduler, 1.0), method, False
    )
    guider = inversion.prompted(demo.model, demo.encode(some.texts))
    sampler = pack_module("gsn_ops.host.editing.inversion_sampler").InversionSampler(method)
    empty = torch.zeros_like(some.latents)
    noise = made.noise.generate_noise({"samples": empty})
    return psnr(some.latents, guider.sample(noise, empty, sampler, made.sigmas, seed=0, disable_pbar=True))


def measure(args: argparse.Namespace, kept: JsonLines) -> list[dict]:
    """All records, those of the file first."""
    records = [r for r in kept.read if r["model"] == args.model]
    done = {(r["method"], r["steps"], r["batch"]) for r in records}
    demo = Demo(layout=args.model)
    for number, some in batches(args.images):
        for steps in args.steps:
            for method in METHODS:
                if (method, steps, number) in done:
                    continue
                found = there_and_back(demo, some, steps, HOW[args.model].scheduler, method)
                record = {"model": args.model, "method": method, "steps": steps, "batch": number}
                kept.append([{**record, "psnr": found}])
                records.append({**record, "psnr": found})
    return records


def table(records: Sequence[dict], steps: Sequence[int]) -> str:
    """Mean PSNR and the worst picture, per method and number of steps."""
    lines = ["| method | evaluations, each way | " + " | ".join(f"n = {n}" for n in steps) + " |"]
    lines.append("|---|---|" + "---|" * len(steps))
    for method in METHODS:
        cells = []
        for n in steps:
            found = [p for r in records if (r["method"], r["steps"]) == (method, n) for p in r["psnr"]]
            cells.append(f"{np.mean(found):.1f} ({min(found):.1f})" if found else "-")
        lines.append(f"| {method} | {COSTS[method]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=("sd", "sd3"), default="sd")
    parser.add_argument("--images", type=int, default=16, help=f"in batches of {BATCH}")
    parser.add_argument("--steps", type=int, nargs="+", default=[8, 16, 32, 50])
    parser.add_argument("--records", type=Path, default=RECORDS)
    args = parser.parse_args()
    with torch.no_grad():
        records = measure(args, JsonLines(args.records))
    how = f"{args.images} pictures, {args.model}, scheduler {HOW[args.model].scheduler}"
    print(f"{how}; PSNR in dB, mean (worst)\n")
    print(table(records, args.steps))


if __name__ == "__main__":
    main()
