"""Prompt-to-Prompt: two prompts, the same noise, and the second image edited from the first."""

from dataclasses import replace

from comfy_api.latest import io

from ..gsn_ops.host.find_family import family_of
from ..gsn_ops.host.prompts.prompt_pair import is_same, paired_conditioning, paired_latent
from ..gsn_ops.host.sampling.modulation import attach_edits
from ..gsn_ops.language import aliases
from ..gsn_ops.modulate.pair_edit import PromptToPrompt
from ..gsn_ops.subjects.syntax import parse_subjects
from ..gsn_ops.subjects.weights import parse_weights
from .inputs import (
    given,
    model_input,
    model_output,
    optional_float,
    report_output,
    status_reporter,
    written,
)
from .weights import BLOCKS_HELP

RULES = {"clean": False, "published": True}


def prompt_inputs() -> list[io.Input]:
    """The two prompts and the latent."""
    return [
        io.Conditioning.Input("source", tooltip="The prompt of the first image, from any text node."),
        io.Latent.Input(
            "latent", tooltip="The latent to sample, an empty one or an image. Each image becomes a pair."
        ),
        io.Conditioning.Input(
            "target",
            optional=True,
            tooltip="The prompt of the edited image. Not connected: the source prompt, for weights alone.",
        ),
    ]


def edit_inputs() -> list[io.Input]:
    """What is edited."""
    return [
        io.Combo.Input(
            "edit",
            options=["auto", "replace", "refine"],
            optional=True,
            default="auto",
            tooltip="replace: word for word, both prompts have as many words. refine: words that both "
            "prompts have keep their attention, new words get their own. auto: replace where it is possible.",
        ),
        io.String.Input(
            "weights",
            optional=True,
            default="",
            placeholder="blue: 1.4",
            tooltip="Factors of the attention to single words of the target prompt: blue: 1.4, snow: 0.5. "
            "1 = unchanged, 0 = taken out, below 0 = reversed; -2 to 3.",
        ),
    ]


def share_inputs() -> list[io.Input]:
    """When it is edited."""
    return [
        optional_float(
            "cross_share",
            0.8,
            (0.0, 1.0),
            "Share of the steps in which the edited image takes the source's attention to the words. Lower = "
            "more freedom. No effect on models where image and text attend together, but on weights.",
            step=0.05,
        ),
        io.String.Input(
            "word_shares",
            optional=True,
            default="",
            placeholder="star: 0.4",
            tooltip="Other shares of the steps for single words of the target prompt, in place of "
            "cross_share: star: 0.4. Lower = this word is freer.",
            advanced=True,
        ),
        optional_float(
            "self_share",
            -1.0,
            (-1.0, 1.0),
            "Share of the steps in which the edited image takes the source's attention of the image to "
            "itself, which keeps its layout. -1 = as published: 0.4 on UNets, 0.2 on other models. Lower = "
            "shapes can change more.",
            step=0.05,
        ),
    ]


def blend_inputs() -> list[io.Input]:
    """Where the image may change."""
    return [
        io.String.Input(
            "local_blend",
            optional=True,
            default="",
            placeholder="circle, star",
            tooltip="LocalBlend: words of either prompt, for example circle, star. The image changes only "
            "where these words are, and is the source image elsewhere. Empty = off.",
        ),
        optional_float(
            "blend_start",
            0.2,
            (0.0, 1.0),
            "Share of the steps after which LocalBlend begins.",
            step=0.05,
            advanced=True,
        ),
        optional_float(
            "blend_threshold",
            0.3,
            (0.01, 0.99),
            "Attention that belongs to the words' place, relative to their highest. Lower = larger mask.",
            step=0.05,
            advanced=True,
        ),
        io.String.Input("blocks", optional=True, default="auto", advanced=True, tooltip=BLOCKS_HELP),
        io.Combo.Input(
            "rule",
            options=list(RULES),
            optional=True,
            default="clean",
            advanced=True,
            tooltip="published: as in the authors' code, also where it takes a wrong token's attention after "
            "a word of another length, and where weights change a row's sum. clean: without these.",
        ),
    ]


class GSNPromptToPrompt(io.ComfyNode):
    """A MODEL patch, a conditioning and a latent: the source image and its edit as one batch."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNPromptToPrompt",
            display_name="Prompt-to-Prompt",
            category="GSN",
            description="Makes an image and its edit from the same noise: exchange, add or weight words of "
            "the prompt, and the rest of the image stays. Exact on UNets; on models where image and text "
            "attend together, the image's queries and keys are taken over instead.",
            search_aliases=[
                "gsn",
                "p2p",
                "edit",
                "word swap",
                "local blend",
                "prompt to prompt",
                "attention",
                *aliases("GSNPromptToPrompt"),
            ],
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,
            inputs=[model_input(), *prompt_inputs(), *edit_inputs(), *share_inputs(), *blend_inputs()],
            outputs=[
                model_output(),
                io.Conditioning.Output(
                    display_name="positive", tooltip="Both prompts, for the sampler's positive input."
                ),
                io.Latent.Output(
                    display_name="latent",
                    tooltip="The latent with each image twice, source and edit, for the sampler.",
                ),
                report_output(),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        source,
        latent,
        target=None,
        edit="auto",
        weights="",
        cross_share=0.8,
        word_shares="",
        self_share=-1.0,
        local_blend="",
        blend_start=0.2,
        blend_threshold=0.3,
        blocks="auto",
        rule="clean",
    ) -> io.NodeOutput:
        model, source = given("MODEL", model), given("CONDITIONING", source)
        if rule not in RULES:
            raise ValueError(f"rule is '{rule}': choose one of {', '.join(RULES)}.")
        asked = PromptToPrompt(
            kind=edit,
            weights=parse_weights(written(weights)),
            cross_share=cross_share,
            word_shares=parse_weights(written(word_shares)),
            self_share=self_share,
            blend=parse_subjects(written(local_blend), any_word=True),
            blend_start=blend_start,
            threshold=blend_threshold,
            blocks=written(blocks).strip() or "auto",
            published=RULES[rule],
        ).check()
        target = source if target is None else target
        if is_same(source, target) and all(weight == 1 for _, weight in asked.weights):
            asked = replace(asked, cross_share=0.0, word_shares=(), self_share=0.0, blend=())
        pair = paired_conditioning(family_of(model), source, target)
        patched, book = attach_edits(model, asked, on_status=status_reporter(cls))
        return io.NodeOutput(patched, pair, paired_latent(given("LATENT", latent)), book)


NODES = [GSNPromptToPrompt]
