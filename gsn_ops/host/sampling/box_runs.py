"""What a run of single boxes leaves behind for the run of the whole image (LMD, Lian et al., TMLR 2024)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...attention_layout import AttentionLayout
from ...layout.layout import PlacedObject
from ...maps import AttentionMaps
from ...objectives.lmd_boxes import ImageBox, mean_map, words_of_image
from ...optimise.lmd import NEEDS
from ...prompt import SubjectColumns
from ..attention.entry import Entry, is_active
from ..attention.pass_capture import PassCapture
from ..attention.probe import Probe
from ..attention.sampler_state import SamplerState
from .attention_reader import PassReader, entries_of
from .plan import Plan, network_scale

MASK_BLOCK = ("input", 8)
"""Of a UNet: the block whose map of the word shows where the object is, down(2, 1) of the authors' code."""
UNSEEN = (
    "LMD Sampler cannot read this model: no attention of the image to the prompt of a box was seen. {cure}"
)


@dataclass
class BoxRun:
    """One object that was generated alone.

    number: of its seed. key: everything its bits depend on. noise: [C, ..., h, w] float32, unit variance.
    states: [steps, C, ..., h, w] float16, the network's input when each step begins. words: level -> its
    word's maps [steps with energy, layers, heads, h, w] float16. attention: [h, w], where it is.
    latent: [C, ..., h, w], the finished image.
    """

    placed: PlacedObject
    number: int
    key: tuple
    noise: Tensor
    states: Tensor
    words: dict[int, Tensor] = field(default_factory=dict)
    attention: Tensor | None = None
    latent: Tensor | None = None

    @property
    def kept_bytes(self) -> int:
        """Memory of the states and maps, which are kept for every step."""
        kept = [self.states, *self.words.values()]
        return sum(t.numel() * t.element_size() for t in kept)


class _MaskBlock(PassCapture):
    """Keeps the attention of the block that masks are made of."""

    def _is_wanted_level(self, grid: tuple[int, int], block: tuple | None) -> bool:
        return block is not None and tuple(block[:2]) == MASK_BLOCK


class _WordReader(PassReader):
    """Reads the layers of the energy, and of a UNet the block of the masks, in one pass."""

    of_masks: PassCapture | None = None

    def make_capture(self, probe: Probe, layout: AttentionLayout, options: dict, share: tuple) -> PassCapture:
        self.of_masks = None
        if self.family.levels and not self.family.drops_options:
            masks = probe.capture(layout, None, options, kind=_MaskBlock)
            assert isinstance(masks, PassCapture)
            masks.share = (share[0], share[1])
            self.of_masks = masks
            options = {**options, "optimized_attention_override": self.of_masks}
        return super().make_capture(probe, layout, options, share)


class BoxKeeper:
    """Keeps the state of every step of a batch of boxes, and the attention to their words.

    Reads the passes that the run makes anyway. window: steps whose maps become references. from_step: the
    first step whose map shows where an object is. on_size(bytes): called once, with what all images of this
    batch will keep, after the first step and before the second.
    """

    def __init__(
        self,
        runs: Sequence[BoxRun],
        boxes: Sequence[ImageBox],
        window: Sequence[int],
        from_step: int,
        on_size: Callable[[int], None],
    ):
        self.runs, self.boxes, self.on_size = runs, boxes, on_size
        self.window, self.from_step = list(window), from_step
        self.reader: _WordReader | None = None
        self.entries: list[Entry] = []
        self.reading: int | None = None
        self.seen: set[int] = set()
        self.maps_of_masks = 0

    def begin(self, guider: Any, plan: Plan) -> None:
        self.n_steps = plan.schedule.n_steps
        self.guider = guider
        self.entries, _ = entries_of(guider, plan.family)
        self.reader = _WordReader(guider, plan.family, NEEDS)

    def before(self, step: int, x: Tensor, sigma: Tensor) -> Tensor:
        self._collect()
        c = network_scale(self.guider.inner_model.model_sampling, sigma, x.ndim)
        for run, state in zip(self.runs, (x / c).half().cpu(), strict=True):
            run.states[step] = state
        self.seen.add(step)
        return x

    def after(self, step: int, state: SamplerState) -> None:
        active = [e for e in self.entries if is_active(self.guider, e, state.x, state.sigma)]
        if active and self.reader is not None:
            self.reader.open(state, active[0])
            self.reading = step

    def end(self) -> None:
        self._collect()
        self.reader = None
        for run in self.runs:
            if run.attention is not None:
                run.attention = run.attention / self.maps_of_masks

    def _collect(self) -> None:
        """Takes the maps of the last pass, which began at the step `reading`."""
        if self.reading is None or self.reader is None:
            return
        step, self.reading = self.reading, None
        probe, capture = self.reader.close()
        if probe is None or capture is None or not capture.state.layers:
            raise ValueError(UNSEEN.format(cure=_in_the_way(probe)))
        maps = self.reader.maps_in(probe, capture)
        masks = self.reader.of_masks
        of_masks = self.reader.maps_in(probe, masks) if masks is not None and masks.state.layers else maps
        for b, (run, box) in enumerate(zip(self.runs, self.boxes, strict=True)):
            self._keep(run, b, box.subject, step, maps, of_masks)
        if step >= self.from_step:
            self.maps_of_masks += 1
        if len(self.seen) == 1:
            self.on_size(sum(run.kept_bytes for run in self.runs))

    def _keep(
        self,
        run: BoxRun,
        b: int,
        subject: SubjectColumns,
        step: int,
        maps: AttentionMaps,
        of_masks: AttentionMaps,
    ) -> None:
        if step in self.window:
            for level, word in words_of_image(maps, b, subject).items():
                if level not in run.words:
                    run.words[level] = torch.zeros(len(self.window), *word.shape, dtype=torch.float16)
                run.words[level][self.window.index(step)] = word.half().cpu()
        if step >= self.from_step:
            found = mean_map(words_of_image(of_masks, b, subject)).float().cpu()
            run.attention = found if run.attention is None else run.attention + found


def _in_the_way(probe: Probe | None) -> str:
    names = probe.names_in_the_way() if probe is not None else ()
    return f"Bypass {' or '.join(names)}." if names else "Use another model."
