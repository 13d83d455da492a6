"""What the inspection nodes show: the run behind a latent, as cards, heat maps and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .book import ReportBook
from .drawing.cards import contact_sheet, note_card, report_card
from .drawing.heat_map import heat_map
from .preview import pictures
from .run_report import ActionReport, RunReport

NOT_CONNECTED = (
    "Nursing is off: no report is connected, so nothing is known about this latent but that it is there."
)
NO_RUN = (
    "Nursing is off: no run was recorded. Either strength or shifts is 0, or the sampler's model does not come from "
    "the node that this report comes from."
)
ANOTHER = (
    "This latent was not made in a recorded run: it was changed after the sampler, or its run is no longer kept. "
    "Shown is the last recorded run."
)
NO_MAPS = "There are no attention maps in this report: set report_level to maps and pictures on the node that made it."
GREY = 0.5


def find_run(book: ReportBook | None, samples: Tensor) -> tuple[RunReport | None, str]:
    """The run that made this latent and "", or the best there is and why it is not that one."""
    if book is None:
        return None, NOT_CONNECTED
    run = book.find(samples)
    if run is not None:
        return run, ""
    last = book.last()
    return (None, NO_RUN) if last is None else (replace(last, warnings=(ANOTHER, *last.warnings)), ANOTHER)


def stack(arrays: Sequence[np.ndarray]) -> Tensor:
    """Pictures [H, W, 3] of one size as an IMAGE [n, H, W, 3]."""
    return torch.from_numpy(np.stack(arrays))


def no_mask(images: Tensor) -> Tensor:
    """An empty MASK [n, H, W] as large as the pictures [n, H, W, 3]."""
    return torch.zeros(images.shape[:3])


def note(title: str, text: str) -> Tensor:
    """A sentence as an IMAGE [1, H, W, 3]."""
    return stack([note_card(title, text)])


def shown_actions(report: RunReport) -> tuple[ActionReport, ...]:
    """The actions that ran; if none did, the first, which says why."""
    return tuple(a for a in report.actions if a.step is not None) or report.actions[:1]


def action_cards(report: RunReport, action: ActionReport, vae, title: str) -> list[np.ndarray]:
    """One card per image of the batch."""
    before, after = (
        pictures(p, vae, report.latent_rgb) for p in (action.picture_before, action.picture_after)
    )

    def image(batch: Tensor | None, b: int) -> np.ndarray | None:
        return None if batch is None else batch[b].float().cpu().numpy()

    return [
        report_card(report, action, b, image(before, b), image(after, b), title)
        for b in range(max(1, len(action.shifts)))
    ]


def cards(report: RunReport, vae=None, label: str = "") -> Tensor:
    """What the run did, as an IMAGE [B, H, W, 3]: one page per image, its actions one below the other."""

    def title(action: ActionReport) -> str:
        return f"{label}: {action.method}" if label else action.method

    pages = [action_cards(report, action, vae, title(action)) for action in shown_actions(report)]
    images = max(map(len, pages))
    return stack([np.concatenate([page[min(b, len(page) - 1)] for page in pages]) for b in range(images)])


@dataclass(frozen=True)
class Maps:
    """Maps of some subjects: values [B, k, h, w] >= 0, one label each, and the picture they belong to [B, H, W, 3]."""

    labels: tuple[str, ...]
    values: Tensor
    picture: Tensor

    def heat(self, opacity: float) -> list[list[np.ndarray]]:
        """[image][subject]: heat over the picture."""
        return [
            [heat_map(self.picture[b].numpy(), m.numpy(), opacity) for m in maps]
            for b, maps in enumerate(self.values)
        ]

    def masks(self) -> Tensor:
        """[B k, H, W]: each map from 0 (its lowest) to 1 (its highest), as large as the picture."""
        low, high = self.values.amin((2, 3), keepdim=True), self.values.amax((2, 3), keepdim=True)
        m = (self.values - low) / (high - low).clamp(min=1e-12)  # a flat map gives an empty mask
        size = tuple(self.picture.shape[1:3])
        return F.interpolate(m, size, mode="bilinear", align_corners=False).flatten(0, 1)  # [(B k), H, W]

    def sheets(self, heat: list[list[np.ndarray]], when: str) -> Tensor:
        """IMAGE [B, ., ., 3]: the heat maps of each image on one page, with the subjects' names."""
        return stack(
            [contact_sheet(row, list(self.labels), title=f"attention {when} the shifts") for row in heat]
        )


def choose_subjects(labels: Sequence[str], wanted: str) -> list[int]:
    """Positions of the subjects named in `wanted` (commas between them, "" = all). Raises ValueError listing them."""
    names = [name.strip().casefold() for name in wanted.split(",") if name.strip()]
    known = [label.casefold() for label in labels]
    for name in names:
        if name not in known:
            raise ValueError(
                f"There is no subject '{name}' in this report; its subjects are: {', '.join(labels)}."
            )
    return [known.index(name) for name in names] or list(range(len(labels)))


def attention_maps(report: RunReport, image: Tensor | None, subject: str, after: bool) -> Maps | None:
    """The maps of the last action that kept some, or None. Raises ValueError for an unknown subject or unfitting image."""
    kept = [a for a in report.actions if (a.maps_after if after else a.maps_before) is not None]
    if not kept:
        return None
    action, labels = kept[-1], kept[-1].subjects
    chosen = choose_subjects(labels, subject)
    values = (action.maps_after if after else action.maps_before).float()[:, chosen]
    if image is None:
        image = predicted(report, action, after)
    if image.shape[0] not in (1, len(values)):
        raise ValueError(
            f"The image input has {image.shape[0]} pictures, but the run made {len(values)}: connect the decoded "
            "latent of the same sampler."
        )
    picture = image[..., :3].float().cpu().expand(len(values), -1, -1, -1)
    return Maps(tuple(labels[i] for i in chosen), values.clamp(min=0), picture)


def predicted(report: RunReport, action: ActionReport, after: bool) -> Tensor:
    """The predicted picture in preview colours [B, H, W, 3], eight times the latent's size; grey where there are none."""
    latents = action.picture_after if after else action.picture_before
    small = pictures(latents, None, report.latent_rgb)
    if small is None:
        b, _, h, w = (action.maps_after if after else action.maps_before).shape
        return torch.full((b, 16 * h, 16 * w, 3), GREY)
    return (
        F.interpolate(small.movedim(-1, 1), scale_factor=8, mode="bicubic").movedim(1, -1).clamp(0, 1)
    )  # [B, H, W, 3]
