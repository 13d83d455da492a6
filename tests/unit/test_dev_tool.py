"""The developer tool without a network: what it does when things go wrong, and what it says then."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.dev import COMMANDS
from tools.host_env import browser, paths, server
from tools.host_env.paths import HOST_DIR, Host, HostError

CLONE = Path(__file__).resolve().parents[2]
DEV = CLONE / "tools" / "dev.py"


# --- a checkout of one's own  ----------------------------------------------------------------------


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
        "UV_CACHE_DIR",
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


def test_compiled_modules_are_kept_where_the_machine_says_not_to(monkeypatch):
    """Compiling what ComfyUI imports takes 15 CPU seconds, in every process that is started."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    probe = [sys.executable, "-c", "import sys; print(sys.dont_write_bytecode)"]
    assert subprocess.run(probe, env=paths.environment(), capture_output=True).stdout.split() == [b"False"]


# --- the server -----------------------------------------------------------------------------------


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


# --- the command line -----------------------------------------------------------------------------


def dev(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(DEV), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_every_module_of_the_command_table_is_there():
    modules = [command.does for command in COMMANDS.values() if isinstance(command.does, str)]
    assert modules and all(importlib.util.find_spec(module) for module in modules), modules


def test_an_error_is_its_text_and_status_1_without_a_traceback(tmp_path):
    result = dev("host", COMFYUI_PATH=str(tmp_path))
    assert result.returncode == 1 and "is not a ComfyUI" in result.stderr and "Traceback" not in result.stderr


def test_run_passes_options_on_and_returns_the_status(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import sys, gsn_ops, tools\nprint(sys.argv[1:])\nsys.exit(7)\n")
    result = dev("run", str(script), "-h", "--flag", "--", "word")
    assert result.returncode == 7, result.stderr
    assert result.stdout.strip() == "['-h', '--flag', '--', 'word']"


# --- the browser ------------------------------------------------------------------------------------


def test_the_browser_is_the_named_one_else_one_on_the_path(tmp_path, monkeypatch):
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("CHROMIUM_PATH", str(program))
    monkeypatch.delenv("GSN_BROWSER", raising=False)
    assert browser.missing_browser() == browser.NOT_ASKED
    monkeypatch.setenv("GSN_BROWSER", "required")
    assert browser.find_chromium() == program and browser.missing_browser() == ""
    monkeypatch.delenv("CHROMIUM_PATH")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert browser.find_chromium() == program


def test_a_named_browser_that_is_none_is_told(monkeypatch):
    monkeypatch.setenv("CHROMIUM_PATH", "nowhere/chromium")
    with pytest.raises(HostError, match="CHROMIUM_PATH=nowhere.* is not a file[\\s\\S]*unset"):
        browser.find_chromium()


def test_without_a_browser_one_line_says_that_its_tests_did_not_run_and_how_to_have_one(
    tmp_path, monkeypatch
):
    monkeypatch.delenv("CHROMIUM_PATH", raising=False)
    monkeypatch.setenv("GSN_BROWSER", "required")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(browser.paths, "environment", lambda: {"XDG_CACHE_HOME": str(tmp_path)})
    told = browser.missing_browser()
    assert "cannot run" in told and "apt-get install chromium" in told and "\n" not in told
    own = tmp_path / "ms-playwright" / "chromium-1200" / "chrome-linux" / "chrome"
    own.parent.mkdir(parents=True)
    own.touch()
    assert browser.find_chromium() == own
