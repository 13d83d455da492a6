"""Where everything is, and the environment that keeps the tools from writing outside the clone.

All of the host's state lives in `.host/` of the clone (ignored by git):

    venv/          Python environment of the prepared host    ComfyUI/    its source
    tools/         environment of pytest, ruff, comfy-cli     uv/         what makes these environments
    overlay/       the host's environment, then the tools'    downloads/  archives
    cache/ tmp/    what uv, pip and the libraries cache       logs/       what the server said
    custom_nodes/semantic-nursing, types/semantic_nursing -> the clone, for ComfyUI and for the type checker
    input/ output/ temp/ user/  as in every ComfyUI
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

CLONE = Path(__file__).resolve().parents[2]
HOST_DIR = CLONE / ".host"
PACK_NAME = "semantic-nursing"
PACK_LINK = HOST_DIR / "custom_nodes" / PACK_NAME
TYPES_LINK = HOST_DIR / "types" / PACK_NAME.replace("-", "_")


class HostError(Exception):
    """Something is in the way of a working host. The text is for the person at the screen: cause and cure."""


@dataclass(frozen=True)
class Host:
    """A ComfyUI to run: its source, the Python that runs it, and whether it is ours to write to."""

    root: Path
    python: Path
    prepared: bool  # True: pinned, in .host; False: the person's own checkout, which is never written to


def venv_python(venv: Path) -> Path:
    """The interpreter of a virtual environment on this system."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def requirements(name: str) -> Path:
    """The compiled requirements, exact and with hashes, of "uv", "dev" or "host"."""
    return CLONE / "tools" / f"requirements-{name}.txt"


def locate() -> Host:
    """The host that commands and tests use: the checkout named by COMFYUI_PATH, else the one in `.host/`.

    Raises HostError if COMFYUI_PATH or COMFYUI_PYTHON names something else. Whether the prepared host is
    there is not looked at here (`prepare.prepare_host` does).
    """
    named = os.environ.get("COMFYUI_PATH")
    if not named:
        return Host(HOST_DIR / "ComfyUI", venv_python(HOST_DIR / "venv"), prepared=True)
    root = Path(named).expanduser().resolve()
    for needed in ("main.py", "comfy/cli_args.py", "comfy_api/latest"):
        if not (root / needed).exists():
            raise HostError(
                f"COMFYUI_PATH={named} is not a ComfyUI with the V3 node interface: it has no {needed}.\n"
                "Name the folder that holds ComfyUI's main.py, update that checkout to 0.30 or newer, "
                "or unset COMFYUI_PATH to have one prepared."
            )
    return Host(root, _python_of(root), prepared=False)


def _python_of(root: Path) -> Path:
    """The Python of a checkout: COMFYUI_PYTHON, else its venv or .venv, else the running one."""
    named = os.environ.get("COMFYUI_PYTHON")
    if named:
        if not Path(named).is_file():
            raise HostError(
                f"COMFYUI_PYTHON={named} is not a file.\n"
                "Name the Python interpreter that runs your ComfyUI, or unset the variable."
            )
        return Path(named).absolute()  # not resolved: a venv's python is a link, and the link is what matters
    for venv in (root / "venv", root / ".venv"):
        if venv_python(venv).is_file():
            return venv_python(venv)
    return Path(sys.executable)


def environment() -> dict[str, str]:
    """The variables for every process started here: caches inside the clone, no telemetry, no model hub."""
    cache = HOST_DIR / "cache"
    return {
        **os.environ,
        "PIP_CACHE_DIR": str(cache / "pip"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_REQUIRE_VIRTUALENV": "0",
        "PIP_USER": "0",
        "PIP_ROOT_USER_ACTION": "ignore",
        "UV_CACHE_DIR": str(cache / "uv"),
        "UV_PYTHON_DOWNLOADS": "never",
        "TMPDIR": str(HOST_DIR / "tmp"),
        "XDG_CACHE_HOME": str(cache),
        "HF_HOME": str(cache / "huggingface"),
        "TORCH_HOME": str(cache / "torch"),
        "TRITON_CACHE_DIR": str(cache / "triton"),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "RUFF_CACHE_DIR": str(cache / "ruff"),
        "PYTHONPYCACHEPREFIX": str(cache / "pycache"),
        "PYTHONDONTWRITEBYTECODE": "",  # container images set it: each process would compile ComfyUI again
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "PYTHONUTF8": "1",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(min(available_cores(), 4))),
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
    }


def use_few_threads() -> None:
    """Half the cores, one or two, unless OMP_NUM_THREADS says otherwise: for tiny models or beside a server.

    Threads that wait for a core that somebody else keeps busy make small tensors up to 70 times slower.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, min(available_cores() // 2, 2))))


def available_cores() -> int:
    """The cores that this process may use (a container's limit counts where Python can see it)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def directory_arguments(host: Host) -> list[str]:
    """ComfyUI's own arguments that keep all it writes in `.host/`, and let it load this pack and no other.

    With a base directory the host looks for custom nodes there only, so a clone that lies in the checkout's
    own custom_nodes is not loaded twice. The person's models stay in view.
    """
    return [
        "--base-directory", str(HOST_DIR),
        "--models-directory", str(host.root / "models"),
        "--database-url", "sqlite:///:memory:",  # a file would let only one server run at a time
    ]  # fmt: skip
