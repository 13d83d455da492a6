"""Making the images of a study: one loop for all studies, which makes only what the store does not have."""

import ast
import hashlib
import math
import multiprocessing
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from functools import lru_cache, partial
from pathlib import Path

from tqdm import tqdm

from tools.host_env.inprocess import pack_module
from tools.host_env.paths import CLONE
from tools.tiny.prompts import Prompt

from . import edited_pairs
from .data import Record, Study, Way
from .embedded import LOADERS, Demo, Refined, edits_of, judge, judge_without_last, recipes_of, without_last
from .store import Store

WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def run(study: Study, store: Store, processes: int = 1) -> None:
    """Makes the images that the store does not have. After a kill it goes on from there when run again."""
    store.add_study(study)
    for part in (study, study.alone()):
        tasks = list(part.batches())
        missing = [(way, batch) for way, batch in tasks if store.batch(part, way, batch) is None]
        if not missing:
            continue
        done = len(tasks) - len(missing)
        with tqdm(total=len(tasks), initial=done, desc=part.name, unit="batch") as progress:
            for records in results(part, missing, processes):
                store.add(records)
                progress.set_postfix_str(
                    f"{records[0].way}: {sum(r.objects for r in records)} of {len(records)} right"
                )
                progress.update()


def results(
    study: Study, tasks: Sequence[tuple[Way, list[Prompt]]], processes: int
) -> Iterator[list[Record]]:
    """The records of each batch, in order. Images that are timed alone are made in this process."""
    if processes > 1 and study.batch > 1:
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            yield from pool.imap(partial(make, study), tasks)
    else:
        yield from map(partial(make, study), tasks)


@lru_cache(maxsize=2)
def demo_of(layout: str, file: str, boxes: bool) -> Demo:
    """The loaded model, once per process."""
    return Demo(Path(file) if file else None, layout, boxes)


def make(study: Study, task: tuple[Way, list[Prompt]]) -> list[Record]:
    """Makes and judges one batch."""
    way, batch = task
    if study.name == edited_pairs.STUDY:
        return edited_pairs.make(study, way, batch, demo_of(study.model, study.file, False))
    demo = demo_of(study.model, study.file, way.boxes)
    recipes = recipes_of(way)
    if recipes and way.last_unwanted:
        recipes = without_last(recipes, batch[0])
    noise = [replace(prompt, seed=way.seed(prompt)) for prompt in batch]
    begun = time.monotonic()
    found = demo.refine(recipes, noise, study.sampling, edits_of(way)) if recipes else None
    if found is not None:
        latents = found.latents
    elif way.edit:
        latents = demo.edited(way, noise, study.sampling)
    else:
        latents = demo.sample(demo.model, noise, study.sampling)
    seconds = time.monotonic() - begun
    verdicts = (judge_without_last if way.last_unwanted else judge)(latents, batch)
    return [
        Record(
            study.name,
            study.model,
            prompt.text,
            way.seed(prompt),
            way.name,
            study.config(way, batch),
            study.facts.get("pack", ""),
            verdict.objects,
            verdict.colours,
            len(batch),
            round(seconds, 4),
            **(cost_of(found, i) if found else {}),
        )
        for i, (prompt, verdict) in enumerate(zip(batch, verdicts, strict=True))
    ]


def cost_of(found: Refined, i: int) -> dict:
    """The fields of a Record that a method fills, for image i of its batch."""
    return {
        "forwards": found.evaluations[i],
        "backwards": found.updates[i],
        "batch_forwards": found.forwards,
        "batch_backwards": found.backwards,
        "step": found.step,
        "first_loss": finite(found.first_loss[i]),
        "last_loss": finite(found.last_loss[i]),
        "weakest": finite(found.weakest[i]),
        "percent": found.percent,
        "sigma": found.sigma,
    }


def finite(value: float) -> float | None:
    """The number itself, or None, which JSON can hold."""
    return value if math.isfinite(value) else None


def facts_of(model: str, file: Path | None = None) -> dict[str, str]:
    """What the images depend on: versions, the model file, and the code without its comments."""
    import comfyui_version
    import torch
    from comfy.model_management import pytorch_attention_enabled

    file = file or pack_module(LOADERS[model][0]).PATH
    return {
        "pack": pack_module("gsn_ops").__version__,
        "code": code_digest(),
        "ComfyUI": comfyui_version.__version__,
        "torch": torch.__version__,
        "attention": "PyTorch" if pytorch_attention_enabled() else "ComfyUI",
        "Python": platform.python_version(),
        "model": hashlib.sha256(Path(file).read_bytes()).hexdigest()[:12],
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "date": date.today().isoformat(),
    }


def code_digest() -> str:
    """A hash of the pack's engine and of the tiny world that judges, without comments and docstrings."""
    digest = hashlib.sha256()
    for folder in ("gsn_ops", "tools/tiny"):
        for path in sorted((CLONE / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                if isinstance(node, WITH_DOCSTRING) and ast.get_docstring(node, clean=False) is not None:
                    node.body = node.body[1:]
            digest.update(ast.dump(tree).encode())
    return digest.hexdigest()[:12]
