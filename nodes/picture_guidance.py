"""Guidance by a judge: CLIP, or the shapes of the demo models, rates every predicted picture."""

from comfy_api.latest import io

from ..gsn_ops.host.judge.clip_towers import ClipTowers
from ..gsn_ops.host.judge.predicted_picture import ClipVision, DecodedByVAE, PreviewColours
from ..gsn_ops.host.sampling.picture_guidance import PictureGuidance, attach_guidance
from ..gsn_ops.judge.picture_loss import ClipLoss, ShapesLoss
from ..gsn_ops.language import aliases
from ..gsn_ops.subjects.find import subjects_of_caption
from ..gsn_ops.subjects.syntax import parse_subjects
from .inputs import given, model_input, model_output, optional_float, status_reporter, written

CLIP, DEMO_SHAPES = "CLIP", "shapes of the demo models"
NO_PROMPT = (
    "Guidance by a judge needs to know what shall be seen: write it into prompt, the prompt of the picture "
    "for example."
)
NO_TOWERS = (
    "Guidance by CLIP needs both towers of one CLIP: connect Load CLIP Vision and the Load CLIP of its text "
    "encoder with projection, for example ViT-B/16. A model's own text encoder alone cannot judge a picture."
)
UNKNOWN = "judge_by is '{judge_by}': choose one of {choices}."


def tower_inputs() -> list[io.Input]:
    """What a judge looks with."""
    return [
        io.ClipVision.Input(
            "clip_vision",
            optional=True,
            tooltip="For CLIP: the image tower, from Load CLIP Vision, for example ViT-B/16 or ViT-L/14.",
        ),
        io.Clip.Input(
            "clip",
            optional=True,
            tooltip="For CLIP: the text tower of the same CLIP with its projection, from Load CLIP.",
        ),
        io.Vae.Input(
            "vae",
            optional=True,
            tooltip="Decodes the predicted picture: exact, and much memory. Not connected: the model's "
            "preview colours, a pixel per position of the latent.",
        ),
    ]


def window_inputs() -> list[io.Input]:
    """How strongly, and when."""
    return [
        optional_float(
            "scale",
            0.1,
            (0.0, 10.0),
            "How much of its size the predicted noise is changed at each step. 0 = off: a plain run, bit for "
            "bit.",
            step=0.01,
        ),
        optional_float(
            "start_percent", 0.0, (0.0, 1.0), "Start of the window, as a share of the noise schedule."
        ),
        optional_float(
            "end_percent", 0.6, (0.0, 1.0), "End of the window, as a share of the noise schedule."
        ),
    ]


class GSNPictureGuidance(io.ComfyNode):
    """A MODEL patch whose predictions go down a loss on the predicted picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNPictureGuidance",
            display_name="Guidance by a Judge",
            category="GSN/advanced",
            description="Patches a model so that a judge rates the predicted picture of each step and its "
            "gradient guides the sampler: CLIP guidance (GLIDE) with a CLIP that ComfyUI has loaded, or the "
            "shapes of the demo models. One pass forward and back per step of the window.",
            search_aliases=[
                "gsn",
                "clip guidance",
                "glide",
                "classifier guidance",
                "universal guidance",
                "freedom",
                *aliases("GSNPictureGuidance"),
            ],
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,
            inputs=[
                model_input(),
                io.String.Input(
                    "prompt",
                    multiline=True,
                    default="",
                    placeholder="what shall be seen",
                    tooltip="What the judge wants to see, usually the prompt. For shapes: red circle, blue "
                    "square.",
                ),
                io.Combo.Input(
                    "judge_by",
                    options=[CLIP, DEMO_SHAPES],
                    optional=True,
                    default=CLIP,
                    tooltip="CLIP: the cosine of picture and prompt. Shapes: overlap with colours and shapes "
                    "that the demo models draw.",
                ),
                *tower_inputs(),
                *window_inputs(),
            ],
            outputs=[model_output()],
        )

    @classmethod
    def execute(
        cls,
        model,
        prompt,
        judge_by=CLIP,
        clip_vision=None,
        clip=None,
        vae=None,
        scale=0.1,
        start_percent=0.0,
        end_percent=0.6,
    ) -> io.NodeOutput:
        model, tell = given("MODEL", model), status_reporter(cls)
        see = PreviewColours(model) if vae is None else DecodedByVAE(vae, model)
        loss, models = asked(judge_by, written(prompt), clip_vision, clip)
        window = (start_percent, end_percent)
        what = PictureGuidance(loss, see, (*models, *see.models), scale, window)
        return io.NodeOutput(attach_guidance(model, what, tell))


def asked(judge_by: str, prompt: str, clip_vision, clip) -> tuple[ClipLoss | ShapesLoss, list]:
    """The loss, and the patchers of the models it needs. Raises ValueError, with the cure."""
    if judge_by not in (CLIP, DEMO_SHAPES):
        raise ValueError(UNKNOWN.format(judge_by=judge_by, choices=f"{CLIP}, {DEMO_SHAPES}"))
    if not prompt.strip():
        raise ValueError(NO_PROMPT)
    if judge_by == DEMO_SHAPES:
        subjects = subjects_of_caption(prompt)[0] or parse_subjects(prompt)
        wanted = [subject for subject in subjects if subject.role == "wanted"]
        if not wanted:
            raise ValueError(NO_PROMPT)
        return ShapesLoss.of(wanted), []
    if clip_vision is None or clip is None:
        raise ValueError(NO_TOWERS)
    tower = ClipVision(clip_vision)
    (text,) = ClipTowers(clip_vision, clip).texts([prompt])
    return ClipLoss(tower, text), tower.models


NODES = [GSNPictureGuidance]
