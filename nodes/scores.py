"""How well images fit their prompt by CLIP, and how they look by the LAION predictor: numbers to compare."""

from comfy_api.latest import io

from ..gsn_ops.host.judge.clip_towers import ClipTowers, head_files, read_head
from ..gsn_ops.judge.score_table import mean_of, scores_of, scores_to_json, scores_to_text
from ..gsn_ops.judge.scorers import ScoreRequest
from ..gsn_ops.language import aliases
from ..gsn_ops.subjects.find import subjects_of_caption
from ..gsn_ops.subjects.syntax import SPACY, parse_subjects
from .inputs import given, given_images, status_reporter, written

NO_HEAD = "none"


def head_input() -> io.Input:
    """The file of the aesthetic head."""
    return io.Combo.Input(
        "aesthetic_head",
        options=[NO_HEAD, *head_files()],
        optional=True,
        default=NO_HEAD,
        tooltip="The LAION predictor's head (sac+logos+ava1-l14-linearMSE) in models/gsn; it needs the CLIP "
        "Vision of ViT-L/14.",
    )


class GSNScores(io.ComfyNode):
    """The similarities that papers report."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNScores",
            display_name="Image Scores",
            category="GSN/inspect",
            description="Measures how well images fit their prompt by a CLIP that ComfyUI has loaded: full "
            "prompt and minimum object similarity (Attend-and-Excite), CLIPScore, with captions text-text "
            "similarity, with its file the LAION aesthetic score. For comparing runs; a single image says "
            "little.",
            search_aliases=["gsn", "clip score", "similarity", "aesthetic", "metric", *aliases("GSNScores")],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Image.Input("images", tooltip="The decoded images."),
                io.ClipVision.Input(
                    "clip_vision", tooltip="The image tower, from Load CLIP Vision; published with ViT-B/16."
                ),
                io.String.Input(
                    "prompt",
                    multiline=True,
                    default="",
                    placeholder="prompt",
                    tooltip="What the images are compared with.",
                ),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="The text tower of the same CLIP with its projection, from Load CLIP. Not needed "
                    "for the aesthetic score.",
                ),
                io.String.Input(
                    "subjects",
                    optional=True,
                    multiline=True,
                    default="",
                    placeholder="subjects (empty: found in the prompt)",
                    tooltip="The things for minimum object similarity: red car, bench. Empty: those that the "
                    "prompt names.",
                ),
                io.String.Input(
                    "captions",
                    optional=True,
                    force_input=True,
                    tooltip="What a vision model wrote about each image, a line for each: for text-text "
                    "similarity.",
                ),
                head_input(),
            ],
            outputs=[
                io.Float.Output("full_prompt", tooltip="Similarity to the prompt, mean over the images."),
                io.Float.Output("minimum_object", tooltip="Similarity to the subject that fits least."),
                io.Float.Output("clip_score", tooltip="100 times the cosine to the prompt, not below 0."),
                io.String.Output("json", tooltip="Every score of every image, for scripts."),
            ],
        )

    @classmethod
    def execute(
        cls, images, clip_vision, prompt, clip=None, subjects="", captions=None, aesthetic_head=NO_HEAD
    ) -> io.NodeOutput:
        images = given_images(images)
        towers = ClipTowers(given("CLIP_VISION", clip_vision), clip)
        head = None if aesthetic_head == NO_HEAD else read_head(aesthetic_head)
        request = requested(written(prompt), written(subjects), written(captions))
        found = scores_of(images, towers, clip is not None, request, head)
        text = scores_to_text(found)
        status_reporter(cls)(text)
        means = [mean_of(found, name) for name in ("full prompt", "minimum object", "CLIPScore")]
        return io.NodeOutput(*means, scores_to_json(found), ui={"text": (text,)})


def requested(prompt: str, subjects: str, captions: str) -> ScoreRequest:
    """What is asked: the subjects that are typed, else those of the prompt; a caption a line.

    Raises ValueError for a request for spaCy.
    """
    phrases = parse_subjects(subjects) or tuple(subjects_of_caption(prompt)[0])
    if phrases and phrases[0].source == SPACY:
        raise ValueError(
            f"subjects is '{phrases[0].label}': Image Scores has no spaCy, so type the subjects."
        )
    return ScoreRequest(prompt, phrases, tuple(line for line in captions.splitlines() if line.strip()))


NODES = [GSNScores]
