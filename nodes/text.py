"""Text encoding that remembers its words, and subjects for a conditioning that was made elsewhere."""

from comfy_api.latest import io

from ..gsn_ops.host.prompts.conditioning import KEY, token_table, with_subjects, with_token_metadata
from ..gsn_ops.subjects.resolve import choose
from ..gsn_ops.subjects.syntax import parse_subjects
from .inputs import status_reporter, subjects_input


def encode_output(node, conditioning):
    """The node's outputs: the conditioning and its token table. Says on the node what was found in the prompt.

    Of several combined prompts, the first that has the subjects. Raises ValueError if typed subjects are in none.
    """
    errors = []
    for _, extra in conditioning:
        try:
            subjects, notes = choose((), extra[KEY])
        except ValueError as error:
            errors.append(error)
            continue
        found = (
            ", ".join(f"{s.label} ({s.phrase.source})" for s in subjects) or "no subjects found in the prompt"
        )
        status_reporter(node)("; ".join([found, *notes]))
        return io.NodeOutput(conditioning, token_table(extra[KEY]))
    raise errors[0]


def encode(clip, text, subjects):
    """A conditioning that remembers its words and these subjects."""
    if clip is None:
        raise ValueError(
            "The clip input is empty: the checkpoint has no text encoder. Load one and connect it."
        )
    clip = with_token_metadata(clip, parse_subjects(subjects))
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def tokens_output():
    return io.String.Output(
        "tokens", tooltip="A table of the prompt's tokens, their columns, and the subjects."
    )


class GSNTextEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="GSNTextEncode",
            display_name="CLIP Text Encode (GSN)",
            category="GSN",
            description="Encodes a prompt exactly as CLIP Text Encode does, and remembers its words, so that a sampler can "
            "find the subjects. Shows how the prompt was cut into tokens.",
            search_aliases=["gsn", "prompt", "tokens", "text encode"],
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.String.Input("text", multiline=True, dynamic_prompts=True, tooltip="The prompt."),
                io.Clip.Input("clip", tooltip="The text encoder."),
                subjects_input(),
            ],
            outputs=[
                io.Conditioning.Output(
                    display_name="CONDITIONING", tooltip="For the sampler's positive input."
                ),
                tokens_output(),
            ],
        )

    @classmethod
    def execute(cls, text, clip, subjects=""):
        return encode_output(cls, encode(clip, text, subjects))


class GSNSubjects(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="GSNSubjects",
            display_name="Set Subjects",
            category="GSN/advanced",
            description="Names the subjects of a conditioning. For a conditioning made by other packs' text nodes, connect "
            "clip and the same text as well.",
            search_aliases=["gsn", "words", "tokens"],
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Conditioning.Input(
                    "conditioning", tooltip="The prompt's conditioning (a copy is changed)."
                ),
                subjects_input(),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="Only for a conditioning that does not remember its words: the text encoder it was made with.",
                ),
                io.String.Input(
                    "text",
                    optional=True,
                    force_input=True,
                    tooltip="Only for a conditioning that does not remember its words: the text it was made from.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    display_name="CONDITIONING", tooltip="For the sampler's positive input."
                ),
                tokens_output(),
            ],
        )

    @classmethod
    def execute(cls, conditioning, subjects="", clip=None, text=None):
        return encode_output(cls, with_subjects(conditioning, parse_subjects(subjects), clip, text))


NODES = [GSNTextEncode, GSNSubjects]
