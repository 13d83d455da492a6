"""From a fresh machine to a ComfyUI that loads this clone as a node pack.

Five things are made (each a `Step`, see cached_steps.py): uv, the tools' environment, ComfyUI's source,
ComfyUI's environment, and an overlay of the two environments. With COMFYUI_PATH set only uv, the tools and
the overlay, with that checkout's Python, and nothing is written there.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from . import environments, paths, source
from .cached_steps import Step, carry_out, only_one, remove
from .environments import make_environment, make_overlay
from .paths import CLONE, HOST_DIR, PACK_LINK, TYPES_LINK, Host, HostError, requirements, venv_python

FREE_GB_NEEDED = 10
FOLDERS = ("cache", "tmp", "logs", "downloads", "custom_nodes", "input", "output", "temp", "user")


def say_on_stderr(line: str) -> None:
    """Progress goes to stderr, so that a command's own output stays clean."""
    print(line, file=sys.stderr, flush=True)


def prepare_host(say: Callable[[str], None] = say_on_stderr, tools: bool = True) -> Host:
    """The host, ready to run; makes what is missing. Raises HostError with the cure if that is impossible.

    `tools=False`: pytest and the like are not needed; with COMFYUI_PATH set nothing is then installed at all.
    """
    host = paths.locate()
    with only_one(HOST_DIR, say):
        for folder in FOLDERS:
            (HOST_DIR / folder).mkdir(parents=True, exist_ok=True)
        steps = _steps(host) if host.prepared or tools else []
        if not all(step.is_done() for step in steps):
            check_machine(host)
            say(f"Preparing the host in {HOST_DIR} (once; about 2 minutes with a fast network)")
            carry_out(steps, say)
            say(f"The host is ready: {host.root}")
        link_pack(PACK_LINK)
        link_pack(TYPES_LINK)
    return host


def _steps(host: Host) -> list[Step]:
    """What has to be there for this host."""
    base = base_python(host)
    python = f"{sys.version_info.major}.{sys.version_info.minor}" if host.prepared else str(base)
    tools, overlay = HOST_DIR / "tools", HOST_DIR / "overlay"
    uv_step = Step("uv", HOST_DIR / "uv", environments.UV, made_from("uv"), environments.install_uv)
    tools_step = Step(
        "development tools (pytest, ruff, ty, comfy-cli, playwright)",
        tools,
        venv_python(tools),
        made_from("dev", python=python),
        partial(make_environment, base, tools, requirements("dev")),
    )
    prepared = _steps_of_comfyui(host, base, python) if host.prepared else []
    overlay_step = Step(
        "both environments in one",
        overlay,
        venv_python(overlay),
        f"{host.python} beside {[step.made_from for step in (tools_step, *prepared)]}",
        partial(make_overlay, host.python, overlay, tools),
    )
    return [uv_step, tools_step, *prepared, overlay_step]


def _steps_of_comfyui(host: Host, base: Path, python: str) -> list[Step]:
    """ComfyUI's source and its environment."""

    def unpack_source() -> None:
        source.unpack(source.fetch(HOST_DIR / "downloads"), host.root)

    venv = HOST_DIR / "venv"
    return [
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
            host.python,
            made_from("host", python=python),
            partial(make_environment, base, venv, requirements("host")),
        ),
    ]


def base_python(host: Host) -> Path:
    """The Python whose version all environments here have: the tools' packages are put beside the host's."""
    return Path(sys.executable) if host.prepared else host.python


def made_from(name: str, **facts: str) -> str:
    """A stamp: the requirements (comments do not count) and whatever else the environment depends on."""
    file = requirements(name)
    lines = [line.split("#")[0].strip() for line in file.read_text("utf-8").splitlines()]
    digest = hashlib.sha256("\n".join(line for line in lines if line).encode()).hexdigest()
    return " ".join([f"{file.name}:{digest}", *(f"{name}:{value}" for name, value in facts.items())])


def check_machine(host: Host) -> None:
    """Raise HostError, before anything is begun, for what would fail later and less clearly."""
    check_python(base_python(host))
    free = shutil.disk_usage(HOST_DIR).free / 1e9
    if host.prepared and free < FREE_GB_NEEDED:
        raise HostError(
            f"Only {free:.1f} GB are free where {HOST_DIR} lies; the host needs {FREE_GB_NEEDED} GB while it "
            "is being installed.\nFree some space, move the clone to a larger disk, or set COMFYUI_PATH to a "
            "ComfyUI that is already there."
        )


def check_python(python: Path) -> None:
    """Raise HostError unless this interpreter is new enough."""
    probe = "import sys; print(*sys.version_info[:2])"
    result = subprocess.run([str(python), "-c", probe], capture_output=True, text=True)
    if not result.stdout:
        raise HostError(f"{python} does not run as a Python interpreter:\n{result.stderr.strip()}")
    version = tuple(int(part) for part in result.stdout.split())
    if version < (3, 10):
        raise HostError(
            f"{python} is Python {version[0]}.{version[1]}; ComfyUI needs 3.10 or newer.\n"
            "Install a newer Python and run tools/dev.py with it (or name it in COMFYUI_PYTHON)."
        )


def link_pack(link: Path = PACK_LINK) -> None:
    """Make a link to this clone, under a name that the pack can be loaded by."""
    if link.exists() and link.resolve() == CLONE:
        return
    remove(link)
    link.parent.mkdir(parents=True, exist_ok=True)
    if os.name == "nt":  # a junction: a link there needs the developer mode
        import _winapi

        _winapi.CreateJunction(str(CLONE), str(link))
    else:
        link.symlink_to(CLONE, target_is_directory=True)
