"""The published methods: the papers' numbers as recipes.

Steps are those of the papers, 50 DDPM/DDIM steps of SD1; `published_percent(k)` is the share of ComfyUI's
noise schedule that step k stands for, so that a method acts at the same noise levels under any scheduler,
number of steps and model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..maps import MIDDLE_UP
from ..objectives.astar import AStar
from ..objectives.attend_and_excite import Presence
from ..objectives.base import Objective
from ..objectives.bounded_attention import BoundedAttention
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
from ..objectives.relation import Relation
from ..objectives.self_cross import SelfCross
from ..objectives.syngen import SynGen
from ..objectives.weighted_sum import WeightedSum
from ..schedule import Moment, published_percent
from .guidance import Checkpoint, Guide, InnerLoop, StepSize
from .initial_noise import OptimiseNoise
from .recipe import Recipe
from .refine import Refine
from .saga import Saga
from .velocity import SteerVelocity

LATENT_REFINE = "Latent Refine (Grimal et al. 2025)"
FAST = "Latent Refine (fast)"
RELATIONS = "Latent Refine + relations"
DESCENDING = StepSize()
"""That of Attend-and-Excite."""
CONSTANT = StepSize(20.0, 1.0, 1.0, "constant")

Recipes = tuple[Recipe, ...]


def first_half(
    objective: Objective,
    *thresholds: tuple[int, float | None],
    max_rounds: int = 20,
    step_size: StepSize = DESCENDING,
) -> Guide:
    """One update per step in the first half of the run, and refinement at these (step, threshold)."""
    return Guide(
        objective=objective,
        start_percent=0.0,
        end_percent=0.5,
        checkpoints=checkpoints(*thresholds),
        max_rounds=max_rounds,
        step_size=step_size,
    )


def checkpoints(*thresholds: tuple[int, float | None]) -> tuple[Checkpoint, ...]:
    """Checkpoints at these (step, threshold)."""
    return tuple(
        Checkpoint(Moment(percent=published_percent(step) if step else 0.0), threshold)
        for step, threshold in thresholds
    )


def per_step(objective: Objective, last: int, rounds: int, threshold: float, size: StepSize) -> Recipes:
    """Up to `rounds` updates in each of the steps 0 ... last, the first one always."""
    loops = (InnerLoop(published_percent(last), rounds, threshold),)
    return (
        Guide(
            objective=objective,
            start_percent=0.0,
            end_percent=published_percent(last),
            inner_loops=loops,
            step_size=size,
        ),
    )


def syngen_between(first: int, last: int) -> Guide:
    """SynGen over group means at these steps, without "a photo of" (the guidance of Ours+ and SAGA+)."""
    return Guide(
        objective=SynGen(variant="group_mean", skip=-1),
        start_percent=published_percent(first),
        end_percent=published_percent(last),
        step_size=CONSTANT,
    )


def latent_refine() -> Refine:
    """Grimal et al., "Text to Image Alignment in Denoising-Based Models through Step Selection", IJCAI 2025.

    Method "Ours": L = L_CN + L_IoU over all tokens of each noun (in the authors' code and data words of
    colour are left to SynGen), 50 Adam updates at one step. lr 1e-2; eps 1e-3 in the authors' code; step 8 of
    50 DDPM steps of SD1 = sigma 5.633, 18 % of ComfyUI's scale.
    """
    return Refine(
        method=LATENT_REFINE,
        objective=PresenceAndSeparation(reduction="sum"),
        moment=Moment(percent=0.18),
        shifts=50,
        learning_rate=0.01,
        eps=1e-3,
    )


def latent_refine_fast() -> Refine:
    """Latent Refine's loss and step in at most 15 passes, and one evaluation where all subjects are present.

    One second moment per image with lr 0.05: for a gradient of constant size, 15 x 0.05 = 0.75 (root mean
    square) where the paper's numbers give 50 x 0.01 = 0.5, by the same eps 1e-3 less where gradients are
    small. lr, shifts and
    `stop_at_presence` were chosen on the embedded model's validation prompts (docs/settings.md);
    `max_displacement` is the width of a latent's distribution, and bounds them on every model.
    """
    return Refine(
        method=FAST,
        objective=PresenceAndSeparation(),
        moment=latent_refine().moment,
        shifts=15,
        learning_rate=0.05,
        adaptive="image",
        max_displacement=1.0,
        stop_at_presence=0.8,
    )


def latent_refine_relations(weight: float = 4.0) -> Refine:
    """Latent Refine's loss plus weight x `relation`: subjects present, and where the prompt says they are.

    The loop of `latent_refine_fast`, without its stop at subjects that are present: they may stand wrong.
    weight and moment were chosen on the embedded model's validation prompts (docs/settings.md).
    """
    parts = ((1.0, PresenceAndSeparation()), (weight, Relation()))
    fast = latent_refine_fast()
    early = Moment(percent=0.02)  # where things go is decided first
    return replace(fast, method=RELATIONS, objective=WeightedSum(parts), moment=early, stop_at_presence=0.0)


def ours_plus() -> Recipes:
    """Grimal et al., "Ours+": Latent Refine at step 2, then SynGen at steps 2 ... 24."""
    return replace(latent_refine(), moment=Moment(percent=round(published_percent(2), 3))), syngen_between(
        2, 24
    )


def syngen() -> Recipes:
    """Rassin et al., NeurIPS 2023: steps 0 ... 24, constant step size 20."""
    return (first_half(SynGen(), step_size=CONSTANT),)


def syngen_plus() -> Recipes:
    """Grimal et al., table 2, a negative result: 20 Adam updates on SynGen's loss at step 0, then SynGen."""
    return Refine(objective=SynGen(), moment=Moment(percent=0.0), shifts=20), *syngen()


def attend_and_excite(first: float = 0.05) -> Recipes:
    """Chefer et al., SIGGRAPH 2023: refinement at steps 0, 10, 20; first = 0.2 is the study's variant that
    separates subjects.
    """
    return (first_half(Presence(), (0, first), (10, 0.5), (20, 0.8)),)


def divide_and_bind() -> Recipes:
    """Li et al., BMVC 2023: total variation (and binding where a subject has a modifier), thresholds on min
    TV, up to 100 updates at step 0 and 50 at steps 10 and 20 (authors' code).
    """
    guidance = first_half(TotalVariationAndBinding(), (0, 0.05), (10, 0.2), (20, 0.3), max_rounds=50)
    first, *others = guidance.checkpoints
    return (replace(guidance, checkpoints=(replace(first, times=2), *others)),)


def initno() -> Recipes:
    """Guo et al., CVPR 2024: the noise phase alone."""
    return (OptimiseNoise(),)


def initno_plus() -> Recipes:
    """Guo et al.: noise phase, refinement at steps 10 and 20 on the augmented loss, per-step updates on L_c.

    The augmented loss compares with maps of all steps before, from step 0 on, as in the authors' code.
    """
    guidance = first_half(InitNO(phase="guidance"), (10, 0.8), (20, 0.8))
    return *initno(), replace(guidance, refinement=InitNO(phase="refine"))


def self_cross() -> Recipes:
    """Qiu et al., CVPR 2025: InitNO's schedule with the self-cross loss."""
    noise = OptimiseNoise(objective=SelfCross())
    return noise, first_half(SelfCross(phase="guidance"), (10, 0.8), (20, 0.8))


def a_star() -> Recipes:
    """Agarwal et al., ICCV 2023: one update on segregation and retention per step (no official code: A&E's
    step size and window).
    """
    return (first_half(AStar()),)


def conform() -> Recipes:
    """Meral et al., CVPR 2024: exactly 20 iterations at steps 0, 10, 20, no threshold."""
    return (first_half(Conform(), (0, None), (10, None), (20, None)),)


def ebama() -> Recipes:
    """Zhang et al., ECCV 2024: steps 0 ... 25, constant step size 20."""
    return (
        Guide(objective=Ebama(), start_percent=0.0, end_percent=published_percent(25), step_size=CONSTANT),
    )


def box_diff() -> Recipes:
    """Xie et al., ICCV 2023: A&E's schedule, the refinement tested on the weakest box."""
    return (first_half(BoxDiff(), (0, 0.05), (10, 0.5), (20, 0.8)),)


def layout_guidance() -> Recipes:
    """Chen et al., WACV 2024: the first 10 steps, x <- x - sigma^2 dL/dx while L / 30 > 0.2; middle and first
    up block.
    """
    return per_step(in_blocks(LayoutGuidance(), MIDDLE_UP), 9, 5, 0.2, StepSize(1.0, function="x"))


def region_and_boundary() -> Recipes:
    """Xiao et al., ICLR 2024 (R&B): the first 10 steps, step size 70."""
    return per_step(RegionAndBoundary(), 9, 5, 1.0, StepSize(70.0, 1.0, 1.0, "constant"))


def bounded_attention() -> Recipes:
    """Dahary et al., ECCV 2024: step size 18 to 5 over the first 15 steps while L / N_box > 0.2 (the loss
    only, attention is not masked).
    """
    return per_step(BoundedAttention(), 14, 5, 0.2, StepSize(1.0, 18.0, 18.0 - 13.0 * 49 / 14, "linear"))


def lmd() -> Recipes:
    """Lian et al., TMLR 2024: the energy of boxes in the middle and the first up block.

    Up to 4, 3, 2, 1 updates per step while E > 5, carried from step to step. 8 x (head mean) is the published
    sum on the 8 heads of SD1, and keeps the threshold meaningful on other models.
    """
    ends = ((4, 4), (9, 3), (19, 2), (29, 1))
    return (
        Guide(
            objective=in_blocks(LMD(heads="mean"), MIDDLE_UP),
            start_percent=0.0,
            end_percent=published_percent(29),
            inner_loops=tuple(
                InnerLoop(published_percent(last), rounds, 5.0, carried=True) for last, rounds in ends
            ),
            step_size=StepSize(5.0, function="noise"),
        ),
    )


def point_layout() -> Recipes:
    """Study of Attend-and-Excite, USTC 2024: a step towards the point, then one of A&E's at the updated
    latent.
    """
    return first_half(PointLayout()), first_half(Presence())


def neglect() -> Recipes:
    """Study of Attend-and-Excite, USTC 2024: what is unwanted is pushed below its threshold, at A&E's
    steps.
    """
    return (first_half(Neglect(), (0, 0.0), (10, 0.0), (20, 0.0)),)


def saga(step: int, momentum: float = 0.4, sigma: bool = False) -> Saga:
    """SAGA, AAAI 2026, at this step; sigma: learns the variance too."""
    moment = Moment(percent=published_percent(step))
    return Saga(moment=moment, momentum=momentum, block=4 if sigma else 0, per_channel=sigma)


PUBLISHED: dict[str, Callable[[], Recipes]] = {
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
    "SAGA (2026)": lambda: (saga(10),),
    "SAGA+ (2026)": lambda: (saga(6, momentum=0.1), syngen_between(6, 24)),
    "SAGA-Sigma (2026)": lambda: (saga(12, sigma=True),),
    "SAGA-Sigma+ (2026)": lambda: (saga(6, momentum=0.1, sigma=True), syngen_between(6, 24)),
    "FOCUS (2025)": lambda: (SteerVelocity(),),
    FAST: lambda: (latent_refine_fast(),),
    RELATIONS: lambda: (latent_refine_relations(),),
}
"""Name shown to users -> its recipes."""
