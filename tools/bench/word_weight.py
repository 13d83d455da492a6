"""What Word Weight adds to a plain step, at real sizes with random weights, both prompts in one batch.

    python3 tools/dev.py run -m tools.bench.word_weight --model sd15

The two take turns, a step each; what is printed is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from tools.host_env.inprocess import boot, load_pack, pack_module

from .flop_floor import synchronise
from .models import MODELS, build, patcher, size_of
from .sampler_state import sigmas_of

WEIGHTS = "red cat: 1.5, dog: 0.7"


def weighted(model):
    """The MODEL with two words weighted, as the node makes it."""
    edit = pack_module("gsn_ops.modulate.edits").WordWeights(
        weights=pack_module("gsn_ops.subjects.weights").parse_weights(WEIGHTS)
    )
    return pack_module("gsn_ops.host.sampling.modulation").attach_edits(model, edit)[0]


def timed(size, device: torch.device, rounds: int) -> list[float]:
    """Ratios of the time of a weighted step to that of a plain one, one a round; the first round warms up."""
    import comfy.sample
    import comfy.samplers

    # On a CPU CPU time: other processes of the machine do not count.
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    with torch.inference_mode():
        plain = patcher(build(size), device)
        ways = (plain, weighted(plain))
        positive, negative = size.conditioning()
        sampler, sigmas = comfy.samplers.sampler_object("euler"), sigmas_of(plain)
        latent = size.latent()
        noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))
        ratios = []
        for n in range(rounds + 1):
            seconds = []
            for model in ways:
                synchronise(device)
                begun = clock()
                comfy.sample.sample_custom(
                    model, noise, size.cfg, sampler, sigmas, positive, negative, latent, disable_pbar=True
                )
                synchronise(device)
                seconds.append(clock() - begun)
            print(f"round {n}: plain {seconds[0]:.2f} s, weighted {seconds[1]:.2f} s", flush=True)
            ratios.append(seconds[1] / seconds[0])
    return ratios[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=tuple(MODELS), default="sd15")
    parser.add_argument("--size", type=int, help="side of the image (default: the model's)")
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="a narrow model of the same kind, in seconds")
    args = parser.parse_args()
    boot()
    load_pack()
    size = size_of(args.model, smoke=args.smoke, size=args.size)
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    ratios = timed(size, device, args.rounds)
    low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
    print(f"{size.name} {size.size} px: weighted / plain {middle:.3f} ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
