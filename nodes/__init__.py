"""The pack's nodes. A file of this folder ends with `NODES = [...]`; only files listed here are loaded."""

from ..gsn_ops.host.language import speaking
from ..gsn_ops.host.node_status import repeating_line
from . import (
    demo,
    diff_edit,
    edit,
    empty_region,
    guidance,
    inspect,
    judge,
    layout,
    lmd,
    null_text,
    nursing,
    objective,
    picture_guidance,
    prompt_to_prompt,
    prompts,
    refine,
    region,
    scores,
    seeds,
    text,
    two_prompt_edits,
    weights,
)

FILES = [
    nursing,
    refine,
    seeds,
    guidance,
    picture_guidance,
    weights,
    prompt_to_prompt,
    edit,
    two_prompt_edits,
    diff_edit,
    null_text,
    empty_region,
    prompts,
    objective,
    region,
    layout,
    lmd,
    text,
    inspect,
    judge,
    scores,
    demo,
]

NODES = [repeating_line(speaking(node)) for file in FILES for node in file.NODES]
