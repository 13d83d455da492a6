"""Generative semantic nursing (GSN): everything but the nodes. Only host/ imports ComfyUI.

Imports run downwards: host > optimise > objectives > report, subjects > the files of this folder (data) >
torch_ops (torch only).
"""

import re
from pathlib import Path

# The version stands in one place, where ComfyUI's registry reads it.
_PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
_LINE = re.search(r'^version = "(.+)"$', _PROJECT.read_text("utf-8"), re.MULTILINE)
__version__ = _LINE[1] if _LINE else "unknown"
