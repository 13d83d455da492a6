"""Measure what one update step costs, at real sizes with random weights: nothing is downloaded.

    python3 tools/dev.py bench --model sd15
    python3 tools/dev.py bench --model flux --count-only     (memory and arithmetic by counting; any machine)

Four ways take turns in one run: a plain step of ComfyUI (both prompts, no gradients), the published way
(written in tools/bench/published_baseline.py), one update step of this pack as a user runs it, and the matrix
products that an update step needs.
"""

from __future__ import annotations

import argparse
import sys

from tools.host_env.inprocess import boot

from .models import MODELS, size_of


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tools/dev.py bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=tuple(MODELS), default="sd15")
    parser.add_argument(
        "--size", type=int, help="side of the image (default: what the model was trained for)"
    )
    parser.add_argument(
        "--dtype",
        choices=("fp32", "bf16", "fp16"),
        help="what it computes in (default: fp32 for sd15, else bf16)",
    )
    parser.add_argument(
        "--stored",
        choices=("fp8", "fp16", "bf16"),
        help="type of the weights, if another one: cast for each call",
    )
    parser.add_argument(
        "--update-precision",
        choices=("full", "auto", "bfloat16"),
        default="full",
        help="of an update step's products: the weights', or as the pack chooses by itself (default: full)",
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda if there is one")
    parser.add_argument("--rounds", type=int, default=5, help="timed turns of every way")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the noise: whether half precision agrees can depend on it"
    )
    parser.add_argument(
        "--threads", type=int, help="of a CPU (default: OMP_NUM_THREADS, else half the cores)"
    )
    parser.add_argument(
        "--no-published", action="store_true", help="leave out the published way, which needs most memory"
    )
    parser.add_argument(
        "--count-only", action="store_true", help="no weights and no times: counts on tensors without numbers"
    )
    parser.add_argument("--smoke", action="store_true", help="a narrow model of the same kind, in seconds")
    parser.add_argument(
        "--json", help="also write the numbers to this file; - = to the screen, and nothing else"
    )
    return parser.parse_args()


def main() -> None:
    args = arguments()
    import torch

    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        size = size_of(args.model, smoke=args.smoke, size=args.size, dtype=args.dtype, stored=args.stored)
    except ValueError as error:
        sys.exit(str(error))
    boot(cpu=device.type == "cpu")
    from .bench import bench
    from .show import as_json, as_text

    found = bench(
        size,
        device,
        rounds=args.rounds,
        published=not args.no_published,
        count_only=args.count_only,
        precision=args.update_precision,
        seed=args.seed,
    )
    if args.json != "-":
        print(as_text(found))
    if args.json == "-":
        print(as_json(found))
    elif args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            file.write(as_json(found) + "\n")


if __name__ == "__main__":
    main()
