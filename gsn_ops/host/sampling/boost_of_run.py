"""Word boost in one run: what a look at the attention found, and what it changes in the passes after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ...attention_layout import AttentionLayout
from ...maps import MapOptions
from ...modulate.edits import WordBoost
from ...modulate.word_boost import boost_factors, lacking
from ...prompt import SubjectColumns
from ...report.run_report import StepReport
from ...schedule import Schedule
from ...subject_maps import maxima, subject_maps
from ...subjects.resolve import resolve
from ..architectures.family import ModelFamily
from ..attention.edited_prompt import TextEdit
from ..attention.entry import Entry
from ..attention.look import Look
from .edit_of_run import EditOfRun, Window
from .matched import match_entries
from .plan import NO_SUBJECTS

NO_PASS_LEFT = (
    "subjects lack attention, but no later pass lies in its window: raise end_percent, or use more steps"
)


class BoostOfRun(EditOfRun):
    """Subjects that lack attention, image by image; a look at each entry, then changes."""

    def __init__(
        self, edit: WordBoost, entries: Sequence[Entry], schedule: Schedule, family: ModelFamily
    ) -> None:
        super().__init__(edit, entries, schedule, family)
        self.settings, self.family = edit, family
        self.window = Window(schedule, edit.start_percent, edit.end_percent)
        self.steps, self.sigmas = self.window.steps, schedule.sigmas
        self.read = [replace(e, tokens=e.tokens.only(edit.encoders)) for e in entries]
        matched, self.notes = match_entries(edit.subjects, self.read)
        self.looked: dict[int, tuple[SubjectColumns, ...]] = {}
        self.raised: dict[int, tuple[SubjectColumns, ...]] = {}
        for one in matched:
            n = next(n for n, entry in enumerate(self.read) if entry is one.entry)
            wanted = tuple(s for s in one.subjects if s.phrase.role == "wanted")
            if wanted:
                self.looked[n] = wanted
                self.raised[n] = resolve([s.phrase for s in wanted], entries[n].tokens)
        self.maps: dict[int, Tensor] = {}  # of the last look, [B, k, h, w]
        self.peaks: dict[int, Tensor] = {}  # of the first look, [B, k]
        self.lack: dict[int, Tensor] = {}  # of the last look, [B, k]
        self.lacked: dict[int, Tensor] = {}  # in any look, bool [B, k]
        self._lacking: set[int] = set()  # entries with an image that lacks something now

    def is_due(self, sigma: Tensor) -> bool:
        return self.window.has(sigma)

    @property
    def acts(self) -> bool:
        return bool(self._lacking) and not self.settings.disabled

    @property
    def lacking_images(self) -> Tensor | None:
        """bool [B], the images that lacked something in the last look; None = there was none."""
        found = [(lack > 0).any(1) for lack in self.lack.values()]
        return torch.stack(found).any(0) if found else None

    @property
    def is_blind(self) -> bool:
        """Whether no look saw anything, though what is read was left to the pack."""
        chosen = {self.settings.levels, self.settings.blocks} != {"auto"}
        return bool(self.looked) and not self.lack and not chosen

    def look(
        self, entry: int, network: torch.nn.Module, layout: AttentionLayout, repeats: int
    ) -> Look | None:
        """What reads the pass that is about to be made; None = it is not looked at."""
        if entry not in self.looked or (entry in self.lack and self.settings.look == "once"):
            return None
        return Look(self.read[entry].tokens, self.settings.needs, self.family, network, layout, repeats)

    def see(self, entry: int, look: Look) -> None:
        """The attention of a pass. A pass without the wanted attention changes nothing."""
        maps = look.maps()
        if maps is None:
            return
        self.maps[entry] = subject_maps(maps, self.looked[entry], MapOptions())  # [B, k, h, w]
        peaks = maxima(self.maps[entry])
        self.peaks.setdefault(entry, peaks)
        self.lack[entry] = lacking(peaks, self.settings.threshold)
        lacks = self.lack[entry] > 0
        self.lacked[entry] = self.lacked[entry] | lacks if entry in self.lacked else lacks
        self._lacking.discard(entry)
        if self.lack[entry].any():
            self._lacking.add(entry)

    def change(self, entry: int) -> TextEdit | None:
        if entry not in self._lacking or self.settings.disabled:
            return None
        factors = boost_factors(self.lack[entry], self.settings.gain)  # [B, k]
        a: dict[int, Tensor] = {}
        for subject, factor in zip(self.raised[entry], factors.unbind(1), strict=True):
            for column in (c for own in subject.columns("phrase").values() for c in own):
                a[column] = torch.maximum(a[column], factor) if column in a else factor
        return TextEdit(tuple(a), tuple(a.values()), (1.0,) * len(a))

    def subjects(self, entry: int) -> tuple[SubjectColumns, ...]:
        return self.raised.get(entry, ())

    def describe(self) -> str:
        """Which subjects lacked attention, of a batch in how many images."""
        images: dict[str, int] = {}
        for entry, lacked in self.lacked.items():
            for subject, n in zip(self.looked[entry], lacked.sum(0).tolist(), strict=True):
                images[subject.label] = images.get(subject.label, 0) + n
        total = sum(map(len, self.lacked.values()))
        where = {label: f"{label} in {n} of {total} images" for label, n in images.items() if n}
        told = ", ".join(where if total == 1 else where.values())
        return f"more attention for {told}" if told else "no subject lacks attention, a plain run"

    def step_reports(self) -> tuple[StepReport, ...]:
        """The highest attention of each subject at the first look, of the first prompt that has subjects."""
        step, sigma = self.steps[0], self.sigmas[self.steps[0]]
        firsts = [tuple(map(tuple, peaks.tolist())) for peaks in self.peaks.values()][:1]
        return tuple(StepReport(step, sigma, (), peaks, (0,) * len(peaks)) for peaks in firsts)

    def reason(self) -> str | None:
        if not self.looked:
            return NO_SUBJECTS
        if not self.lack:
            return "no attention of the image to the text was seen: set levels and blocks to auto"
        if not any(lacked.any() for lacked in self.lacked.values()):
            return ""
        return None if self.passes else NO_PASS_LEFT
