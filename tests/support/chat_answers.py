"""More answers of LLMs to a request for a layout, as chat models write them: (name, text, what it says).

All have the boxes of `layout_answers`: x, y, width, height in pixels of a 512 x 512 canvas.
"""

from __future__ import annotations

from .layout_answers import CAT_DOG, PAIR, PLAIN, TEXTS

CAT = {"a cat": CAT_DOG["a cat"]}
ONE = "[('a cat', [50, 200, 150, 150])]"
ROWS = "a cat | 50 | 200 | 150 | 150 |\n| a dog | 300 | 210 | 160 | 160 |\n"
CHINESE = (
    "\u5bf9\u8c61\uff1a[\uff08\u201ca cat\u201d\uff0c[50\uff0c200\uff0c150\uff0c150]\uff09]\n"
    "\u80cc\u666f\u63d0\u793a\uff1aa park\n\u8d1f\u9762\u63d0\u793a\uff1a\u65e0"
)
FRENCH = (
    "Objets : [(\u00ab a cat \u00bb, [50, 200, 150, 150])]\n"
    "Prompt d'arri\u00e8re-plan : a park\nPrompt n\u00e9gatif : aucun"
)

SAID = [
    ("thought of the template", f"Objects: [('a cow', [1, 2, 3, 4])]? No.\n</think>\n{PLAIN}", *TEXTS),
    ("bare draft in the thought", f"Say [('a cow', [1, 2, 30, 40])].</think>\n{PAIR}", "", ""),
    ("thought in brackets", f"[THINK]Objects: [('a cow', [1, 2, 3, 4])][/THINK]{PLAIN}", *TEXTS),
    (
        "channels",
        f"<|channel|>analysis<|message|>A cow at [1, 2]?<|end|><|start|>assistant<|channel|>final<|message|>"
        f"{PLAIN}<|return|>",
        *TEXTS,
    ),
    ("end of turn", f"{PLAIN}<|im_end|>", *TEXTS),
    ("end of turn, DeepSeek", f"{PLAIN}<\uff5cend\u2581of\u2581sentence\uff5c>", *TEXTS),
    (
        "end of turn, nothing before",
        f"Objects: {PAIR}\nBackground prompt: a park\nNegative prompt: </s>",
        "a park",
        "",
    ),
    (
        "headings",
        f"## Objects\n{PAIR}\n\n## Background Prompt\n\na park\n\n### Negative Prompt\n- a bird\n- fog",
        "a park",
        "a bird, fog",
    ),
    ("underscores", f"objects = {PAIR}\nbackground_prompt: a park\nNegative\\_prompt: a bird", *TEXTS),
    ("one line", f"Objects: {PAIR} Background prompt: a park. Negative prompt: a bird", "a park.", "a bird"),
    (
        "none in brackets",
        f"Objects: {PAIR}\nBackground prompt: [a park]\nNegative prompt: (none)",
        "a park",
        "",
    ),
    ("none needed", f"Objects: {PAIR}\nBackground: a park\nNegative: None needed.", "a park", ""),
    ("and so on", f"Objects: {PAIR[:-1]}, ...]\nBackground prompt: a park", "a park", ""),
    (
        "lines of JSON",
        '{"object": "a cat", "box": [50, 200, 150, 150]}\n{"object": "a dog", "box": [300, 210, 160, 160]}',
        "",
        "",
    ),
    (
        "lists of JSON",
        '{"front": [{"name": "a cat", "box": [50, 200, 150, 150]}], '
        '"back": [{"name": "a dog", "box": [300, 210, 160, 160]}], "background": {"prompt": "a park"}}',
        "a park",
        "",
    ),
    (
        "layout in JSON",
        '{"layout": {"canvas": {"width": 512, "height": 512}, "objects": '
        '{"a cat": {"box": [50, 200, 150, 150]}, "a dog": {"box": [300, 210, 160, 160]}}}, '
        '"background_prompt": "a park", "negative_prompt": ["a bird", "fog"]}',
        "a park",
        "a bird, fog",
    ),
    (
        "numbers as texts",
        '[{"name": "a cat", "box": ["50", "200px", "150", "150"]}, '
        '{"name": "a dog", "box": "300, 210, 160, 160"}]',
        "",
        "",
    ),
    (
        "position and size",
        '[{"name": "a cat", "position": {"x": 50, "y": 200}, "size": {"width": 150, "height": 150}}, '
        '{"name": "a dog", "x": "300", "y": "210", "w": "160", "h": "160"}]',
        "",
        "",
    ),
    (
        "bbox in pixels",
        '[{"name": "a cat", "bbox": [50, 200, 150, 150]}, {"label": "a dog", "bbox": [300, 210, 160, 160]}]',
        "",
        "",
    ),
    (
        "JSON over lines",
        f'{{\n"objects": {PAIR},\n"background": "a p\\u0061rk",\n"negative": ["a bird"]\n}}',
        *TEXTS,
    ),
    (
        "a table",
        f"| object | x | y | width | height |\n|---|---|---|---|---|\n| {ROWS}Background prompt: a park",
        "a park",
        "",
    ),
    (
        "a table of corners",
        "Objects:\n| name | x1 | y1 | x2 | y2 |\n|---|---|---|---|---|\n| a cat | 50 | 200 | 200 | 350 |\n"
        "| a dog | 300 | 210 | 460 | 370 |",
        "",
        "",
    ),
    (
        "a table of boxes",
        "| 1 | **a cat** | [50, 200, 150, 150] |\n| 2 | **a dog** | [300, 210, 160, 160] |",
        "",
        "",
    ),
    (
        "YAML",
        "objects:\n- name: a cat\n  colour: grey\n  box: [50, 200, 150, 150]\n- name: 'a dog'\n"
        "  x: 300\n  y: 210\n  width: 160\n  height: 160\nbackground: a park",
        "a park",
        "",
    ),
    (
        "box below its name",
        "Objects:\n\n1. **a cat**\n   - **Box:** [50, 200, 150, 150]\n\n"
        "2. **a dog**\n   - Position: (300, 210, 160, 160)\n\nBackground prompt: a park",
        "a park",
        "",
    ),
    (
        "sides by name",
        "- a cat (x=50, y=200, width=150, height=150)\n- a dog: x: 300, y: 210, w: 160, h: 160",
        "",
        "",
    ),
    (
        "a table with notes",
        "| # | name | width | height | x (px) | y (px) | note |\n|---|---|---|---|---|---|---|\n"
        "| 1 | a cat | 150 | 150 | 50 | 200 | left |\n| 2 | a dog | 160 | 160 | 300 | 210 | right of 1 |",
        "",
        "",
    ),
    (
        "words behind it",
        "- a cat: [50, 200, 150, 150]\n- a dog: [300, 210, 160, 160]\nNegative prompt:\nI left it empty.\n\n"
        "Shall I change it? I could move the cat to [9, 9, 150, 150].",
        "",
        "",
    ),
    (
        "quotes in a text",
        f'{{"objects": {PAIR}, "background": "a park, \\"sunny\\""}}',
        'a park, "sunny"',
        "",
    ),
    ("no brackets", "a cat: 50, 200, 150, 150\na dog: 300, 210, 160, 160", "", ""),
]
"""(name, text, background, negative): all have a cat and a dog."""

TWO_CATS = {"a cat": (50, 200, 150, 150), "a cat#2": (300, 210, 160, 160)}
OTHERS = [
    ("Chinese", CHINESE, CAT, "a park", ""),
    ("French", FRENCH, CAT, "a park", ""),
    (
        "fractions and pixels",
        "Objects: [('a cat', [0.25, 0.5, 0.25, 0.25]), ('a dog', [300, 210, 160, 160])]",
        {"a cat": (128, 256, 128, 128), "a dog": CAT_DOG["a dog"]},
        "",
        "",
    ),
    (
        "escapes",
        '[{"name": "caf\\u00e9 \\ud83d\\ude00", "box": [50, 200, 150, 150]}]',
        {"caf\u00e9 \U0001f600": CAT["a cat"]},
        "",
        "",
    ),
    ("several boxes of a name", "- a cat: [50, 200, 150, 150], [300, 210, 160, 160]", TWO_CATS, "", ""),
    (
        "boxes under one name",
        '[{"name": "a cat", "boxes": [[50, 200, 150, 150], [300, 210, 160, 160]]}]',
        TWO_CATS,
        "",
        "",
    ),
    (
        "a number and brackets in names",
        "1. 3 dogs: [50, 200, 150, 150]\n2. a cat (asleep): [300, 210, 160, 160]",
        {"3 dogs": CAT_DOG["a cat"], "a cat (asleep)": CAT_DOG["a dog"]},
        "",
        "",
    ),
    ("one far outside", f"Objects: {ONE[:-1]}, ('a dog', [90000, 0, 9, 9])]", CAT, "", ""),
]
"""(name, text, {object: box}, background, negative)"""

LOST = [
    (
        "a row without a number",
        "| name | x | y | w | h |\n| a cat | 5 | 2 | 15 | 15 |\n| a dog | 3 | 2 | 1 | |",
        "Line 3 .*no box",
    ),
    (
        "JSON cut off",
        '{"objects": [{"name": "a cat", "box": [50, 200, 150, 150]}, {"name": "a dog", "box": [300, 2',
        "closed",
    ),
    ("list cut off", f"{PAIR[:-1]}, ('a bi", "never closed"),
    ("lines cut off", "- a cat: [50, 200, 150, 150]\n- a dog: [300, 210, 16", "Line 2 .*never closed"),
    (
        "box null",
        '{"objects": [{"name": "a cat", "box": null}, {"name": "a dog", "box": [300, 210, 160, 160]}]}',
        "no box",
    ),
    (
        "a line with three numbers",
        "- a cat: [50, 200, 150]\n- a dog: [300, 210, 160, 160]",
        "Line 1 .*3 numbers",
    ),
    (
        "a line in words",
        "Objects:\n- a cat: [50, 200, 150, 150]\n- a dog: on the left",
        "Line 3 .*no name with a box",
    ),
    (
        "YAML without a box",
        "- name: a cat\n  box: [50, 200, 150, 150]\n- name: a dog\n  colour: red",
        "Line 3 .*no box",
    ),
    (
        "only a thought",
        f"<think>\n{PLAIN}",
        "thought aloud and ended before its answer: raise its max_length",
    ),
]
"""(name, text, pattern of the error): what would lose an object if the rest were read."""
