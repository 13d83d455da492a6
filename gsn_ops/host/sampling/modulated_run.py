"""One sampler call whose passes are changed without gradients, and the report of it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any

from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from torch import Tensor

from ... import __version__
from ...attention_layout import AttentionLayout
from ...modulate.edits import Edit
from ...modulate.pair_edit import PromptToPrompt
from ...modulate.word_maps import WordMaps
from ...report.run_report import RecipeReport, RunReport, SubjectReport
from ...schedule import Schedule
from ...torch_ops.shared_noise import SharedNoise, shared
from ..architectures.family import Inputs, columns_of
from ..attention.capture import Capture
from ..attention.entry import Entry
from ..attention.modulate import EditedPrompt, Modulation, Tally
from ..attention.reinjection import Reinjection
from ..autograd.differentiable import pass_options
from ..find_family import family_of
from ..prompts.prompt_pair import PAIR_KEY
from .edit_of_run import OF_RUN, AttachedEdit, EditOfRun, ReinjectionOfRun, WordsOfRun
from .pair_of_run import PairOfRun, check_batch, pair_edit, pair_entries
from .plan import positive_entries
from .sampler_report import preview_matrix

log = logging.getLogger(__name__)

TEXT_CONDS = ("clip_text", "c_crossattn")
"""ComfyUI's names of the text that enters a network, the rarer one first."""
OVERRIDE = "optimized_attention_override"
WRAPPER_KEY = "gsn_modulate"


class ModulatedRun:
    """One sampler call. Gone when the call returns."""

    def __init__(self, guider: Any, attached: Sequence[AttachedEdit], sigmas: Tensor):
        model = guider.model_patcher
        self.guider, self.model, self.family = guider, model, family_of(model)
        self.pair = pair_edit([one.edit for one in attached])
        if self.pair is None:
            found, warnings = positive_entries(guider)
            self.entries = [self._with_columns(entry) for entry in found]
        else:
            self.entries, warnings = pair_entries(guider, self.family), ()
        percent_to_sigma = model.get_model_object("model_sampling").percent_to_sigma
        self.schedule = Schedule(tuple(float(s) for s in sigmas), percent_to_sigma)
        self.edits = [self._of_run(a.edit) for a in attached]
        self.noise: SharedNoise | None = None
        of_settings = [note for one in attached for note in one.notes]
        self.warnings = [*warnings, *of_settings, *(note for edit in self.edits for note in edit.notes)]
        self.tally, self.maps = Tally(), WordMaps(self.family.levels)
        self.reason = ""  # why a pass was left as it is

    def _of_run(self, edit: Edit) -> EditOfRun:
        if isinstance(edit, PromptToPrompt):
            pairs = [self._cond(n)[PAIR_KEY] for n in range(len(self.entries))]
            return PairOfRun(edit, self.entries, self.schedule, self.family, pairs)
        return OF_RUN[type(edit)](edit, self.entries, self.schedule)

    def attach(self, noise: Tensor) -> Tensor:
        """Put the wrappers of this run into its options. Returns the noise to start from.

        Raises ValueError for a batch that the edits cannot work on.
        """
        wrappers: list[tuple[str, Callable]] = [(WrappersMP.APPLY_MODEL, self.apply_model)]
        for edit in self.edits:
            if isinstance(edit, PairOfRun):
                check_batch(noise)
                noise, self.noise = shared(noise), SharedNoise(noise.shape)
                wrappers.append((WrappersMP.SAMPLER_SAMPLE, self.noise.sample))
                if edit.blends:
                    wrappers.append((WrappersMP.PREDICT_NOISE, edit.predict_noise))
        for kind, wrapper in wrappers:
            add_wrapper_with_key(kind, WRAPPER_KEY, wrapper, self.guider.model_options, is_model_options=True)
        return noise

    def finished(self, samples: Tensor) -> Tensor:
        """The run's result, in which a pair's images are equal outside their mask to the last bit."""
        for edit in self.edits:
            if isinstance(edit, PairOfRun):
                samples = edit.outside_kept(samples)
        return samples

    def _with_columns(self, entry: Entry) -> Entry:
        cond = self.guider.conds[entry.name][entry.index]
        return replace(entry, tokens=columns_of(self.family, entry.tokens, cond))

    def apply_model(self, executor, *args, **kwargs):
        """ComfyUI's APPLY_MODEL wrapper."""
        with self.noise.paused() if self.noise is not None else contextlib.nullcontext():
            return self._apply_model(executor, *args, **kwargs)

    def _apply_model(
        self, executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **conds
    ):
        """One pass of several prompts, changed where an edit is due."""
        options = transformer_options or {}
        edits, entries = [edit for edit in self.edits if edit.is_due(t)], self._entries_of(options)
        layouts: list[AttentionLayout] = []
        if edits and any(n is not None for n in entries):
            try:
                layouts = self._layouts(x, {**conds, "c_crossattn": c_crossattn}, entries)
            except ValueError as error:  # where the text is in this pass is not known
                self.reason = str(error)
        if not layouts:
            return executor(x, t, c_concat, c_crossattn, control, options, **conds)
        prompts = self._prompts({**conds, "c_crossattn": c_crossattn}, entries, edits, layouts)
        with self._changed(options, prompts, entries, edits) as changed:
            return executor(x, t, c_concat, c_crossattn, control, changed, **conds)

    @contextlib.contextmanager
    def _changed(
        self,
        options: dict,
        prompts: Sequence[EditedPrompt],
        entries: Sequence[int | None],
        edits: Sequence[EditOfRun],
    ) -> Generator[dict]:
        """Surrounds a pass with what the edits need; gives its options."""
        reading = isinstance(options.get(OVERRIDE), Capture)
        network, first_image = self.guider.inner_model.diffusion_model, prompts[0].layout.first_image
        with contextlib.ExitStack() as stack:
            for edit in edits:
                edit.passes += not reading
                if isinstance(edit, ReinjectionOfRun):
                    self._reinject(stack, edit, network, first_image)
            if any(prompt.edits or prompt.pair for prompt in prompts):
                override = self._override(options, prompts, entries, edits)
                drops = self.family.drops_options
                stack.enter_context(pass_options(network, drops, {OVERRIDE: override}))
                options = {**options, OVERRIDE: override}
            yield options

    def _reinject(
        self, stack: contextlib.ExitStack, edit: ReinjectionOfRun, network: Any, first_image: int
    ) -> None:
        """Hooks for one pass. Not on a compiled network, which would keep them after it."""
        if hasattr(network, "_orig_mod"):
            self.reason = (
                "the whole network is compiled, so its blocks cannot be changed: remove torch.compile"
            )
        elif self.family.text_stream is not None:
            work = Reinjection(edit.settings, first_image)
            stack.enter_context(work.on(network, self.family.text_stream))
            stack.callback(self._count, edit, work)

    def _count(self, edit: ReinjectionOfRun, work: Reinjection) -> None:
        edit.blocks = max(edit.blocks, work.changed)

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

    def _layouts(self, x: Tensor, conds: dict, entries: Sequence[int | None]) -> list[AttentionLayout]:
        """Where the text of each prompt of a pass is. Raises ValueError where that is not known."""
        network = self.guider.inner_model.diffusion_model
        layouts = []
        for n in entries:
            rows = 0
            if n is not None:
                encoded = self._cond(n).get("cross_attn")
                rows = self.entries[n].tokens.rows if encoded is None else encoded.shape[1]
                self._repeats(n, conds)
            layouts.append(self.family.layout(Inputs(network, tuple(x.shape), conds, rows)))
        return layouts

    def _prompts(
        self,
        conds: dict,
        entries: Sequence[int | None],
        edits: Sequence[EditOfRun],
        layouts: Sequence[AttentionLayout],
    ) -> list[EditedPrompt]:
        """What changes in the attention to each prompt of a pass."""
        prompts = []
        for n, layout in zip(entries, layouts, strict=True):
            if n is None:
                prompts.append(EditedPrompt(layout))
                continue
            period, repeats = self._repeats(n, conds)
            changes = [change for edit in edits if (change := edit.change(n)) is not None]
            rows = self.entries[n].tokens.rows
            pair = next((edit.pair(n) for edit in edits if isinstance(edit, PairOfRun)), None)
            prompts.append(EditedPrompt(layout, tuple(changes), period, repeats, rows, pair))
        return prompts

    def _repeats(self, n: int, conds: dict) -> tuple[int, int]:
        """Rows of an entry's text, and how often ComfyUI has repeated them in this pass.

        Raises ValueError where another pack has changed the text in between.
        """
        name = next((name for name in TEXT_CONDS if isinstance(conds.get(name), Tensor)), None)
        own = getattr(self._cond(n).get("model_conds", {}).get(name), "cond", None)
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
        words = [self._words(n, edits) for n in entries]

        def keep(n: int, layout: AttentionLayout, columns: list[int], p: Tensor, p_after: Tensor) -> None:
            self.maps.add(words[n], layout, columns, p, p_after)

        if self.family.drops_options:  # such a network never obeys another pack's override
            earlier = None
        return Modulation(prompts, self.tally, earlier, None, keep)

    def _words(self, n: int | None, edits: Sequence[EditOfRun]) -> dict[str, list[int]]:
        """{label: columns} of all words of an entry that are acted on."""
        words: dict[str, list[int]] = {}
        if n is not None:
            for edit in edits:
                words |= edit.columns(n)
        return words

    def report(self, sampler: str) -> RunReport:
        """What was changed, also if that was nothing."""
        maps = self.maps.means()
        return RunReport(
            version=__version__,
            model=self.family.name,
            sampler=sampler,
            n_steps=self.schedule.n_steps,
            subjects=self._subjects(),
            recipes=tuple(self._report_of(edit, maps) for edit in self.edits),
            warnings=tuple(dict.fromkeys(self.warnings)),
            latent_rgb=preview_matrix(self.model.get_model_object("latent_format")),
        )

    def _report_of(
        self, edit: EditOfRun, maps: tuple[tuple[str, ...], Tensor, Tensor] | None
    ) -> RecipeReport:
        method, reason = edit.edit.method, self._why_not(edit)
        if reason:
            return RecipeReport(method, f"{method}: did not act, {reason}")
        first, last, sigmas = edit.steps[0], edit.steps[-1], self.schedule.sigmas
        status = (
            f"{method}: {edit.describe()}, steps {first} to {last} of {self.schedule.n_steps} "
            f"(sigma {sigmas[first]:.3g} to {sigmas[last]:.3g}), {edit.passes} passes"
        )
        settings = {
            name: value for name, value in vars(edit.edit).items() if isinstance(value, float | int | str)
        }
        made = RecipeReport(method, status, step=first, sigma=sigmas[first], settings=settings)
        if isinstance(edit, PairOfRun):
            return replace(made, **edit.report_maps())
        labels = {label for n in range(len(self.entries)) for label in edit.columns(n)}
        if maps is None or not labels & set(maps[0]):
            return made
        own = [n for n, label in enumerate(maps[0]) if label in labels]
        before, after = maps[1][:, own], maps[2][:, own]
        return replace(
            made,
            subjects=tuple(maps[0][n] for n in own),
            maxima_before=_maxima(before),
            maxima_after=_maxima(after),
            maps_before=before.half(),
            maps_after=after.half(),
        )

    def _why_not(self, edit: EditOfRun) -> str:
        """Why an edit changed nothing; "" if it did."""
        if not edit.steps:
            return edit.outside
        if isinstance(edit, ReinjectionOfRun):
            return "" if edit.blocks else self.reason or "no block of this network was changed"
        if self.tally.calls and edit.passes:
            return ""
        if self.reason:
            return self.reason
        if self.tally.misfits:
            return "another node changes the number of images in the attention: remove it, or this one"
        if isinstance(edit, WordsOfRun) and not any(edit.found):
            return "none of its words is in the prompt"
        if not edit.passes:
            return "no pass with a prompt that has these words was made"
        log.warning("Attention calls of this run (queries, keys): %s", sorted(self.tally.lengths))
        return (
            "no text-to-image attention was seen; set blocks to auto if they are not, or bypass nodes that "
            "change the size of the image or the text inside the model"
        )

    def _subjects(self) -> tuple[SubjectReport, ...]:
        """The words acted on, each once, with the token pieces they were found in."""
        reports: dict[str, SubjectReport] = {}
        for n, entry in enumerate(self.entries):
            text = {e.name: {p.column: p.text for p in e.pieces} for e in entry.tokens.encoders}
            for s in (s for edit in self.edits for s in edit.subjects(n)):
                columns = s.columns("phrase")
                pieces = {name: tuple(text[name][c] for c in own) for name, own in columns.items()}
                reports.setdefault(s.label, SubjectReport(s.label, s.phrase.source, pieces, columns))
        return tuple(reports.values())


def _maxima(maps: Tensor) -> tuple[tuple[float, ...], ...]:
    """[image][word]: the highest attention."""
    return tuple(tuple(row) for row in maps.amax((2, 3)).tolist())
