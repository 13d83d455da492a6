"""Prove and measure everything that only a CUDA device can show: in ten minutes, random weights, no network.

    python3 tools/dev.py gpu                 on a machine with a card: what fits into ten minutes
    python3 tools/dev.py gpu --smoke         all parts on a CPU with tiny models
    python3 tools/dev.py gpu --bundle DIR    a folder that runs where Python 3.12 and torch are

Parts: a correctness; b dynamic VRAM and scarce memory; c times and memory at real sizes, which kernels ran,
how often the CPU waited; d torch.compile and CUDA graphs; e ways to attend; f quantized formats.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from tools.host_env import paths

from . import choices, jobs


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tools/dev.py gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=paths.HOST_DIR / "gpu",
        help="folder of the results (JSON, one file a job)",
    )
    parser.add_argument("--limit", type=float, default=540, help="seconds in all (default: 540)")
    parser.add_argument("--skip", default="", help="parts to leave out, e.g. cd")
    parser.add_argument("--only", nargs="+", default=[], help="jobs by name, or by how their names begin")
    parser.add_argument("--smoke", action="store_true", help="tiny models on a CPU")
    parser.add_argument(
        "--bundle", type=Path, metavar="DIR", help="make the folder that runs elsewhere, and nothing else"
    )
    parser.add_argument("--list", action="store_true", help="name the jobs and how long they take")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    if args.bundle:
        from . import bundle

        print(f"{args.bundle}: {bundle.make(args.bundle) / 1e6:.1f} MB")
        return 0
    chosen = [job for job in jobs.all_jobs(args.smoke) if job.letter not in args.skip]
    if args.only:
        chosen = [job for job in chosen if job.name.startswith(tuple(args.only)) or job.part == "facts"]
    if args.list:
        print(
            "\n".join(
                f"{job.letter} {job.name:24} {job.seconds:4.0f} s {job.needs_gib:4.0f} GiB" for job in chosen
            )
        )
        return 0
    jobs.device_environment()
    (args.out / "files").mkdir(parents=True, exist_ok=True)
    runner = jobs.Runner(args.out, args.limit)
    if args.smoke:
        runner.run_here(chosen)
        return finish(args.out, runner, runner.results["facts"]["found"].get("facts", {}))
    runner.run(chosen[:1])
    found = runner.results.get("facts", {}).get("found", {})
    rates, facts = found.get("rates", {}), found.get("facts", {})
    if not facts:
        return finish(args.out, runner, facts)
    if rates.get("bf16"):
        runner.scale = max(1.0, jobs.CARD_TFLOPS / rates["bf16"] / 1.3)
    runner.run(chosen[1:], facts.get("memory_gib"))
    return finish(args.out, runner, facts)


def finish(folder: Path, runner: jobs.Runner, facts: dict) -> int:
    """Write all of it into one file, list faults and what was left out; 1 if there was a fault."""
    faults = {name: jobs.faults_in(result) for name, result in runner.results.items()}
    faults = {name: found for name, found in faults.items() if found}
    everything = {"facts": facts, "faults": faults, "left_out": runner.left_out, "results": runner.results}
    (folder / "gpu.json").write_text(json.dumps(everything, indent=1), encoding="utf-8")
    rows = choices.choices(runner.results)
    if rows:
        print(
            "\nA patch to be read by a person; nothing is applied:\n"
            + choices.as_patch(str(facts.get("card", "CPU")), rows)
        )
    for name, found in faults.items():
        print(f"FAULT {name}: " + "\n      ".join(f[:400] for f in found[:8]))
    for name, why in runner.left_out.items():
        print(f"left out: {name} ({why})")
    shutil.rmtree(folder / "files", ignore_errors=True)
    print(f"{len(runner.results)} jobs, {len(faults)} with faults, {len(runner.left_out)} left out")
    print(f"all numbers: {folder / 'gpu.json'}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
