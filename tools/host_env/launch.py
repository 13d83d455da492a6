"""Starting a program in the host's environment."""

import argparse
import ctypes
import signal
import subprocess
import sys

from . import paths
from .paths import CLONE, Host


def pass_everything_on(parser: argparse.ArgumentParser, help: str) -> None:
    """Let a command take the rest of the line as `args.arguments`: options too (and -h) belong to what it
    starts.
    """
    parser.prefix_chars = "\0"
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=help)


def run_in_host(host: Host, *command: str) -> int:
    """Run `SCRIPT ARGS` or `-m MODULE ARGS` in the host's Python from the clone's root; returns its exit
    status.
    """
    launcher = CLONE / "tools" / "host_env" / "with_tools.py"
    command = (str(host.python), str(launcher), *command)
    return subprocess.run(command, cwd=CLONE, env=paths.environment(), **die_with_parent()).returncode


def die_with_parent() -> dict:
    """Arguments for Popen: the child is ended when we are killed and cannot do it ourselves (Linux only)."""
    if sys.platform != "linux":
        return {}
    prctl, set_death_signal = ctypes.CDLL(None).prctl, 1
    return {"preexec_fn": lambda: prctl(set_death_signal, signal.SIGTERM)}
