"""What to run in a sampling run, as frozen data. A MODEL carries an ordered list of recipes; presets.py holds the papers' numbers."""
from __future__ import annotations

from dataclasses import dataclass, field

from ..objectives import Objective
from ..objectives.cn_iou import PresenceAndSeparation
from ..prompt import SubjectPhrase
from ..schedule import Moment


@dataclass(frozen=True)
class Refine:
    """Many Adam shifts at one step (Latent Refine, Grimal et al., IJCAI 2025, section 3).

    moment: the step. shifts: number of updates. learning_rate, eps: Adam's, in the network's input space z.
    stop_at_loss: stop an image whose loss is at or below it (0 = never). only_if_needed: leave images alone whose subjects
    all have an attention maximum of at least `present_at` at the first look. report: "full" adds maps and pictures before
    and after (two passes without gradients), "curve" only keeps what the shifts give anyway.
    subjects: typed on the node; empty = those on the conditioning, else found in the prompt.
    strict: a moment outside the run is an error (the KSampler form) instead of a line in the report (a model patch).
    """

    method: str = "Latent Refine at Step"
    objective: Objective = field(default_factory=PresenceAndSeparation)
    moment: Moment = Moment()
    shifts: int = 50
    learning_rate: float = 0.01
    eps: float = 1e-3
    stop_at_loss: float = 0.0
    only_if_needed: bool = False
    present_at: float = 0.8
    report: str = "full"
    subjects: tuple[SubjectPhrase, ...] = ()
    strict: bool = False
