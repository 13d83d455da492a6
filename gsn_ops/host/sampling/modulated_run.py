"""One sampler call whose passes are changed without gradients: which words, which passes, the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ... import __version__
from ...attention_layout import AttentionLayout
from ...maps import block_range
from ...modulate.edits import WordWeights
from ...modulate.word_maps import WordMaps
from ...modulate.word_weights import factors
from ...prompt import SubjectColumns, SubjectPhrase
from ...report.book import ReportBook
from ...report.run_report import RecipeReport, RunReport, SubjectReport
from ...schedule import WINDOW_SLACK, Schedule
from ...subjects.resolve import resolve_with_notes
from ..architectures.family import Inputs, columns_of
from ..attention.capture import Capture
from ..attention.entry import Entry
from ..attention.modulate import EditedPrompt, Modulation, Tally, TextEdit
from ..autograd.differentiable import pass_options
from ..find_family import family_of
from .plan import positive_entries
from .sampler_report import preview_matrix

TEXT_CONDS = ("clip_text", "c_crossattn")
"""ComfyUI's names of the text that enters a network, the rarer one first."""
OVERRIDE = "optimized_attention_override"


@dataclass(frozen=True)
class AttachedEdit:
    """An edit on a model, the book for its reports, and how its node is told what happened."""

    edit: WordWeights
    book: ReportBook
    on_status: Callable[[str], None] | None = None


@dataclass(frozen=True)
class FoundWords:
    """An edit's words in one conditioning entry, each with its weight."""

    subjects: tuple[SubjectColumns, ...] = ()
    weights: tuple[float, ...] = ()

    def columns(self) -> dict[str, list[int]]:
        """{label: columns of all words of the phrase, of every encoder}."""
        return {
            subject.label: sorted({c for own in subject.columns("phrase").values() for c in own})
            for subject in self.subjects
        }

    def change(self, edit: WordWeights) -> TextEdit:
        """What this means for the attention to this entry."""
        columns: list[int] = []
        changes: list[tuple[float, float]] = []
        for own, weight in zip(self.columns().values(), self.weights, strict=True):
            columns += own
            changes += [factors(weight, edit.kappa)] * len(own)
        a, g = zip(*changes) if changes else ((), ())
        return TextEdit(tuple(columns), a, g, block_range(edit.blocks), edit.text_rows)


def find_words(edit: WordWeights, entries: Sequence[Entry]) -> tuple[list[FoundWords], list[str]]:
    """The edit's words in each of these entries, and remarks.

    Raises ValueError, with the prompt's words, for a word that is in none of them.
    """
    found, notes = [], []
    missing: dict[SubjectPhrase, ValueError] = {}
    seen: set[SubjectPhrase] = set()
    for entry in entries:
        present = []
        for phrase, weight in edit.weights:
            try:
                resolve_with_notes([phrase], entry.tokens)
            except ValueError as error:
                missing.setdefault(phrase, error)
            else:
                present.append((phrase, weight))
                seen.add(phrase)
        subjects, remarks = resolve_with_notes([phrase for phrase, _ in present], entry.tokens)
        notes += remarks
        found.append(FoundWords(subjects, tuple(weight for _, weight in present)))
    for phrase, error in missing.items():
        if phrase not in seen:
            raise error
    return found, notes


class EditOfRun:
    """One edit in one run: its words in each entry, and when it is due."""

    def __init__(self, attached: AttachedEdit, entries: Sequence[Entry], schedule: Schedule):
        self.edit = edit = attached.edit
        self.found, self.notes = find_words(edit, entries)
        self.high, self.low = schedule.percent_to_sigma(edit.start), schedule.percent_to_sigma(edit.end)
        self.steps = schedule.window(edit.start, edit.end)
        self.passes = 0

    def is_due(self, sigma: Tensor) -> bool:
        """Whether a pass at this noise level [B] is in its window."""
        if (self.edit.start, self.edit.end) == (0, 1):  # reading the sigma would wait for the device
            return True
        level, slack = float(sigma.max()), 1 + WINDOW_SLACK
        return self.low <= level * slack and level <= self.high * slack


class ModulatedRun:
    """One sampler call. Gone when the call returns."""

    def __init__(self, guider: Any, attached: Sequence[AttachedEdit], sigmas: Tensor):
        model = guider.model_patcher
        self.guider, self.model, self.family = guider, model, family_of(model)
        found, warnings = positive_entries(guider)
        self.entries = [self._with_columns(entry) for entry in found]
        percent_to_sigma = model.get_model_object("model_sampling").percent_to_sigma
        self.schedule = Schedule(tuple(float(s) for s in sigmas), percent_to_sigma)
        self.edits = [EditOfRun(one, self.entries, self.schedule) for one in attached]
        self.warnings = [*warnings, *(note for edit in self.edits for note in edit.notes)]
        self.tally, self.maps = Tally(), WordMaps(self.family.levels)
        self.reason = ""  # why a pass was left as it is

    def _with_columns(self, entry: Entry) -> Entry:
        cond = self.guider.conds[entry.name][entry.index]
        return replace(entry, tokens=columns_of(self.family, entry.tokens, cond))

    def apply_model(
        self, executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **conds
    ):
        """ComfyUI's APPLY_MODEL wrapper: one pass of several prompts, changed where an edit is due."""
        options = transformer_options or {}
        edits = [edit for edit in self.edits if edit.is_due(t)]
        entries = self._entries_of(options)
        if not edits or all(n is None for n in entries):
            return executor(x, t, c_concat, c_crossattn, control, options, **conds)
        try:
            prompts = self._prompts(x, {**conds, "c_crossattn": c_crossattn}, entries, edits)
        except ValueError as error:  # where the text is in this pass is not known
            self.reason = str(error)
            return executor(x, t, c_concat, c_crossattn, control, options, **conds)
        override = self._override(options, prompts, entries, edits)
        drops = self.family.drops_options
        with pass_options(self.guider.inner_model.diffusion_model, drops, {OVERRIDE: override}):
            return executor(x, t, c_concat, c_crossattn, control, {**options, OVERRIDE: override}, **conds)

    def _entries_of(self, options: dict) -> list[int | None]:
        """For each prompt of a pass: the number of its entry among ours, or None.

        ComfyUI gives copies of an entry to the other prompts to fill its area, under the same id; those are
        told apart by the prompt they stand in for.
        """
        ids = {self._cond(n).get("uuid"): n for n in range(len(self.entries))}
        found = [ids.get(uuid) for uuid in options.get("uuids", ())]
        roles = options.get("cond_or_uncond", [0] * len(found))
        ours = {role for n, role in zip(found, roles) if n is not None}
        if 0 not in ours or len(ours) == 1:
            return found
        return [n if role == 0 else None for n, role in zip(found, roles)]

    def _cond(self, n: int) -> dict:
        entry = self.entries[n]
        return self.guider.conds[entry.name][entry.index]

    def _prompts(
        self, x: Tensor, conds: dict, entries: Sequence[int | None], edits: Sequence[EditOfRun]
    ) -> list[EditedPrompt]:
        """Where the text of each prompt of a pass is, and what changes there.

        Raises ValueError where that is not known.
        """
        network = self.guider.inner_model.diffusion_model
        prompts = []
        for n in entries:
            cond = {} if n is None else self._cond(n)
            encoded = cond.get("cross_attn")
            rows = 0 if n is None else self.entries[n].tokens.rows
            rows = rows if encoded is None else encoded.shape[1]
            layout = self.family.layout(Inputs(network, tuple(x.shape), conds, rows))
            if n is None:
                prompts.append(EditedPrompt(layout))
                continue
            period, repeats = self._repeats(cond, conds)
            changes = tuple(edit.found[n].change(edit.edit) for edit in edits if edit.found[n].subjects)
            prompts.append(EditedPrompt(layout, changes, period, repeats))
        return prompts

    def _repeats(self, cond: dict, conds: dict) -> tuple[int, int]:
        """Rows of an entry's text, and how often ComfyUI has repeated them in this pass.

        Raises ValueError where another pack has changed the text in between.
        """
        name = next((name for name in TEXT_CONDS if isinstance(conds.get(name), Tensor)), None)
        own = getattr(cond.get("model_conds", {}).get(name), "cond", None)
        if not isinstance(own, Tensor):
            return 0, 1
        period, total = own.shape[1], conds[name].shape[1]
        if total % period or (total > period and len(self.family.text) > 1):
            raise ValueError(f"the text has {total} rows in the network, but its prompt made {period}")
        return period, total // period

    def _override(
        self,
        options: dict,
        prompts: Sequence[EditedPrompt],
        entries: Sequence[int | None],
        edits: Sequence[EditOfRun],
    ) -> Callable:
        """The attention override of a pass. A capture of ours reads first, and then calls the modulation."""
        earlier = options.get(OVERRIDE)
        if isinstance(earlier, Capture):
            earlier.previous = Modulation(prompts, Tally(), earlier.previous, earlier)
            return earlier
        for edit in edits:
            edit.passes += 1
        words = [self._words(n, edits) for n in entries]

        def keep(n: int, layout: AttentionLayout, columns: list[int], p: Tensor, p_after: Tensor) -> None:
            self.maps.add(words[n], layout, columns, p, p_after)

        if self.family.drops_options:  # such a network never obeys another pack's override
            earlier = None
        return Modulation(prompts, self.tally, earlier, None, keep)

    def _words(self, n: int | None, edits: Sequence[EditOfRun]) -> dict[str, list[int]]:
        """{label: columns} of all weighted words of an entry."""
        words: dict[str, list[int]] = {}
        for edit in edits if n is not None else ():
            words |= edit.found[n].columns()
        return words

    def report(self, sampler: str) -> RunReport:
        """What was changed, also if that was nothing."""
        maps = self.maps.means()
        recipes = tuple(self._report_of(edit, maps) for edit in self.edits)
        return RunReport(
            version=__version__,
            model=self.family.name,
            sampler=sampler,
            n_steps=self.schedule.n_steps,
            subjects=self._subjects(),
            recipes=recipes,
            warnings=tuple(dict.fromkeys(self.warnings)),
            latent_rgb=preview_matrix(self.model.get_model_object("latent_format")),
        )

    def _report_of(
        self, edit: EditOfRun, maps: tuple[tuple[str, ...], Tensor, Tensor] | None
    ) -> RecipeReport:
        settings = edit.edit
        method = settings.method
        reason = self._why_not(edit)
        if reason:
            return RecipeReport(method, f"{method}: did not act, {reason}")
        first, last, sigmas = edit.steps[0], edit.steps[-1], self.schedule.sigmas
        status = (
            f"{method}: {settings.describe()}, steps {first} to {last} of {self.schedule.n_steps} "
            f"(sigma {sigmas[first]:.3g} to {sigmas[last]:.3g}), {edit.passes} passes"
        )
        made = RecipeReport(
            method,
            status,
            step=first,
            sigma=sigmas[first],
            settings={"kappa": settings.kappa, "blocks": settings.blocks, "text_rows": settings.text_rows},
        )
        own = [n for n, label in enumerate(maps[0]) if label in self._labels(edit)] if maps else []
        if not own:
            return made
        labels, before, after = maps[0], maps[1][:, own], maps[2][:, own]
        return replace(
            made,
            subjects=tuple(labels[n] for n in own),
            maxima_before=_maxima(before),
            maxima_after=_maxima(after),
            maps_before=before.half(),
            maps_after=after.half(),
        )

    def _why_not(self, edit: EditOfRun) -> str:
        """Why an edit changed nothing; "" if it did."""
        if not edit.steps:
            return "no sampling step lies in its window: widen start_percent and end_percent"
        if self.tally.calls and edit.passes:
            return ""
        if self.reason:
            return self.reason
        if self.tally.misfits:
            return "another node changes the number of images in the attention: remove it, or this one"
        if not edit.passes:
            return "no pass with a prompt that has these words was made"
        seen = sorted(self.tally.lengths)
        return f"no text-to-image attention of the expected lengths was seen (queries, keys seen: {seen})"

    def _labels(self, edit: EditOfRun) -> set[str]:
        return {subject.label for found in edit.found for subject in found.subjects}

    def _subjects(self) -> tuple[SubjectReport, ...]:
        """The weighted words, each once, with the token pieces they were found in."""
        reports: dict[str, SubjectReport] = {}
        for edit in self.edits:
            for entry, found in zip(self.entries, edit.found, strict=True):
                text = {e.name: {p.column: p.text for p in e.pieces} for e in entry.tokens.encoders}
                for s in found.subjects:
                    columns = s.columns("phrase")
                    pieces = {name: tuple(text[name][c] for c in own) for name, own in columns.items()}
                    reports.setdefault(s.label, SubjectReport(s.label, s.phrase.source, pieces, columns))
        return tuple(reports.values())


def _maxima(maps: Tensor) -> tuple[tuple[float, ...], ...]:
    """[image][word]: the highest attention."""
    return tuple(tuple(row) for row in maps.amax((2, 3)).tolist())
