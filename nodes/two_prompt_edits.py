"""Edits of given images by two prompts: what the image shows, and what it shall show."""

from comfy_api.latest import io

from ..gsn_ops.host.editing.flow_edit import FlowEditSampler
from ..gsn_ops.host.editing.pair_guider import PairGuider
from ..gsn_ops.host.editing.rf_inversion import RFInversionSampler
from ..gsn_ops.language import aliases
from .inputs import given, optional_float


def prompt_inputs() -> list[io.Input]:
    """The model and its two prompts."""
    return [
        io.Model.Input("model", tooltip="The model. Nursing and Word Weight on it do not act here."),
        io.Conditioning.Input("source", tooltip="A prompt that describes the image as it is."),
        io.Conditioning.Input("target", tooltip="A prompt that describes what the image shall become."),
    ]


def cfg_input(name: str, default: float, tooltip: str) -> io.Input:
    return optional_float(name, default, (0.0, 100.0), tooltip, step=0.1, precision=0.01)


class GSNFlowEdit(io.ComfyNode):
    """A GUIDER with two prompts and the SAMPLER that edits by them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNFlowEdit",
            display_name="FlowEdit",
            category="GSN/edit",
            description="Edits an image by two prompts without inversion (Kulikov et al., ICCV 2025): a "
            "guider and a sampler for SamplerCustomAdvanced. Made for flow models; works on EPS and "
            "v-prediction models too. A noise mask on the latent limits the edit.",
            search_aliases=["gsn", "flowedit", "flow edit", "edit image", *aliases("GSNFlowEdit")],
            inputs=[
                *prompt_inputs(),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip="The negative prompt of both, often empty. Needed unless both CFGs are 1.",
                ),
                cfg_input(
                    "source_cfg",
                    3.5,
                    "CFG of the source prompt. Published for SD3: 3.5. Flux: 1, and FluxGuidance 1.5.",
                ),
                cfg_input(
                    "target_cfg",
                    13.5,
                    "CFG of the target prompt. Higher = a stronger edit. Published for SD3: 13.5. Flux: 1, "
                    "and FluxGuidance 5.5.",
                ),
                io.Int.Input(
                    "averages",
                    optional=True,
                    default=1,
                    min=1,
                    max=64,
                    advanced=True,
                    tooltip="Noises per step whose directions are averaged. More = calmer, and as many times "
                    "slower.",
                ),
                io.Int.Input(
                    "plain_steps",
                    optional=True,
                    default=0,
                    min=0,
                    max=10000,
                    advanced=True,
                    tooltip="The last so many steps follow the target prompt alone. 0 = none, as published.",
                ),
            ],
            outputs=[
                io.Guider.Output(display_name="GUIDER", tooltip="For SamplerCustomAdvanced."),
                io.Sampler.Output(
                    display_name="SAMPLER",
                    tooltip="For the same SamplerCustomAdvanced. The denoise of its scheduler is the "
                    "strength: 0.66 is published for SD3, 0.85 for Flux.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        source,
        target,
        negative=None,
        source_cfg=3.5,
        target_cfg=13.5,
        averages=1,
        plain_steps=0,
    ) -> io.NodeOutput:
        prompts = given("CONDITIONING", source), given("CONDITIONING", target)
        guider = PairGuider(given("MODEL", model), *prompts, negative, (source_cfg, target_cfg))
        return io.NodeOutput(guider, FlowEditSampler(averages, plain_steps))


def target_inputs() -> list[io.Input]:
    """What else the target prompt needs."""
    return [
        io.Conditioning.Input(
            "negative",
            optional=True,
            tooltip="The negative prompt of the target, often empty. Needed unless target_cfg is 1.",
        ),
        cfg_input(
            "target_cfg",
            1.0,
            "CFG of the target prompt. Published for Flux: 1, and FluxGuidance 3.5. SD3 wants about 4.",
        ),
    ]


def pull_inputs() -> list[io.Input]:
    """How strongly both ways are led."""
    return [
        optional_float(
            "eta",
            0.9,
            (0.0, 1.0),
            "How strongly the way back is drawn to the image. Higher = the image is kept more. "
            "Published: 0.7 to 1.",
            step=0.01,
        ),
        optional_float(
            "start", 0.0, (0.0, 1.0), "From this share of the steps eta acts. Published: 0.", step=0.01
        ),
        optional_float(
            "stop",
            0.25,
            (0.0, 1.0),
            "Up to this share of the steps eta acts. Higher = the image is kept more. Published: 0.25.",
            step=0.01,
        ),
        optional_float(
            "gamma",
            0.5,
            (0.0, 1.0),
            "How strongly the way to noise is drawn to random noise. 0 = plain inversion. Published: 0.5.",
            step=0.01,
            advanced=True,
        ),
        optional_float(
            "decay",
            0.0,
            (0.0, 10.0),
            "eta falls over the run by this power of what is left of it. 0 = it does not fall.",
            step=0.1,
            advanced=True,
        ),
    ]


class GSNRFInversion(io.ComfyNode):
    """A GUIDER with two prompts and the SAMPLER that inverts and edits."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNRFInversion",
            display_name="RF-Inversion",
            category="GSN/edit",
            description="Edits an image on flow models by a controlled way to noise and back (Rout et al., "
            "ICLR 2025): a guider and a sampler for SamplerCustomAdvanced. eta says how much of the image "
            "is kept. A noise mask on the latent limits the edit.",
            search_aliases=[
                "gsn",
                "rf inversion",
                "rf-inversion",
                "unsampler",
                "edit image",
                *aliases("GSNRFInversion"),
            ],
            inputs=[*prompt_inputs(), *target_inputs(), *pull_inputs()],
            outputs=[
                io.Guider.Output(display_name="GUIDER", tooltip="For SamplerCustomAdvanced."),
                io.Sampler.Output(
                    display_name="SAMPLER",
                    tooltip="For the same SamplerCustomAdvanced; it makes two evaluations per step, one on "
                    "each way.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        source,
        target,
        negative=None,
        target_cfg=1.0,
        eta=0.9,
        start=0.0,
        stop=0.25,
        gamma=0.5,
        decay=0.0,
    ) -> io.NodeOutput:
        prompts = given("CONDITIONING", source), given("CONDITIONING", target)
        guider = PairGuider(given("MODEL", model), *prompts, negative, (1.0, target_cfg))
        return io.NodeOutput(guider, RFInversionSampler(gamma, eta, start, stop, decay))


NODES = [GSNFlowEdit, GSNRFInversion]
