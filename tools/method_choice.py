"""The section "Which method" of Semantic Nursing's help page: aims by hand, the rest asked of the methods.

python3 tools/dev.py run -m tools.method_choice --write
"""

import argparse
import functools
from collections.abc import Callable

from gsn_ops.cost import UPDATE
from gsn_ops.optimise.gradient_free import GRADIENT_FREE
from gsn_ops.optimise.methods import preset
from tools.host_env.paths import CLONE
from tools.method_facts import STEPS, needs, passes

PAGE = CLONE / "web" / "docs" / "GSNNursing.md"
BEGIN, END = "<!-- which method -->\n", "<!-- which method: end -->\n"
TITLE = "Which method"
WORKS = "A method works on every supported model where nothing else is said."
HEAD = (
    "In the order in which to try them. The cost is the most that a method adds to an image of 50 steps, in "
    "such images: a pass with its gradient is counted as two of the 100 passes of an image with a negative "
    "prompt. Loops that stop early, and passes that end after the last layer needed, cost less."
)
GROUPS = {  # group -> method -> what it is for
    "A thing is missing or melted into another": {
        "Auto": "looks first, and works only where something is missing, within the budget; the default",
        "Latent Refine (Grimal et al. 2025)": "all objects present and apart, as published",
        "Latent Refine (fast)": "the same in less time: checks first, stops as soon as all are there",
        "Word boost (no gradients)": "missing objects get more attention; also on compiled models",
        "Attend-and-Excite (Chefer et al. 2023)": "all objects present",
        "Attend-and-Excite, separate (USTC study 2024)": "the same with a higher first threshold",
        "A-STAR (Agarwal et al. 2023)": "objects apart, and kept from step to step",
        "Divide & Bind (Li et al. 2023)": "objects present, attributes bound",
        "SAGA (2026)": "learns a distribution of latents with all objects; slow",
        "SAGA-Sigma (2026)": "SAGA with a learned variance; slow",
        "InitNO (Guo et al. 2024)": "a better initial noise",
        "InitNO+ (Guo et al. 2024)": "a better initial noise, then guidance",
        "Self-Cross Guidance (Qiu et al. 2025)": "similar objects apart, such as a cat and a dog",
    },
    "Colours or attributes are on the wrong thing": {
        "Latent Refine + SynGen, Ours+ (Grimal et al. 2025)": "objects present, attributes on their nouns",
        "SynGen (Rassin et al. 2023)": "attributes on their nouns",
        "SynGen+ (Grimal et al. 2025)": "the same, with a refinement at the first step",
        "EBAMA (Zhang et al. 2024)": "attributes on their nouns, objects present",
        "CONFORM (Meral et al. 2024)": "attributes with their objects, objects apart",
        "FOCUS (2025)": "the words of a subject together, on flow models",
        "SAGA+ (2026)": "SAGA, then attributes on their nouns; slow",
        "SAGA-Sigma+ (2026)": "SAGA-Sigma, then attributes on their nouns; slow",
    },
    "A thing must stand in a certain place": {
        "Latent Refine + relations": "left of, right of, above and below, as the prompt says",
        "BoxDiff (Xie et al. 2023)": "objects in boxes",
        "Layout Guidance (Chen et al. 2024)": "objects in boxes, early steps only",
        "R&B, Region and Boundary (Xiao et al. 2024)": "objects in boxes, up to their edges",
        "Bounded Attention, loss (Dahary et al. 2024)": "similar objects in boxes",
        "LMD energy (Lian et al. 2024)": "objects in boxes of an LLM",
        "Point Layout (USTC study 2024)": "objects around points",
    },
    "A thing must not be there": {"Neglect (USTC study 2024)": "unwanted objects absent (`-glasses`)"},
    "The image follows the prompt too little (joint attention)": {
        "Prompt Reinjection (2026)": "the prompt's early features again in later blocks",
        "TACA (2025)": "image queries attend to the text more sharply in the first steps",
    },
}


ONLY = {
    "self-attention maps": "Works on UNets only: Stable Diffusion 1 and 2, SDXL.",
    "a flow model": "Works on flow models only: Stable Diffusion 3, Flux, Qwen-Image, Z-Image and others.",
}
"""What a need says about the models that a method works on."""


def english(text: str) -> str:
    """The text as it is."""
    return text


@functools.cache
def facts(method: str) -> tuple[str, float]:
    """What a method needs, and what it adds at most to an image, in images."""
    recipes = preset(method)
    return needs(recipes), UPDATE * sum(map(passes, recipes)) / (2 * STEPS)


def line(method: str, aim: str, words: Callable[[str], str] = english) -> str:
    """One method: what for, what it needs, what it costs."""
    said = [f"* **{method}**: {words(aim)}."]
    if method in GRADIENT_FREE:
        return " ".join([*said, words("No further passes.")])
    wanted, cost = facts(method)
    needed = wanted.split(", ") if wanted else []
    said += [words(ONLY[need]) for need in needed if need in ONLY]
    others = ", ".join(words(need) for need in needed if need not in ONLY)
    said += [words("Needs {}.").format(others)] if others else []
    return " ".join([*said, words("Adds up to {} images.").format(f"{cost:.2g}")])


def text(words: Callable[[str], str] = english) -> str:
    """The whole section. words: the translation of a text."""
    groups = (
        f"{words(group)}:\n\n" + "\n".join(line(*pair, words) for pair in methods.items())
        for group, methods in GROUPS.items()
    )
    return f"### {words(TITLE)}\n\n{words(HEAD)} {words(WORKS)}\n\n" + "\n\n".join(groups) + "\n\n"


def section() -> str:
    """The section as it stands in the English page."""
    return BEGIN + text() + END


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="into the help page")
    args = parser.parse_args()
    if not args.write:
        print(section())
        return
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    PAGE.write_text(before + section() + rest.partition(END)[2], "utf-8")


if __name__ == "__main__":
    main()
