"""The command line: python3 tools/dev.py study (steps | server | eval | compare | ... | tables)

Without the name of a study: steps.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from tools.host_env.paths import CLONE, HOST_DIR

from . import auto, compare, compute_tradeoff, edit, evaluate, gradient_free, steps
from .data import HOW, Study
from .options import at_least_one
from .store import Store
from .tables import write_between

STUDIES: dict[str, ModuleType] = {
    "steps": steps,
    "eval": evaluate,
    "compare": compare,
    "tradeoff": compute_tradeoff,
    "gradient-free": gradient_free,
    "auto": auto,
    "edit": edit,
}
MODELS = {"demo": "sd", "sd": "sd", "sd3": "sd3", "sd3-turbo": "sd3-turbo"}
RECORDS = HOST_DIR / "study" / "records.jsonl"


def parser() -> argparse.ArgumentParser:
    """The subcommands: one per study, and tables."""
    whole = argparse.ArgumentParser(
        prog="tools/dev.py study", description="Measurements on the embedded models."
    )
    commands = whole.add_subparsers(dest="study", metavar="COMMAND", required=True)
    raw = argparse.RawDescriptionHelpFormatter
    for name, module in STUDIES.items():
        summary = module.__doc__.splitlines()[0]
        one = commands.add_parser(name, help=summary, description=module.__doc__, formatter_class=raw)
        add_common(one, module)
        module.add_arguments(one)
        add_output(one)
    summary = "Print the tables of stored studies again, without running anything."
    stored = commands.add_parser("tables", help=summary, description=summary)
    stored.add_argument("names", nargs="*", metavar="STUDY", help=f"{', '.join(STUDIES)} (default: all)")
    add_output(stored)
    return whole


def add_common(one: argparse.ArgumentParser, module: ModuleType) -> None:
    """What all studies have."""
    one.add_argument(
        "--model", choices=MODELS, default="sd", help="the embedded UNet (sd, or demo) or an MM-DiT"
    )
    one.add_argument("--file", type=Path, help="another file of that model's kind")
    one.add_argument(
        "--objects", type=int, nargs="+", choices=(1, 2, 3), default=module.OBJECTS, help="in a prompt"
    )
    one.add_argument(
        "--pairs", type=at_least_one, default=module.PAIRS, help="prompts of each number of objects"
    )
    one.add_argument(
        "--split", default="test", choices=("test", "validation"), help="validation: to choose numbers"
    )
    one.add_argument("--steps", type=at_least_one, help="sampling steps (default: 20; of sd3-turbo 8)")
    one.add_argument("--sampler")
    one.add_argument("--scheduler")
    one.add_argument("--cfg", type=float)
    one.add_argument(
        "--batch", type=at_least_one, default=20, help="images made together (ddpm's noise depends on it)"
    )
    one.add_argument("--processes", type=at_least_one, default=1)


def add_output(one: argparse.ArgumentParser) -> None:
    """Where records and tables are."""
    where = RECORDS.relative_to(CLONE)
    one.add_argument("--records", type=Path, default=RECORDS, help=f"the file of records (default: {where})")
    one.add_argument("--write", type=Path, help="a markdown file to put the tables into")


def plan(args: argparse.Namespace, module: ModuleType) -> Study:
    """The study that was asked for. Boots ComfyUI."""
    from tools.host_env.inprocess import PYTORCH_ATTENTION, boot

    from .run import facts_of

    boot(more=PYTORCH_ATTENTION)
    chosen = {name: getattr(args, name) for name in ("steps", "sampler", "scheduler", "cfg")}
    sampling = replace(
        HOW[args.model], **{name: value for name, value in chosen.items() if value is not None}
    )
    study = Study(
        args.study,
        module.ways(args),
        args.model,
        str(args.file or ""),
        sampling,
        tuple(args.objects),
        args.pairs,
        args.split,
        args.batch,
        getattr(args, "timed", 0),
        facts=facts_of(args.model, args.file),
        colours=steps.COLOURS[getattr(args, "colours", "with")],
    )
    return replace(study, command=command_of(study))


def command_of(study: Study) -> str:
    """The command that makes a study again, but for the settings of its ways."""
    model = f" --model {study.model}" if study.model != "sd" else ""
    model += colours_of(study)
    objects = " ".join(map(str, study.objects))
    split = f" --split {study.split}" if study.split != "test" else ""
    return (
        f"python3 tools/dev.py study {study.name}{model} --pairs {study.pairs} --objects {objects} "
        f"--steps {study.sampling.steps}{split}"
    )


def colours_of(study: Study) -> str:
    """The option that gives a study its prompts with and without colours; "" for the usual one."""
    words = {kinds: word for word, kinds in steps.COLOURS.items()}
    return "" if study.colours == (True,) else f" --colours {words[study.colours]}"


def show(study: Study, store: Store, write: Path | None) -> None:
    """Prints the tables of a study, and puts them into a file."""
    text = "\n".join(STUDIES[study.name].tables(study, store))
    print(text)
    if write:
        write_between(write, text, name_of(study))


def name_of(study: Study) -> str:
    """Its name in a file, where runs of other numbers of steps and of validation prompts stand beside it."""
    steps, usual = study.sampling.steps, HOW[study.model].steps
    parts = [f"study {study.name} {study.model}"]
    parts += [f"{steps} steps"] if steps != usual else []
    parts += [study.split] if study.split != "test" else []
    return " ".join(parts)


def main() -> None:
    words = sys.argv[1:]
    if words[:1] == ["server"]:
        from . import server_study

        return server_study.main(words[1:])
    unnamed = bool(words) and words[0].startswith("-") and words[0] not in ("-h", "--help")
    args = parser().parse_args(["steps", *words] if unnamed else words)
    try:
        store = Store(args.records)
    except ValueError as error:
        sys.exit(str(error))
    if args.study == "tables":
        stored = [study for study in store.studies if not args.names or study.name in args.names]
        for study in stored:
            show(study, store, args.write)
        if not stored:
            wanted = " or ".join(args.names) or "study"
            sys.exit(f"There is no stored {wanted} in {args.records}: run one of {', '.join(STUDIES)} first.")
        return
    from .run import run

    module = STUDIES[args.study]
    args.model = MODELS[args.model]
    if hasattr(module, "settle"):
        module.settle(args)
    study = plan(args, module)
    run(study, store, args.processes)
    show(study, store, args.write)
    if hasattr(module, "finish"):
        module.finish(study, store, args)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Ended by you. What is made stands in the file of records: the same command goes on.")
