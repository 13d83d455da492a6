"""From a fresh machine to a ComfyUI that loads this clone as a node pack.

Three things are made (each a `Step`, see steps.py): the tools' environment, ComfyUI's source, ComfyUI's
environment. With COMFYUI_PATH set only the first, with that checkout's Python, and nothing is written there.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from . import paths, source
from .paths import (
    CLONE,
    HOST_DIR,
    PACK_LINK,
    REQUIREMENTS_DEV,
    REQUIREMENTS_HOST,
    Host,
    HostError,
    venv_python,
)
from .steps import Step, carry_out, only_one, remove, run_logged

FREE_GB_NEEDED = 10
FOLDERS = ("cache", "tmp", "logs", "downloads", "custom_nodes", "input", "output", "temp", "user")
TORCH = ("torch", "torchvision", "torchaudio")  # the host's requirements.txt names them without versions


def say_on_stderr(line: str) -> None:
    """Progress goes to stderr, so that a command's own output stays clean."""
    print(line, file=sys.stderr, flush=True)


def prepare_host(say: Callable[[str], None] = say_on_stderr, tools: bool = True) -> Host:
    """The host, ready to run; makes what is missing. Raises HostError with the cure when that is not
    possible.

    `tools=False`: pytest and the like are not needed; with COMFYUI_PATH set nothing is then installed at all.
    """
    host = paths.locate()
    with only_one(HOST_DIR, say):
        for folder in FOLDERS:
            (HOST_DIR / folder).mkdir(parents=True, exist_ok=True)
        steps = _steps(host, say) if host.prepared or tools else []
        if not all(step.is_done() for step in steps):
            check_machine(host)
            say(f"Preparing the host in {HOST_DIR} (once; about 2 minutes with a fast network)")
            carry_out(steps, say)
            say(f"The host is ready: {host.root}")
        link_pack()
    return host


def _steps(host: Host, say: Callable[[str], None]) -> list[Step]:
    """What has to be there for this host."""
    tools = HOST_DIR / "tools"
    pip_log = HOST_DIR / "logs" / "pip.log"
    base = base_python(host)
    python = f"{sys.version_info.major}.{sys.version_info.minor}" if host.prepared else str(base)
    install_tools = ["-r", REQUIREMENTS_DEV]
    steps = [
        Step(
            "development tools (pytest, ruff, comfy-cli, playwright)",
            tools,
            venv_python(tools),
            made_from(REQUIREMENTS_DEV, python=python),
            partial(make_environment, base, tools, install_tools, pip_log, say),
        )
    ]
    if not host.prepared:
        return steps

    def unpack_source() -> None:
        archive = source.fetch(
            venv_python(tools), HOST_DIR / "downloads", HOST_DIR / "logs" / "download.log", say
        )
        source.unpack(archive, host.root)

    venv = HOST_DIR / "venv"
    install_host = ["-c", REQUIREMENTS_HOST, *TORCH, "-r", host.root / "requirements.txt"]
    return [
        *steps,
        Step(
            f"ComfyUI {source.COMFYUI_VERSION} (source)",
            host.root,
            host.root / "main.py",
            f"sha256:{source.SHA256}",
            unpack_source,
        ),
        Step(
            "ComfyUI's environment (torch and its requirements, 6 GB)",
            venv,
            venv_python(venv),
            made_from(REQUIREMENTS_HOST, python=python, source=source.SHA256),
            partial(make_environment, base, venv, install_host, pip_log, say),
        ),
    ]


def base_python(host: Host) -> Path:
    """The Python whose version all environments here have: the tools' packages are put beside the host's."""
    return Path(sys.executable) if host.prepared else host.python


def made_from(requirements: Path, **facts: str) -> str:
    """A stamp: the requirements (comments do not count) and whatever else the environment depends on."""
    lines = [line.split("#")[0].strip() for line in requirements.read_text("utf-8").splitlines()]
    digest = hashlib.sha256("\n".join(line for line in lines if line).encode()).hexdigest()
    return " ".join([f"{requirements.name}:{digest}", *(f"{name}:{value}" for name, value in facts.items())])


def make_environment(
    base: Path, venv: Path, requirements: list, log: Path, say: Callable[[str], None]
) -> None:
    """A new virtual environment of Python `base`, with what pip makes of `requirements`."""
    run_logged([base, "-m", "venv", venv], log, say)
    run_logged([venv_python(venv), "-m", "pip", "install", "--retries", "2", *requirements], log, say)


def check_machine(host: Host) -> None:
    """Raise HostError, before anything is begun, for what would fail later and less clearly."""
    check_python(base_python(host))
    free = shutil.disk_usage(HOST_DIR).free / 1e9
    if host.prepared and free < FREE_GB_NEEDED:
        raise HostError(
            f"Only {free:.1f} GB are free where {HOST_DIR} lies; the host needs "
            f"{FREE_GB_NEEDED} GB while it is "
            "being installed.\nFree some space, move the clone to a larger disk, "
            "or set COMFYUI_PATH to a ComfyUI "
            "that is already there."
        )


def check_python(python: Path) -> None:
    """Raise HostError unless this interpreter is new enough and can make virtual environments."""
    probe = "import sys; print(*sys.version_info[:2]); import venv, ensurepip"
    result = subprocess.run([str(python), "-c", probe], capture_output=True, text=True)
    if not result.stdout:
        raise HostError(f"{python} does not run as a Python interpreter:\n{result.stderr.strip()}")
    version = tuple(int(part) for part in result.stdout.split())
    if version < (3, 10):
        raise HostError(
            f"{python} is Python {version[0]}.{version[1]}; ComfyUI needs 3.10 or newer.\n"
            "Install a newer Python and run tools/dev.py with it (or name it in COMFYUI_PYTHON)."
        )
    if result.returncode:
        raise HostError(
            f"{python} has no venv module, so no environment can be made.\n"
            f"Install it (Debian, Ubuntu: apt install "
            f"python{version[0]}.{version[1]}-venv) and run the command again."
        )


def link_pack() -> None:
    """Make `.host/custom_nodes/` hold this clone, under the pack's name, and nothing else of ours."""
    if PACK_LINK.exists() and PACK_LINK.resolve() == CLONE:
        return
    remove(PACK_LINK)
    if os.name == "nt":  # a junction: a link there needs the developer mode
        import _winapi

        _winapi.CreateJunction(str(CLONE), str(PACK_LINK))
    else:
        PACK_LINK.symlink_to(CLONE, target_is_directory=True)
