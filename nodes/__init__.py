"""The pack's nodes, one line per file: each ends with `NODES = [...]`; one that is not listed here is not there."""

# from . import refine_model

FILES = [
    # refine_model,
]

NODES = [node for file in FILES for node in file.NODES]
