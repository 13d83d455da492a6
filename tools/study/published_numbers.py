"""The tables of Grimal et al. (IJCAI 2025), to lay one's own numbers beside: TIAM and similarities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

TABLE_2_HEADS = ("method", "2 entities", "3 entities", "2 coloured", "3 coloured")
TABLE_2: Mapping[str, tuple[float, float, float, float]] = {
    "Stable Diffusion 1.4": (45.4, 8.4, 3.9, 0.1),
    "InitNO": (62.1, 14.2, 7.2, 0.2),
    "Latent Refine (Ours)": (65.8, 23.1, 8.7, 0.4),
    "Divide & Bind": (69.9, 33.6, 11.3, 0.5),
    "Attend-and-Excite": (71.4, 32.0, 10.5, 0.6),
    "InitNO+": (75.0, 34.2, 11.9, 1.0),
    "SynGen": (78.5, 39.2, 20.4, 2.4),
    "SynGen+": (75.8, 36.2, 20.1, 1.9),
    "Ours+": (81.1, 45.8, 20.5, 2.8),
    "Stable Diffusion 3": (82.8, 63.4, 27.3, 9.69),
    "Stable Diffusion 3, Ours": (84.5, 70.7, 24.2, 9.71),
}
"""TIAM in %, 300 test prompts x 16 seeds per set."""
TABLE_3_HEADS = ("method", "full prompt", "minimum object", "text-text")
TABLE_3: Mapping[str, tuple[float, float, float]] = {
    "Stable Diffusion 1.4": (0.3313, 0.2400, 0.7682),
    "InitNO": (0.3411, 0.2512, 0.7901),
    "Latent Refine (Ours)": (0.3470, 0.2564, 0.7979),
    "Divide & Bind": (0.3468, 0.2597, 0.8065),
    "Attend-and-Excite": (0.3509, 0.2634, 0.8032),
    "InitNO+": (0.3520, 0.2638, 0.8076),
    "SynGen": (0.3518, 0.2640, 0.8122),
    "Ours+": (0.3522, 0.2643, 0.8133),
    "Stable Diffusion 3": (0.3529, 0.2616, 0.8181),
    "Stable Diffusion 3, Ours": (0.3535, 0.2619, 0.8190),
}
"""Similarities of two entities (CLIP ViT-B/16, captions of BLIP)."""


def table(
    heads: Sequence[str], published: Mapping[str, Sequence[float]], own: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """The published rows, and own rows below (column -> text); a column that was not measured is empty."""
    decimals = 4 if heads is TABLE_3_HEADS else 1
    rows = [[name, *(f"{v:.{decimals}f}" for v in values)] for name, values in published.items()]
    own = own or {"yours": {}}
    rows += [[f"**{name}**", *(cells.get(head, "") for head in heads[1:])] for name, cells in own.items()]
    lines = [list(heads), ["---"] * len(heads), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines] + [""]
