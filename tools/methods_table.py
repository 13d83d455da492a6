"""docs/methods.md: every method of the drop-down, from the methods, objectives and loops of the pack.

    python3 tools/dev.py methods --write docs/methods.md

Papers are in papers.py; all else is read from code and docstrings, and what a method needs is found by
asking its objectives.
"""

import argparse
import inspect
import re
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType

import torch

from gsn_ops.maps import AttentionMaps, StepContext
from gsn_ops.modulate import alternate_prompts, prompt_reinjection, taca, vsf, word_boost
from gsn_ops.modulate.edits import PromptReinjection, TextTemperature, WordBoost
from gsn_ops.objectives.base import REGISTRY, Objective, check_prompt, role_of
from gsn_ops.optimise.gradient_free import GRADIENT_FREE, TYPED
from gsn_ops.optimise.guidance import Guide
from gsn_ops.optimise.initial_noise import OptimiseNoise
from gsn_ops.optimise.methods import METHODS, preset
from gsn_ops.optimise.recipe import Recipe
from gsn_ops.optimise.refine import Refine
from gsn_ops.optimise.saga import Saga
from gsn_ops.optimise.velocity import SteerVelocity
from gsn_ops.prompt import Span, SubjectColumns, SubjectPhrase
from gsn_ops.regions import Region
from gsn_ops.schedule import Schedule
from tools.host_env.paths import CLONE
from tools.papers import PAPERS, Paper, paper_of
from tools.study.tables import markdown

HEAD = """# Methods

Made by `python3 tools/dev.py methods --write docs/methods.md`; a test fails when this file is stale.

Every method of the drop-down of Semantic Nursing.

* *Equations*: numbers in the paper, of the formulas in these files; empty = not verified, or not numbered.
* *Objective*: its id in the GSN Objective node, and its class. A subject's map is that of its noun, as in the
  authors' code; `pieces=phrase` in overrides takes all its words. CONFORM, FOCUS and the layout methods read
  all words of a phrase.
* *Loop and steps*: how the gradient is used and where, in 50 steps of Stable Diffusion 1 (ddim_uniform), in
  which most papers count. Under other schedulers, step counts and models a method acts at the same shares of
  the noise schedule.
* *Passes*: at most so many forward and as many backward passes in such a run, besides sampling. Loops that
  stop early take fewer; the report `maps and pictures` adds up to two forward passes for each objective.
* *Needs*: what a run must have so that the method acts; nothing = one subject is enough. Self-attention maps
  are those of UNets, for joint attention has none of its own.
* *Files*: objectives, then loops.

"""
GRADIENT_FREE_HEAD = """

## Without gradients

These change attention or text features in the run's own passes: no update of the latent, no extra pass.
Equation numbers are not verified. TACA is without its LoRA, which the paper's numbers include; it changes the
passes of the positive prompt only. *Settings*: keys of `overrides`, and their defaults.

"""
NODES_HEAD = """
Nodes of their own:

"""
NODE_HEADS = ("node", "paper", "what it does", "formula")
GRADIENT_FREE_HEADS = ("method", "paper", "what it does", "settings", "formula")
MODULES = {WordBoost: word_boost, PromptReinjection: prompt_reinjection, TextTemperature: taca}
NODES = {"Negative Prompt in Attention": vsf, "Alternate Prompts": alternate_prompts}
"""Nodes of their own -> their formulas."""
TAIL = """
## Prompt-to-Prompt
A node of its own: Hertz et al., ICLR 2023, [2208.01626](https://arxiv.org/abs/2208.01626); equation numbers
are not verified. Source and target are one batch with the same noise; the target's attention is made from
the source's. Formulas: `gsn_ops/modulate/prompt_to_prompt.py`, `gsn_ops/modulate/local_blend.py`; tokens of
both prompts: `gsn_ops/modulate/prompt_alignment.py`.

* *Maps of the words* (models with cross-attention), in the first 80 % of the steps: replace A' = A_source
  R, or refine, a longest common subsequence of the tokens. `rule` `published` is the authors' code; `clean`
  differs where words have different numbers of tokens: they keep their own, and padding begins at the end
  markers.
* *Weights*: A'_j = c_j A_j. Published, a row then sums to something else than 1; clean keeps its sum.
* *Self-attention* on UNets, grids up to 16 x 16 at 512 pixels, in the first 40 % of the steps: the source's
  queries and keys, the target's values, which is the source's map exactly.
* *LocalBlend*: maps of level 4 (other models: of all layers), summed over the words, layers, heads and
  steps so far; the highest of 3 x 3 cells, above 0.3 of the image's maximum, in either image. Outside, the
  network gets the source's latent and its prediction is the source's, from 20 % of the steps on. The
  authors blend the latent after each step, which is the same for samplers without memory.
* *Joint attention* has no map of its own to exchange: there the queries and keys of the image's tokens,
  after norms and rotary embedding, are taken from the source in the first 20 % of the steps, in all blocks,
  as in MM-DiT Prompt-to-Prompt (ICCV 2025, [2508.07519](https://arxiv.org/abs/2508.07519)) on SD3, SD3.5
  and Flux.1. On all other models this is unproven.

## Where this pack differs from the authors' code
Run on the same weights, Latent Refine, Ours+, SynGen, Attend-and-Excite, Divide & Bind, InitNO and SAGA
follow the published code step by step but for these choices. They stay, each for the reason given.

* **Latent Refine, sum.** The loss is L_CN + L_IoU as in the paper; the code takes half of it. That is not
  neutral, for Adam's eps is 1e-3: half a gradient makes smaller steps. `reduction=mean` of `cn_iou` is the
  code's form, and SAGA's.
* **Attend-and-Excite's loop.** The first iteration of a refinement uses the evaluation that found it
  necessary; the code makes that pass twice at the same latent. The order is otherwise the code's: the
  iteration that reaches the threshold still updates.
* **Divide & Bind, attributes.** Attribute maps come from the same level as the subjects' maps; the code
  takes the finer levels 2 and 1 of SD1. These need a whole pass of the UNet at full resolution, more than
  twice the time and memory, and other models have no such levels. `attribute_levels=finer` of `tv_bind`
  with levels 1,2,4 is the code's form.
* **SAGA's reference trajectory.** The predicted x0 comes from Euler steps from a noise of its own; the code
  uses the run's sampler. Here any sampler of ComfyUI or another pack may run, and its history and noise are
  left alone.
* **T5's first token** counts. The code of Latent Refine on SD3 leaves it out; it is often a bare mark, but
  can be a word.
* **Precision.** Latent, optimiser, maps and loss are float32 whatever the model computes in: in bfloat16 an
  update of 0.001 is lost in 62 % of the elements to rounding. Products of a float32 model may be bfloat16
  (`precision`): where the first gradients agree, the updates differ by about 0.5 %.
* **Noise.** ComfyUI's ddim_uniform starts with 0.9971 of diffusers' noise, so the same seed gives another
  image there.
"""
HEADS = ("method", "paper", "equations", "objective", "loop and steps", "passes", "needs", "files")
LOOPS = {
    Refine: "refinement at one step",
    Guide: "guidance",
    OptimiseNoise: "initial noise",
    Saga: "SAGA",
    SteerVelocity: "velocity",
}
STEPS = 50


# --- equations -----------------------------------------------------------------------------------------


def used_modules(objective: type) -> list[ModuleType]:
    """An objective's module, and the neighbours whose functions it uses."""
    module = inspect.getmodule(objective)
    package = module.__name__.rpartition(".")[0]
    found = [inspect.getmodule(value) for value in vars(module).values() if inspect.isfunction(value)]
    neighbours = [m for m in found if m is not None and m.__name__.startswith(package + ".")]
    return list(dict.fromkeys([module, *neighbours]))


def docstrings(module: ModuleType) -> list[str]:
    """All docstrings of what a module defines, its own first, each on one line."""
    own = [v for v in vars(module).values() if inspect.isfunction(v) or inspect.isclass(v)]
    own = [v for v in own if v.__module__ == module.__name__]
    methods = [m for v in own if inspect.isclass(v) for m in vars(v).values() if inspect.isfunction(m)]
    return [" ".join((thing.__doc__ or "").split()) for thing in (module, *own, *methods)]


NAME = r"[A-Z][\w&-]*(?: & [A-Z]\w*| Guidance| et al\.)?"
NUMBERS = r"\d+(?:(?:, | and | to )\d+)*"
MENTION = re.compile(rf"(?:(?P<before>{NAME}) \()?[Ee]qs?\. (?P<numbers>{NUMBERS})(?: of (?P<after>{NAME}))?")


def equations(paper: Paper, recipes: Sequence[Recipe]) -> str:
    """Numbers of the paper's equations in the docstrings of these recipes, such as "5, 6, 7"; "" = none.

    Docstrings write "eq. 6 of NAME" or "NAME (eq. 6)"; a number without the name of a paper belongs to the
    paper that the first line of its file names.
    """
    modules = [m for r in recipes for m in (*used_modules(type(r.objective)), inspect.getmodule(type(r)))]
    known = {name for other in PAPERS.values() for name in other.names}
    found: set[int] = set()
    for module in dict.fromkeys(modules):
        title, *texts = docstrings(module)
        is_own = any(name in title for name in paper.names)
        for mention in (m for text in (title, *texts) for m in MENTION.finditer(text)):
            named = {mention["after"], mention["before"]} & known
            if named & set(paper.names) or (is_own and not named):
                found |= set(numbers_in(mention["numbers"]))
    return ", ".join(map(str, sorted(found)))


def numbers_in(text: str) -> list[int]:
    """ "5", "5, 6 and 8" or "5 to 7" as numbers."""
    first, _, last = text.partition(" to ")
    return list(range(int(first), int(last) + 1)) if last else [int(n) for n in re.findall(r"\d+", text)]


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
    try:
        return recipe.active_steps(sd1_schedule()).updates, False
    except ValueError:
        return recipe.active_steps(flow_schedule()).updates, True


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
    return sum(updates_of(recipe)[0].values()) * getattr(recipe, "noises", 1)


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


# --- the page ------------------------------------------------------------------------------------------


def file_of(thing: type | ModuleType) -> str:
    """A module's file, or the file that defines a class, from the clone's root."""
    return Path(inspect.getsourcefile(thing)).resolve().relative_to(CLONE).as_posix()


def unique(words: Iterable[str]) -> str:
    """Each once, in order."""
    return "; ".join(dict.fromkeys(words))


def objectives_of(recipes: Sequence[Recipe]) -> list[type]:
    """The objectives' classes, of a sum those of its parts."""
    losses = [recipe.objective for recipe in recipes]
    return [type(part) for loss in losses for part in [p for _, p in getattr(loss, "parts", ())] or [loss]]


def files_of(recipes: Sequence[Recipe]) -> list[str]:
    """Objective files, then loop files, each once."""
    things = objectives_of(recipes) + [type(r) for r in recipes]
    return list(dict.fromkeys(map(file_of, things)))


def row(method: str) -> tuple[str, ...]:
    """One method."""
    ids = {cls: name for name, cls in REGISTRY.items()}
    recipes, paper = preset(method), paper_of(method)
    kinds = objectives_of(recipes)
    loops = (f"{LOOPS[type(recipe)]}: {steps_in_words(updates_of(recipe)[0])}" for recipe in recipes)
    return (
        method,
        paper.cell(),
        equations(paper, recipes),
        unique(f"`{ids[kind]}` ({kind.__name__})" for kind in kinds),
        "; ".join(loops),
        str(sum(map(passes, recipes))),
        needs(recipes),
        ", ".join(f"`{file}`" for file in files_of(recipes)),
    )


def gradient_free_row(method: str) -> tuple[str, ...]:
    """One method without gradients."""
    edit = GRADIENT_FREE[method]()
    formula = MODULES[type(edit)]
    typed = [f.name for f in fields(edit) if f.name != "method" and isinstance(f.default, TYPED)]
    settings = ", ".join(f"`{name}` {getattr(edit, name)}" for name in typed)
    return method, paper_of(method).cell(), what_it_does(formula), settings, f"`{file_of(formula)}`"


def what_it_does(formula: ModuleType) -> str:
    """The first sentence of a module, behind the method's name."""
    first = (inspect.getdoc(formula) or "").partition("\n\n")[0]
    return " ".join(first.split()).partition(": ")[2].rstrip(".")


def node_row(name: str) -> tuple[str, ...]:
    """A node without gradients whose formula is a paper's."""
    formula = NODES[name]
    return name, paper_of(name).cell(), what_it_does(formula), f"`{file_of(formula)}`"


def document() -> str:
    """The whole page."""
    found = "\n".join(markdown(HEADS, map(row, METHODS)))
    free = "\n".join(markdown(GRADIENT_FREE_HEADS, map(gradient_free_row, GRADIENT_FREE)))
    nodes = "\n".join(markdown(NODE_HEADS, map(node_row, NODES)))
    return HEAD + found + GRADIENT_FREE_HEAD + free + NODES_HEAD + nodes + TAIL


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools/dev.py methods", description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="FILE", help="default: print it")
    args = parser.parse_args()
    if args.write:
        args.write.write_text(document(), encoding="utf-8")
    else:
        print(document())


if __name__ == "__main__":
    main()
