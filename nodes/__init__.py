"""The pack's nodes: a file ends with `NODES = [...]`, and one that is not listed here is not there."""

from . import demo, guidance, inspect, nursing, objective, refine, region, text

FILES = [
    nursing,
    refine,
    guidance,
    objective,
    region,
    text,
    inspect,
    demo,
]

NODES = [node for file in FILES for node in file.NODES]
