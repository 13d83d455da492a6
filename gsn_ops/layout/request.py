"""The text that asks an LLM for a layout (LMD, Lian et al., TMLR 2024): task, rules, examples, caption."""

from __future__ import annotations

from .examples import EXAMPLES, FOREIGN, Example
from .layout import Layout, as_text
from .lines import LayoutError

TASK = """You plan where things stand in an image. You get the caption of an image. Answer with one box for \
each object it names, a prompt for the background, and a negative prompt.

The canvas is {width} pixels wide and {height} pixels high. A box is [x, y, width, height]: x, y is its \
upper left corner, x grows to the right and y downwards. Every box lies inside the canvas.

Rules:
1. One object per box. For several objects of a kind repeat the entry, one box each.
2. Name every object in a few words, with the colour and other properties that the caption gives it.
3. Boxes do not overlap, unless one object is on or in front of the other.
4. The background prompt names the style and the place, and none of the objects. Without any hint write: \
A realistic scene
5. Do not invent objects. What the caption excludes stands in the negative prompt only.
6. Positions and sizes fit the caption and the world: an animal stands on the ground, a mouse is smaller \
than a cow.
7. Answer in English, whatever the caption's language, in exactly this form, and with nothing else:

Objects: [("name", [x, y, width, height]), ...]
Background prompt: ...
Negative prompt: ..."""
CHANGE = """This was the last layout:

{layout}

Change it: {instruction}
Answer with the complete new layout in the same form. What the change does not concern keeps its words and \
its numbers."""
EMPTY = (
    "The prompt is empty: write what the image shall show, in any language. To change a layout, connect it "
    "as previous and write the instruction."
)


def request(
    prompt: str,
    canvas: tuple[int, int] = (512, 512),
    previous: Layout | None = None,
    instruction: str = "",
) -> str:
    """What an LLM is asked: for a layout of the prompt, or for a change of the previous one.

    prompt: in any language. canvas: width and height in pixels. previous, instruction: both, or the request
    is for a first layout. Raises LayoutError if there is nothing to ask for.
    """
    prompt, instruction = " ".join(prompt.split()), " ".join(instruction.split())
    if instruction and previous is None:
        raise LayoutError(
            "There is an instruction, but no previous layout that it could change: connect the layout of the "
            "last round, or leave the instruction empty."
        )
    changes = previous is not None and bool(instruction)
    if not prompt and not changes:
        raise LayoutError(EMPTY)
    foreign = any(mark.isalpha() and not mark.isascii() for mark in f"{prompt}{instruction}")
    examples = [FOREIGN, *EXAMPLES] if foreign else list(EXAMPLES)
    parts = [TASK.format(width=canvas[0], height=canvas[1])]
    parts += [f"Caption: {example.caption}\n{_answer(example, canvas)}" for example in examples]
    parts.append(f"Caption: {prompt or 'as before'}")
    if previous is not None and changes:
        parts.append(CHANGE.format(layout=as_text(_on_canvas(previous, canvas)), instruction=instruction))
    return "\n\n".join(parts) + "\n"


def _on_canvas(layout: Layout, canvas: tuple[int, int]) -> Layout:
    return Layout(layout.objects, layout.background, layout.negative, canvas)


def _answer(example: Example, canvas: tuple[int, int]) -> str:
    """An example's layout, its boxes scaled to this canvas."""
    across, down = canvas[0] / 512, canvas[1] / 512
    entries = ", ".join(
        f'("{name}", [{round(x * across)}, {round(y * down)}, {round(w * across)}, {round(h * down)}])'
        for name, (x, y, w, h) in example.objects
    )
    negative = f"Negative prompt: {example.negative}".rstrip()
    return f"Objects: [{entries}]\nBackground prompt: {example.background}\n{negative}"
