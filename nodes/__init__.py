"""The pack's nodes: a file ends with `NODES = [...]`, and one that is not listed here is not there."""

from . import (
    demo,
    inspect,
    nursing,
    refine,
    text,
)

FILES = [
    nursing,
    refine,
    text,
    inspect,
    demo,
]

NODES = [node for file in FILES for node in file.NODES]
