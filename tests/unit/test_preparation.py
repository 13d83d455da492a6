"""Preparing a host without a network: what is done, what happens when it is killed, what is refused."""

import hashlib
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from pathlib import Path

import pytest

from tools.host_env import cached_steps, environments, paths, prepare, source
from tools.host_env.cached_steps import Step, carry_out
from tools.host_env.paths import HOST_DIR, Host, HostError

CLONE = Path(__file__).resolve().parents[2]
DEV = CLONE / "tools" / "dev.py"


def step(product: Path, build, made_from="version 1") -> Step:
    return Step(product.name, product, product / "whole", made_from, build)


def builder(product: Path, calls: list):
    """A build that writes two files and counts itself."""

    def build():
        calls.append(product.name)
        assert not product.exists()
        product.mkdir()
        (product / "part").write_text("part")
        (product / "whole").write_text("whole")

    return build


# --- steps ----------------------------------------------------------------------------------------


def test_steps_are_done_once_in_order_and_announced(tmp_path):
    calls, said = [], []
    todo = [step(tmp_path / name, builder(tmp_path / name, calls)) for name in ("one", "two")]
    carry_out(todo, said.append)
    carry_out(todo, said.append)
    assert calls == ["one", "two"]
    assert said[0] == "[1/2] one ..." and said[3].startswith("[2/2] two: done in") and len(said) == 4


def test_a_step_is_redone_when_what_it_is_made_from_changes(tmp_path):
    calls = []
    carry_out([step(tmp_path / "p", builder(tmp_path / "p", calls), "version 1")], print)
    carry_out([step(tmp_path / "p", builder(tmp_path / "p", calls), "version 2")], print)
    assert len(calls) == 2


def test_a_step_is_redone_when_its_product_has_lost_what_makes_it_useful(tmp_path):
    calls = []
    only = step(tmp_path / "p", builder(tmp_path / "p", calls))
    carry_out([only], print)
    (tmp_path / "p" / "whole").unlink()
    carry_out([only], print)
    assert len(calls) == 2 and only.is_done()


def test_only_one_prepares_at_a_time(tmp_path):
    order, holding = [], threading.Event()

    def first():
        with cached_steps.only_one(tmp_path, order.append):
            holding.set()
            time.sleep(0.2)
            order.append("first leaves")

    thread = threading.Thread(target=first)
    thread.start()
    holding.wait()
    with cached_steps.only_one(tmp_path, order.append):
        order.append("second enters")
    thread.join()
    assert order[0].startswith("another command is preparing the host")
    assert order[1:] == ["first leaves", "second enters"]


ORPHAN = """
import os, signal, sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tools.host_env.cached_steps import only_one
from tools.host_env.environments import run
folder = Path(sys.argv[2])
def kill_when_it_writes():
    while not (folder / "begun").exists():
        pass
    os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(target=kill_when_it_writes).start()
child = "import pathlib, sys, time; f = pathlib.Path(sys.argv[1]); (f / 'begun').touch();"
child += "time.sleep(1); (f / 'done').touch()"
with only_one(folder, print):
    run([sys.executable, "-c", child, folder])
"""


def test_what_a_killed_run_has_started_is_waited_for(tmp_path):
    """pip goes on when we are killed; the next run must not begin while it still writes."""
    killed = subprocess.run([sys.executable, "-c", ORPHAN, str(CLONE), str(tmp_path)])
    assert killed.returncode == -signal.SIGKILL
    with cached_steps.only_one(tmp_path, print):
        assert (tmp_path / "done").exists()


# --- environments ---------------------------------------------------------------------------------


def test_a_program_that_fails_has_said_why_and_the_cures_follow(capfd):
    code = "print('the reason'); raise SystemExit(3)"
    with pytest.raises(HostError, match=r"reason above: [\s\S]+PIP_INDEX_URL[\s\S]+COMFYUI_PATH"):
        environments.run([sys.executable, "-c", code])
    output = capfd.readouterr()
    assert output.err == "the reason\n" and not output.out


def test_a_python_without_pip_is_told_with_the_cure(monkeypatch):
    monkeypatch.setattr(environments.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(HostError, match=r"has no pip[\s\S]+apt install python3-pip"):
        environments.install_uv()


def test_uv_looks_where_pip_is_told_to_look(tmp_path, monkeypatch):
    """From pip's file and its variables, which win; what is set for uv wins over both."""
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://file/simple\nextra-index-url =\n  https://one/simple\n  https://two/simple\n"
        "find-links = /a /b\ntrusted-host = file\n[install]\ntimeout = 9\n"
    )
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_")) or name == "SSL_CERT_FILE"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.setenv("PIP_INDEX_URL", "https://variable/simple")
    monkeypatch.setenv("UV_INSECURE_HOST", "uv")
    settings = environments.index_settings()
    assert settings.pop("UV_INDEX_STRATEGY") == "unsafe-best-match"
    settings.pop("SSL_CERT_FILE", None)  # of the machine's own pip.conf
    assert settings == {
        "UV_DEFAULT_INDEX": "https://variable/simple",
        "UV_INDEX": "https://one/simple https://two/simple",
        "UV_FIND_LINKS": "/a,/b",
        "UV_HTTP_TIMEOUT": "9",
    }


class Index:
    """A package index in a folder, and requirements with hashes of what is in it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.hashes = {}

    @property
    def url(self) -> str:
        return self.folder.as_uri()

    def add(self, name: str, file: Path) -> None:
        """Move a wheel into the index."""
        self.hashes[name] = hashlib.sha256(file.read_bytes()).hexdigest()
        target = self.folder / name / file.name
        target.parent.mkdir(parents=True)
        file.replace(target)
        (target.parent / "index.html").write_text(f'<a href="{file.name}">{file.name}</a>')

    def add_wheel(self, name: str, version: str, files: dict[str, str | Path]) -> None:
        """A wheel of these files; a text is a file's content, a path the file itself."""
        info = f"{name}-{version}.dist-info"
        file = self.folder.parent / f"{name}-{version}-py3-none-any.whl"
        texts = {
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        everything = {**files, **texts}
        record = "".join(f"{path},,\n" for path in [*everything, f"{info}/RECORD"])
        with zipfile.ZipFile(file, "w") as wheel:
            for path, content in {**everything, f"{info}/RECORD": record}.items():
                if isinstance(content, Path):
                    wheel.write(content, path)
                else:
                    wheel.writestr(path, content)
        self.add(name.replace("_", "-"), file)

    def requirements(self, file: Path, **versions: str) -> None:
        """Write a requirements file that names these packages."""
        lines = [
            f"{name}=={version} --hash=sha256:{self.hashes[name]}\n" for name, version in versions.items()
        ]
        file.write_text("".join(lines))


PREPARATION = """
import os, signal, subprocess, sys, time
from pathlib import Path
clone, house, sha256, index = sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]
sys.path.insert(0, clone)
from tools.host_env import paths
paths.HOST_DIR = house / ".host"
paths.PACK_LINK, paths.TYPES_LINK = paths.HOST_DIR / "pack", paths.HOST_DIR / "types"
paths.requirements = lambda name: house / f"requirements-{name}.txt"
from tools.dev import COMMANDS
from tools.host_env import cached_steps, environments, prepare, source
source.SHA256 = sha256
environments.index_settings = lambda: {"UV_DEFAULT_INDEX": index}

def die_once(stage):
    killed = house / "killed" / stage
    if not killed.exists():
        killed.touch()
        time.sleep(0.2)
        os.killpg(0, signal.SIGKILL)

class Program(subprocess.Popen):
    def __init__(self, words, **options):
        super().__init__(words, **options)
        if not options.get("close_fds", True):
            die_once(f"{'pip' if '-m' in words else words[1]} {Path(words[-1]).name}")

def finish(stamp, text, write=cached_steps.write_atomically):
    die_once(f"before {stamp.name}")
    write(stamp, text)

subprocess.Popen = Program
cached_steps.write_atomically = finish
prepare.prepare_host()
"""
STAGES = [
    "pip requirements-uv.txt", "before .uv.stamp",
    "venv tools", "pip requirements-dev.txt", "before .tools.stamp",
    "before .ComfyUI.stamp",
    "venv venv", "pip requirements-host.txt", "before .venv.stamp",
    "venv overlay", "before .overlay.stamp",
]  # fmt: skip


@pytest.fixture
def house(tmp_path, monkeypatch) -> Path:
    """A folder to prepare a host in, with an index of small packages (and the real uv) and no network."""
    index = Index(tmp_path / "index")
    index.folder.mkdir()
    many = {f"torch/part_{number}.py": "x = 1\n" * 1000 for number in range(300)}
    index.add_wheel("uv", "1.0", {f"uv-1.0.data/scripts/{environments.UV.name}": environments.UV})
    index.add_wheel("torch", "2.0", {**many, "torch/__init__.py": "", "shared.py": "owner = 'host'\n"})
    index.add_wheel("pytest", "9.0", {"pytest.py": "", "shared.py": "owner = 'tools'\n"})
    downloads = tmp_path / ".host" / "downloads"
    downloads.mkdir(parents=True)
    main = tmp_path / "main.py"
    main.write_text("main")
    with tarfile.open(downloads / source.ARCHIVE, "w:gz") as archive:
        archive.add(main, "pkg-1/vendor/ComfyUI/main.py")
    index.requirements(tmp_path / "requirements-uv.txt", uv="1.0")
    index.requirements(tmp_path / "requirements-dev.txt", pytest="9.0")
    index.requirements(tmp_path / "requirements-host.txt", torch="2.0")
    (tmp_path / "killed").mkdir()
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_", "COMFYUI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    return tmp_path


def prepare_in(house: Path) -> subprocess.CompletedProcess:
    """One run of the preparation; it may be killed, with all it started."""
    sha256 = source.sha256(house / ".host" / "downloads" / source.ARCHIVE)
    index = (house / "index").as_uri()
    words = [sys.executable, "-c", PREPARATION, str(CLONE), str(house), sha256, index]
    return subprocess.run(words, start_new_session=True, capture_output=True, text=True)


@pytest.mark.slow
def test_a_preparation_killed_at_any_stage_is_finished_by_the_next_runs(house):
    for stage in STAGES:
        killed = prepare_in(house)
        assert killed.returncode == -signal.SIGKILL, f"{stage}: {killed.stderr}"
        assert (house / "killed" / stage).exists(), [file.name for file in (house / "killed").iterdir()]
    finished = prepare_in(house)
    assert finished.returncode == 0, finished.stderr
    assert (house / ".host" / "ComfyUI" / "main.py").read_text() == "main"
    asked = "import pytest, shared, torch, os; print(shared.owner, len(os.listdir(torch.__path__[0])))"
    words = [paths.venv_python(house / ".host" / "overlay"), "-c", asked]
    assert subprocess.run(words, capture_output=True, text=True).stdout == "host 301\n"
    again = prepare_in(house)
    assert again.returncode == 0 and not again.stderr


def test_a_file_of_another_hash_is_not_installed(house, monkeypatch):
    monkeypatch.setenv("UV_DEFAULT_INDEX", (house / "index").as_uri())
    file = house / "requirements-dev.txt"
    file.write_text(f"pytest==9.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(HostError, match="Another hash than expected"):
        environments.make_environment(Path(sys.executable), house / "venv", file)
    assert not list((house / "venv").rglob("pytest.py"))


# --- the machine ----------------------------------------------------------------------------------


def test_a_full_disk_is_told_before_anything_is_begun(monkeypatch):
    class Usage:
        free = 3e9

    monkeypatch.setattr(prepare.shutil, "disk_usage", lambda folder: Usage)
    with pytest.raises(HostError, match=r"Only 3.0 GB[\s\S]+needs 10 GB[\s\S]+COMFYUI_PATH"):
        prepare.check_machine(Host(HOST_DIR / "ComfyUI", Path(sys.executable), prepared=True))


def fake_python(folder: Path, says: str, status: int) -> Path:
    """A program that answers like a Python of another version or build."""
    file = folder / "python"
    file.write_text(f"#!/bin/sh\nprintf '{says}'\nexit {status}\n")
    file.chmod(0o755)
    return file


@pytest.mark.parametrize(
    ("says", "status", "message"),
    [
        ("3 9\\n", 0, "Python 3.9; ComfyUI needs 3.10"),
        ("", 1, "does not run as a Python"),
    ],
    ids=["too old", "no Python"],
)
def test_a_python_that_cannot_do_it_is_told_with_the_cure(tmp_path, says, status, message):
    with pytest.raises(HostError, match=message):
        prepare.check_python(fake_python(tmp_path, says, status))


def test_the_packs_link_is_made_corrected_and_left_alone(tmp_path):
    link = tmp_path / "semantic-nursing"
    link.symlink_to(tmp_path / "where the clone was before")
    prepare.link_pack(link)
    made = link.lstat()
    prepare.link_pack(link)
    assert link.resolve() == CLONE and link.lstat().st_ino == made.st_ino
