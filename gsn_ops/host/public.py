"""What other packs may use: the module that `gsn_register(gsn)` receives.

The names in `__all__` are kept when modules move. A pack registers its own work by `gsn.register_objective`,
`gsn.register_method` and `gsn.register_architecture`, built from the data types and helpers listed with them.
"""

from __future__ import annotations

from .. import __version__
from ..attention_layout import AttentionLayout
from ..maps import AttentionMaps, MapNeeds, MapOptions, StepContext
from ..objectives.base import Objective, with_role
from ..objectives.base import register as register_objective
from ..optimise.guidance import Checkpoint, Guide, InnerLoop, StepSize
from ..optimise.initial_noise import OptimiseNoise
from ..optimise.methods import preset, register_method
from ..optimise.refine import Refine
from ..optimise.saga import Saga
from ..optimise.velocity import SteerVelocity
from ..prompt import SubjectColumns, SubjectPhrase
from ..regions import Region
from ..schedule import Moment
from ..subject_maps import subject_maps
from .architectures.family import Inputs, ModelFamily, refuse
from .architectures.family import register_family as register_architecture
from .architectures.transformer import cross, joint, text_rows

__all__ = [
    "AttentionLayout",
    "AttentionMaps",
    "Checkpoint",
    "Guide",
    "InnerLoop",
    "Inputs",
    "MapNeeds",
    "MapOptions",
    "ModelFamily",
    "Moment",
    "Objective",
    "OptimiseNoise",
    "Refine",
    "Region",
    "Saga",
    "SteerVelocity",
    "StepContext",
    "StepSize",
    "SubjectColumns",
    "SubjectPhrase",
    "__version__",
    "cross",
    "joint",
    "preset",
    "refuse",
    "register_architecture",
    "register_method",
    "register_objective",
    "subject_maps",
    "text_rows",
    "with_role",
]
