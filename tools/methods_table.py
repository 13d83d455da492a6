"""docs/methods.md: every method of the drop-down, from the methods, objectives and loops of the pack.

    python3 tools/dev.py methods --write docs/methods.md

Papers are in papers.py; all else is read from code and docstrings, and what a method needs is found by
asking its objectives.
"""

import argparse
import inspect
import re
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from types import ModuleType

from gsn_ops.modulate import alternate_prompts, prompt_reinjection, taca, vsf, word_boost
from gsn_ops.modulate.edits import PromptReinjection, TextTemperature, WordBoost
from gsn_ops.objectives.base import REGISTRY
from gsn_ops.optimise.gradient_free import GRADIENT_FREE, TYPED
from gsn_ops.optimise.guidance import Guide
from gsn_ops.optimise.initial_noise import OptimiseNoise
from gsn_ops.optimise.methods import METHODS, preset
from gsn_ops.optimise.recipe import Recipe
from gsn_ops.optimise.refine import Refine
from gsn_ops.optimise.saga import Saga
from gsn_ops.optimise.velocity import SteerVelocity
from tools.host_env.paths import CLONE
from tools.method_facts import needs, passes, steps_in_words, updates_of
from tools.papers import PAPERS, Paper, paper_of
from tools.study.tables import markdown

HEAD = """# Methods

Made by `python3 tools/dev.py methods --write docs/methods.md`; a test fails when this file is stale.

Every method of the drop-down of Semantic Nursing but its default, Auto, which is Latent Refine (fast) behind
readings of the run's own passes, Word boost and a budget: `gsn_ops/optimise/auto.py`, docs/settings.md.

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
## LMD Sampler
A node of its own: Lian et al., TMLR 2024, [2305.13655](https://arxiv.org/abs/2305.13655); equations 3 and 4
are the energy and the transfer. Formulas: `gsn_ops/objectives/lmd.py`,
`gsn_ops/objectives/lmd_transfer.py`, `gsn_ops/layout/compose.py`, `gsn_ops/layout/object_masks.py`; loops:
`gsn_ops/optimise/lmd.py`.

* *Each box alone*: centred, standing at 0.8 of the height; the background's noise with a share r = 0.01 of
  its own in the box; LMD energy at steps 0-29 of 50, its test carried from step to step.
* *Composition*: masks from the word's attention (UNets: input block 8, mean of the steps from 10 on, sigma
  1.5 on a grid of 16), above 0.25 of the maximum and connected with it (ours; the authors refine with SAM,
  which may be connected). Objects move by eighths of the image; the largest lies below.
* *Whole image*: energy + 2 times transfer, tested together; behind each of the first half of the steps the
  objects are put back. Masks, maps and latents move alike.
* *LMD+*: GLIGEN boxes in the first 40 % of each run; single boxes in their places, without energy, r = 0.1.
* *Further rounds*: seeds 1 (background) and 20, 21, ... (boxes); objects that a layout does not change keep
  theirs.

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
