"""`--bundle DIR`: ComfyUI's source, this pack and the packages that a bare Python 3.12 with torch lacks,
in one small folder.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

from tools.host_env import paths
from tools.host_env.prepare import prepare_host

LIMIT = 60 * 10**6
PACKAGES = (
    "comfy-aimdo",
    "comfy-kitchen",
    "torchsde",
    "trampoline",
    "simpleeval",
    "pydantic",
    "pydantic_core",
    "pydantic-settings",
    "annotated-types",
    "typing-inspection",
    "python-dotenv",
    "transformers",
    "tokenizers",
    "huggingface_hub",
    "einops",
    "tqdm",
    "psutil",
    "PyYAML",
    "pillow",
    "aiohttp",
    "yarl",
    "multidict",
    "propcache",
    "frozenlist",
    "aiosignal",
    "aiohappyeyeballs",
    "attrs",
    "idna",
    "sentencepiece",
    "regex",
    "requests",
    "filelock",
    "packaging",
    "certifi",
    "charset-normalizer",
    "urllib3",
    "SQLAlchemy",
    "alembic",
    "Mako",
    "MarkupSafe",
    "blake3",
)
"""What ComfyUI needs in process, beside torch, numpy and safetensors; what it needs for video and sound is
left out (host.UNUSED).
"""

NOT_OF_COMFYUI = {
    ".git",
    "tests",
    "tests-unit",
    "comfy_api_nodes",
    "blueprints",
    "models",
    "input",
    "output",
    "script_examples",
}
NOT_OF_THE_PACK = ("docs/", "example_workflows/", "models/tiny_sd3", "tests/server/", "tests/data/")
NOT_OF_WHEELS = ("comfy_kitchen/backends/hip/",)
PLATFORMS = (
    "manylinux_2_28_x86_64",
    "manylinux_2_27_x86_64",
    "manylinux_2_24_x86_64",
    "manylinux_2_17_x86_64",
    "manylinux2014_x86_64",
    "manylinux_2_12_x86_64",
    "manylinux1_x86_64",
)

START = '''#!/usr/bin/env python3
"""Unpack beside this file and run `tools/dev.py gpu` there: python3 start.py [its arguments]. Needs torch,
numpy, safetensors.
"""
import os, subprocess, sys, tarfile
here = os.path.dirname(os.path.abspath(__file__))
to = os.environ.get("GSN_GPU_FOLDER", os.path.join(here, "unpacked"))
if not os.path.isdir(os.path.join(to, "pack")):
    for part in ("comfyui", "pack", "packages"):
        with tarfile.open(os.path.join(here, part + ".tar.xz")) as archive:
            archive.extractall(os.path.join(to, part), filter="data")
os.makedirs(os.path.join(to, "comfyui", "models"), exist_ok=True)  # ComfyUI asks for it
env = {**os.environ, "COMFYUI_PATH": os.path.join(to, "comfyui"), "COMFYUI_PYTHON": sys.executable,
       "GSN_GPU_PACKAGES": os.path.join(to, "packages")}
command = [sys.executable, "tools/dev.py", "gpu", *sys.argv[1:]]
sys.exit(subprocess.call(command, cwd=os.path.join(to, "pack"), env=env))
'''


def make(folder: Path, wheels: Path | None = None) -> int:
    """Fill the folder; its size in bytes. wheels: where they lie already, else pip downloads them.

    Raises HostError if it is larger than it may be, or if pip finds no wheel.
    """
    folder.mkdir(parents=True, exist_ok=True)
    host = paths.locate()
    _pack(folder / "comfyui.tar.xz", _tree(host.root, NOT_OF_COMFYUI))
    _pack(folder / "pack.tar.xz", _own_files())
    with tempfile.TemporaryDirectory() as temporary:
        wheels = wheels or download(Path(temporary))
        if not (folder / "packages.tar.xz").is_file():
            _pack(folder / "packages.tar.xz", _of_wheels(wheels))
    (folder / "start.py").write_text(START, encoding="ascii")
    size = sum(f.stat().st_size for f in folder.iterdir() if f.is_file())
    if size > LIMIT:
        raise paths.HostError(
            f"The bundle has {size / 1e6:.1f} MB, more than {LIMIT / 1e6:.0f}.\n"
            "Leave packages out in tools/gpu/bundle.py."
        )
    return size


def pins() -> dict[str, str]:
    """{package: version} for CPython 3.12, of the requirements that ComfyUI is prepared from."""
    found = {}
    for line in paths.requirements("host").read_text(encoding="utf-8").splitlines():
        requirement, _, marker = line.rstrip(" \\").partition(" ; ")
        name, _, version = requirement.partition("==")
        if version and not re.search("python_(full_)?version < '3", marker):
            found[name.lower().replace("_", "-")] = version
    return found


def download(folder: Path) -> Path:
    """The wheels for CPython 3.12 on x86-64 Linux, in the versions that the prepared ComfyUI is pinned to."""
    pinned = pins()
    wanted = [f"{name}=={pinned[name.lower().replace('_', '-')]}" for name in PACKAGES]
    prepare_host()  # pip is one of the development tools; ComfyUI's own environment has none
    python = paths.venv_python(paths.HOST_DIR / "tools")
    command = [str(python), "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", "3.12", "--implementation", "cp", "-d", str(folder)]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    if subprocess.call([*command, *wanted], env=paths.environment()):
        raise paths.HostError(
            "pip could not download the wheels (see above): look at the network, or at PIP_INDEX_URL."
        )
    return folder


def _tree(root: Path, without: set[str]):
    """(name inside, bytes) of every file below a folder, but for some of its own folders."""
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        if path.is_file() and inside.parts[0] not in without and "__pycache__" not in inside.parts:
            yield str(inside), path.read_bytes()


def _own_files():
    """The pack as git knows it here: tracked files, and new ones that it does not ignore."""
    git = ["git", "-C", str(paths.CLONE), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in sorted(set(subprocess.check_output(git, text=True).split("\0"))):
        path = paths.CLONE / name
        if name and path.is_file() and not name.startswith(NOT_OF_THE_PACK):
            yield name, path.read_bytes()


def _of_wheels(folder: Path):
    wanted = {name.lower().replace("-", "_") for name in PACKAGES}
    for wheel in sorted(folder.glob("*.whl")):
        if wheel.name.split("-")[0].lower() in wanted:
            with zipfile.ZipFile(wheel) as archive:
                for name in archive.namelist():
                    if not name.endswith("/") and not name.startswith(NOT_OF_WHEELS):
                        yield name, archive.read(name)


def _pack(path: Path, files) -> None:
    fresh = path.with_suffix(".part")
    with tarfile.open(fresh, "w:xz", preset=6) as archive:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    shutil.move(fresh, path)
