"""Starting a program in the host's environment."""

import ctypes
import signal
import subprocess
import sys

from . import paths
from .paths import CLONE, HOST_DIR, Host, venv_python


def run_in_host(host: Host, *command: str, tools: bool = False) -> int:
    """Run `SCRIPT ARGS` or `-m MODULE ARGS` in the host's Python from the clone's root; returns its status.

    `tools`: with the development tools in reach, after the host's own packages.
    """
    python = venv_python(HOST_DIR / "overlay") if tools else host.python
    environment = {**paths.environment(), "COMFYUI_PYTHON": str(host.python)}  # for what it starts itself
    words = [str(python), *command]
    return subprocess.run(words, cwd=CLONE, env=environment, **die_with_parent()).returncode


def die_with_parent() -> dict:
    """Arguments for Popen: the child is ended when we are killed and cannot do it ourselves (Linux only)."""
    if sys.platform != "linux":
        return {}
    prctl, set_death_signal = ctypes.CDLL(None).prctl, 1
    return {"preexec_fn": lambda: prctl(set_death_signal, signal.SIGTERM)}
