"""Objects in their boxes on the embedded UNet: plain, the layout methods, LMD's energy alone, and all of LMD.

    nice -n 5 python3 tools/dev.py run -m tools.study.layouts --images 200 --records FOLDER/layouts.jsonl
    python3 tools/dev.py run -m tools.study.layouts --table --records FOLDER/layouts.jsonl

An object is in its box when the detector finds one of its shape and colour whose box has an IoU of at
least 0.5 with the wanted one. Images of one layout share a batch for all methods but LMD, whose sampler makes
one at a time. Every batch is written down when it is done, so a run can be stopped and continued.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from gsn_ops.judge.demo_detector import Found, detect
from tools.host_env.inprocess import pack_module
from tools.tiny.prompts import Prompt, prompts

from .data import HOW, Way
from .embedded import Demo, images_of, recipes_of
from .layout_tables import LMD, METHODS, TASKS, tables
from .tables import write_between

SIDE, BOX = 32, 12
"""Pixels of an image, and of the boxes; the model's shapes are 9 to 13 pixels."""
BATCH = 10
WANTED_IOU = 0.5
PLACES = {
    "side by side": ((2, 10), (18, 10)),
    "one above the other": ((10, 2), (10, 18)),
    "diagonal": ((18, 2), (2, 18)),
    "three": ((2, 2), (18, 2), (10, 18)),
    "two of one kind": ((2, 4), (18, 16)),
    "three of one kind": ((2, 18), (18, 18), (10, 2)),
    "negation": ((18, 4), (2, 16)),
}
"""Left and top of each box, in the order of the prompt."""
OBJECTS = {"three": 3, "three of one kind": 3, "negation": 3}
"""Of the prompts that a kind is made of; two for the others."""


@dataclass(frozen=True)
class Task:
    """Images of one kind of layout: prompts of one form, and the boxes (fractions) of their objects.

    number: of the batch among those of its kind. asked: what a user types, which an LLM makes a layout of;
    unwanted: what is not to be there. Where nothing is negated, prompts are what was asked.
    """

    kind: str
    number: int
    prompts: list[Prompt]
    boxes: list[tuple[float, float, float, float]]
    asked: list[Prompt]
    unwanted: list[tuple[str | None, str]]


@dataclass(frozen=True)
class Made:
    """What a way made of a batch: latents, and passes per image besides two at each step of a plain run.

    alone: for LMD, whether each object was right in the image of its own; in_centre: and in its box there.
    """

    latents: torch.Tensor
    passes: float
    alone: list[list[bool]] | None = None
    in_centre: list[list[bool]] | None = None


def tasks(images: int) -> Iterator[Task]:
    """So many images of each task (at least), all in turn: a study which is stopped has some of each."""
    batches = {kind: -(-images // (BATCH * len(kinds))) for kinds in TASKS.values() for kind in kinds}
    slots = sorted(((n + 0.5) / count, kind, n) for kind, count in batches.items() for n in range(count))
    for _, kind, n in slots:
        yield task_of(kind, n)


def task_of(kind: str, n: int) -> Task:
    """The n-th batch of a kind; every kind has prompts and seeds of its own."""
    of_kind, boxes = list(PLACES).index(kind), [_box(place) for place in PLACES[kind]]
    made = prompts(OBJECTS.get(kind, 2), BATCH * (n + 1), "test", seed=10 + of_kind)[BATCH * n :]
    made = [replace(p, seed=p.seed + 1000 * of_kind) for p in made]
    if kind.endswith("of one kind"):
        made = [_of(p, [p.wanted[0]] * len(boxes)) for p in made]
    if kind != "negation":
        return Task(kind, n, made, boxes, made, [])
    placed = [_of(p, p.wanted[:2]) for p in made]
    asked = [replace(p, text=f"{p.text} without {named(o.wanted[2])}") for p, o in zip(placed, made)]
    return Task(kind, n, placed, boxes, asked, [p.wanted[2] for p in made])


def _of(prompt: Prompt, wanted: Sequence[tuple[str | None, str]]) -> Prompt:
    """The prompt with these objects, each named."""
    return replace(prompt, text=" and ".join(map(named, wanted)), wanted=tuple(wanted))


def named(wanted: tuple[str | None, str]) -> str:
    """ "a red circle"."""
    return f"a {wanted[0]} {wanted[1]}"


def _box(place: tuple[int, int]) -> tuple[float, float, float, float]:
    x, y = place
    return x / SIDE, y / SIDE, (x + BOX) / SIDE, (y + BOX) / SIDE


def layout_of(prompt: Prompt, boxes: Sequence[tuple[float, float, float, float]]):
    """The layout of one image."""
    layouts = pack_module("gsn_ops.layout.layout")
    objects = tuple(layouts.PlacedObject(named(w), box) for w, box in zip(prompt.wanted, boxes, strict=True))
    return layouts.Layout(objects, canvas=(256, 256))


def with_method(demo: Demo, task: Task, name: str) -> Made:
    """A batch by a method of the drop-down, or plain."""
    how = HOW["sd"]
    if not METHODS[name]:
        return Made(demo.sample(demo.model, task.asked, how), 0.0)
    encode, placed = demo.encode, pack_module("gsn_ops.host.prompts.layout_regions").with_layout
    layout = layout_of(task.prompts[0], task.boxes)
    demo.encode = lambda texts: placed(encode(texts), layout)[0] if texts[0] else encode(texts)
    try:
        made = demo.refine(recipes_of(Way(name, METHODS[name])), task.prompts, how)
    except RuntimeError:  # no update was due
        return Made(demo.sample(demo.model, task.prompts, how), 0.0)
    finally:
        demo.encode = encode
    return Made(made.latents, made.forwards + made.backwards)


def with_lmd(demo: Demo, task: Task) -> Made:
    """A batch by LMD Sampler, one image after the other."""
    lmd, settings = (pack_module(f"gsn_ops.{n}") for n in ("host.sampling.lmd_sampler", "optimise.lmd"))
    how, latents, passes, alone, centre = HOW["sd"], [], 0, [], []
    for prompt in task.prompts:
        job = pack_module("gsn_ops.host.sampling.lmd_job").LayoutJob(
            demo.model,
            demo.clip,
            layout_of(prompt, task.boxes),
            prompt.seed,
            (how.steps, how.cfg, how.sampler, how.scheduler),
            {"samples": torch.zeros(1, 4, SIDE, SIDE)},
            settings.LMDSettings(),
            prompt=prompt.text,
        )
        with torch.inference_mode():
            made = lmd.sample_layout(job)
        latents.append(made.latent["samples"])
        passes += sum(made.passes) + 2 * how.steps * len(task.boxes)
        found = [detect(np.asarray(image)) for image in images_of(made.objects["samples"])]
        middle = pack_module("gsn_ops.layout.compose").centred(task.boxes[0])
        alone.append([bool(_of_kind(f, w)) for f, w in zip(found, prompt.wanted, strict=True)])
        centre.append([is_in(f, w, middle) for f, w in zip(found, prompt.wanted, strict=True)])
    return Made(torch.cat(latents), passes / len(task.prompts), alone, centre)


def _of_kind(found: Sequence[Found], wanted: tuple[str | None, str]) -> list[Found]:
    return [f for f in found if (f.colour, f.shape) == wanted]


def is_in(found: Sequence[Found], wanted: tuple[str | None, str], box: Sequence[float]) -> bool:
    """Whether such an object is in a box (fractions)."""
    return any(iou(f.box, [SIDE * side for side in box]) >= WANTED_IOU for f in _of_kind(found, wanted))


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    both = sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
    return shared / (both - shared)


def record(task: Task, name: str, made: Made) -> dict:
    """What is written down of a batch: there, and in its box, for every object; what is there unwanted."""
    there, in_box = [], []
    seen = [detect(np.asarray(image)) for image in images_of(made.latents)]
    for found, prompt in zip(seen, task.prompts, strict=True):
        there.append([bool(_of_kind(found, w)) for w in prompt.wanted])
        in_box.append([is_in(found, w, box) for w, box in zip(prompt.wanted, task.boxes, strict=True)])
    return {
        "kind": task.kind,
        "batch": task.number,
        "unwanted": [any(f.shape == shape for f in found) for found, (_, shape) in zip(seen, task.unwanted)],
        "way": name,
        "there": there,
        "in_box": in_box,
        "passes": made.passes,
        "alone": made.alone,
        "in_centre": made.in_centre,
    }


def study(args: argparse.Namespace) -> None:
    """Run what is not in the records yet."""
    done = {(r["kind"], r["batch"], r["way"]) for r in read(args.records)}
    demo = Demo()
    for task in (t for t in tasks(args.images) if not args.kinds or t.kind in args.kinds):
        for name in METHODS:
            if (task.kind, task.number, name) in done:
                continue
            made = with_lmd(demo, task) if name == LMD else with_method(demo, task, name)
            with args.records.open("a") as file:
                file.write(json.dumps(record(task, name, made)) + "\n")


def read(file: Path) -> list[dict]:
    """The records of a file."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=200, help="of each task")
    parser.add_argument("--kinds", nargs="+", choices=PLACES, help="only these, for processes side by side")
    parser.add_argument("--records", type=Path, required=True, help="file of the results, appended to")
    parser.add_argument("--table", action="store_true", help="only show what is there")
    parser.add_argument("--write", type=Path, help="a markdown file to put the tables into")
    args = parser.parse_args()
    if not args.table:
        study(args)
    text = "\n".join([*tables(read(args.records)), ""])
    print(text)
    if args.write:
        write_between(args.write, text, "study layouts")


if __name__ == "__main__":
    main()
