"""One sampler call whose passes are changed without gradients."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from torch import Tensor

from ...attention_layout import AttentionLayout
from ...modulate.edits import (
    Edit,
    FlippedNegative,
    PromptReinjection,
    TextTemperature,
    WordBoost,
    WordWeights,
)
from ...modulate.pair_edit import PromptToPrompt
from ...modulate.word_maps import WordMaps
from ...schedule import Schedule
from ...torch_ops.shared_noise import SharedNoise, shared
from ..architectures.family import Inputs, columns_of
from ..attention.capture import Capture
from ..attention.edited_prompt import EditedPrompt, TextEdit
from ..attention.entry import Entry
from ..attention.look import Look
from ..attention.modulate import Modulation, Tally
from ..attention.network_layout import layout_in
from ..attention.reinjection import Reinjection
from ..autograd.differentiable import pass_options
from ..find_family import family_of
from ..prompts.prompt_pair import PAIR_KEY
from .boost_of_run import BoostOfRun
from .edit_of_run import AttachedEdit, EditOfRun, FlippedOfRun, ReinjectionOfRun, TemperatureOfRun, WordsOfRun
from .pair_of_run import PairOfRun, check_batch, pair_edit, pair_entries, rows_of_both
from .plan import positive_entries

TEXT_CONDS = ("clip_text", "c_crossattn")
"""ComfyUI's names of the text that enters a network, the rarer one first."""
OF_RUN: dict[type[Edit], Callable[..., EditOfRun]] = {
    WordWeights: WordsOfRun,
    WordBoost: BoostOfRun,
    FlippedNegative: FlippedOfRun,
    TextTemperature: TemperatureOfRun,
    PromptReinjection: ReinjectionOfRun,
}
OVERRIDE = "optimized_attention_override"
WRAPPER_KEY = "gsn_modulate"


class ModulatedRun:
    """One sampler call. Gone when the call returns."""

    def __init__(self, guider: Any, attached: Sequence[AttachedEdit], sigmas: Sequence[float] | Tensor):
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
        return OF_RUN[type(edit)](edit, self.entries, self.schedule, self.family)

    def attach(self, noise: Tensor) -> Tensor:
        """Put the wrappers of this run into its options. Returns the noise to start from.

        Raises ValueError for a batch that the edits cannot work on.
        """
        wrappers: list[tuple[str, Callable]] = [(WrappersMP.APPLY_MODEL, self.apply_model)]
        for edit in self.edits:
            if isinstance(edit, PairOfRun):
                check_batch(noise)
                rows_of_both(self.guider.conds, len(noise))
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
        edits, entries = self._due(t, options), self._entries_of(options)
        layouts: list[AttentionLayout] = []
        text, more = c_crossattn, 0
        if edits and any(n is not None for n in entries):
            text, more = with_rows(c_crossattn, [edit.appended() for edit in edits])
            try:
                repeats = [self._repeats(n, {**conds, "c_crossattn": c_crossattn}) for n in entries]
                layouts = self._layouts(x, {**conds, "c_crossattn": text}, entries)
            except ValueError as error:  # where the text is in this pass is not known
                self.reason = str(error)
        if not layouts:
            return executor(x, t, c_concat, c_crossattn, control, options, **conds)
        prompts = self._prompts(repeats, entries, edits, layouts)
        with self._changed(options, prompts, entries, edits, more) as changed:
            return executor(x, t, c_concat, text, control, changed, **conds)

    def _due(self, t: Tensor, options: dict) -> list[EditOfRun]:
        """The edits of this pass. A method with gradients reads the network with the text as it is."""
        reading = isinstance(options.get(OVERRIDE), Capture)
        due = [edit for edit in self.edits if edit.is_due(t)]
        if options.get("patches_replace", {}).get("attn2"):
            self.reason = "another node replaces the attention to the text: remove it, or this one"
            reading = True
        return [edit for edit in due if not (reading and edit.appended() is not None)]

    @contextlib.contextmanager
    def _changed(
        self,
        options: dict,
        prompts: Sequence[EditedPrompt],
        entries: Sequence[int | None],
        edits: Sequence[EditOfRun],
        appended: int,
    ) -> Generator[dict]:
        """Surrounds a pass with what the edits need; gives its options."""
        reading = isinstance(options.get(OVERRIDE), Capture)
        network, first_image = self.guider.inner_model.diffusion_model, prompts[0].layout.first_image
        with contextlib.ExitStack() as stack:
            for edit in edits:
                edit.passes += edit.acts and not reading
                if isinstance(edit, ReinjectionOfRun):
                    self._reinject(stack, edit, network, first_image)
            looks = [] if reading else self._looks(prompts, entries, edits)
            prompts = [
                replace(prompt, looks=tuple(look for _, _, at, look in looks if at == n))
                for n, prompt in enumerate(prompts)
            ]
            if any(prompt.edits or prompt.looks or prompt.pair for prompt in prompts):
                override = self._override(options, prompts, entries, edits, appended)
                drops = self.family.drops_options
                stack.enter_context(pass_options(network, drops, {OVERRIDE: override}))
                options = {**options, OVERRIDE: override}
            yield options
            for edit, entry, _, look in looks:
                edit.see(entry, look)

    def _looks(
        self,
        prompts: Sequence[EditedPrompt],
        entries: Sequence[int | None],
        edits: Sequence[EditOfRun],
    ) -> list[tuple[EditOfRun, int, int, Look]]:
        """(edit, entry, its number in the pass, look) of what is read; an entry once for each edit."""
        network, found = self.guider.inner_model.diffusion_model, []
        for edit in edits:
            for n, entry in enumerate(entries):
                if entry is None or entry in entries[:n]:
                    continue
                look = edit.look(entry, network, prompts[n].layout, prompts[n].repeats)
                if look is not None:
                    found.append((edit, entry, n, look))
        return found

    def _reinject(
        self, stack: contextlib.ExitStack, edit: ReinjectionOfRun, network: Any, first_image: int
    ) -> None:
        """Hooks for one pass. Not on a compiled network, which would keep them after it."""
        if hasattr(network, "_orig_mod"):
            self.reason = (
                "the whole network is compiled, so its blocks cannot be changed: remove torch.compile"
            )
        elif self.family.text_stream is not None:
            work = Reinjection(edit.settings, first_image, edit.rotations)
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
            layouts.append(layout_in(self.family, Inputs(network, tuple(x.shape), conds, rows)))
        return layouts

    def _prompts(
        self,
        repeats: Sequence[tuple[int, int]],
        entries: Sequence[int | None],
        edits: Sequence[EditOfRun],
        layouts: Sequence[AttentionLayout],
    ) -> list[EditedPrompt]:
        """What changes in the attention to each prompt of a pass."""
        prompts = []
        for n, layout, (period, times) in zip(entries, layouts, repeats, strict=True):
            if n is None:
                prompts.append(EditedPrompt(layout))
                continue
            rows = self.entries[n].tokens.rows
            pair = next((edit.pair(n) for edit in edits if isinstance(edit, PairOfRun)), None)
            prompts.append(EditedPrompt(layout, changes_of(edits, n), period, times, rows, pair))
        return prompts

    def _repeats(self, n: int | None, conds: dict) -> tuple[int, int]:
        """Rows of an entry's text, and how often ComfyUI has repeated them in this pass; (0, 1) of no entry.

        Raises ValueError where another pack has changed the text in between.
        """
        if n is None:
            return 0, 1
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
        appended: int,
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
        return Modulation(prompts, self.tally, earlier, None, keep, appended)

    def _words(self, n: int | None, edits: Sequence[EditOfRun]) -> dict[str, list[int]]:
        """{label: columns} of all words of an entry that are acted on."""
        words: dict[str, list[int]] = {}
        if n is not None:
            for edit in edits:
                words |= edit.columns(n)
        return words


def with_rows(text: Tensor | None, appended: Sequence[Tensor | None]) -> tuple[Tensor | None, int]:
    """The text [B, n, C] of a pass with rows [N, C] behind its own, for all of its batch, and their number.

    Raises ValueError for rows of another text encoder.
    """
    rows = [one for one in appended if one is not None]
    if text is None or not rows:
        return text, 0
    for one in rows:
        if one.shape[1] != text.shape[2]:
            raise ValueError(
                f"The negative prompt's rows have {one.shape[1]} numbers and the prompt's {text.shape[2]}: "
                "encode both with the same text encoder."
            )
    more = [one.to(text)[None].expand(len(text), -1, -1) for one in rows]
    return torch.cat((text, *more), 1), sum(map(len, rows))


def changes_of(edits: Sequence[EditOfRun], entry: int) -> tuple[TextEdit, ...]:
    """What changes in the attention to an entry. Columns of appended rows count on from edit to edit."""
    changes, appended = [], 0
    for edit in edits:
        change = edit.change(entry)
        if change is not None and change.appended:
            change = replace(change, columns=tuple(appended + column for column in change.columns))
        if change is not None:
            changes.append(change)
        rows = edit.appended()
        appended += 0 if rows is None else len(rows)
    return tuple(changes)
