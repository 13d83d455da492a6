"""ComfyUI inside this process, without a server: for tests and for tools that need thousands of runs."""

import asyncio
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from . import paths
from .paths import PACK_LINK, HostError
from .prepare import link_pack

PYTORCH_ATTENTION = ("--use-pytorch-cross-attention",)
"""Faster on a CPU than ComfyUI's own choice: images take 28 % less (MM-DiT demo model) or 11 % (UNet)."""


def boot(cpu: bool = True, more: Sequence[str] = ()) -> Path:
    """Make `comfy` and the host's `nodes` importable, with all that the host writes kept in `.host/`.

    The clone has a folder `nodes/` and the host a module `nodes`; the first on the path wins, so the host
    goes first. (Ours is only ever imported as part of the loaded pack.)
    Call it before anything imports `comfy`. Only the first call starts ComfyUI, with `more` of its arguments.

    Returns the host's root. Raises HostError if something else has taken the name `nodes` already.
    """
    host = paths.locate()
    if not (host.root / "main.py").is_file():
        raise HostError("There is no ComfyUI in .host yet: run `python3 tools/dev.py host` first.")
    if "comfy.cli_args" in sys.modules:
        return host.root
    if "nodes" in sys.modules:
        raise HostError(
            f"The name `nodes` is taken by {sys.modules['nodes']!r}; the host's nodes.py needs it."
        )
    for folder in ("custom_nodes", "input", "output", "temp", "user"):
        (paths.HOST_DIR / folder).mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(host.root))
    arguments = sys.argv
    sys.argv = ["ComfyUI", *(["--cpu"] if cpu else []), *more, *paths.directory_arguments(host)]
    try:
        import comfy.options

        comfy.options.enable_args_parsing()
        import comfy.cli_args  # noqa: F401  parses sys.argv now, once
    finally:
        sys.argv = arguments
    import nodes  # noqa: F401  the host's

    return host.root


def load_pack() -> ModuleType:
    """This clone as the host loads it, through its own loader: the pack's root module.

    Its `gsn_ops` is another module than a plain `import gsn_ops`: see `pack_module`.

    Raises HostError with the traceback that the host would only have logged.
    """
    import nodes

    name = str(PACK_LINK).replace(".", "_x_")  # as the host names it
    if name not in sys.modules:
        link_pack()
        with _warnings() as said:
            loaded = asyncio.run(nodes.load_custom_node(str(PACK_LINK)))
        if not loaded:
            sys.modules.pop(name, None)
            raise HostError("ComfyUI could not load the pack:\n" + "\n".join(said))
    return sys.modules[name]


def pack_module(name: str) -> ModuleType:
    """A module of the loaded pack, e.g. `pack_module("gsn_ops.host.sampling.patch")`."""
    import importlib

    return importlib.import_module(f"{load_pack().__name__}.{name}")


class _warnings(logging.Handler):
    """What is logged at warning level or above inside the block, as a list of texts."""

    def __enter__(self) -> list[str]:
        self.texts: list[str] = []
        logging.getLogger().addHandler(self)
        return self.texts

    def __exit__(self, *_exception) -> None:
        logging.getLogger().removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            self.texts.append(record.getMessage())
