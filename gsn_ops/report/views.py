"""What the inspection nodes show: the run that made a latent, as report pages, heat maps and masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..regions import Region
from .book import ReportBook
from .drawing.canvas import WHITE, extended, told
from .drawing.cards import contact_sheet, note_card, report_card
from .drawing.charts import number
from .drawing.heat_map import heat_map
from .drawing.outlines import outlined
from .preview import Decoder, latent_images
from .run_report import RecipeReport, RunReport

NOT_CONNECTED = "No report is connected: connect the report output of the node that patched the model."
NO_RUN = (
    "Nursing is off: no run was recorded. Either the settings leave nothing to do (strength or shifts 0, an "
    "empty window), or the sampler's model does not come from the node that this report comes from (of "
    "merged "
    "models only the first one's nodes count)."
)
OTHER_RUN = (
    "This latent was not made in a recorded run: it was changed after the sampler, or its run is no longer "
    "kept. The last recorded run is shown."
)
NO_MAPS = (
    "There are no attention maps in this report: set report_level to maps and pictures on the node that made "
    "it."
)
GREY = 0.5
CELL, MOST_COLUMNS = 230, 4
"""Of a page of maps: pixels of a map's side, and maps beside each other."""


def find_run(book: ReportBook | None, samples: Tensor) -> tuple[RunReport | None, str]:
    """The run that made this latent and "", or the newest run (or None) and why it is not that one."""
    if book is None:
        return None, NOT_CONNECTED
    run = book.find(samples)
    if run is not None:
        return run, ""
    last = book.last()
    if last is None:
        return None, NO_RUN
    return replace(last, warnings=(OTHER_RUN, *last.warnings)), OTHER_RUN


def stack(arrays: Sequence[np.ndarray]) -> Tensor:
    """Arrays [H, W, 3] of one size as an IMAGE [n, H, W, 3]."""
    return torch.from_numpy(np.stack(arrays))


def no_mask(images: Tensor) -> Tensor:
    """An empty MASK [n, H, W] of the size of the images [n, H, W, 3]."""
    return torch.zeros(images.shape[:3])


def note(title: str, text: str) -> Tensor:
    """A sentence as an IMAGE [1, H, W, 3]."""
    return stack([note_card(title, text)])


def shown_recipes(report: RunReport) -> tuple[RecipeReport, ...]:
    """The recipes that ran; if none did, the first, whose status says why."""
    return tuple(r for r in report.recipes if r.step is not None) or report.recipes[:1]


def recipe_cards(
    report: RunReport, recipe: RecipeReport, vae: Decoder | None, title: str
) -> list[np.ndarray]:
    """One card per image of the batch."""
    before = latent_images(recipe.predicted_before, vae, report.latent_rgb)
    after = latent_images(recipe.predicted_after, vae, report.latent_rgb)

    def image(batch: Tensor | None, b: int) -> np.ndarray | None:
        return None if batch is None else batch[b].float().cpu().numpy()

    return [
        report_card(report, recipe, b, image(before, b), image(after, b), title)
        for b in range(max(1, len(recipe.updates)))
    ]


def cards(report: RunReport, vae: Decoder | None = None, label: str = "") -> Tensor:
    """The report as an IMAGE [n, H, W, 3]: a page per image of the batch and recipe, image by image."""
    columns = []  # per recipe: one card per image
    for recipe in shown_recipes(report):
        named = label and not recipe.method.startswith(label)
        columns.append(recipe_cards(report, recipe, vae, f"{label}: {recipe.method}" if named else ""))
    images = max(map(len, columns))
    # A recipe that was skipped has one card for all images.
    pages = [column[b] for b in range(images) for column in columns if b < len(column)]
    height = max(len(page) for page in pages)
    return stack([extended(page, height) for page in pages])


@dataclass(frozen=True)
class Maps:
    """Maps of some subjects: values [B, k, h, w] >= 0, one label each, and the images [B, H, W, 3].

    updated: the run had update steps, before and after which they are; else it changed the attention itself.
    regions: where the user wants a subject, by label.
    """

    labels: tuple[str, ...]
    values: Tensor
    images: Tensor
    updated: bool = True
    regions: Mapping[str, Region] | None = None

    def heat(self, opacity: float) -> list[list[np.ndarray]]:
        """[image][subject]: the map as heat over the image, [H, W, 3]."""
        return [
            [heat_map(image.numpy(), m.numpy(), opacity) for m in maps]
            for image, maps in zip(self.images, self.values, strict=True)
        ]

    def masks(self) -> Tensor:
        """[B k, H, W]: each map from 0 (its lowest) to 1 (its highest), of the size of the image."""
        low, high = self.values.amin((2, 3), keepdim=True), self.values.amax((2, 3), keepdim=True)
        m = (self.values - low) / (high - low).clamp(min=1e-12)  # a flat map gives an empty mask
        size = tuple(self.images.shape[1:3])
        return F.interpolate(m, size, mode="bilinear", align_corners=False).flatten(0, 1)  # [(B k), H, W]


def map_sheets(before: Maps | None, after: Maps | None, opacity: float) -> Tensor:
    """IMAGE [B, ., ., 3]: per image one page with every subject's map before and after, one above the other.

    Both are drawn with one scale, so that they can be compared; the number is the map's highest value. At
    least one of the two is needed.
    """
    if before is not None and after is not None and before.labels != after.labels:
        before = None  # of another recipe
    shown = [maps for maps in (before, after) if maps is not None]
    peaks = torch.stack([maps.values.amax((2, 3)) for maps in shown]).amax(0)  # [B, k]
    names = ("before", "after") if shown[0].updated else ("without", "with")
    titles = [name for name, maps in zip(names, (before, after), strict=True) if maps is not None]
    pages = []
    for b in range(len(peaks)):
        rows = [
            [cell(maps, b, j, float(peaks[b, j]), opacity, title) for j in range(len(maps.labels))]
            for maps, title in zip(shown, titles, strict=True)
        ]
        pages.append(_page(rows))
    return stack(pages)


def cell(maps: Maps, b: int, j: int, peak: float, opacity: float, title: str) -> tuple[np.ndarray, str]:
    """The map of one subject over image b with its region, and the label below."""
    heat = heat_map(maps.images[b].numpy(), maps.values[b, j].numpy(), opacity, peak)
    region = (maps.regions or {}).get(maps.labels[j])
    drawn = heat if region is None else outlined(heat, [(region, WHITE)])
    return (
        drawn,
        f"{maps.labels[j]}\n{told(title)} {number(float(maps.values[b, j].max()), float(maps.values.max()))}",
    )


def _page(rows: list[list[tuple[np.ndarray, str]]]) -> np.ndarray:
    """A row of cells above the other; many subjects as pairs side by side, two in a row."""
    columns = len(rows[0])
    cells = [one for row in rows for one in row]
    if columns > MOST_COLUMNS or columns == 1:
        cells = [one for pair in zip(*rows, strict=True) for one in pair]
        columns = min(len(cells), MOST_COLUMNS)
    return contact_sheet([image for image, _ in cells], [label for _, label in cells], columns, CELL)


def select_subjects(labels: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Indices of these labels, () = all. Raises ValueError listing them."""
    for label in wanted:
        if label not in labels:
            raise ValueError(
                f"There is no subject '{label}' in this report; its subjects are: {', '.join(labels)}."
            )
    return [labels.index(label) for label in wanted] or list(range(len(labels)))


def attention_maps(
    report: RunReport, image: Tensor | None, wanted: Sequence[str], after: bool
) -> Maps | None:
    """The maps of the last recipe that kept some, or None.

    image: [1 or B, H, W, 3] to draw on; None = the predicted x0. wanted: labels, () = all.
    Raises ValueError for an unknown subject, or if the number of images does not fit.
    """
    kept = [(r, maps) for r in report.recipes if (maps := _maps_of(r, after)) is not None]
    if not kept:
        return None
    recipe, maps = kept[-1]
    chosen = select_subjects(recipe.subjects, wanted)
    if image is None:
        image = predicted_images(report, recipe, maps, after)
    if image.shape[0] not in (1, len(maps)):
        raise ValueError(
            f"The image input has {image.shape[0]} images, but the run made {len(maps)}: connect the decoded "
            "latent of the same sampler."
        )
    images = image[..., :3].float().cpu().expand(len(maps), -1, -1, -1)
    labels = tuple(recipe.subjects[i] for i in chosen)
    return Maps(labels, maps.float()[:, chosen].clamp(min=0), images, bool(recipe.updates), recipe.regions)


def predicted_images(report: RunReport, recipe: RecipeReport, maps: Tensor, after: bool) -> Tensor:
    """Predicted x0 in preview colours, eight times the latent's size: [B, H, W, 3].

    Without any, grey images that are 16 times the size of the maps [B, k, h, w].
    """
    latents = recipe.predicted_after if after else recipe.predicted_before
    small = latent_images(latents, None, report.latent_rgb)
    if small is None:
        b, _, h, w = maps.shape
        return torch.full((b, 16 * h, 16 * w, 3), GREY)
    large = F.interpolate(small.movedim(-1, 1), scale_factor=8, mode="bicubic")  # [B, 3, H, W]
    return large.movedim(1, -1).clamp(0, 1)


def _maps_of(recipe: RecipeReport, after: bool) -> Tensor | None:
    return recipe.maps_after if after else recipe.maps_before
