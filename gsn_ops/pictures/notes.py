"""A page with a title and a sentence, where there is nothing to draw."""
from __future__ import annotations

import numpy as np

from .canvas import SOFT, Canvas, shorten, wrap
from .charts import BODY, PAD
from .sheets import TITLE


def note_card(title: str, text: str, width: int = 1160) -> np.ndarray:
    """Title and text on paper, float32 [., width, 3]; the text is broken into lines."""
    lines = wrap(text, BODY, width - 2 * PAD)
    canvas = Canvas(width, PAD + TITLE + 30 + 26 * len(lines) + PAD)
    canvas.text(PAD, PAD + TITLE - 4, shorten(title, TITLE, width - 2 * PAD), TITLE)
    for n, line in enumerate(lines):
        canvas.text(PAD, PAD + TITLE + 34 + 26 * n, line, BODY, SOFT)
    return canvas.array()
