"""Text encoding that keeps token data, and subjects for a conditioning that was made elsewhere."""

from comfy_api.latest import io

from ..gsn_ops.host.prompts.conditioning import KEY, token_table, with_subjects, with_token_metadata
from ..gsn_ops.language import aliases
from ..gsn_ops.subjects.resolve import choose_subjects
from ..gsn_ops.subjects.syntax import parse_subjects
from .inputs import conditioning_output, given, status_reporter, subjects_input, written

NO_ENCODER = "The clip input is empty: the checkpoint has no text encoder. Load one and connect it."


def encode_output(node: type[io.ComfyNode], conditioning: list) -> io.NodeOutput:
    """The node's outputs: the conditioning and its token table. Shows the subjects found on the node.

    Of several combined prompts the first one with the subjects counts. Raises ValueError if none has them.
    """
    errors = []
    for _, extra in conditioning:
        try:
            subjects, notes = choose_subjects((), extra[KEY])
        except ValueError as error:
            errors.append(error)
            continue
        found = ", ".join(f"{subject.label} ({subject.phrase.source})" for subject in subjects)
        status_reporter(node)("; ".join([found or "no subjects found in the prompt", *notes]))
        return io.NodeOutput(conditioning, token_table(extra[KEY]))
    raise errors[0]


def encode(clip, text: str, subjects: str) -> list:
    """A conditioning that carries its tokens and these subjects. Raises ValueError if there is no CLIP."""
    if clip is None:
        raise ValueError(NO_ENCODER)
    clip = with_token_metadata(clip, parse_subjects(written(subjects)))
    return clip.encode_from_tokens_scheduled(clip.tokenize(given("text", text)))


def tokens_output() -> io.Output:
    return io.String.Output(
        "tokens", tooltip="A table of the prompt's tokens, their columns, and the subjects."
    )


class GSNTextEncode(io.ComfyNode):
    """CLIP Text Encode whose conditioning carries token data and subjects."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNTextEncode",
            display_name="CLIP Text Encode (GSN)",
            category="GSN",
            description="Encodes a prompt exactly as CLIP Text Encode does and keeps its tokens with it, so "
            "that a sampler can find the subjects. Shows how the prompt is split into tokens.",
            search_aliases=["gsn", "prompt", "tokens", "text encode", *aliases("GSNTextEncode")],
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,
            inputs=[
                io.String.Input("text", multiline=True, dynamic_prompts=True, tooltip="The prompt."),
                io.Clip.Input("clip", tooltip="The text encoder."),
                subjects_input(),
            ],
            outputs=[conditioning_output(), tokens_output()],
        )

    @classmethod
    def execute(cls, text, clip, subjects="") -> io.NodeOutput:
        return encode_output(cls, encode(clip, text, subjects))


class GSNSubjects(io.ComfyNode):
    """Subjects for a conditioning, and token data for one that has none."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNSubjects",
            display_name="Set Subjects",
            category="GSN/advanced",
            description="Names the subjects of a conditioning. For a conditioning from other packs' text "
            "nodes, connect clip and the same text as well.",
            search_aliases=["gsn", "words", "tokens", *aliases("GSNSubjects")],
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,
            inputs=[
                io.Conditioning.Input(
                    "conditioning", tooltip="The prompt's conditioning (a copy is changed)."
                ),
                subjects_input(),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="Only for a conditioning without token data: the text encoder that made it.",
                ),
                io.String.Input(
                    "text",
                    optional=True,
                    force_input=True,
                    tooltip="Only for a conditioning without token data: the text it was made from.",
                ),
            ],
            outputs=[conditioning_output(), tokens_output()],
        )

    @classmethod
    def execute(cls, conditioning, subjects="", clip=None, text=None) -> io.NodeOutput:
        phrases = parse_subjects(written(subjects))
        return encode_output(cls, with_subjects(given("CONDITIONING", conditioning), phrases, clip, text))


NODES = [GSNTextEncode, GSNSubjects]
