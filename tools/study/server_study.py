"""Does a method help on my checkpoint, and at which step? A study through running ComfyUI servers.

    python3 tools/dev.py study server --workflow mine.json --tiam "2 entities" "3 entities" --pairs 10
        --seeds 0 1 2 3 --candidates 0 2 4 6 8 10 12 --url http://127.0.0.1:8188
    python3 tools/dev.py study server --shapes --candidates 0 1 2 4 --pairs 20 --workers 2

The workflow is in API form and has Semantic Nursing, a sampler, VAE Decode and Subject Judge (the default
is tools/study/demo_workflow.json). Every prompt is made with every seed, plain and with every method at
every candidate step; each image is judged by the workflow's own judge. What is made stands in one file, and
the same command goes on after any end. A candidate that is worse than the best one (paired McNemar test, p
below 0.01) gets no more images after the round in which that shows.

Workers: --url names servers that run already, one worker each; else each worker starts one of its own.
Workers are processes of this machine, or actors of Ray: --ray (on this machine), --address (of a cluster).
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import date
from functools import partial
from pathlib import Path

from tqdm import tqdm

from tools.host_env.paths import CLONE, HOST_DIR, HostError

from . import server_results as results
from .cells import Cell, Grid, Task, Template, check_different
from .choose_step import check_candidates, keep
from .compare import LATENT_REFINE
from .curve import save_curve
from .options import address_of, at_least_one
from .pools import Factory, LocalPool, Pool, RayPool, StudyFailed, dispatch
from .prompt_sets import SETS, SPLITS, AskedPrompt, read_prompts, shapes, tiam
from .server_worker import ServerWorker
from .tables import write_between

DEMO_WORKFLOW = Path(__file__).with_name("demo_workflow.json")
RECORDS = HOST_DIR / "study" / "server.jsonl"


def make_study(
    grid: Grid, template: Template, store: results.CellStore, pool: Pool, workers: int
) -> set[results.Way]:
    """Makes what the store does not have, round by round; returns the ways that ended early."""
    stopped: set[results.Way] = set()
    done: list[Cell] = []
    total = sum(len(cells) for cells in grid.rounds())
    with tqdm(total=total, desc="cells", unit="cell") as progress:

        def take(task: Task, result: dict) -> None:
            store.add(task.cell, result)
            progress.update()

        for cells in grid.rounds():
            wanted = [cell for cell in cells if cell.way not in stopped]
            missing = [cell for cell in wanted if store.right(cell) is None]
            progress.update(len(wanted) - len(missing))
            progress.total -= len(cells) - len(wanted)
            dispatch((Task(cell, template.of(cell)) for cell in missing), pool, workers, take)
            done += wanted
            stopped = results.hopeless(store, grid, done, stopped)
    return stopped


def parser() -> argparse.ArgumentParser:
    """The options."""
    raw = argparse.RawDescriptionHelpFormatter
    one = argparse.ArgumentParser(prog="tools/dev.py study server", description=__doc__, formatter_class=raw)
    where = DEMO_WORKFLOW.relative_to(CLONE)
    one.add_argument("--workflow", type=Path, default=DEMO_WORKFLOW, help=f"in API form (default: {where})")
    one.add_argument("--prompts", type=Path, help="a file, one prompt a line (subjects behind a tab)")
    one.add_argument("--tiam", nargs="+", choices=SETS, default=[], help="sets of TIAM's templates")
    one.add_argument("--shapes", action="store_true", help="prompts of the demo models")
    one.add_argument("--pairs", type=at_least_one, default=10, help="prompts of each set of TIAM or shapes")
    one.add_argument("--split", choices=SPLITS, default="validation")
    one.add_argument("--seeds", type=int, nargs="+", default=[0], help="each prompt gets all of them")
    one.add_argument("--methods", nargs="+", default=[LATENT_REFINE], help="as in the drop-down")
    one.add_argument("--candidates", type=int, nargs="+", required=True, metavar="STEP")
    one.add_argument("--overrides", default="", help="typed for every method")
    one.add_argument("--round", type=at_least_one, default=10, help="prompts of each set between two looks")
    one.add_argument(
        "--url", nargs="+", type=address_of, default=[], help="servers that run already, one worker each"
    )
    one.add_argument("--workers", type=at_least_one, default=1, help="without --url: each starts a server")
    one.add_argument("--ray", action="store_true", help="workers are actors of Ray on this machine")
    one.add_argument("--address", default="", help="workers are actors of this Ray cluster")
    one.add_argument("--records", type=Path, default=RECORDS)
    one.add_argument("--write", type=Path, help="a markdown file to put the tables into")
    one.add_argument("--moments", type=Path, help="the moments.json to write the choice into")
    return one


def prompts_of(args: argparse.Namespace) -> list[AskedPrompt]:
    """All prompts that were asked for. Raises ValueError for none."""
    found = [prompt for name in args.tiam for prompt in tiam(name, args.pairs, args.split)]
    found += shapes(args.pairs, args.split) if args.shapes else []
    if args.prompts:
        own, said = read_prompts(args.prompts)
        found += own
        if said:
            print(said)
    if not found:
        raise ValueError("There is no prompt: name a file (--prompts), sets (--tiam), or --shapes.")
    return found


def prepared(args: argparse.Namespace) -> tuple[Grid, Template, results.CellStore]:
    """What will be made, checked before a server is asked. Raises ValueError with the cure."""
    try:
        workflow = json.loads(args.workflow.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{args.workflow} cannot be read as JSON ({error}).") from None
    template = Template(workflow)
    candidates = check_candidates(args.candidates, template.steps or 10_000)
    seeds, methods = tuple(dict.fromkeys(args.seeds)), tuple(dict.fromkeys(args.methods))
    grid = Grid(tuple(prompts_of(args)), seeds, methods, candidates, args.overrides, args.round)
    check_different(template, grid)
    return grid, template, results.CellStore(args.records, template.digest)


def pool_of(args: argparse.Namespace) -> tuple[Pool, int]:
    """The workers that were asked for, and how many they are."""
    factories: list[Factory] = [partial(ServerWorker, url) for url in args.url or [""] * args.workers]
    use_ray = args.ray or args.address
    pool = RayPool(factories, args.address) if use_ray else LocalPool(factories)
    return pool, len(factories)


def show(args: argparse.Namespace, grid: Grid, template: Template, store, stopped: set) -> None:
    """Tables, curves, and the chosen steps, of the cells that were asked for now."""
    store = store.within(grid)
    text = "\n".join(results.tables(store, grid, stopped))
    print(text)
    if args.write:
        write_between(args.write, text, f"study server {args.workflow.stem}")
    for number, method in enumerate(grid.methods):
        step = results.choice(store, grid, method, stopped)
        curves = results.series(store, grid, method, stopped)
        if step is None or not curves:
            continue
        picture = args.records.with_name(f"{args.records.stem}_{number}.png")
        save_curve(picture, curves, step, f"Right images over the step, {method}")
        print(f"Curve: {picture}")
        if sum(one.right[step] - one.plain for one in curves) <= 0:
            print(f"{method}: at no step are more images right than plain: no step was written for the node.")
            continue
        command = " ".join(["python3 tools/dev.py study server", *sys.argv[2:]])
        found = results.chosen(
            store, grid, method, step, template.steps or 0, date.today().isoformat(), command
        )
        if found:
            print(
                keep(args.moments or HOST_DIR / "user" / "gsn" / "moments.json", found[0], method, found[1])
            )


def main(words: list[str]) -> None:
    """Runs a study. A fault of the input or of a server is one sentence and status 1; what is made stays."""
    args = parser().parse_args(words)
    try:
        grid, template, store = prepared(args)
        pool, workers = pool_of(args)
        try:
            stopped = make_study(grid, template, store, pool, workers)
        finally:
            pool.close()
        show(args, grid, template, store, stopped)
    except (ValueError, StudyFailed, HostError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(f"Ended by you. What is made stands in {args.records}: the same command goes on.")
