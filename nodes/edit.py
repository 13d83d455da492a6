"""Given images: their way to noise, and samplers for both directions."""

from comfy_api.latest import io

from ..gsn_ops.editing.ode import METHODS
from ..gsn_ops.host.editing.inversion_sampler import InversionSampler
from ..gsn_ops.host.editing.invert import invert
from ..gsn_ops.host.sampling import ksampler
from ..gsn_ops.language import aliases
from .inputs import given, status_reporter

Trajectory = io.Custom("GSN_TRAJECTORY")


def method_input() -> io.Input:
    return io.Combo.Input(
        "method",
        options=list(METHODS),
        optional=True,
        default=METHODS[0],
        tooltip="fireflow: second order for one evaluation per step. midpoint: second order, two evaluations "
        "per step (RF-Solver). euler: first order (DDIM).",
    )


def schedule_inputs() -> list[io.Input]:
    """Which noise levels the image passes."""
    return [
        io.Int.Input("steps", default=20, min=1, max=10000, tooltip="Number of steps up to the noise."),
        io.Combo.Input(
            "scheduler",
            options=list(ksampler.SCHEDULERS),
            default="normal",
            tooltip="How the noise levels are spaced. The way back uses the same ones: the output sigmas.",
        ),
        io.Float.Input(
            "denoise",
            optional=True,
            default=1.0,
            min=0.01,
            max=1.0,
            step=0.01,
            tooltip="How far towards noise, as in a KSampler. Lower = the result stays closer to the image.",
        ),
    ]


class GSNInvert(io.ComfyNode):
    """An image to the noise that gives it back."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNInvert",
            display_name="Invert Image",
            category="GSN/edit",
            description="Finds the noise from which the model makes this image again (DDIM inversion, "
            "RF-Solver, FireFlow). Sampled from this noise with another prompt, the image is edited. "
            "For EPS, v-prediction and flow models.",
            search_aliases=[
                "gsn",
                "inversion",
                "ddim inversion",
                "unsampler",
                "rf-solver",
                "fireflow",
                "edit image",
                *aliases("GSNInvert"),
            ],
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,
            inputs=[
                io.Model.Input(
                    "model", tooltip="The model that will sample. Nursing on it does not act here."
                ),
                io.Conditioning.Input(
                    "conditioning", tooltip="A prompt that describes the image as it is; CFG 1."
                ),
                io.Latent.Input("latent_image", tooltip="The image, from VAE Encode. Its mask is not used."),
                *schedule_inputs(),
                method_input(),
                io.Boolean.Input(
                    "check",
                    optional=True,
                    default=True,
                    tooltip="Also go back, and say how much of the image was lost. Doubles the time.",
                ),
            ],
            outputs=[
                io.Noise.Output(
                    display_name="noise",
                    tooltip="For SamplerCustomAdvanced, with the output sigmas and the same latent_image.",
                ),
                io.Latent.Output(
                    display_name="LATENT",
                    tooltip="The same as a latent, for samplers that add no noise: KSampler (Advanced) on "
                    "EPS and v-prediction models, Inversion Sampler on all.",
                ),
                io.Sigmas.Output(display_name="sigmas", tooltip="The noise levels of the way back."),
                Trajectory.Output("trajectory", tooltip="Every state on the way, for Inversion Sampler."),
                io.String.Output("text", tooltip="Steps, evaluations, and how exact the way back is."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        conditioning,
        latent_image,
        steps,
        scheduler,
        denoise=1.0,
        method=METHODS[0],
        check=True,
    ) -> io.NodeOutput:
        conditioning, latent = given("CONDITIONING", conditioning), given("LATENT", latent_image)
        numbers = (steps, scheduler, denoise)
        made = invert(given("MODEL", model), conditioning, latent, numbers, method, check)
        status_reporter(cls)(made.text)
        return io.NodeOutput(made.noise, made.latent, made.sigmas, made.trajectory, made.text)


class GSNInversionSampler(io.ComfyNode):
    """A SAMPLER for rising and falling sigmas."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GSNInversionSampler",
            display_name="Inversion Sampler",
            category="GSN/edit",
            description="A sampler for SamplerCustom and SamplerCustomAdvanced. On falling sigmas it makes "
            "an image; on rising ones (FlipSigmas) it makes noise of an image. With a mask and the "
            "trajectory of Invert Image, the image stays as it was outside the mask, as in DiffEdit.",
            search_aliases=[
                "gsn",
                "inversion",
                "unsampler",
                "ddim inversion",
                "diffedit",
                "rf-solver",
                "fireflow",
                *aliases("GSNInversionSampler"),
            ],
            inputs=[
                method_input(),
                Trajectory.Input(
                    "trajectory",
                    optional=True,
                    tooltip="From Invert Image: what is outside the mask is as in it after every step.",
                ),
                io.Mask.Input(
                    "mask", optional=True, tooltip="Where the image may change. Needs a trajectory."
                ),
            ],
            outputs=[
                io.Sampler.Output(
                    display_name="SAMPLER", tooltip="For SamplerCustom or SamplerCustomAdvanced."
                )
            ],
        )

    @classmethod
    def execute(cls, method=METHODS[0], trajectory=None, mask=None) -> io.NodeOutput:
        return io.NodeOutput(InversionSampler(method, trajectory, mask))


NODES = [GSNInvert, GSNInversionSampler]
