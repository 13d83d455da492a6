"""The papers of the methods: what docstrings call them, and where they are."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """authors; venue with year; arxiv number, "" = none; names: what docstrings call it."""

    authors: str
    venue: str
    arxiv: str = ""
    names: tuple[str, ...] = ()

    def cell(self) -> str:
        """In a table."""
        link = f", [{self.arxiv}](https://arxiv.org/abs/{self.arxiv})" if self.arxiv else ""
        return f"{self.authors}, {self.venue}{link}"


OWN = Paper("this pack", "docs/settings.md")
PAPERS = {  # by what stands in brackets behind a method's name, else by the beginning of the name
    "Grimal et al. 2025": Paper(
        "Grimal et al.", "IJCAI 2025", "2504.17525", ("Grimal et al.", "Latent Refine")
    ),
    "Rassin et al. 2023": Paper("Rassin et al.", "NeurIPS 2023", "2306.08877", ("Rassin et al.", "SynGen")),
    "Chefer et al. 2023": Paper(
        "Chefer et al.", "SIGGRAPH 2023", "2301.13826", ("Chefer et al.", "Attend-and-Excite")
    ),
    "Li et al. 2023": Paper("Li et al.", "BMVC 2023", "2307.10864", ("Li et al.", "Divide & Bind")),
    "Guo et al. 2024": Paper("Guo et al.", "CVPR 2024", "2404.04650", ("Guo et al.", "InitNO")),
    "Agarwal et al. 2023": Paper("Agarwal et al.", "ICCV 2023", "2306.14544", ("Agarwal et al.", "A-STAR")),
    "Meral et al. 2024": Paper("Meral et al.", "CVPR 2024", "2312.06059", ("Meral et al.", "CONFORM")),
    "Zhang et al. 2024": Paper("Zhang et al.", "ECCV 2024", "2404.07389", ("Zhang et al.", "EBAMA")),
    "Qiu et al. 2025": Paper("Qiu et al.", "CVPR 2025", "2411.18936", ("Qiu et al.", "Self-Cross Guidance")),
    "Xie et al. 2023": Paper("Xie et al.", "ICCV 2023", "2307.10816", ("Xie et al.", "BoxDiff")),
    "Chen et al. 2024": Paper("Chen et al.", "WACV 2024", "2304.03373", ("Chen et al.", "Layout guidance")),
    "Xiao et al. 2024": Paper("Xiao et al.", "ICLR 2024", "2310.08872", ("Xiao et al.", "R&B")),
    "Dahary et al. 2024": Paper(
        "Dahary et al.", "ECCV 2024", "2403.16990", ("Dahary et al.", "Bounded Attention")
    ),
    "Lian et al. 2024": Paper("Lian et al.", "TMLR 2024", "2305.13655", ("Lian et al.", "LMD")),
    "USTC study 2024": Paper("study of Attend-and-Excite", "USTC 2024 (course report, no formulas)"),
    "Prompt Reinjection": Paper("Prompt Reinjection", "ICML 2026", "2602.06886", ("Prompt Reinjection",)),
    "TACA": Paper("TACA", "ICCV 2025", "2506.07986", ("TACA",)),
    "Negative Prompt in Attention": Paper("VSF", "ICLR 2026", "2508.10931", ("VSF",)),
    "Alternate Prompts": Paper("R2F, Rare-to-Frequent", "ICLR 2025", "2410.22376", ("R2F",)),
    "SAGA": Paper("Grimal et al.", "AAAI 2026", "2508.13866", ("SAGA",)),
    "FOCUS": Paper("Bill et al.", "2025", "2510.02315", ("Bill et al.", "FOCUS")),
    "Latent Refine (fast)": OWN,
    "Word boost": OWN,
    "Latent Refine + relations": OWN,
}


def paper_of(method: str) -> Paper:
    """The paper of a method. Raises KeyError, naming the method, if it is not in PAPERS."""
    brackets = re.search(r"\(([^()]*)\)$", method)
    if brackets and brackets[1] in PAPERS:
        return PAPERS[brackets[1]]
    for name, paper in PAPERS.items():
        if method.startswith(name):
            return paper
    raise KeyError(f"{method}: its paper is not known. Add it to PAPERS in tools/papers.py.")
