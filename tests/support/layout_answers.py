"""Answers that LLMs give when they are asked for a layout: (name, text, what it says or why it is refused).

Boxes are x, y, width, height in pixels of a 512 x 512 canvas.
"""

from __future__ import annotations

CAT_DOG = {"a cat": (50, 200, 150, 150), "a dog": (300, 210, 160, 160)}
PAIR = "[('a cat', [50, 200, 150, 150]), ('a dog', [300, 210, 160, 160])]"
JSON_PAIR = (
    '{"objects": [{"name": "a cat", "box": [50, 200, 150, 150]}, '
    '{"name": "a dog", "box": [300, 210, 160, 160]}]'
)
TEXTS = ("a park", "a bird")
PLAIN = f"Objects: {PAIR}\nBackground prompt: a park\nNegative prompt: a bird"

READ = [
    ("as asked for", PLAIN, CAT_DOG, *TEXTS),
    ("no negative", f"Objects: {PAIR}\nBackground prompt: a park\nNegative prompt:", CAT_DOG, "a park", ""),
    ("negative left out", f"Objects: {PAIR}\nBackground prompt: a park", CAT_DOG, "a park", ""),
    (
        "none in words",
        f"Objects: {PAIR}\nBackground prompt: a park\nNegative prompt: None",
        CAT_DOG,
        "a park",
        "",
    ),
    ("n/a", f"Objects: {PAIR}\nBackground prompt: a park\nNegative prompt: N/A.", CAT_DOG, "a park", ""),
    ("list only", f"Objects: {PAIR}", CAT_DOG, "", ""),
    ("double quotes", PLAIN.replace("'", '"'), CAT_DOG, *TEXTS),
    ("typographic quotes", PLAIN.replace("('", "(\u201c").replace("',", "\u201d,"), CAT_DOG, *TEXTS),
    ("several lines", PLAIN.replace("), (", "),\n  (").replace("[(", "[\n  ("), CAT_DOG, *TEXTS),
    ("list below its label", PLAIN.replace("Objects: ", "Objects:\n"), CAT_DOG, *TEXTS),
    ("trailing comma", PLAIN.replace(")]", "),]"), CAT_DOG, *TEXTS),
    ("comments", PLAIN.replace("), (", "),  # left\n  ("), CAT_DOG, *TEXTS),
    ("comment of two slashes", PLAIN.replace("), (", "),  // the cat's place\n  ("), CAT_DOG, *TEXTS),
    ("brackets for tuples", PLAIN.replace("(", "[").replace(")", "]"), CAT_DOG, *TEXTS),
    ("tuples for boxes", PLAIN.replace(", [", ", (").replace("])", "))"), CAT_DOG, *TEXTS),
    (
        "numbers in the tuple",
        PLAIN.replace(", [5", ", 5").replace(", [3", ", 3").replace("])", ")"),
        CAT_DOG,
        *TEXTS,
    ),
    ("floats", PLAIN.replace("50, 200, 150, 150", "50.0, 200.0, 150.0, 150.0"), CAT_DOG, *TEXTS),
    ("px", PLAIN.replace("50, 200", "50px, 200px"), CAT_DOG, *TEXTS),
    ("fractions", "Objects: [('a cat', [0.25, 0.5, 0.25, 0.25])]", {"a cat": (128, 256, 128, 128)}, "", ""),
    ("percentages", "Objects: [('a cat', [25%, 50%, 25%, 25%])]", {"a cat": (128, 256, 128, 128)}, "", ""),
    ("code fence", f"```\n{PLAIN}\n```", CAT_DOG, *TEXTS),
    (
        "python fence",
        f"```python\nobjects = {PAIR}\n```\nBackground prompt: a park\nNegative prompt: a bird",
        CAT_DOG,
        *TEXTS,
    ),
    ("text before", f"Sure! Here is the layout you asked for:\n\n{PLAIN}", CAT_DOG, *TEXTS),
    (
        "text behind",
        f"{PLAIN}\n\nThe cat is on the left (about 30 % wide) and the dog on the right.",
        CAT_DOG,
        *TEXTS,
    ),
    ("thinking aloud", f"<think>Objects: [('a cow', [1, 2, 3, 4])]? No.</think>\n{PLAIN}", CAT_DOG, *TEXTS),
    ("a draft first", f"Objects: [('a cow', [0, 0, 100, 100])]\nBetter:\n{PLAIN}", CAT_DOG, *TEXTS),
    (
        "goes on with an example",
        f"{PLAIN}\n\nCaption: a cow\nObjects: [('a cow', [0, 0, 99, 99])]\nBackground prompt: hay",
        CAT_DOG,
        *TEXTS,
    ),
    (
        "bold labels",
        PLAIN.replace("Objects:", "**Objects:**").replace("Background prompt:", "**Background prompt:**"),
        CAT_DOG,
        *TEXTS,
    ),
    (
        "small labels",
        PLAIN.replace("Objects:", "objects =").replace("Background prompt:", "background:"),
        CAT_DOG,
        *TEXTS,
    ),
    (
        "lines with dashes",
        "Objects:\n- a cat: [50, 200, 150, 150]\n- a dog: [300, 210, 160, 160]\n"
        "Background prompt: a park\nNegative prompt: a bird",
        CAT_DOG,
        *TEXTS,
    ),
    (
        "numbered lines",
        "1. a cat: (50, 200, 150, 150)\n2. a dog: (300, 210, 160, 160)\nBackground: a park\nNegative: a bird",
        CAT_DOG,
        *TEXTS,
    ),
    ("json", JSON_PAIR + ', "background": "a park", "negative": "a bird"}', CAT_DOG, *TEXTS),
    (
        "json in a fence",
        f'```json\n{JSON_PAIR}, "background": "a park", "negative": "a bird"\n}}\n```',
        CAT_DOG,
        *TEXTS,
    ),
    ("json, null", JSON_PAIR + ', "background": "a park", "negative": null}', CAT_DOG, "a park", ""),
    ("json, single quotes", (JSON_PAIR + "}").replace('"', "'"), CAT_DOG, "", ""),
    (
        "json, other keys",
        '[{"label": "a cat", "x": 50, "y": 200, "width": 150, "height": 150}, '
        '{"label": "a dog", "left": 300, "top": 210, "right": 460, "bottom": 370}]',
        CAT_DOG,
        "",
        "",
    ),
    ("name and box", '{"a cat": [50, 200, 150, 150], "a dog": [300, 210, 160, 160]}', CAT_DOG, "", ""),
    (
        "an apostrophe",
        "Objects: [('a dog's bowl', [50, 200, 150, 150])]",
        {"a dog's bowl": (50, 200, 150, 150)},
        "",
        "",
    ),
    (
        "repeated",
        "Objects: [('a cat', [50, 200, 150, 150]), ('a cat', [300, 210, 160, 160])]",
        {"a cat": (50, 200, 150, 150), "a cat#2": (300, 210, 160, 160)},
        "",
        "",
    ),
    (
        "Ideogram",
        '{"high_level_description": "pets", "compositional_deconstruction": {"background": "a park", '
        '"elements": [{"type": "obj", "bbox": [500, 250, 750, 500], "desc": "a cat"}]}}',
        {"a cat": (128, 256, 128, 128)},
        "a park",
        "",
    ),
]
"""(name, text, {object: box}, background, negative)"""

BROKEN = [
    ("empty", " \n ", "is empty"),
    ("a refusal", "I'm sorry, but I can't help with that.", "no layout in this text: I'm sorry"),
    ("prose", "A cat sits on the left and a dog stands on the right.", "no layout in this text"),
    ("the question again", "Caption: a cat and a dog", "no layout in this text"),
    ("cut off", "Objects: [('a cat', [50, 200, 150, 150]), ('a dog', [300, 2", "Line 1 .* never closed"),
    (
        "cut off in a text",
        "Objects: [('a cat', [50, 200, 150, 150]), ('a do",
        "Line 1 .* quotation mark is never closed",
    ),
    ("three numbers", "Objects: [('a cat', [50, 200, 150])]", "Line 1 .* 3 numbers and needs 4"),
    (
        "five numbers",
        "Objects: [\n('a cat', [50, 200, 150, 150]),\n('a dog', [1, 2, 3, 4, 5])]",
        r"Line 3 .* 5 numbers .*a dog",
    ),
    ("numbers in words", "Objects: [('a cat', ['left', 'top', 'small', 'small'])]", "Line 1 .* no number"),
    ("no box", "Objects: ['a cat', 'a dog']", "Line 1 .* no name with a box"),
    ("no name", "Objects: [[50, 200, 150, 150], [300, 210, 160, 160]]", "Line 1 .* no name"),
    ("empty name", "Objects: [('', [50, 200, 150, 150])]", "Line 1 .* no name"),
    ("empty list", "Objects: []\nBackground prompt: a park", "Line 1 .* names no object"),
    ("none", "Objects: None\nBackground prompt: a park", "Line 1 .* names no object"),
    (
        "no area",
        "Objects: [('a cat', [50, 200, 0, 150])]",
        "no box that can be used: 'a cat' left out: its box has no area",
    ),
    (
        "the whole canvas",
        "Objects: [('a room', [0, 0, 512, 512])]",
        "the whole canvas, which is the background",
    ),
    ("arithmetic", "Objects: [('a cat', [512/2, 200, 150, 150])]", "Line 1 .*"),
    ("a call", "Objects: [__import__('os').system('echo')]", "Line 1 .*"),
    ("brackets without end", "Objects: " + "[" * 5000, "nested too deep"),
    ("infinite", "Objects: [('a cat', [1e999, 200, 150, 150])]", "too large"),
]
"""(name, text, pattern of the error)"""
