"""The report of a run whose passes are changed without gradients."""

from __future__ import annotations

import logging
from dataclasses import replace

from torch import Tensor

from ... import __version__
from ...report.run_report import RecipeReport, RunReport, SubjectReport
from ...report.verdict import cure_first
from ...torch_ops.unreadable import OWN_NETWORK
from ..attention.other_packs import names_on, own_network
from ..find_family import name_of
from .boost_of_run import BoostOfRun
from .edit_of_run import EditOfRun, ReinjectionOfRun, WordsOfRun
from .modulated_run import ModulatedRun
from .pair_of_run import PairOfRun
from .sampler_report import preview_matrix

log = logging.getLogger(__name__)


def report_of_run(run: ModulatedRun, sampler: str) -> RunReport:
    """What was changed, also if that was nothing."""
    maps = run.maps.means()
    return RunReport(
        version=__version__,
        model=name_of(run.model, run.family),
        sampler=sampler,
        n_steps=run.schedule.n_steps,
        subjects=_subjects(run),
        recipes=tuple(_report_of(run, edit, maps) for edit in run.edits),
        warnings=tuple(dict.fromkeys(run.warnings)),
        latent_rgb=preview_matrix(run.model.get_model_object("latent_format")),
    )


def report_of_edit(run: ModulatedRun, edit: EditOfRun) -> RecipeReport:
    """What one edit of a run changed, also if that was nothing."""
    return _report_of(run, edit, run.maps.means())


def _report_of(
    run: ModulatedRun, edit: EditOfRun, maps: tuple[tuple[str, ...], Tensor, Tensor] | None
) -> RecipeReport:
    method, reason = edit.edit.method, _why_not(run, edit)
    if reason:
        line = f"Did not act: {cure_first(reason)}"
        return RecipeReport(method, f"{method}: did not act, {reason}", line=line)
    first, last, sigmas = edit.steps[0], edit.steps[-1], run.schedule.sigmas
    status = (
        f"{method}: {edit.describe()}, steps {first} to {last} of {run.schedule.n_steps} "
        f"(sigma {sigmas[first]:.3g} to {sigmas[last]:.3g}), {edit.passes} passes"
    )
    settings = {
        name: value for name, value in vars(edit.edit).items() if isinstance(value, float | int | str)
    }
    made = RecipeReport(
        method, status, step=first, sigma=sigmas[first], settings=settings, steps=edit.step_reports()
    )
    if isinstance(edit, PairOfRun):
        return replace(made, **edit.report_maps())
    labels = {label for n in range(len(run.entries)) for label in edit.columns(n)}
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


def _why_not(run: ModulatedRun, edit: EditOfRun) -> str:
    """Why an edit changed nothing; "" if it did."""
    if not edit.steps:
        return edit.outside
    if isinstance(edit, ReinjectionOfRun):
        return "" if edit.blocks else run.reason or "no block of this network was changed"
    blocked = _in_the_way(run) if isinstance(edit, BoostOfRun) and edit.is_blind else ""
    own = blocked or edit.reason()
    if own is not None:
        return own
    if run.tally.calls and edit.passes:
        return ""
    if run.reason:
        return run.reason
    if run.tally.misfits:
        return "another node changes the number of images in the attention: remove it, or this one"
    if isinstance(edit, WordsOfRun) and not any(edit.found):
        return "none of its words is in the prompt"
    if not edit.passes:
        return "no pass with a prompt that has these words was made"
    log.warning("Attention calls of this run (queries, keys): %s", sorted(run.tally.lengths))
    return (
        "no text-to-image attention was seen; set blocks to auto if they are not, or bypass nodes that "
        "change the size of the image or the text inside the model"
    )


def _in_the_way(run: ModulatedRun) -> str:
    """Why a look saw nothing, by name; "" where nothing of others is on the model."""
    network = run.model.model.diffusion_model
    engine = own_network(network)
    if engine:
        return OWN_NETWORK.format(engine)
    names = " or ".join(names_on(run.model.model_options, network))
    return (
        f"no attention of the image to the text was seen; in the way is {names}: bypass it" if names else ""
    )


def _subjects(run: ModulatedRun) -> tuple[SubjectReport, ...]:
    """The words acted on, each once, with the token pieces they were found in."""
    reports: dict[str, SubjectReport] = {}
    for n, entry in enumerate(run.entries):
        text = {e.name: {p.column: p.text for p in e.pieces} for e in entry.tokens.encoders}
        for s in (s for edit in run.edits for s in edit.subjects(n)):
            columns = s.columns("phrase")
            pieces = {name: tuple(text[name][c] for c in own) for name, own in columns.items()}
            reports.setdefault(s.label, SubjectReport(s.label, s.phrase.source, pieces, columns))
    return tuple(reports.values())


def _maxima(maps: Tensor) -> tuple[tuple[float, ...], ...]:
    """[image][word]: the highest attention."""
    return tuple(tuple(row) for row in maps.amax((2, 3)).tolist())
