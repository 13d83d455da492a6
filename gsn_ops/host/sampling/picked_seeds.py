"""What Seed Picker shows: the contact sheet of all starts, one line, and JSON."""

from __future__ import annotations

import json
import logging

import numpy as np
import torch
from torch import Tensor

from ...report.drawing.canvas import told
from ...report.drawing.cards import contact_sheet
from ...report.preview import Decoder, latent_images
from ...report.views import stack
from ...start_scores import NO_SPREAD, spread
from .seed_picker import Picked

SCHEMA = 1
ENLARGED = 8  # pixels of a preview per cell of the latent
UNDECODED = "the VAE cannot decode these latents, so the sheet has preview colours: connect the model's VAE"
HARDLY = "seeds hardly differ here (spread {spread}): choosing among them is of little use"


def status(picked: Picked) -> str:
    """One line: which seeds were kept, out of how many, and what it cost."""
    values, settings = picked.values(), picked.settings
    kept = ", ".join(f"{start.seed} ({start.score.value(settings.rank_by):.2f})" for start in picked.kept)
    made = f"of {len(values)}" + (f" (at most {len(settings.seeds)})" if stopped_early(picked) else "")
    text = f"kept {kept} {made}, {settings.rank_by} at model call {settings.look_at}"
    if len(values) > 1:
        found = spread(values)
        text += f"; {HARDLY.format(spread=f'{found:.3f}')}" if found < NO_SPREAD else f"; spread {found:.2f}"
    text += f"; {picked.calls} model calls"
    if picked.nursed:
        text += ", and the kept seeds were sampled from their beginning with the nursing on this model"
    return "; ".join([text, *picked.notes])


def stopped_early(picked: Picked) -> bool:
    """Whether fewer starts were made than asked for."""
    return len(picked.starts) < len(picked.settings.seeds)


def status_and_sheet(picked: Picked, vae: Decoder | None) -> tuple[str, Tensor]:
    """The line and the contact sheet; a wrong VAE must not cost the finished images, so the line says it."""
    try:
        return status(picked), sheet(picked, vae)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        if vae is None:
            raise
        logging.warning("Seed Picker: %s (%s)", UNDECODED, error)
    return f"{status(picked)}; {UNDECODED}", sheet(picked, None)


def sheet(picked: Picked, vae: Decoder | None) -> Tensor:
    """IMAGE [1, ., ., 3]: the prediction of each start at the look, best first."""
    images, labels = [], []
    for rank, i in enumerate(picked.order):
        start = picked.starts[i]
        images.append(_image(start.predicted, picked, vae))
        value, weakest = (
            start.score.value(picked.settings.rank_by),
            start.score.weakest(picked.settings.rank_by),
        )
        kept = f", {told('kept')}" if rank < picked.settings.keep else ""
        labels.append(
            f"{rank + 1}. {told('seed')} {start.seed}{kept}\n{value:.2f}, {told('weakest')}: {weakest}"
        )
    title = f"{picked.settings.rank_by} at model call {picked.settings.look_at}, best first"
    return stack([contact_sheet(images, labels, title=title)])


def _image(predicted: Tensor, picked: Picked, vae: Decoder | None) -> np.ndarray:
    """One image [H, W, 3] in 0 ... 1; grey where neither a VAE nor preview colours are known."""
    found = latent_images(predicted, vae, picked.preview)
    if found is None:
        height, width = predicted.shape[-2:]
        found = torch.full((1, height, width, 3), 0.5)
    image = found[0].float().cpu().numpy()
    return image if vae is not None else image.repeat(ENLARGED, 0).repeat(ENLARGED, 1)


def to_json(picked: Picked) -> str:
    """The choice as data, for scripts."""
    settings = picked.settings
    rank = {i: n + 1 for n, i in enumerate(picked.order)}
    return json.dumps(
        {
            "schema": SCHEMA,
            "kept": [start.seed for start in picked.kept],
            "rank_by": settings.rank_by,
            "look_at": settings.look_at,
            "spread": spread(picked.values()),
            "model_calls": picked.calls,
            "stopped_early": stopped_early(picked),
            "nursed": picked.nursed,
            "starts": [
                {
                    "seed": start.seed,
                    "rank": rank[i],
                    "subjects": dict(zip(start.score.labels, start.score.maxima, strict=True)),
                    "focus": dict(zip(start.score.labels, start.score.focus, strict=True)),
                }
                for i, start in enumerate(picked.starts)
            ],
            "notes": list(picked.notes),
        }
    )
