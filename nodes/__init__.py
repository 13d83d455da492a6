"""The pack's nodes. A file of this folder ends with `NODES = [...]`; only files listed here are loaded."""

from . import demo, guidance, inspect, nursing, objective, prompts, refine, region, text, weights

FILES = [
    nursing,
    refine,
    guidance,
    weights,
    prompts,
    objective,
    region,
    text,
    inspect,
    demo,
]

NODES = [node for file in FILES for node in file.NODES]
