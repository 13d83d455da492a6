"""docs/models.md: which models are supported and how.

From the pack's facts, ComfyUI's classes and the tests' tiny networks:

python3 tools/dev.py models --write docs/models.md
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

DEFAULT_MOMENT = 0.18
HEAD = """# Supported models

Made by `python3 tools/dev.py models --write docs/models.md`; a test fails when this file is stale.

Every model below is recognised by its class in ComfyUI, so its fine-tunes and merges count too.

* *Attention*: from the image across to the text, or joint over one sequence in this order.
* *Read by default*: levels (latent height / map height, for UNets) or blocks, whose maps are averaged.
* *18 %*: the noise level (sigma) of the default step, for each tested model. This and the column before
  are marked as published, or as ours. Where 18 % is far from the levels of Stable Diffusion 1.x (5.59) or
  3 (0.93), try those with at_sigma.
* *Text encoders*: `l`, `g` and `h` are CLIPs. * ComfyUI cannot name them before a checkpoint is loaded,
  so the pack does. For each, a word of a prompt is changed in ComfyUI's own tokenizer and (tiny) encoder,
  and the columns that change must be those that the pack claims. mT5, umT5, Gemma, Mistral and
  GPT-OSS keep their tokenizers inside checkpoints, so small ones of their kind stand for them. Encoders
  have no columns if they are only pooled (`l` of Flux, HunyuanVideo and Kandinsky, `l` and `g` of
  HiDream, Jina of NewBie) or read by an adapter (`qwen3_06b` of Anima).
* *Video models* (Wan, HunyuanVideo, Cosmos, Kandinsky 5 video) are for images here: set the length of
  the empty latent to 1. More frames are refused before the first step.
* *Tested on*: tiny networks built from ComfyUI's own classes with random weights. For each, maps equal an
  explicit softmax within 1e-5, gradients have a cosine above .9999, a batch of two is refined, a run
  without nursing is bit-identical before, after and switched off, nothing is left behind, and the memory
  of an update step grows with the number of image tokens, not with its square.
* **Bold**: keys and shapes of the published checkpoint also pass ComfyUI's detection and these facts.

The demo models, which are trained, have the layouts of Stable Diffusion 1 and 3. Weights may be stored in
another type than the network computes in (float16, fp8) or in ComfyUI's quantized formats (fp8 with
scales, int8): tested on tiny networks of SDXL, SD3, Flux, Qwen-Image, PixArt and Z-Image. mxfp8, nvfp4
and rotated int8: on a tiny Flux on a CPU, where ComfyUI unpacks them; their own kernels have not been run.

Other packs, each tried once by hand with its own code on a tiny network; the tests have stand-ins of ours:
* GGUF (city96, 795e451): Flux in Q8_0 is read and updated.
* MagCache (b29606d): update steps run without it, and the report says so. TaylorSeer (62d9fac) fails in
  ComfyUI 0.30 on Flux with and without this pack; on Qwen-Image updates are made beside TaylorSeerLite.
  TeaCache (91dff8e) does not load there.
* nunchaku, read and not run: Flux is a network of its own engine (`ComfyFluxWrapper`), which is named and
  left alone; Word Weight, Word boost and Auto say that they did not act.
"""
REFUSED = """
## Refused, with the reason
"""
HEADS = (
    "family",
    "classes in ComfyUI",
    "attention",
    "read by default",
    "18 %",
    "prediction",
    "text encoders",
    "tested on",
)
PREDICTIONS = {"EDM": "EDM", "V_PREDICTION": "v", "EPS": "eps", "CONST": "flow", "COSMOS_RFLOW": "flow"}


def cell(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))


def table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def layout_of(arch, model, family, inputs):
    """The attention layout of a tiny network, from what ComfyUI's sampler would hand to it."""
    import comfy.samplers
    import torch

    rows, more = arch.conditioning()
    latent = arch.latent()
    (cond,) = comfy.samplers.encode_model_conds(
        model.extra_conds,
        [{"cross_attn": rows, "model_conds": {}, **more}],
        latent,
        torch.device("cpu"),
        "positive",
        latent_image=latent,
        seed=0,
    )
    conds = {name: c.process_cond(batch_size=1, area=None).cond for name, c in cond["model_conds"].items()}
    return family.layout(inputs(model.diffusion_model, tuple(latent.shape), conds, rows.shape[1]))


def attention(layout) -> str:
    """In words: what the queries of the image attend to, and in which order."""
    if layout.kind == "cross":
        return "cross"
    if layout.patch is None:
        return "cross, the image among the keys"
    return "joint: text, image" if layout.first_column < layout.first_image else "joint: image, text"


def prediction(model) -> str:
    """What the network predicts, by its sampling's base classes; some checkpoints say it."""
    from comfy.supported_models_base import BASE

    names = {cls.__name__ for cls in type(model.model_sampling).__mro__}
    found = next(words for name, words in PREDICTIONS.items() if name in names)
    return found + (
        "" if type(model.model_config).model_type is BASE.model_type else ", or as the checkpoint says"
    )


def encoders(configs: Iterable[type], family) -> str:
    """Names of the text encoders, by ComfyUI's own tokenizers; marked where the pack names them."""
    if family.encoders:
        return cell(name + " *" for name in family.encoders)
    tokenizers = dict.fromkeys(config.clip_target(config.__new__(config), {}).tokenizer for config in configs)
    made = (tokenizer(embedding_directory=None, tokenizer_data={}) for tokenizer in tokenizers)
    return cell(name for tokenizer in made for name in tokenizer.tokenize_with_weights("cat", False))


def row(family, configs: list[type], tiny: dict, published: Iterable[str], layouts) -> tuple[str, ...]:
    """One family. tiny: its networks in the tests."""
    models = [arch.build() for arch in tiny.values()]
    first = next(iter(tiny.values()))
    sigmas = cell(f"{model.model_sampling.percent_to_sigma(DEFAULT_MOMENT):.3g}" for model in models)
    names = sorted(config.__name__ for config in configs)
    return (
        family.name,
        cell(f"**{name}**" if name in published else name for name in names),
        attention(layout_of(first, models[0], family, layouts.Inputs)),
        family.describe_capture(layouts.MapNeeds()),
        f"{sigmas} ({family.moment})",
        cell(map(prediction, models)),
        encoders(configs, family),
        cell(tiny),
    )


def document(architectures: dict, published: Iterable[str], layouts) -> str:
    """The whole file.

    architectures: the tests' tiny networks. published: ComfyUI's classes whose key layouts are tested.
    """
    import comfy.supported_models

    configs, refused, tiny = defaultdict(list), defaultdict(list), defaultdict(dict)
    for config in comfy.supported_models.models:
        known = next(
            (cls.__name__ for cls in config.__mro__ if cls.__name__ in (*layouts.REFUSED, *layouts.FAMILIES)),
            None,
        )
        if known in layouts.REFUSED:
            refused[layouts.REFUSED[known]].append(config.__name__)
        elif known:
            configs[layouts.FAMILIES[known]].append(config)
    for name, arch in architectures.items():
        tiny[layouts.FAMILIES[arch.config]][name] = arch
    rows = [row(family, configs[family], tiny[family], published, layouts) for family in configs]
    rows.sort(key=lambda line: line[0].casefold())
    reasons = sorted((cell(sorted(names)), reason) for reason, names in refused.items())
    own = {
        family: name for name, family in layouts.FAMILIES.items() if not hasattr(comfy.supported_models, name)
    }
    needs = layouts.MapNeeds()
    demos = "".join(
        f"\nComes with the pack, trained: {f.name} ({name}), {f.describe_capture(needs)}; {f.moment}.\n"
        for f, name in own.items()
    )
    return (
        HEAD
        + "\n"
        + table(HEADS, rows)
        + demos
        + REFUSED
        + "\n"
        + table(("classes in ComfyUI", "why"), reasons)
    )


def main() -> None:
    # Before ComfyUI boots: it has a package `tests` too.
    from tests.support.architectures import ARCHITECTURES
    from tests.support.published_checkpoints import PUBLISHED
    from tools.host_env import inprocess

    parser = argparse.ArgumentParser(
        prog="tools/dev.py models", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="default: print it")
    args = parser.parse_args()
    inprocess.boot()
    text = document(
        ARCHITECTURES,
        {p.config for p in PUBLISHED.values()},
        inprocess.pack_module("gsn_ops.host.architectures.family"),
    )
    if args.write:
        args.write.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
