"""The hook of what acts without gradients: a MODEL patch that changes attention in the run's own passes.

One keyed OUTER_SAMPLE wrapper finds the words in the prompts of a run and puts an APPLY_MODEL wrapper into
this run's private options. Nothing stays on the model.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.patcher_extension
from torch import Tensor

from ...modulate.edits import Edit
from ...remark import with_lines
from ...report.book import ReportBook
from ..find_family import family_of
from ..language import with_errors_spoken
from .edit_of_run import AttachedEdit, check_family
from .modulated_report import report_of_run
from .modulated_run import WRAPPER_KEY, ModulatedRun
from .sampler_facts import sampler_name
from .sampler_report import returned_latents

log = logging.getLogger(__name__)

OUTER_SAMPLE = comfy.patcher_extension.WrappersMP.OUTER_SAMPLE


def attach_edits(
    model, *edits: Edit, on_status: Callable[[str], None] | None = None, notes: Sequence[str] = ()
):
    """A clone of MODEL whose runs make these edits, after those it already has, and the book of reports.

    notes: remarks on their settings. Edits that change nothing install nothing. Raises ValueError for a model
    whose family is not supported, or on which an edit cannot work.
    """
    book, patched = ReportBook(), model.clone()
    family = family_of(model)
    edits = tuple(edit.check() for edit in edits if not edit.disabled)
    for edit in edits:
        check_family(edit, family)
    if not edits:
        if on_status is not None:
            on_status("Off: nothing to change, a plain run, as without this node.")
        return patched, book
    attached: list[AttachedEdit] = []
    for earlier in model.get_wrappers(OUTER_SAMPLE, WRAPPER_KEY):
        attached += earlier.attached
    attached += [AttachedEdit(edit, book, on_status, tuple(notes)) for edit in edits]
    patched.remove_wrappers_with_key(OUTER_SAMPLE, WRAPPER_KEY)
    patched.add_wrapper_with_key(OUTER_SAMPLE, WRAPPER_KEY, ModulationPatch(tuple(attached)))
    return patched, book


@dataclass(frozen=True)
class ModulationPatch:
    """The wrapper around one sampler call. Holds edits and books, nothing of a run."""

    attached: tuple[AttachedEdit, ...]

    @with_errors_spoken
    def __call__(
        self,
        executor,
        noise,
        latent_image,
        sampler,
        sigmas,
        denoise_mask=None,
        callback=None,
        *args,
        **kwargs,
    ):
        guider = executor.class_obj
        run = ModulatedRun(guider, self.attached, sigmas)
        noise = run.attach(noise)
        last = _LastPrediction(callback)
        samples = executor(noise, latent_image, sampler, sigmas, denoise_mask, last, *args, **kwargs)
        samples = run.finished(samples)
        self._report(run, guider.model_patcher, sampler, samples, last.x0)
        return samples

    def _report(self, run: ModulatedRun, model, sampler, samples: Tensor, x0: Tensor | None) -> None:
        """Write the report into every edit's book and tell every edit's node."""
        report = report_of_run(run, sampler_name(sampler))
        outputs = returned_latents(samples)
        if x0 is not None and not getattr(x0, "is_nested", False):
            outputs += returned_latents(model.model.process_latent_out(x0.cpu()))
        for book in {id(one.book): one.book for one in self.attached}.values():
            book.add(report, *outputs)
        for one, recipe in zip(self.attached, report.recipes, strict=True):
            log.info(recipe.status)
            if one.on_status is not None:
                one.on_status(with_lines(recipe.said, report.warnings))


class _LastPrediction:
    """The sampler's callback, which also keeps the last prediction: the second output of SamplerCustom."""

    def __init__(self, callback: Callable | None):
        self.callback = callback
        self.x0: Tensor | None = None

    def __call__(self, step: int, x0: Tensor, x: Tensor, total: int) -> Any:
        self.x0 = x0
        return None if self.callback is None else self.callback(step, x0, x, total)
