"""Attention to the prompt, read inside a pass that a run makes anyway: no further pass, the same bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import comfy.patcher_extension
from torch import Tensor

from ...attention_layout import AttentionLayout
from ...maps import AttentionMaps, MapNeeds
from ...prompt import SubjectPhrase
from ...torch_ops.unreadable import UnreadablePass
from ..architectures.family import Inputs, ModelFamily, columns_of
from ..attention.entry import Entry
from ..attention.network_layout import layout_in
from ..attention.pass_capture import PassCapture
from ..attention.probe import Probe
from ..attention.sampler_state import SamplerState
from ..autograd.differentiable import pass_options
from ..find_family import family_of
from .matched import MatchedConditioning, match_entries
from .paused_sampler import ModelCall
from .plan import positive_entries

WRAPPER_KEY = "gsn_look"
APPLY_MODEL = comfy.patcher_extension.WrappersMP.APPLY_MODEL
OVERRIDE = "optimized_attention_override"
NO_SUBJECTS = (
    "Seed Picker compares the attention to the subjects, and none were found in the prompt: type them into "
    "subjects, for example cat, red car."
)
NOT_ACTIVE = (
    "The prompt with the subjects is not used at model call {look_at} (its timestep range is elsewhere): "
    "choose another look_at, or change the range."
)


class PassReader:
    """Reads the attention to one prompt in passes that a run makes anyway, when it is told to.

    It puts a wrapper into the run's private model options.
    """

    def __init__(self, guider: Any, family: ModelFamily, needs: MapNeeds):
        self.guider, self.family, self.needs = guider, family, needs
        self.probe: Probe | None = None
        self.capture: PassCapture | None = None
        self.repeats = 1
        comfy.patcher_extension.add_wrapper_with_key(
            APPLY_MODEL, WRAPPER_KEY, self.apply_model, guider.model_options, is_model_options=True
        )

    def open(self, state: SamplerState, entry: Entry) -> None:
        """Read the next pass of this prompt."""
        self.probe, self.capture = Probe(state, entry, self.family, self.needs, 1.0), None

    def close(self) -> tuple[Probe | None, PassCapture | None]:
        """What was read; nothing more is."""
        found = self.probe, self.capture
        self.probe = self.capture = None
        return found

    def maps_in(self, probe: Probe, capture: PassCapture) -> AttentionMaps:
        """The maps of a pass, of all repeats of its text together."""
        maps, n = probe.maps_in(capture), self.repeats
        if n == 1:
            return maps
        heads = {level: tuple(a * n for a in layers) for level, layers in maps.heads.items()}
        return replace(maps, cross={level: a * n for level, a in maps.cross.items()}, heads=heads)

    def make_capture(self, probe: Probe, layout: AttentionLayout, options: dict, share: tuple) -> PassCapture:
        """The capture of a pass in which the prompt's images have this share."""
        capture = probe.capture(layout, None, options, kind=PassCapture)
        assert isinstance(capture, PassCapture)
        capture.share = (share[0], share[1])
        return capture

    def apply_model(
        self, executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **conds
    ):
        """ComfyUI's APPLY_MODEL wrapper: observes the pass of a look."""
        options = transformer_options or {}
        number = None if self.probe is None else self._number(self.probe.entry, options)
        if self.probe is None or number is None or self.capture is not None:
            return executor(x, t, c_concat, c_crossattn, control, options, **conds)
        layout = self._layout(self.probe.entry, x, {**conds, "c_crossattn": c_crossattn})
        capture = self.make_capture(self.probe, layout, options, (number, len(options["uuids"])))
        self.capture, changed = capture, {**options, OVERRIDE: capture}
        network = self.guider.inner_model.diffusion_model
        with pass_options(network, self.family.drops_options, {OVERRIDE: capture}):
            return executor(x, t, c_concat, c_crossattn, control, changed, **conds)

    def _number(self, entry: Entry, options: dict) -> int | None:
        """The place of our prompt among those of a pass. Copies that fill another one's area are not it."""
        ours = self.guider.conds[entry.name][entry.index].get("uuid")
        roles = options.get("cond_or_uncond", ())
        found = [n for n, uuid in enumerate(options.get("uuids", ())) if uuid == ours]
        return next((n for n in found if n < len(roles) and roles[n] == 0), next(iter(found), None))

    def _layout(self, entry: Entry, x: Tensor, conds: dict) -> AttentionLayout:
        """Where text and image are in the attention of this pass; notes how often it repeats the text."""
        cond = self.guider.conds[entry.name][entry.index]
        encoded = cond.get("cross_attn")
        rows = entry.tokens.rows if encoded is None else encoded.shape[1]
        own = getattr(cond.get("model_conds", {}).get("c_crossattn"), "cond", None)
        total = conds.get("c_crossattn")
        if isinstance(own, Tensor) and isinstance(total, Tensor) and total.shape[1] % own.shape[1] == 0:
            self.repeats = total.shape[1] // own.shape[1]
        network = self.guider.inner_model.diffusion_model
        layout = layout_in(self.family, Inputs(network, tuple(x.shape), conds, rows))
        per_key = entry.tokens.rows_per_key
        if per_key == 1:
            return layout
        return replace(layout, n_text=layout.n_text // per_key, n_keys=layout.n_keys // per_key)


def entries_of(guider: Any, family: ModelFamily) -> tuple[list[Entry], tuple[str, ...]]:
    """The prompts of a run with the columns that this family's attention has for their words, and remarks."""
    found, warnings = positive_entries(guider)
    entries = []
    for entry in found:
        tokens = columns_of(family, entry.tokens, guider.conds[entry.name][entry.index])
        entries.append(replace(entry, tokens=tokens))
    return entries, warnings


class AttentionReader(PassReader):
    """Reads the attention of the prompt that has the subjects.

    Raises ValueError when it is made for a prompt without subjects.
    """

    def __init__(self, guider: Any, subjects: Sequence[SubjectPhrase]):
        family = family_of(guider.model_patcher)
        entries, warnings = entries_of(guider, family)
        matched, notes = match_entries(subjects, entries)
        if not matched:
            raise ValueError(NO_SUBJECTS)
        super().__init__(guider, family, MapNeeds())
        self.matched: MatchedConditioning = max(matched, key=lambda one: len(one.subjects))
        self.notes = (*warnings, *notes)

    def read(self, model: Any, call: ModelCall, look_at: int) -> tuple[Tensor, AttentionMaps]:
        """The model's answer to a call of the sampler, and the maps of that very pass."""
        x, sigma = call.args[0], call.args[1]
        self.open(SamplerState(self.guider, model, x, sigma, dict(call.kwargs)), self.matched.entry)
        try:
            answer = model(*call.args, **call.kwargs)
        finally:
            probe, capture = self.close()
        if capture is None or probe is None:
            raise ValueError(NOT_ACTIVE.format(look_at=look_at))
        if not capture.state.layers:
            raise UnreadablePass(_unseen(capture, probe))
        return answer, self.maps_in(probe, capture)


def _unseen(capture: PassCapture, probe: Probe) -> str:
    """Why nothing was read, with what is in the way."""
    lengths = f"(queries, keys seen: {sorted(capture.state.lengths)})"
    names = probe.names_in_the_way()
    cure = f"; bypass {' or '.join(names)}" if names else ""
    return (
        f"Seed Picker cannot read this model: no attention of the image to the text was seen {lengths}{cure}."
    )
