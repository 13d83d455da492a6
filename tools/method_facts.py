"""When a method acts, how many passes it takes at most, and what a run must have: asked of its recipes."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from gsn_ops.maps import AttentionMaps, StepContext
from gsn_ops.objectives.base import Objective, check_prompt, role_of
from gsn_ops.optimise.recipe import Recipe
from gsn_ops.prompt import Span, SubjectColumns, SubjectPhrase
from gsn_ops.regions import Region
from gsn_ops.schedule import Schedule

STEPS = 50

# --- when, and how many passes -------------------------------------------------------------------------


def sd1_schedule() -> Schedule:
    """50 steps of Stable Diffusion 1, ddim_uniform: t = 981 - 20 k."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    kept = (1 - betas).cumprod(0)
    levels = ((1 - kept) / kept).sqrt()  # [1000] sigma of each time

    def sigma(percent: float) -> float:
        time = (1 - percent) * 999
        low = min(int(time), 998)
        mixed = levels[low].log().lerp(levels[low + 1].log(), time - low)
        return float(mixed.exp())

    return Schedule((*(float(levels[981 - 20 * k]) for k in range(STEPS)), 0.0), sigma)


def flow_schedule() -> Schedule:
    """50 steps of a flow model."""
    return Schedule(tuple(1 - k / STEPS for k in range(STEPS + 1)), lambda percent: 1 - percent, flow=True)


def updates_of(recipe: Recipe) -> tuple[dict[int, int], bool]:
    """Step -> at most so many updates; and whether it takes a flow model."""
    found = recipe.active_steps(sd1_schedule()).updates
    return (found, False) if found else (recipe.active_steps(flow_schedule()).updates, True)


def ranges(steps: Sequence[int]) -> str:
    """ "0-9, 12" for steps in rising order."""
    runs: list[list[int]] = []
    for step in steps:
        if runs and step == runs[-1][1] + 1:
            runs[-1][1] = step
        else:
            runs.append([step, step])
    return ", ".join(f"{first}-{last}" if first < last else str(first) for first, last in runs)


def steps_in_words(updates: dict[int, int]) -> str:
    """ "steps 0-24, 1 update each, up to 21 at 0, 10, 20"."""
    steps, usual = sorted(updates), min(updates.values())
    count = "1 update" if usual == 1 else f"up to {usual} updates"
    words = [f"step {steps[0]}, {count}" if len(steps) == 1 else f"steps {ranges(steps)}, {count} each"]
    for n in sorted(set(updates.values()) - {usual}, reverse=True):
        words.append(f"up to {n} at {ranges([step for step in steps if updates[step] == n])}")
    return ", ".join(words)


def passes(recipe: Recipe) -> int:
    """Forward passes at most, each with a backward one."""
    return sum(updates_of(recipe)[0].values()) * recipe.evaluations_per_update


# --- what it needs -------------------------------------------------------------------------------------

COLUMNS = 8  # start marker, red, cat, blue, dog, and what follows
RED_CAT = SubjectColumns(SubjectPhrase("cat", "cat"), {"l": (2,)}, ({"l": (1,)},))
CAT = SubjectColumns(SubjectPhrase("cat", "cat"), {"l": (2,)})
DOG = SubjectColumns(SubjectPhrase("dog", "dog"), {"l": (4,)})
REGION = Region(boxes=((0.0, 0.1, 0.5, 0.7),), point=(0.2, 0.4))
ASKED = {"one subject": (CAT,), "an attribute": (RED_CAT,), "two subjects": (CAT, DOG)}


def synthetic_maps(logits: torch.Tensor) -> AttentionMaps:
    """Maps of one layer and level from logits [B, heads, h, w, COLUMNS]."""
    heads = logits.softmax(-1)

    def rows(cells: torch.Tensor) -> torch.Tensor:
        features = heads[:, 0].flatten(1, 2)  # [B, (h w), n]
        own = features.gather(1, cells[..., None].expand(-1, -1, COLUMNS))  # [B, r, n]
        return (9 * own @ features.mT).softmax(-1).unflatten(-1, heads.shape[2:4])  # [B, r, h, w]

    spans = (Span("l", 1, COLUMNS - 1),), (Span("l", 1, COLUMNS - 3),)
    columns = tuple(range(COLUMNS))
    return AttentionMaps({2: heads.mean(1)}, columns, spans[0], {2: (heads,)}, {2: rows}, spans[1])


def acts_on(objective: Objective, subjects: Sequence[SubjectColumns]) -> bool:
    """Does the loss of these subjects, all of them with a region, have a slope?"""
    role = role_of(objective)
    subjects = [replace(s, phrase=replace(s.phrase, role=role)) for s in subjects]
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2, 8, 8, COLUMNS, generator=generator, dtype=torch.float64, requires_grad=True)
    regions = {s.label: REGION for s in subjects}
    context = StepContext(1, STEPS, 5.0, 5.1, synthetic_maps(logits.detach().flip(2)), regions)
    loss = objective(synthetic_maps(logits), subjects, context)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    return bool(gradient.any())


def is_refused(objective: Objective, region: Region | None, role: str) -> bool:
    """Does the objective refuse two subjects, the first in this region and the last of this role?"""
    last = replace(DOG, phrase=replace(DOG.phrase, role=role))
    try:
        check_prompt(objective, [CAT, last], {} if region is None else {CAT.label: region})
    except ValueError:
        return True
    return False


def needs(recipes: Sequence[Recipe]) -> str:
    """What a run must have, in words; "" = a subject in the prompt is enough."""
    objectives = [recipe.objective for recipe in recipes]
    roles = {role_of(o) for o in objectives}
    placed = [
        o for o in objectives if is_refused(o, None, "unwanted") and not is_refused(o, REGION, "unwanted")
    ]
    by_point = [o for o in placed if is_refused(o, replace(REGION, point=None), "unwanted")]
    words = {
        "a Subject Region": bool(placed) and not by_point,
        "a Subject Region (its middle)": bool(by_point),
        "an unwanted subject": "unwanted" in roles,
        "a flow model": any(updates_of(recipe)[1] for recipe in recipes),
        "an empty latent": any(recipe.starts_from_new_noise for recipe in recipes),
        "self-attention maps": any(o.needs.self_rows for o in objectives),
    }
    enough = [name for name, subjects in ASKED.items() if any(acts_on(o, subjects) for o in objectives)]
    words[" or ".join(enough)] = "one subject" not in enough
    return ", ".join(word for word, is_needed in words.items() if is_needed)
