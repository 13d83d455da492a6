"""Seed Picker: several starts, one look, and the best of them finished."""

from comfy_api.latest import io, ui

from ..gsn_ops.host.node_status import Absent
from ..gsn_ops.host.sampling.picked_seeds import status_and_sheet, to_json
from ..gsn_ops.host.sampling.seed_picker import PickSettings, consecutive, pick_seeds
from ..gsn_ops.language import aliases
from ..gsn_ops.start_scores import PRESENCE, RANKINGS
from ..gsn_ops.subjects.syntax import parse_subjects
from .inputs import given, optional_float, status_reporter, subjects_input, written
from .refine import image_inputs, schedule_inputs

NOT_FINISHED = (
    "Seed Picker has no LATENT, for finish is off: give its seeds to a KSampler, or set finish to on."
)


def whole(name: str, default: int, most: int, tooltip: str) -> io.Input:
    """An optional whole number from 1."""
    return io.Int.Input(name, optional=True, default=default, min=1, max=most, tooltip=tooltip)


def picking_inputs() -> list[io.Input]:
    """How many starts, when they are compared, and by what."""
    return [
        whole("candidates", 4, 64, "How many seeds are started: the seed and those that follow it."),
        whole("keep", 1, 64, "How many of them are finished, the best first."),
        io.Int.Input(
            "look_at",
            optional=True,
            default=0,
            min=0,
            max=1000,
            tooltip="The model call at which the starts are compared. 0: the second, on flow models that "
            "after a third of the steps.",
        ),
        io.Combo.Input(
            "rank_by",
            options=list(RANKINGS),
            optional=True,
            default=PRESENCE,
            tooltip="presence: the highest attention of the weakest subject. focus: how concentrated it is, "
            "for models whose attention is flat.",
        ),
        optional_float(
            "stop_at",
            0.0,
            (0.0, 1.0),
            "Start no further seeds once as many as are kept have this value, 0.8 for example. 0 = all "
            "candidates.",
            step=0.01,
        ),
        io.Boolean.Input(
            "finish",
            optional=True,
            default=True,
            tooltip="Finish the kept seeds from where they are. Off: only their numbers are given, for a "
            "KSampler.",
        ),
        subjects_input(),
        io.Vae.Input("vae", optional=True, tooltip="Decodes the previews of the contact sheet."),
    ]


class GSNSeedPicker(io.ComfyNode):
    """A KSampler that starts several seeds and finishes the most promising ones."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNSeedPicker",
            display_name="Seed Picker",
            category="GSN",
            description="A KSampler that starts several seeds, reads the attention to the subjects in an "
            "early model call of each, and finishes the best ones from where they are. A kept seed gives the "
            "image that a KSampler gives with it, bit for bit.",
            search_aliases=["gsn", "seed", "best of n", "ksampler", "early stop", *aliases("GSNSeedPicker")],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The model used for denoising. With Semantic Nursing on it, the kept seeds are "
                    "sampled with it.",
                ),
                *schedule_inputs(),
                *image_inputs(),
                *picking_inputs(),
            ],
            outputs=[
                io.Latent.Output(display_name="LATENT", tooltip="The kept images, best first."),
                io.Int.Output("seeds", is_output_list=True, tooltip="The kept seeds, best first."),
                io.Image.Output(
                    display_name="IMAGE", tooltip="A contact sheet: every start at the look, ranked."
                ),
                io.String.Output("text", tooltip="What was kept, and how much the seeds differ."),
                io.String.Output("json", tooltip="The choice as data, for scripts."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        seed,
        steps,
        cfg,
        sampler_name,
        scheduler,
        positive,
        negative,
        latent_image,
        denoise=1.0,
        candidates=4,
        keep=1,
        look_at=0,
        rank_by=PRESENCE,
        stop_at=0.0,
        finish=True,
        subjects="",
        vae=None,
    ) -> io.NodeOutput:
        seeds = consecutive(seed, candidates)
        settings = PickSettings(seeds, keep, look_at, rank_by, stop_at, finish).check(steps)
        conditionings = given("CONDITIONING", positive), given("CONDITIONING", negative)
        latent, picked = pick_seeds(
            given("MODEL", model),
            settings,
            parse_subjects(written(subjects)),
            (steps, cfg, sampler_name, scheduler),
            conditionings,
            given("LATENT", latent_image),
            denoise,
        )
        text, page = status_and_sheet(picked, vae)
        status_reporter(cls)(text)
        shown = {**ui.PreviewImage(page, cls=cls).as_dict(), "text": (text,)}
        kept = [start.seed for start in picked.kept]
        out = latent if latent is not None else Absent(NOT_FINISHED)
        return io.NodeOutput(out, kept, page, text, to_json(picked), ui=shown)


NODES = [GSNSeedPicker]
