"""The developer tool without a network: what it does when things go wrong, and what it tells the person
then.
"""

import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest

from tools.host_env import paths, prepare, server, source, steps
from tools.host_env.paths import HOST_DIR, Host, HostError
from tools.host_env.steps import Step, carry_out

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


# --- steps


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


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tools.host_env.steps import Step, carry_out
product = Path(sys.argv[2])
def build():
    product.mkdir()
    (product / "whole").write_text("half of i")
    os.kill(os.getpid(), signal.SIGKILL)
carry_out([Step("p", product, product / "whole", "version 1", build)], print)
"""


@pytest.mark.parametrize("done_before", [False, True], ids=["first run", "update"])
def test_a_run_killed_half_way_is_mended_by_the_next(tmp_path, done_before):
    product, calls = tmp_path / "p", []
    if done_before:
        carry_out([step(product, builder(product, calls), "version 0")], print)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(CLONE), str(product)])
    assert killed.returncode == -signal.SIGKILL
    assert (product / "whole").read_text() == "half of i"
    carry_out([step(product, builder(product, calls), "version 1")], print)
    assert (product / "whole").read_text() == "whole" and (product / "part").exists()


def test_only_one_prepares_at_a_time(tmp_path):
    order, holding = [], threading.Event()

    def first():
        with steps.only_one(tmp_path, order.append):
            holding.set()
            time.sleep(0.2)
            order.append("first leaves")

    thread = threading.Thread(target=first)
    thread.start()
    holding.wait()
    with steps.only_one(tmp_path, order.append):
        order.append("second enters")
    thread.join()
    assert order[0].startswith("another command is preparing the host")
    assert order[1:] == ["first leaves", "second enters"]


ORPHAN = """
import os, signal, sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tools.host_env.steps import only_one, run_logged
folder = Path(sys.argv[2])
def kill_when_it_writes():
    while not (folder / "begun").exists():
        pass
    os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(target=kill_when_it_writes).start()
child = "import pathlib, sys, time; f = pathlib.Path(sys.argv[1]); (f / 'begun').touch();"
child += "time.sleep(1); (f / 'done').touch()"
with only_one(folder, print):
    run_logged([sys.executable, "-c", child, folder], folder / "log", print)
"""


def test_what_a_killed_run_has_started_is_waited_for(tmp_path):
    """pip goes on when we are killed; the next run must not begin while it still writes."""
    killed = subprocess.run([sys.executable, "-c", ORPHAN, str(CLONE), str(tmp_path)])
    assert killed.returncode == -signal.SIGKILL
    with steps.only_one(tmp_path, print):
        assert (tmp_path / "done").exists()


# --- commands that may fail


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_no_network_is_told_with_its_cure(tmp_path):
    command = python("print('ERROR: Temporary failure in name resolution'); raise SystemExit(1)")
    with pytest.raises(HostError, match=r"index cannot be reached[\s\S]+PIP_INDEX_URL[\s\S]+COMFYUI_PATH"):
        steps.run_logged(command, tmp_path / "log", print)


def test_an_unsupported_python_is_told_from_pips_words(tmp_path):
    command = python("print('ERROR: No matching distribution found for torch==2.11.0'); raise SystemExit(1)")
    with pytest.raises(HostError, match=r"torch==2.11.0[\s\S]+Python 3.10 to 3.13"):
        steps.run_logged(command, tmp_path / "log", print)


def test_another_failure_shows_the_end_of_the_output_and_where_the_rest_is(tmp_path):
    log = tmp_path / "logs" / "log"
    with pytest.raises(HostError, match=rf"the reason[\s\S]+{log}"):
        steps.run_logged(python("print('a\\n' * 99); print('the reason'); raise SystemExit(3)"), log, print)


def test_a_long_command_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "SECONDS_BETWEEN_SIGNS_OF_LIFE", 0.2)
    said = []
    steps.run_logged(
        python("import time; print('collecting', flush=True); time.sleep(1)"), tmp_path / "log", said.append
    )
    assert any("collecting" in line for line in said)


def test_an_interrupted_command_does_not_go_on_behind_our_back(tmp_path, monkeypatch):
    def interrupt(line):
        raise KeyboardInterrupt

    monkeypatch.setattr(steps, "SECONDS_BETWEEN_SIGNS_OF_LIFE", 0.2)
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    with pytest.raises(KeyboardInterrupt):
        steps.run_logged(python(code), tmp_path / "log", interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "log").read_text()), 0)


# --- the archive


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

    def run_logged(command, log, say):
        folder = Path(command[command.index("--dest") + 1])
        folder.mkdir(parents=True)
        (folder / source.ARCHIVE).write_bytes(content)
        calls.append(command)

    monkeypatch.setattr(source, "run_logged", run_logged)
    return calls


def test_a_checksum_mismatch_names_both_sums_and_the_cure_and_keeps_nothing(tmp_path, monkeypatch):
    download_of(b"something else", monkeypatch)
    found = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(HostError, match=rf"{source.SHA256}[\s\S]+{found}[\s\S]+remove"):
        source.fetch(Path("python"), tmp_path, tmp_path / "log", print)
    assert not (tmp_path / source.ARCHIVE).exists()


def test_a_right_archive_is_downloaded_once_and_a_wrong_one_again(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "SHA256", hashlib.sha256(b"right").hexdigest())
    (tmp_path / source.ARCHIVE).write_bytes(b"cut short")
    calls = download_of(b"right", monkeypatch)
    for _ in range(2):
        archive = source.fetch(Path("python"), tmp_path, tmp_path / "log", print)
    assert archive.read_bytes() == b"right" and len(calls) == 1


# --- the machine


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
        ("3 11\\n", 1, r"no venv module[\s\S]+apt install python3.11-venv"),
        ("", 1, "does not run as a Python"),
    ],
    ids=["too old", "no venv module", "no Python"],
)
def test_a_python_that_cannot_do_it_is_told_with_the_cure(tmp_path, says, status, message):
    with pytest.raises(HostError, match=message):
        prepare.check_python(fake_python(tmp_path, says, status))


def test_this_python_can_do_it():
    prepare.check_python(Path(sys.executable))


def test_the_packs_link_is_made_mended_and_left_alone(tmp_path, monkeypatch):
    link = tmp_path / "semantic-nursing"
    monkeypatch.setattr(prepare, "PACK_LINK", link)
    link.symlink_to(tmp_path / "where the clone was before")
    prepare.link_pack()
    made = link.lstat()
    prepare.link_pack()
    assert link.resolve() == CLONE and link.lstat().st_ino == made.st_ino


# --- a person's own checkout


def checkout(folder: Path) -> Path:
    """As much of a ComfyUI as is looked at."""
    for name in ("main.py", "comfy/cli_args.py", "comfy_api/latest/__init__.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_without_comfyui_path_the_prepared_host_is_used(monkeypatch):
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    assert paths.locate() == Host(HOST_DIR / "ComfyUI", paths.venv_python(HOST_DIR / "venv"), prepared=True)


def test_a_comfyui_path_that_is_none_is_told_with_the_cure(tmp_path, monkeypatch):
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    with pytest.raises(HostError, match=r"is not a ComfyUI[\s\S]+has no main.py[\s\S]+unset COMFYUI_PATH"):
        paths.locate()


def test_the_checkouts_python_is_the_named_one_else_its_own_else_this_one(tmp_path, monkeypatch):
    monkeypatch.setenv("COMFYUI_PATH", str(checkout(tmp_path)))
    monkeypatch.delenv("COMFYUI_PYTHON", raising=False)
    assert paths.locate() == Host(tmp_path, Path(sys.executable), prepared=False)
    own = paths.venv_python(tmp_path / ".venv")
    own.parent.mkdir(parents=True)
    own.touch()
    assert paths.locate().python == own
    monkeypatch.setenv("COMFYUI_PYTHON", sys.executable)
    assert paths.locate().python == Path(sys.executable)
    monkeypatch.setenv("COMFYUI_PYTHON", str(tmp_path / "nothing"))
    with pytest.raises(HostError, match="COMFYUI_PYTHON=.* is not a file"):
        paths.locate()


def test_everything_that_is_started_writes_into_the_clone(tmp_path, monkeypatch):
    for name in (
        "PIP_CACHE_DIR",
        "TMPDIR",
        "HF_HOME",
        "XDG_CACHE_HOME",
        "PYTHONPYCACHEPREFIX",
        "RUFF_CACHE_DIR",
    ):
        assert Path(paths.environment()[name]).is_relative_to(HOST_DIR), name
    arguments = paths.directory_arguments(Host(checkout(tmp_path), Path(sys.executable), prepared=False))
    assert arguments[arguments.index("--base-directory") + 1] == str(HOST_DIR)
    assert str(tmp_path) not in " ".join(arguments).replace(f"--models-directory {tmp_path}/models", "")


# --- the server


def test_a_port_in_use_is_told_with_the_cure():
    with server.socket.socket() as taken:
        taken.bind((server.ADDRESS, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(HostError, match=rf"Port {port} is in use[\s\S]+--port"):
            server.check_port(port)
    server.check_port(server.free_port())


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ("\x1b[32m[INFO]\x1b[0m    0.1 seconds: /x/custom_nodes/other\n", "did not look for the pack"),
        (
            "\x1b[1m[WARNING]\x1b[0m Traceback (most recent call last):\n  File x\nKeyError: 'why'\n\n"
            "\x1b[1m[WARNING]\x1b[0m Cannot import /x/semantic-nursing module for custom nodes: 'why'\n"
            "\x1b[32m[INFO]\x1b[0m    0.1 seconds (IMPORT FAILED): /x/custom_nodes/semantic-nursing\n",
            r"could not load the pack:\nTraceback[\s\S]+KeyError: 'why'[\s\S]+Cannot import",
        ),
    ],
    ids=["not there", "failed"],
)
def test_a_pack_that_the_server_did_not_load_is_an_error(log, message):
    with pytest.raises(HostError, match=message):
        server.check_pack_loaded(log, Host(Path("/x"), Path("python"), prepared=True))


# --- the command line


def dev(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(DEV), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_every_file_in_commands_is_a_command():
    said = dev("--help").stdout
    for file in (CLONE / "tools" / "commands").glob("[!_]*.py"):
        assert f"  {file.stem} " in said


def test_an_error_is_its_text_and_status_1_without_a_traceback(tmp_path):
    result = dev("host", COMFYUI_PATH=str(tmp_path))
    assert result.returncode == 1 and "is not a ComfyUI" in result.stderr and "Traceback" not in result.stderr


def test_run_passes_options_on_and_returns_the_status(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import sys, gsn_ops, tools\nprint(sys.argv[1:])\nsys.exit(7)\n")
    result = dev("run", str(script), "-h", "--flag", "--", "word")
    assert result.returncode == 7, result.stderr
    assert result.stdout.strip() == "['-h', '--flag', '--', 'word']"


def test_run_m_runs_a_module_in_the_hosts_environment():
    result = dev("run", "-m", "torch.utils.collect_env", "--help")
    assert result.returncode == 0, result.stderr
