"""The main node: a published method by its name, on the model and the text encoder at once."""

from dataclasses import replace

from comfy_api.latest import io

from ..gsn_ops.host.extensions import collect
from ..gsn_ops.host.node_status import Absent
from ..gsn_ops.host.own_moment import OwnMoment, file_stamp, own_moment
from ..gsn_ops.host.prompts.conditioning import with_token_metadata
from ..gsn_ops.host.sampling.modulation import attach_edits
from ..gsn_ops.host.sampling.patch import attach
from ..gsn_ops.language import aliases
from ..gsn_ops.optimise.auto import AUTO, BUDGET, STEPS_OF, within
from ..gsn_ops.optimise.gradient_free import edit_of, with_subjects
from ..gsn_ops.optimise.methods import acts_at_one_step, methods, preset
from ..gsn_ops.optimise.overrides import check, moved, only_needed, override, reading, shared_attention
from ..gsn_ops.optimise.unused import Asked, used
from ..gsn_ops.subjects.syntax import parse_subjects
from .inputs import (
    DEFAULT_LEVEL,
    OWN_STEP,
    chosen_moment_or_own,
    given,
    model_input,
    model_output,
    moment_inputs,
    optional_float,
    report_kind,
    report_output,
    status_reporter,
    subjects_input,
    watching_inputs,
    written,
)

ALIASES = ["gsn", "latent refine", "attend and excite", "attention", "missing object", "prompt following"]
NO_CLIP = (
    "Semantic Nursing's CLIP output is used, but nothing is connected to its clip input. "
    "Connect the checkpoint's CLIP to it, then this CLIP to your text nodes."
)


def method_inputs() -> list[io.Input]:
    """Which method, for which subjects, how strong."""
    return [
        io.Combo.Input(
            "method",
            options=methods(),
            optional=True,
            default=AUTO,
            tooltip="Auto looks at the attention first, and works only on images that lack something, within "
            "the budget. The others are published methods with their published settings, or this pack's "
            "own. The help page says which one is for what, what it needs and what it costs.",
        ),
        subjects_input(),
        optional_float(
            "strength",
            1.0,
            (0.0, 10.0),
            "Scales the size of the update steps. 1 = as published, 0 = off: a plain run, bit for bit.",
            step=0.01,
            precision=0.001,
        ),
    ]


def check_strength(strength: float) -> None:
    """Raises ValueError for a strength that is no number of 0 or more."""
    if not strength >= 0:
        raise ValueError(f"strength is {strength:g}: choose 0 (off, a plain run) or more; 1 is as published.")


class GSNNursing(io.ComfyNode):
    """A MODEL patch with a method's recipes, and a CLIP whose encodings carry token metadata."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        collect()
        return io.Schema(
            node_id="GSNNursing",
            display_name="Semantic Nursing",
            category="GSN",
            description="Restores objects of the prompt that the image would miss. Place it where a LoRA "
            "loader goes: model and clip in, model and clip out, then your own text nodes and any sampler.",
            search_aliases=[*ALIASES, *aliases("GSNNursing")],
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,
            inputs=[
                model_input(),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="The text encoder. The one that leaves this node gives bit-identical encodings "
                    "that also carry their tokens, so that the sampler can find your subjects.",
                ),
                *method_inputs(),
                *moment_inputs(method_decides=True),
                *watching_inputs(),
                io.String.Input(
                    "overrides",
                    optional=True,
                    default="",
                    advanced=True,
                    tooltip="Settings other than the method's, for example: shifts=30, learning_rate=0.02. "
                    "pieces=phrase reads all words of a phrase instead of its noun. An unknown key is "
                    "refused with the list of the method's keys.",
                ),
                optional_float(
                    "budget",
                    BUDGET,
                    (0.0, 100.0),
                    "What Auto may add at most, in images: 1 = as much time as the plain image takes. "
                    "0 = only what costs no further passes. Other methods do not use it.",
                    step=0.1,
                    precision=0.001,
                ),
            ],
            outputs=[
                model_output(),
                io.Clip.Output(display_name="CLIP", tooltip="The text encoder, for your text nodes."),
                report_output(),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, at_percent=OWN_STEP, at_sigma=0.0, at_step=-1, **_others) -> str:
        """The node runs again when the step that was chosen for its model has changed."""
        own = at_percent == OWN_STEP and at_sigma == 0 and at_step == -1
        return file_stamp() if own else ""

    @classmethod
    def execute(
        cls,
        model,
        clip=None,
        method=AUTO,
        subjects="",
        strength=1.0,
        at_percent=OWN_STEP,
        at_sigma=0.0,
        at_step=-1,
        only_if_needed=False,
        report_level=DEFAULT_LEVEL,
        overrides="",
        budget=BUDGET,
    ) -> io.NodeOutput:
        check_strength(strength)
        moment = chosen_moment_or_own(at_percent, at_sigma, at_step)
        asked, notes = used(method, Asked(moment, only_if_needed, written(overrides), budget))
        status = status_reporter(cls)
        encoder = Absent(NO_CLIP) if clip is None else with_token_metadata(clip)
        edit = edit_of(method, asked.overrides, asked.moment)
        if edit is not None:
            edit = with_subjects(edit, parse_subjects(written(subjects))).check().scaled(strength)
            patched, book = attach_edits(given("MODEL", model), edit, on_status=status, notes=notes)
            return io.NodeOutput(patched, encoder, book)
        own = OwnMoment(asked.moment)
        if asked.moment is None and strength and acts_at_one_step(method):
            own = own_moment(given("MODEL", model), *STEPS_OF.get(method, (method,)))
        notes = (*notes, *own.remarks)
        recipes = moved(override(reading(preset(method), own.reads), asked.overrides), own.moment)
        common = {"report": report_kind(report_level), "subjects": parse_subjects(written(subjects))}
        recipes = within(recipes, asked.budget)
        recipes = tuple(
            check(replace(recipe, **common)).scaled(strength)
            for recipe in only_needed(recipes, asked.only_if_needed)
        )
        if warning := shared_attention(recipes):
            status(warning)
        patched, book = attach(given("MODEL", model), *recipes, on_status=status, notes=notes)
        return io.NodeOutput(patched, encoder, book)


NODES = [GSNNursing]
