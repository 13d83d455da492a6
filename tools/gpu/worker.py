"""One part in one process: python -m tools.gpu.worker PART --mode static --out FILE.json [...]. Called by
tools/gpu/__main__.py.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from pathlib import Path

from . import host


class Notes:
    """What was found so far, in a file that is whole after every entry."""

    def __init__(self, path: Path):
        self.path, self.found, self.begun = path, {}, time.time()

    def __call__(self, name: str, numbers) -> None:
        self.found[name] = numbers
        fresh = self.path.with_suffix(".part")
        fresh.write_text(
            json.dumps({"seconds": round(time.time() - self.begun, 1), "found": self.found}, indent=1)
        )
        os.replace(fresh, self.path)


def arguments(line: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools.gpu.worker")
    parser.add_argument(
        "part",
        choices=("facts", "correctness", "demo", "vram", "sizes", "compile", "graph", "attention", "formats"),
    )
    parser.add_argument("--mode", choices=tuple(host.MODES), default="static")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dtype", default="fp32")
    parser.add_argument("--model", default="sdxl")
    parser.add_argument("--stored")
    parser.add_argument("--way", default="node")
    parser.add_argument(
        "--free", nargs="*", help="GiB that a balloon leaves free on the device, one run for each"
    )
    parser.add_argument("--folder", type=Path, help="for files that other processes read")
    parser.add_argument("--limit", type=float, default=600, help="seconds after which nothing new is begun")
    parser.add_argument("--smoke", action="store_true")
    return parser.parse_args(line)


def main(line: list[str] | None = None) -> None:
    """Carry out one part. In a process that did so before, ComfyUI is not started again."""
    args = arguments(line)
    note = Notes(args.out)
    note("began", {"part": args.part, "mode": args.mode})
    try:
        if "comfy.cli_args" not in sys.modules:
            host.boot(args.mode)
        note("booted", round(time.time() - note.begun, 1))
        work(args, note)
        note("ended", True)
    except Exception as error:
        note(
            "error",
            {
                "type": type(error).__name__,
                "text": str(error)[:1000],
                "where": traceback.format_exc()[-3000:],
            },
        )
        raise


def work(args: argparse.Namespace, note: Notes) -> None:
    if args.part == "facts":
        from . import device

        note("facts", device.facts() | {"pack": host.pack("").__version__})
        note("rates", device.rates(256 if args.smoke else 8192))
    elif args.part == "correctness":
        from . import correctness

        correctness.run(note, args.dtype, args.smoke)
    elif args.part == "demo":
        from . import demo

        demo.run(note, args.smoke)
    elif args.part == "vram":
        from . import vram

        vram.run(note, args)
    elif args.part == "sizes":
        from . import sizes

        sizes.run(note, args)
    elif args.part == "formats":
        from . import formats

        formats.run(note, args)
    elif args.part == "attention":
        from . import attention

        attention.run(note, args)
    else:
        from . import graphs

        graphs.run(note, args)


if __name__ == "__main__":
    main()
