"""Train an embedded demo model: about an hour on two CPU cores.

    python tools/train_tiny.py --workers 2
    python tools/train_tiny.py --workers 2 --model sd3
    python tools/train_tiny.py --workers 1 --model sd3-turbo
    python tools/train_tiny.py --workers 1 --model sd-instruct --out instruct.safetensors

The first two start from nothing. The third one distils the SD3-like model of models/ to 4 and 8 steps
without guidance; it makes trajectories of that model and learns from them, in one process. The last one
teaches the UNet of models/ to edit a given picture; its file does not come with the pack.

A killed run goes on from its last checkpoint in .host/train when the same command is given again. Needs the
prepared host (its UNet or MM-DiT is what is trained) or COMFYUI_PATH.
"""

import argparse
import hashlib
import logging
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: one thread for each worker
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
import torch.multiprocessing as processes  # noqa: E402

from tools.tiny import dataset, denoiser, instruct, trainer, turbo  # noqa: E402
from tools.tiny.export import export, metadata  # noqa: E402
from tools.tiny.files import sha256  # noqa: E402
from tools.tiny.model_sd import SD  # noqa: E402
from tools.tiny.model_sd3 import SD3  # noqa: E402
from tools.tiny.recipe import RECIPES, Distillation, Recipe  # noqa: E402

CHECKPOINT = "checkpoint_{}.pt"
LAYOUTS = {"sd": SD, "sd-instruct": instruct.InstructSD, "sd3": SD3, "sd3-turbo": turbo.Turbo}
DRAW = {"sd-instruct": instruct.draw_batch, "sd3-turbo": turbo.draw_batch}
FROM = {"sd-instruct": instruct.BEFORE, "sd3-turbo": turbo.TEACHER}  # whose weights it starts with
COMMON = (
    "attention_supervision",
    "captions",
    "dataset",
    "denoiser",
    "latent_frame",
    "recipe",
    "text_encoder",
    "trainer",
    "world",
)
MMDIT = (*COMMON, "mmdit", "model_sd3", "t5_encoder")
SOURCES = {
    "sd": (*COMMON, "model_sd"),
    "sd-instruct": (*COMMON, "model_sd", "instruct"),
    "sd3": MMDIT,
    "sd3-turbo": (*MMDIT, "turbo"),
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model",
        choices=tuple(LAYOUTS),
        default="sd",
        help="SD's UNet, SD3's MM-DiT, this one for few steps, or the UNet that edits",
    )
    parser.add_argument("--steps", type=int, nargs="+", help="steps of each stage")
    parser.add_argument(
        "--workers", type=int, default=2, help="processes of one thread each; they share a batch"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="default: models/tiny_<model>_shapes.safetensors")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / ".host" / "train", help="images and checkpoints"
    )
    parser.add_argument("--smoke", action="store_true", help="a few steps on a few images: does it run?")
    return parser.parse_args()


def stages_data(kind: str, plan: Recipe, folder: Path) -> list:
    if kind == "sd-instruct":
        return [None]  # pairs are drawn batch by batch
    if isinstance(plan, Distillation):
        return [turbo.Trajectories(folder, plan)]
    return [
        dataset.load(folder, s.seed, s.scenes, s.share, plan.neglect, s.swap, s.supervised)
        for s in plan.stages
    ]


def start_log() -> None:
    """Of this process, which gets one thread."""
    logging.basicConfig(format="%(asctime)s %(message)s", stream=sys.stdout)
    trainer.log.setLevel(logging.INFO)
    torch.set_num_threads(1)


def work(
    rank: int,
    workers: int,
    kind: str,
    plan: Recipe,
    seed: int,
    folder: Path,
    out: Path,
    hashes: dict[str, str],
) -> None:
    """One worker: all of them hold the same weights; the first one writes."""
    start_log()
    if workers > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{folder}/rendezvous_{kind}", rank=rank, world_size=workers
        )
    fingerprint = hashlib.sha256(f"{plan} {seed}".encode()).hexdigest()
    model = trainer.Model(LAYOUTS[kind], seed)
    curve = trainer.train(
        rank,
        workers,
        plan,
        stages_data(kind, plan, folder),
        model,
        trainer.Checkpoint(folder / CHECKPOINT.format(kind), fingerprint),
        folder / kind,
        DRAW.get(kind, trainer.draw_batch),
    )
    if rank == 0:
        from comfyui_version import __version__ as host_version

        export(out, kind, model.averaged(), metadata(kind, plan, seed, curve, hashes, host_version))
        trainer.log.info("wrote %s, %.1f MB", out, out.stat().st_size / 1e6)
    if workers > 1:
        dist.destroy_process_group()


def main() -> None:
    args = arguments()
    recipe, usual = RECIPES[args.model]
    args.out = args.out or ROOT / "models" / f"tiny_{args.model.replace('-', '_')}_shapes.safetensors"
    plan = recipe(args.seed, tuple(args.steps or usual))
    if args.smoke:
        args.folder = args.folder / "smoke"
        args.out = args.folder / "smoke.safetensors"
        plan = recipe(args.seed, tuple(6 for _ in usual), tuple(500 for _ in usual))
        (args.folder / CHECKPOINT.format(args.model)).unlink(missing_ok=True)
    folder = args.folder.resolve()
    (folder / args.model).mkdir(parents=True, exist_ok=True)
    (folder / f"rendezvous_{args.model}").unlink(missing_ok=True)
    if args.model == "sd3-turbo" and args.workers > 1:
        raise SystemExit("The turbo model is trained by one process: add --workers 1.")
    denoiser.use_host()  # a missing host is reported once, not by every worker
    sources = ["tools/train_tiny.py", *(f"tools/tiny/{name}.py" for name in SOURCES[args.model])]
    if args.model in FROM:
        sources.append(f"models/{FROM[args.model].name}")
    start_log()
    stages_data(args.model, plan, folder)  # made once, before the workers read it
    job = (
        args.workers,
        args.model,
        plan,
        args.seed,
        folder,
        args.out.resolve(),
        {s: sha256(ROOT / s) for s in sources},
    )
    if args.workers == 1:
        work(0, *job)
    else:
        processes.spawn(work, job, nprocs=args.workers)


if __name__ == "__main__":
    main()
