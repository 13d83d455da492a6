"""Inputs that several nodes share, and the functions that turn their values into settings of a recipe."""

from collections.abc import Callable
from typing import Any

from comfy_api.latest import io

from ..gsn_ops.host.node_status import status_line
from ..gsn_ops.schedule import Moment

Report = io.Custom("GSN_REPORT")
Objective = io.Custom("GSN_OBJECTIVE")

REPORT_LEVELS = {"maps and pictures": "full", "numbers only": "curve"}
DEFAULT_LEVEL = "maps and pictures"
OWN_STEP = -1.0  # value of Semantic Nursing's at_percent that leaves the method at its own step

POSITIVE_HELP = "For the sampler's positive input."
LEVELS_HELP = (
    "Attention resolutions to use, as latent height / map height: 2 = half, 2,4 = both. "
    "auto = the model's default."
)


def optional_float(
    name: str,
    default: float,
    bounds: tuple[float, float],
    tooltip: str,
    *,
    step: float = 0.001,
    precision: float | None = 0.0001,
    advanced: bool = False,
) -> io.Float.Input:
    """An optional number widget. bounds: least and greatest value; precision: values are rounded to it."""
    options: dict[str, Any] = {"min": bounds[0], "max": bounds[1], "step": step} | shown_as(advanced)
    if precision is not None:
        options["round"] = precision
    return io.Float.Input(name, optional=True, default=default, tooltip=tooltip, **options)


def shown_as(advanced: bool) -> dict[str, Any]:
    """The option of an input that the browser folds away; none for the others."""
    return {"advanced": True} if advanced else {}


def model_input() -> io.Input:
    return io.Model.Input(
        "model", tooltip="The model to patch: a copy is patched, the original is unchanged."
    )


def model_output() -> io.Output:
    return io.Model.Output(display_name="MODEL", tooltip="The patched model, for the sampler.")


def subjects_input() -> io.Input:
    return io.String.Input(
        "subjects",
        optional=True,
        multiline=True,
        default="",
        placeholder="subjects (empty: automatic)",
        tooltip="The objects that must appear, separated by commas or line breaks: red car, blue bench. "
        "dog#2 is the second dog of the prompt, car* marks the noun, dog? may be missing. Empty: found in "
        "the prompt automatically, in English only; type them for another language. @spacy: found with "
        "spaCy, if it is installed.",
    )


def moment_inputs(method_decides: bool = False) -> list[io.Input]:
    """When to act: at_step wins over at_sigma, at_sigma wins over at_percent.

    method_decides: at_percent has the default -1, which leaves the method at its own step.
    """
    percent_help = (
        "When to act, as a share of the noise schedule (the same scale as ControlNet's start_percent). "
        "0.18 is the paper's step on SD1, sigma 5.6."
    )
    if method_decides:
        percent_help = (
            "When to act, as a share of the noise schedule from 0 to 1 (the same scale as ControlNet's "
            "start_percent). -1 = the method's own step or steps, or the step that a study chose for this "
            "model (user/gsn/moments.json)."
        )
    default = OWN_STEP if method_decides else 0.18
    return [
        optional_float("at_percent", default, (min(default, 0.0), 1.0), percent_help),
        optional_float(
            "at_sigma",
            0.0,
            (0.0, 10000.0),
            "When to act, as a noise level (sigma). 0 = off: at_percent decides.",
            advanced=True,
        ),
        io.Int.Input(
            "at_step",
            optional=True,
            default=-1,
            min=-1,
            max=10000,
            advanced=True,
            tooltip="When to act, as a sampling step counted from 0 within this sampler call. "
            "-1 = off: at_sigma or at_percent decides.",
        ),
    ]


def shifts_input() -> io.Input:
    return io.Int.Input(
        "shifts",
        optional=True,
        default=50,
        min=0,
        max=10000,
        tooltip="Number of update steps of the latent. More steps follow the prompt more closely and take "
        "longer. 0 = off: a plain run, bit for bit.",
    )


def tuning_inputs() -> list[io.Input]:
    """The settings that papers tune, from the learning rate to the early stop."""
    return [
        optional_float(
            "learning_rate",
            0.01,
            (0.0, 10.0),
            "Size of an update step (Adam's learning rate). 0.01 is the published value.",
            step=0.0001,
            precision=0.00001,
        ),
        Objective.Input(
            "objective",
            optional=True,
            tooltip="The loss to minimise. Not connected: all subjects present and apart from each other "
            "(presence + separation, as published).",
        ),
        levels_input(advanced=True),
        optional_float(
            "stop_at_loss",
            0.0,
            (0.0, 100.0),
            "Stop updating an image once its loss is this low. 0 = never stop early.",
            advanced=True,
        ),
    ]


def levels_input(advanced: bool = False) -> io.Input:
    return io.String.Input("levels", optional=True, default="auto", tooltip=LEVELS_HELP, **shown_as(advanced))


def watching_inputs() -> list[io.Input]:
    return [
        io.Boolean.Input(
            "only_if_needed",
            optional=True,
            default=False,
            tooltip="Skip images whose subjects already have strong attention.",
        ),
        report_level_input(),
    ]


def report_level_input() -> io.Input:
    return io.Combo.Input(
        "report_level",
        options=list(REPORT_LEVELS),
        optional=True,
        default=DEFAULT_LEVEL,
        advanced=True,
        tooltip="What the report keeps. Maps and images before and after cost two more passes of the model; "
        "`numbers only` adds no cost.",
    )


def report_output() -> io.Output:
    return Report.Output("report", tooltip="What the runs did, for Nursing Report and Attention Maps.")


def conditioning_output() -> io.Output:
    return io.Conditioning.Output(display_name="CONDITIONING", tooltip=POSITIVE_HELP)


def given(kind: str, value):
    """The value of a required input. Raises ValueError for none, as `null` in an API prompt gives.

    kind: what to connect, for example MODEL.
    """
    if value is None:
        raise ValueError(f"The {kind} input is empty (null in an API prompt?): connect a {kind}.")
    return value


def given_images(images):
    """IMAGE as float on the CPU, [B, H, W, 3 or 4]: grey ones (1 or 2 channels) get three.

    Raises ValueError for none, and for images with values that are not numbers.
    """
    images = given("IMAGE", images).float().cpu()
    if not len(images):
        raise ValueError("The images input holds no image: connect the decoded images of a run.")
    broken = [n for n, image in enumerate(images, 1) if not bool(image.isfinite().all())]
    if broken:
        raise ValueError(
            f"Image {broken[0]} has values that are not numbers (NaN), as half precision may give: start "
            "ComfyUI with --fp32-vae, or take another VAE or precision of the model."
        )
    return images if images.shape[-1] > 2 else images[..., :1].expand(-1, -1, -1, 3)


def written(text: str | None, default: str = "") -> str:
    """The text of a widget; the default for `null` in an API prompt, which ComfyUI turns into a word."""
    return default if text in (None, "None") else text


def chosen_moment(at_percent: float, at_sigma: float, at_step: int) -> Moment:
    """The step that the three widgets choose."""
    return Moment(percent=at_percent, sigma=at_sigma, step=at_step)


def chosen_moment_or_own(at_percent: float, at_sigma: float, at_step: int) -> Moment | None:
    """The step that the three widgets choose, or None for the method's own (at_percent -1, the others off).

    Raises ValueError for another negative at_percent.
    """
    if at_percent < 0 and at_percent != OWN_STEP:
        raise ValueError(
            f"at_percent is {at_percent:g}: it is a share of the run. "
            "Choose 0 (start) to 1 (end), or -1 for the method's own step."
        )
    if at_percent != OWN_STEP:
        return chosen_moment(at_percent, at_sigma, at_step)
    if at_sigma == 0 and at_step < 0:
        return None
    return Moment(sigma=at_sigma, step=at_step)


def report_kind(report_level: str) -> str:
    """The recipe's name of a report level. Raises ValueError that lists the choices."""
    if report_level not in REPORT_LEVELS:
        raise ValueError(f"report_level is '{report_level}': choose one of {', '.join(REPORT_LEVELS)}.")
    return REPORT_LEVELS[report_level]


def status_reporter(node: type[io.ComfyNode]) -> Callable[[str], None]:
    """A function that shows one line of text on this node in the browser."""
    return status_line(node.hidden.unique_id if node.hidden else None)
