"""The language of the person at the screen, from ComfyUI's own setting."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import folder_paths
from comfy.cli_args import args

from ..language import drawn_in, translated
from ..report.drawing.canvas import add_font

ENGLISH = "en"
FONT = Path("static", "fonts", "inter-latin-normal.woff2")
"""Of ComfyUI's front end: the only font that every ComfyUI has and that has the accents of French."""


def language() -> str:
    """The language that is chosen in ComfyUI's settings.

    English where nothing was chosen (the browser's own choice does not reach the server), and for a server
    of several users, for a run does not say whose it is.
    """
    if args.multi_user:
        return ENGLISH
    file = Path(folder_paths.get_user_directory()) / "default" / "comfy.settings.json"
    try:
        return _chosen(file, file.stat().st_mtime_ns)
    except (OSError, ValueError):
        return ENGLISH


@functools.lru_cache(maxsize=2)
def _chosen(file: Path, changed: int) -> str:
    settings = json.loads(file.read_text("utf-8"))
    return str(settings.get("Comfy.Locale") or ENGLISH) if isinstance(settings, dict) else ENGLISH


def spoken(text: str) -> str:
    """The text in that language, as far as there is a translation."""
    return translated(text, language())


def offer_font() -> None:
    """Let pictures be drawn with the front end's font, where it lies."""
    package = importlib.util.find_spec("comfyui_frontend_package")
    for folder in (package.submodule_search_locations or ()) if package is not None else ():
        file = Path(folder) / FONT
        if file.is_file():
            add_font(str(file))


@contextlib.contextmanager
def errors_spoken() -> Generator[None]:
    """Errors that leave the block have their text in that language; their kind and origin stay."""
    try:
        yield
    except Exception as error:
        if len(error.args) == 1 and isinstance(error.args[0], str):
            error.args = (spoken(error.args[0]),)
        raise


def with_errors_spoken(call: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with `errors_spoken` around it."""

    @functools.wraps(call)
    def speaking(*values: Any, **named: Any) -> Any:
        with errors_spoken(), drawn_in(language()):
            return call(*values, **named)

    return speaking


def speaking(node: Any) -> Any:
    """The node class, whose `execute` raises its errors and draws its pictures in that language."""
    run = vars(node)["execute"].__func__
    node.execute = classmethod(with_errors_spoken(run))
    return node


offer_font()
