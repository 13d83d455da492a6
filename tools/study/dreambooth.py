"""DreamBooth on the UNet demo model: a new shape from five pictures, and what becomes of the other shapes.

    nice -n 10 python3 tools/dev.py run -m tools.study.dreambooth --pictures 48 --write docs/inversion.md

Five drawn pictures of a ring, each in another colour, called "a red sks": "sks" is a word that the model
does not know. ComfyUI's Train LoRA learns from them alone (`alone`), or from 30 pictures of the six other
shapes too, made by the model before (`class pictures`). *Ring*: "a red sks" shows a red ring. *Others*, *two
others*: "a red circle", "a red circle and a blue square", in their colours. *Ring and another*: "a red sks
and a blue square" shows both; *nursed*: the same noise with Latent Refine (fast). The detector is that of
the other studies with one more template. What was made is kept, the LoRA too; the same command goes on where
it was ended.
"""

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from gsn_ops.judge.demo_detector import detect, success
from gsn_ops.judge.demo_shapes import COLOURS, PALETTE, RING, SHAPES, SIDE, coverage
from tools.host_env.inprocess import PYTORCH_ATTENTION, boot
from tools.host_env.paths import HOST_DIR
from tools.tiny.captions import caption
from tools.tiny.latent_frame import rgb_to_latent
from tools.tiny.prompts import Prompt

from .data import HOW, Way
from .embedded import Demo, images_of, recipes_of
from .json_lines import JsonLines
from .paired_statistics import percent
from .tables import markdown, write_between

RECORDS = HOST_DIR / "study" / "dreambooth.jsonl"
NEW = "sks"
BEFORE, ALONE, BOTH = "model before", "alone", "class pictures"
WAYS = (BEFORE, ALONE, BOTH)
SETS = ("ring", "others", "two others", "ring and another", "ring and another, nursed")
PICTURES, SEED = 5, 20_261_126
METHOD = "Latent Refine (fast)"


def five() -> tuple[torch.Tensor, list[str]]:
    """Latents [5, 4, 32, 32] of the drawn rings, and their captions. The same for ever."""
    rng, images = np.random.default_rng(SEED), []
    for colour in COLOURS[:PICTURES]:
        size = rng.uniform(10, 13)
        x, y = rng.uniform(size / 2 + 1, SIDE - size / 2 - 1, 2)
        mask = coverage(RING, size, x, y)[0][..., None]
        ground = np.full(3, rng.uniform(0.86, 0.97))
        images.append(ground + mask * (np.array(PALETTE[colour]) - ground))
    return rgb_to_latent(torch.from_numpy(np.stack(images)).float()), [named(c) for c in COLOURS[:PICTURES]]


def named(colour: str) -> str:
    """The new shape in a prompt."""
    return f"a {colour} {NEW}"


def prompts_of(kind: str, count: int) -> list[Prompt]:
    """What is asked of a model: so many prompts, the colours and shapes in turn."""
    found = []
    for n in range(count):
        (colour, shape), second = others(n, 2)
        texts = {
            "ring": (named(colour), ((colour, RING),)),
            "others": (caption([(colour, shape)]), ((colour, shape),)),
            "two others": (caption([(colour, shape), second]), ((colour, shape), second)),
        }
        both = f"{named(colour)} and {caption([second])}", ((colour, RING), second)
        text, wanted = texts.get(kind, both)
        found.append(Prompt(text, wanted, 300_000 + n, False))
    return found


def others(n: int, objects: int) -> tuple[tuple[str, str], ...]:
    """The n-th (colour, shape) of so many shapes that the model knows: each in another colour."""
    return tuple((COLOURS[(n + k) % 6], SHAPES[(n + n // 6 + 3 * k) % 6]) for k in range(objects))


def class_pictures(demo: Demo, count: int) -> tuple[torch.Tensor, list[str]]:
    """Pictures of one shape each, made by the model before."""
    names = [caption(list(others(n, 1))) for n in range(count)]
    asked = [Prompt(name, (), 400_000 + n, False) for n, name in enumerate(names)]
    with torch.no_grad():
        return demo.sample(demo.model, asked, HOW["sd"]), names


def settings_of(way: str, args: argparse.Namespace) -> list:
    """What a record depends on, besides the prompts."""
    if way == BEFORE:
        return []
    of_class = [args.class_pictures] if way == BOTH else []
    return [way, args.train_steps, args.batch, args.rate, args.rank, *of_class]


def trained(demo: Demo, way: str, args: argparse.Namespace) -> dict[str, torch.Tensor]:
    """The LoRA of a way, made by ComfyUI's node, or as it was kept."""
    settings = settings_of(way, args)
    known = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:8]
    path = args.records.with_name(f"dreambooth_{known}.safetensors")
    if path.exists():
        return safetensors.torch.load_file(path)
    from comfy_extras.nodes_train import TrainLoraNode

    latents, texts = five()
    if way == BOTH:  # each kind half of every batch
        times = max(1, args.class_pictures // PICTURES)
        made, names = class_pictures(demo, args.class_pictures)
        latents, texts = torch.cat([latents.repeat(times, 1, 1, 1), made]), [*texts * times, *names]
    inputs = {
        "model": demo.model,
        "latents": {"samples": latents},
        "positive": [demo.encode([text])[0] for text in texts],
        "batch_size": args.batch,
        "steps": args.train_steps,
        "grad_accumulation_steps": 1,
        "learning_rate": args.rate,
        "rank": args.rank,
        "optimizer": "AdamW",
        "loss_function": "MSE",
        "seed": 0,
        "training_dtype": "fp32",
        "lora_dtype": "fp32",
        "quantized_backward": False,
        "algorithm": "LoRA",
        "gradient_checkpointing": False,
        "checkpoint_depth": 1,
        "offloading": False,
        "existing_lora": "[None]",
        "bucket_mode": False,
        "bypass_mode": False,
    }
    torch.manual_seed(SEED)  # the node draws pictures and noise levels from torch's own numbers
    lora = TrainLoraNode.execute(**{name: [value] for name, value in inputs.items()}).args[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file({k: v.contiguous() for k, v in lora.items()}, path)
    return lora


def model_of(demo: Demo, way: str, args: argparse.Namespace):
    """The MODEL of a way."""
    if way == BEFORE:
        return demo.model
    from comfy_extras.nodes_train import LoraModelLoader

    return LoraModelLoader.execute(demo.model, trained(demo, way, args), 1.0).args[0]


def rights(demo: Demo, model, kind: str, batch: Sequence[Prompt]) -> list[bool]:
    """Whether each picture shows what was asked for, in its colours."""
    if "nursed" in kind:
        model, _ = demo.attach(model, *recipes_of(Way("nursed", METHOD)))
    with torch.no_grad():
        images = images_of(demo.sample(model, batch, HOW["sd"]))
    known = (*SHAPES, RING)
    return [
        bool(success(detect(image, known), list(prompt.wanted))[1])
        for image, prompt in zip(images, batch, strict=True)
    ]


def measure(args: argparse.Namespace, kept: JsonLines) -> list[dict]:
    """All records of the study, those of the file first."""
    demo, records, models = Demo(), [], {}
    for way in args.ways:
        settings = settings_of(way, args)
        for kind in SETS:
            for start in range(0, args.pictures, args.together):
                key = {"way": way, "settings": settings, "set": kind, "start": start, "n": args.together}
                old = next((r for r in kept.read if all(r[k] == v for k, v in key.items())), None)
                if old is None:
                    models[way] = models.get(way) or model_of(demo, way, args)
                    batch = prompts_of(kind, start + args.together)[start:]
                    old = {**key, "right": rights(demo, models[way], kind, batch)}
                    kept.append([old])
                records.append(old)
    return records


def table(records: Sequence[dict], ways: Sequence[str]) -> list[str]:
    """One row per way."""
    rows = []
    for way in ways:
        cells = []
        for kind in SETS:
            found = [one for r in records if (r["way"], r["set"]) == (way, kind) for one in r["right"]]
            cells.append(percent(sum(found), len(found)))
        rows.append((way, *cells))
    return markdown(("learned from", *(f"{kind} (95 %)" for kind in SETS)), rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=48, help="of each kind")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--train-steps", type=int, default=1200)
    parser.add_argument("--batch", type=int, default=4, help="of the training")
    parser.add_argument("--class-pictures", type=int, default=30, help="a multiple of 5")
    parser.add_argument("--rate", type=float, default=0.003, help="learning rate of the training")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--together", type=int, default=12, help="pictures made at once")
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--write", type=Path, help="a markdown file to put the table into")
    args = parser.parse_args()
    boot(more=PYTORCH_ATTENTION)
    records = measure(args, JsonLines(args.records))
    how = f"{args.train_steps} training steps of {args.batch}, learning rate {args.rate:g}, rank {args.rank}"
    text = "\n".join([f"{args.pictures} pictures of each kind, {how}:", "", *table(records, args.ways)])
    print(text)
    if args.write:
        write_between(args.write, text, "study dreambooth")


if __name__ == "__main__":
    main()
