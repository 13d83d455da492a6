"""Generative semantic nursing: maps, objectives, optimisers (torch only); `host/` holds all that knows ComfyUI."""

import re
from pathlib import Path

# The version stands in one place, where ComfyUI's registry reads it.
_PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
__version__ = re.search(r'^version = "(.+)"$', _PROJECT.read_text("utf-8"), re.MULTILINE)[1]
