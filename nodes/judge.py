"""What is in the images: a judge of the subjects, by any detector."""

from comfy_api.latest import io, ui

from ..gsn_ops.host.judge.asked import asked_subjects
from ..gsn_ops.host.judge.detectors import detector_of
from ..gsn_ops.judge.outputs import labels, missing, score, subject_masks, summary, to_json
from ..gsn_ops.judge.sources import DemoShapes, GivenAnswer, GivenBoxes, Source, judge
from ..gsn_ops.judge.verdict import CONFIDENCE
from ..gsn_ops.language import aliases
from ..gsn_ops.report.drawing.canvas import told
from ..gsn_ops.report.drawing.verdict_marks import Mark, marked
from ..gsn_ops.report.views import stack
from .inputs import given_images, optional_float, status_reporter, written

CONNECTED, DEMO = "what is connected", "shapes of the demo models"
JUDGED_BY = (CONNECTED, DEMO)


def source_inputs() -> list[io.Input]:
    """Everything that can say what is in an image."""
    return [
        io.Model.Input(
            "detector",
            optional=True,
            tooltip="A detector: RT-DETR (the 80 classes of COCO, boxes) or SAM 3 (any noun, masks).",
        ),
        io.Clip.Input("clip", optional=True, tooltip="The text encoder of SAM 3."),
        io.Model.Input(
            "second_detector",
            optional=True,
            tooltip="Looks for the subjects that the first one cannot find, as SAM 3 beside RT-DETR.",
        ),
        io.BoundingBox.Input(
            "boxes",
            optional=True,
            force_input=True,
            tooltip="Boxes that another node has found in these images, with labels.",
        ),
        io.String.Input(
            "answer",
            optional=True,
            force_input=True,
            tooltip="What a vision model answered about one image: a line `cat: yes` for each subject, "
            "or JSON.",
        ),
    ]


def rule_inputs() -> list[io.Input]:
    """How it is judged."""
    return [
        io.Combo.Input(
            "judge_by",
            options=list(JUDGED_BY),
            optional=True,
            default=CONNECTED,
            tooltip="The demo models' images can be judged without a detector: their shapes are found by "
            "geometry.",
        ),
        optional_float(
            "confidence", CONFIDENCE, (0.0, 1.0), "Detections with a lower score do not count.", step=0.01
        ),
        io.Boolean.Input(
            "colours",
            optional=True,
            default=True,
            tooltip="A subject with a colour (red, yellow, green, blue, purple, pink, black, white) must "
            "have it: at least 40 % of its pixels.",
        ),
    ]


class GSNJudge(io.ComfyNode):
    """Whether the subjects are in the images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNJudge",
            display_name="Subject Judge",
            category="GSN/inspect",
            description="Says whether every subject is in the image, in its colour and apart from the "
            "others, by a detector that ComfyUI has loaded (the rules of TIAM). all_present decides what "
            "happens next, for example a new seed.",
            search_aliases=[
                "gsn",
                "judge",
                "detect",
                "tiam",
                "all present",
                "new seed",
                *aliases("GSNJudge"),
            ],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,
            inputs=[
                io.Image.Input("images", tooltip="The decoded images to look at."),
                io.String.Input(
                    "subjects",
                    optional=True,
                    multiline=True,
                    default="",
                    placeholder="subjects (empty: those of the conditioning)",
                    tooltip="What must be in the image: red car, bench. dog#2 means two dogs, dog? may be "
                    "missing, -person must not be there. Empty: the subjects of the conditioning.",
                ),
                io.Conditioning.Input(
                    "conditioning",
                    optional=True,
                    tooltip="The prompt, from a text node whose CLIP went through Semantic Nursing. Its "
                    "subjects are judged if none are typed.",
                ),
                *source_inputs(),
                *rule_inputs(),
            ],
            outputs=[
                io.Boolean.Output("all_present", tooltip="Whether every subject is right in every image."),
                io.Float.Output("score", tooltip="Share of the subjects that are right, 0 to 1."),
                io.String.Output("missing", tooltip="The subjects that are not right, empty if all are."),
                io.String.Output("json", tooltip="Everything as data, for scripts."),
                io.Image.Output(display_name="IMAGE", tooltip="The images with what was found."),
                io.Mask.Output(
                    display_name="MASK", tooltip="One mask per subject in order, for each image in turn."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        images,
        subjects="",
        conditioning=None,
        detector=None,
        clip=None,
        second_detector=None,
        boxes=None,
        answer=None,
        judge_by=CONNECTED,
        confidence=CONFIDENCE,
        colours=True,
    ) -> io.NodeOutput:
        if judge_by not in JUDGED_BY:
            raise ValueError(f"judge_by is '{judge_by}': choose one of {', '.join(JUDGED_BY)}.")
        images = given_images(images)
        asked = asked_subjects(written(subjects), conditioning)
        sources: list[Source] = [DemoShapes()] if judge_by == DEMO else []
        sources += [] if detector is None else [detector_of(detector, clip)]
        sources += [] if second_detector is None else [detector_of(second_detector, clip, "second_detector")]
        sources += [] if boxes is None else [GivenBoxes(boxes)]
        sources += [] if answer is None else [GivenAnswer(answer, asked)]
        found = judge(images, asked, sources, confidence)
        text = summary(found, colours)
        status_reporter(cls)(text)
        drawn = drawing(images, found, colours)
        data, lacking = to_json(found, colours), missing(found, colours)
        right = all(verdict.right(colours) for verdict in found.images)
        masks = subject_masks(found, *images.shape[1:3])
        shown = {**ui.PreviewImage(drawn, cls=cls).as_dict(), "text": (text,)}
        return io.NodeOutput(right, score(found, colours), lacking, data, drawn, masks, ui=shown)


def drawing(images, found, colours: bool):
    """The images [B, H, W, 3] with the boxes of what was found, and what is missing."""
    pages = []
    for image, verdict in zip(images, found.images, strict=True):
        right = {subject.label: subject.right(colours) for subject in verdict.subjects}
        marks = [Mark(box, text, right.get(owner)) for box, text, owner in labels(verdict)]
        lacking = ", ".join(verdict.missing(colours))
        text = f"{told('missing')}: {lacking}" if lacking else told("all subjects are there")
        pages.append(marked(image[..., :3].numpy(), marks, text, verdict.right(colours)))
    return stack(pages)


NODES = [GSNJudge]
