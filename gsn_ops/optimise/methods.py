"""The papers' numbers: each published method as a few recipes, looked up by the name shown to people.

Steps are those of the papers, 50 DDPM/DDIM steps of SD1; `at(k)` is the share of the host's noise schedule that step k
stands for, so that a preset means the same moments under any scheduler, number of steps and model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..maps import MIDDLE_UP, MapOptions
from ..objectives.astar import AStar
from ..objectives.attend_and_excite import Presence
from ..objectives.bounded_attention import Bounded
from ..objectives.boxdiff import BoxDiff
from ..objectives.cn_iou import PresenceAndSeparation
from ..objectives.conform import Conform
from ..objectives.divide_and_bind import TotalVariationAndBinding
from ..objectives.ebama import Ebama
from ..objectives.from_text import in_blocks
from ..objectives.initno import InitNO
from ..objectives.layout_guidance import LayoutGuidance
from ..objectives.lmd import LMD
from ..objectives.neglect import Neglect
from ..objectives.point_kl import PointLayout
from ..objectives.region_and_boundary import RegionAndBoundary
from ..objectives.self_cross import SelfCross
from ..objectives.syngen import SynGen
from ..schedule import Moment
from .guidance import Checkpoint, Guide, InnerLoop, StepSize
from .initial_noise import OptimiseNoise
from .refine import Refine
from .saga import Saga
from .velocity import SteerVelocity

LATENT_REFINE = "Latent Refine (Grimal et al. 2025)"
FAST = "Latent Refine (fast)"
CONSTANT = StepSize(20.0, 1.0, 1.0, "constant")
FIRST_HALF = {"start_percent": 0.0, "end_percent": 0.5}


def at(step: float) -> float:
    """Share of the noise schedule at step k of 50 (SD1, ddim_uniform: t = 981 - 20 k of 0 ... 999)."""
    return 1 - (981 - 20 * step) / 999


def checkpoints(*thresholds: tuple[int, float | None]) -> tuple[Checkpoint, ...]:
    return tuple(
        Checkpoint(Moment(percent=at(step) if step else 0.0), threshold) for step, threshold in thresholds
    )


def latent_refine() -> Refine:
    """Grimal et al., "Text to Image Alignment in Denoising-Based Models through Step Selection", IJCAI 2025, method "Ours".

    L = L_CN + L_IoU over all pieces of each phrase, 50 Adam updates (lr 1e-2; eps 1e-3 in the authors' code) at step 8 of
    50 DDPM steps of SD1 = sigma 5.633, which is 18 % of the host's scale.
    """
    return Refine(
        method=LATENT_REFINE,
        objective=PresenceAndSeparation(reduction="sum", maps=MapOptions(pieces="phrase")),
        moment=Moment(percent=0.18),
        shifts=50,
        learning_rate=0.01,
        eps=1e-3,
    )


def latent_refine_fast() -> Refine:
    """This pack's own, no paper's: Latent Refine's loss and moment in at most 15 passes, and none but a look where all is there.

    Nouns instead of phrases, because "present" must mean one thing with and without adjectives: the words of a phrase share the
    softmax, so that the map of "red car" cannot pass one half. One second moment per image with lr 0.05: for a gradient of one
    size all along, 15 x 0.05 = 0.75 (root mean square) where the paper's numbers give 50 x 0.01 = 0.5, by the same eps 1e-3
    less where gradients are small. lr, shifts and `stop_at_presence` were chosen on the embedded model's validation prompts
    (docs/settings.md); `reach` is the width of a latent's distribution, and bounds them on every model.
    """
    return Refine(
        method=FAST,
        objective=PresenceAndSeparation(maps=MapOptions(pieces="noun")),
        moment=latent_refine().moment,
        shifts=15,
        learning_rate=0.05,
        adaptive="image",
        max_displacement=1.0,
        stop_at_presence=0.8,
    )


def ours_plus() -> tuple[Recipe, ...]:
    """Grimal et al., method "Ours+": the refinement at step 2, then SynGen over group means at steps 2 ... 24, without "a photo of"."""
    refine = replace(latent_refine(), moment=Moment(percent=round(at(2), 3)))
    guide = Guide(
        objective=SynGen(variant="group_mean", skip=-1),
        start_percent=at(2),
        end_percent=at(24),
        step_size=CONSTANT,
    )
    return refine, guide


def syngen() -> tuple[Recipe, ...]:
    """Rassin et al., NeurIPS 2023: steps 0 ... 24, constant step size 20."""
    return (Guide(objective=SynGen(), step_size=CONSTANT, **FIRST_HALF),)


def syngen_plus() -> tuple[Recipe, ...]:
    """Grimal et al., table 2, "Syngen+" (a negative result): 20 Adam updates on SynGen's loss at step 0, then SynGen."""
    return Refine(objective=SynGen(), moment=Moment(percent=0.0), shifts=20), *syngen()


def attend_and_excite(first: float = 0.05) -> tuple[Recipe, ...]:
    """Chefer et al., SIGGRAPH 2023: refinement at steps 0, 10, 20; first = 0.2 is the study's variant that separates subjects."""
    return (
        Guide(
            objective=Presence(),
            checkpoints=checkpoints((0, first), (10, 0.5), (20, 0.8)),
            max_rounds=20,
            **FIRST_HALF,
        ),
    )


def divide_and_bind() -> tuple[Recipe, ...]:
    """Li et al., BMVC 2023: total variation (and binding where a subject has a modifier), thresholds on min TV."""
    return (
        Guide(
            objective=TotalVariationAndBinding(),
            checkpoints=checkpoints((0, 0.05), (10, 0.2), (20, 0.3)),
            max_rounds=50,
            **FIRST_HALF,
        ),
    )


def initno() -> tuple[Recipe, ...]:
    """Guo et al., CVPR 2024: the noise phase alone."""
    return (OptimiseNoise(),)


def initno_plus() -> tuple[Recipe, ...]:
    """Guo et al.: noise phase, refinement at steps 10 and 20 on the augmented loss, per-step updates on L_c."""
    return (
        *initno(),
        Guide(
            objective=InitNO(phase="refine"),
            start_percent=0,
            end_percent=0,
            checkpoints=checkpoints((10, 0.8), (20, 0.8)),
        ),
        Guide(objective=InitNO(phase="guidance"), **FIRST_HALF),
    )


def self_cross() -> tuple[Recipe, ...]:
    """Qiu et al., CVPR 2025: InitNO's schedule with the self-cross loss."""
    return (
        OptimiseNoise(objective=SelfCross()),
        Guide(
            objective=SelfCross(phase="guidance"), checkpoints=checkpoints((10, 0.8), (20, 0.8)), **FIRST_HALF
        ),
    )


def a_star() -> tuple[Recipe, ...]:
    """Agarwal et al., ICCV 2023: one step of segregation and retention per sampling step (no official code: A&E's step size and window)."""
    return (Guide(objective=AStar(), **FIRST_HALF),)


def conform() -> tuple[Recipe, ...]:
    """Meral et al., CVPR 2024: exactly 20 iterations at steps 0, 10, 20, no threshold."""
    return (
        Guide(
            objective=Conform(),
            checkpoints=checkpoints((0, None), (10, None), (20, None)),
            max_rounds=20,
            **FIRST_HALF,
        ),
    )


def ebama() -> tuple[Recipe, ...]:
    """Zhang et al., ECCV 2024: steps 0 ... 25, constant step size 20."""
    return (Guide(objective=Ebama(), start_percent=0.0, end_percent=at(25), step_size=CONSTANT),)


def box_diff() -> tuple[Recipe, ...]:
    """Xie et al., ICCV 2023: A&E's schedule, the refinement tested on the weakest box."""
    return (
        Guide(
            objective=BoxDiff(),
            checkpoints=checkpoints((0, 0.05), (10, 0.5), (20, 0.8)),
            max_rounds=20,
            **FIRST_HALF,
        ),
    )


def per_step(objective, last: int, rounds: int, threshold: float, size: StepSize) -> tuple[Recipe, ...]:
    """Up to `rounds` updates in each of the steps 0 ... last, the first one always."""
    return (
        Guide(
            objective=objective,
            start_percent=0.0,
            end_percent=at(last),
            inner_loops=(InnerLoop(at(last), rounds, threshold),),
            step_size=size,
        ),
    )


def layout_guidance() -> tuple[Recipe, ...]:
    """Chen et al., WACV 2024: the first 10 steps, x <- x - sigma^2 dL/dx while L / 30 > 0.2; middle and first up block."""
    return per_step(in_blocks(LayoutGuidance(), MIDDLE_UP), 9, 5, 0.2, StepSize(1.0, function="x"))


def region_and_boundary() -> tuple[Recipe, ...]:
    """Xiao et al., ICLR 2024 (R&B): the first 10 steps, step size 70."""
    return per_step(RegionAndBoundary(), 9, 5, 1.0, StepSize(70.0, 1.0, 1.0, "constant"))


def bounded_attention() -> tuple[Recipe, ...]:
    """Dahary et al., ECCV 2024: step size 18 to 5 over the first 15 steps while L / N_box > 0.2 (the loss only, attention is not masked)."""
    return per_step(Bounded(), 14, 5, 0.2, StepSize(1.0, 18.0, 18.0 - 13.0 * 49 / 14, "linear"))


def lmd() -> tuple[Recipe, ...]:
    """Lian et al., TMLR 2024: the energy of boxes in the middle and the first up block, up to 4, 3, 2, 1 updates per step while
    E > 5, carried from step to step.

    8 x (head mean) is the published sum on the 8 heads of SD1, and keeps the threshold meaningful on other models.
    """
    loops = tuple(
        InnerLoop(at(last), rounds, 5.0, carried=True) for last, rounds in ((4, 4), (9, 3), (19, 2), (29, 1))
    )
    energy = in_blocks(LMD(heads="mean"), MIDDLE_UP)
    return (
        Guide(
            objective=energy,
            start_percent=0.0,
            end_percent=at(29),
            inner_loops=loops,
            step_size=StepSize(5.0, function="noise"),
        ),
    )


def point_layout() -> tuple[Recipe, ...]:
    """A&E exploration study (USTC 2024): a step towards the point, then one of A&E's at the shifted latent."""
    return Guide(objective=PointLayout(), **FIRST_HALF), Guide(objective=Presence(), **FIRST_HALF)


def neglect() -> tuple[Recipe, ...]:
    """A&E exploration study (USTC 2024): what is unwanted is pushed below its threshold, at A&E's steps."""
    return (
        Guide(
            objective=Neglect(),
            checkpoints=checkpoints((0, 0.0), (10, 0.0), (20, 0.0)),
            max_rounds=20,
            **FIRST_HALF,
        ),
    )


def saga(plus: bool = False, sigma: bool = False) -> tuple[Recipe, ...]:
    """SAGA (AAAI 2026): the mean of a Gaussian at step 10; "+" at step 6 with SynGen from there on; "Sigma" learns the variance too."""
    moment = Moment(percent=at(6 if plus else 12 if sigma else 10))
    learn = Saga(moment=moment, momentum=0.1 if plus else 0.4, block=4 if sigma else 0, per_channel=sigma)
    if not plus:
        return (learn,)
    return learn, Guide(
        objective=SynGen(variant="group_mean", skip=-1),
        start_percent=at(6),
        end_percent=at(24),
        step_size=CONSTANT,
    )


def focus() -> tuple[Recipe, ...]:
    """FOCUS (2025): a term in the velocity of every step; flow models (SD3, Flux) only."""
    return (SteerVelocity(),)


_PRESETS: dict[str, Callable[[], tuple[Recipe, ...]]] = {
    LATENT_REFINE: lambda: (latent_refine(),),
    "Latent Refine + SynGen, Ours+ (Grimal et al. 2025)": ours_plus,
    "SynGen (Rassin et al. 2023)": syngen,
    "SynGen+ (Grimal et al. 2025)": syngen_plus,
    "Attend-and-Excite (Chefer et al. 2023)": attend_and_excite,
    "Attend-and-Excite, separate (USTC study 2024)": lambda: attend_and_excite(0.2),
    "Divide & Bind (Li et al. 2023)": divide_and_bind,
    "InitNO (Guo et al. 2024)": initno,
    "InitNO+ (Guo et al. 2024)": initno_plus,
    "A-STAR (Agarwal et al. 2023)": a_star,
    "CONFORM (Meral et al. 2024)": conform,
    "EBAMA (Zhang et al. 2024)": ebama,
    "Self-Cross Guidance (Qiu et al. 2025)": self_cross,
    "BoxDiff (Xie et al. 2023)": box_diff,
    "Layout Guidance (Chen et al. 2024)": layout_guidance,
    "R&B, Region and Boundary (Xiao et al. 2024)": region_and_boundary,
    "Bounded Attention, loss (Dahary et al. 2024)": bounded_attention,
    "LMD energy (Lian et al. 2024)": lmd,
    "Point Layout (USTC study 2024)": point_layout,
    "Neglect (USTC study 2024)": neglect,
    "SAGA (2026)": saga,
    "SAGA+ (2026)": lambda: saga(plus=True),
    "SAGA-Sigma (2026)": lambda: saga(sigma=True),
    "SAGA-Sigma+ (2026)": lambda: saga(plus=True, sigma=True),
    "FOCUS (2025)": focus,
    FAST: lambda: (latent_refine_fast(),),
}
METHODS: tuple[str, ...] = tuple(_PRESETS)
"""The methods that come with the pack."""


def methods() -> list[str]:
    """All methods, those of other packs last."""
    return list(_PRESETS)


def register_method(name: str, recipes: Callable[[], tuple[Recipe, ...]]) -> None:
    """Make a method known under the name shown to people. Raises ValueError if the name is taken."""
    if name in _PRESETS:
        raise ValueError(f"The method '{name}' is already taken.")
    _PRESETS[name] = recipes


def preset(method: str) -> tuple[Recipe, ...]:
    """The recipes of a method, each under its name, to be adjusted with `dataclasses.replace`.

    Raises ValueError that lists the methods.
    """
    if method not in _PRESETS:
        raise ValueError(f"Unknown method '{method}': choose one of {', '.join(_PRESETS)}.")
    return tuple(replace(recipe, method=method) for recipe in _PRESETS[method]())


Recipe = OptimiseNoise | Saga | Refine | Guide | SteerVelocity
