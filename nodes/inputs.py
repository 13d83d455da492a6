"""Inputs that several nodes share, with their words, and the few lines that turn them into a recipe."""

from comfy_api.latest import io

from ..gsn_ops.host.node_status import status_line
from ..gsn_ops.schedule import Moment

Report = io.Custom("GSN_REPORT")
Objective = io.Custom("GSN_OBJECTIVE")

REPORT_LEVELS = {"maps and pictures": "full", "numbers only": "curve"}
DEFAULT_LEVEL = "maps and pictures"

SUBJECTS_HELP = (
    "The things that must appear, separated by commas or lines: red car, blue bench. "
    "dog#2 is the second dog of the prompt, car* marks the word that counts. Empty: found in the prompt by itself. "
    "@spacy: found by spaCy instead, if you installed it."
)


def subjects_input() -> io.Input:
    return io.String.Input(
        "subjects",
        optional=True,
        multiline=True,
        default="",
        placeholder="subjects (empty: automatic)",
        tooltip=SUBJECTS_HELP,
    )


def moment_inputs() -> list[io.Input]:
    """When to act: step wins over sigma wins over percent."""
    return [
        io.Float.Input(
            "at_percent",
            optional=True,
            default=0.18,
            min=0.0,
            max=1.0,
            step=0.001,
            round=0.0001,
            tooltip="When to act, as a share of the noise schedule (the same meaning as in ControlNet's "
            "start_percent). 0.18 is the paper's moment on SD1, sigma 5.6 (and leaves a method its own moment).",
        ),
        io.Float.Input(
            "at_sigma",
            optional=True,
            default=0.0,
            min=0.0,
            max=10000.0,
            step=0.001,
            round=0.0001,
            advanced=True,
            tooltip="When to act, as a noise level. 0 = off: at_percent decides.",
        ),
        io.Int.Input(
            "at_step",
            optional=True,
            default=-1,
            min=-1,
            max=10000,
            advanced=True,
            tooltip="When to act, as a step counted from 0 within this sampler call. "
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
        tooltip="How many times the latent is shifted at that step. More follow the prompt closer and take "
        "longer. 0 = off: a plain run, bit for bit.",
    )


def tuning_inputs() -> list[io.Input]:
    """What papers tune, from the learning rate to the early stop."""
    return [
        io.Float.Input(
            "learning_rate",
            optional=True,
            default=0.01,
            min=0.0,
            max=10.0,
            step=0.0001,
            round=0.00001,
            tooltip="Size of a shift (Adam's learning rate). 0.01 is the published value.",
        ),
        Objective.Input(
            "objective",
            optional=True,
            tooltip="What the shifts aim at. Not connected: every subject present, no two on the same place "
            "(presence + separation, as published).",
        ),
        io.String.Input(
            "levels",
            optional=True,
            default="auto",
            advanced=True,
            tooltip="Which attention maps are looked at, by their size: 2 = half the latent's height, 2,4 = "
            "both. auto = what suits the model.",
        ),
        io.Float.Input(
            "stop_at_loss",
            optional=True,
            default=0.0,
            min=0.0,
            max=100.0,
            step=0.001,
            round=0.0001,
            advanced=True,
            tooltip="Stop shifting an image once its loss is this low. 0 = never: all shifts are made.",
        ),
    ]


def watching_inputs() -> list[io.Input]:
    return [
        io.Boolean.Input(
            "only_if_needed",
            optional=True,
            default=False,
            tooltip="Leave a picture alone when all its subjects already have the model's attention.",
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
        tooltip="What the report keeps. Maps and pictures before and after cost two more passes of the "
        "model; numbers only cost nothing.",
    )


def report_output() -> io.Output:
    return Report.Output("report", tooltip="What the runs did: for Nursing Report and Attention Maps.")


def moment(at_percent: float, at_sigma: float, at_step: int) -> Moment:
    return Moment(percent=at_percent, sigma=at_sigma, step=at_step)


def report_kind(report_level: str) -> str:
    """The recipe's word for the widget's choice. Raises ValueError that lists the choices."""
    if report_level not in REPORT_LEVELS:
        raise ValueError(f"report_level is '{report_level}': choose one of {', '.join(REPORT_LEVELS)}.")
    return REPORT_LEVELS[report_level]


def status_reporter(node: type[io.ComfyNode]):
    """The function that writes one line on this node."""
    return status_line(node.hidden.unique_id if node.hidden else None)
