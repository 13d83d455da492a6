"""InstructPix2Pix on the UNet demo model that was taught to edit: is the edit made, and does the rest stay?

    python3 tools/dev.py run tools/train_tiny.py --workers 1 --model sd-instruct --out instruct.safetensors
    python3 tools/dev.py run -m tools.study.instruct --file instruct.safetensors --write docs/inversion.md

The pictures, the edits and the columns are those of picture_edits; the instruction is "make the red circle a
green star". Both guidances as published, 7.5 of the text and 1.5 of the picture, and more of the picture.
What was made is kept; the same command goes on where it was ended.
"""

import argparse
import hashlib
from pathlib import Path

import safetensors
import torch

from tools.host_env.inprocess import PYTORCH_ATTENTION, boot, pack_module
from tools.host_env.paths import HOST_DIR
from tools.tiny.export import FORMATS

from .data import HOW
from .inversion import BATCH, SEED
from .json_lines import JsonLines
from .picture_edits import Asked, asked, table, verdicts
from .tables import write_between

RECORDS = HOST_DIR / "study" / "instruct.jsonl"
GUIDANCES = ((7.5, 1.5), (4.0, 3.0))
"""Of the text and of the picture. The first is published."""


def loaded(path: Path) -> tuple:
    """MODEL and CLIP of a trained file, by ComfyUI's own loader. Raises ValueError for another file."""
    import comfy.model_base

    demo = pack_module("gsn_ops.host.demo.sd")

    class Taught(demo.DemoSD):
        unet_config = {**demo.DemoSD.unet_config, "in_channels": 8}

        def get_model(self, state_dict, prefix="", device=None):
            return comfy.model_base.SD15_instructpix2pix(self, device=device)

    with safetensors.safe_open(path, "pt") as file:
        if (file.metadata() or {}).get("gsn_format") != FORMATS["sd-instruct"]:
            raise ValueError(f"{path} is not a file of `tools/train_tiny.py --model sd-instruct`.")
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    return demo.load_as(Taught, tensors, {"clip_l_model_config": demo.TEXT_MODEL})[:2]


def edited(model, clip, batch: Asked, steps: int, guidance: tuple[float, float], seed: int) -> torch.Tensor:
    """Latents [B, 4, 32, 32] of the edits."""
    import comfy.sample
    import comfy.samplers
    from comfy_extras import nodes_custom_sampler as custom

    from tools.tiny.instruct import instruction

    def encode(texts: list[str], picture: torch.Tensor | None) -> list:
        found = [clip.encode_from_tokens_scheduled(clip.tokenize(text))[0] for text in texts]
        also = {} if picture is None else {"concat_latent_image": picture}
        return [[torch.cat([rows for rows, _ in found]), {**found[0][1], **also}]]

    given = batch.pictures.latents
    texts = [
        instruction(batch.pictures.scenes.objects(i)[0], wanted[0]) for i, wanted in enumerate(batch.wanted)
    ]
    prompts = encode(texts, given), encode([""], given), encode([""], None)
    guider = custom.DualCFGGuider.execute(model, *prompts, *guidance, "regular").args[0]
    sigmas = comfy.samplers.calculate_sigmas(
        model.get_model_object("model_sampling"), HOW["sd"].scheduler, steps
    )
    empty = torch.zeros_like(given)
    noise = comfy.sample.prepare_noise(empty, seed)
    return guider.sample(
        noise, empty, comfy.samplers.sampler_object("euler"), sigmas, disable_pbar=True, seed=seed
    )


def way_of(guidance: tuple[float, float]) -> str:
    """Its row."""
    return "InstructPix2Pix, cfg {:g} and {:g}".format(*guidance)


def measure(args: argparse.Namespace, kept: JsonLines) -> list[dict]:
    """All records of the study, those of the file first."""
    model, clip = loaded(args.file)
    file, records = hashlib.sha256(args.file.read_bytes()).hexdigest()[:12], []
    for number in range((args.pictures + BATCH - 1) // BATCH):
        for guidance in args.cfg:
            key = {"way": way_of(guidance), "file": file, "steps": args.steps, "batch": number}
            old = next((r for r in kept.read if all(r[k] == v for k, v in key.items())), None)
            if old is None:
                batch = asked(number)
                made = edited(model, clip, batch, args.steps, guidance, SEED + number)
                old = {**key, "pictures": verdicts(batch, made, None)}
                kept.append([old])
            records.append(old)
    return records


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--file", type=Path, required=True, help="what train_tiny.py has written")
    parser.add_argument("--pictures", type=int, default=40, help=f"in batches of {BATCH}")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument(
        "--cfg", type=float, nargs=2, action="append", metavar=("TEXT", "PICTURE"), help="may come again"
    )
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--write", type=Path, help="a markdown file to put the table into")
    args = parser.parse_args()
    args.cfg = [tuple(one) for one in args.cfg or GUIDANCES]
    boot(more=PYTORCH_ATTENTION)
    with torch.no_grad():
        records = measure(args, JsonLines(args.records))
    rows = table(records, [way_of(one) for one in args.cfg])
    text = f"{args.pictures} pictures, {args.steps} steps:\n\n{rows}\n"
    print(text)
    if args.write:
        write_between(args.write, text, "study instruct")


if __name__ == "__main__":
    main()
