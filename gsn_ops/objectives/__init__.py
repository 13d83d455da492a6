"""Objectives: attention maps in, one loss per image out.

One idea per file; importing this package registers all. base (contract, registry) < _regions, _foreground,
_self_attention, per_encoder (shared) < one file per objective < weighted_sum < from_text (an objective as the
user types it).
"""

from . import (  # noqa: F401
    astar,
    attend_and_excite,
    bounded_attention,
    boxdiff,
    cn_iou,
    conform,
    count_kl,
    divide_and_bind,
    ebama,
    focus,
    focus_ae,
    focus_tv,
    initno,
    layout_guidance,
    lmd,
    lmd_transfer,
    neglect,
    point_kl,
    region_and_boundary,
    relation,
    retention,
    self_cross,
    separation,
    syngen,
    weighted_sum,
)
