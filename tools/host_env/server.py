"""The real ComfyUI server as a context manager: a process of its own that is gone when the block is left."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import paths
from .launch import die_with_parent
from .paths import HOST_DIR, PACK_NAME, Host, HostError

ADDRESS = "127.0.0.1"
SECONDS_TO_START = 180
SECONDS_TO_STOP = 10
COLOUR = r"\x1b\[[0-9;]*m"
LOG_DECORATION = re.compile(rf"(?:{COLOUR})*\[(?:INFO|WARNING|ERROR)\](?:{COLOUR})* ?|{COLOUR}")


@dataclass(frozen=True)
class Server:
    """A server that answers: its address, the file with all it says, its process."""

    url: str
    log: Path
    process: subprocess.Popen


@contextlib.contextmanager
def running_server(port: int = 0, cpu: bool | None = None, arguments: Sequence[str] = ()) -> Iterator[Server]:
    """Start the prepared host's server, wait until it answers, end it when the block is left.

    Args:
        port: 0 takes a free one.
        cpu: None means: unless torch finds an accelerator.
        arguments: more of ComfyUI's own command line.

    Raises:
        HostError: port in use; the server ended or did not answer; this pack failed to load (its traceback).
    """
    host = paths.locate()
    port = port or free_port()
    check_port(port)
    temp = HOST_DIR / "temp" / str(port)  # a starting server empties its temp folder: each has its own
    temp.mkdir(parents=True, exist_ok=True)
    log = HOST_DIR / "logs" / f"server-{port}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    on_cpu = not has_accelerator(host.python) if cpu is None else cpu
    command = [str(host.python), str(host.root / "main.py"), *paths.directory_arguments(host)]
    command += [
        "--temp-directory",
        str(temp),
        "--listen",
        ADDRESS,
        "--port",
        str(port),
        "--disable-auto-launch",
    ]
    command += ["--disable-api-nodes", *(["--cpu"] if on_cpu else []), *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=HOST_DIR,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own: ended whole, and Ctrl-C reaches us first
            env={**paths.environment(), "PYTHONUNBUFFERED": "1"},
            **die_with_parent(),
        )
    server = Server(f"http://{ADDRESS}:{port}", log, process)
    try:
        wait_until_it_answers(server)
        check_pack_loaded(log.read_text("utf-8", errors="replace"), host)
        yield server
    finally:
        stop(process)
        shutil.rmtree(temp, ignore_errors=True)


def free_port() -> int:
    """A port that nothing listens on right now."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return probe.getsockname()[1]


def check_port(port: int) -> None:
    """Raise HostError if the port is taken."""
    with socket.socket() as probe:
        if os.name == "posix":  # as servers do: a port whose last connections are still being closed is free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            raise HostError(
                f"Port {port} is in use, perhaps by another ComfyUI.\n"
                "End that program, or name another port (serve --port N; without it a free one is taken)."
            ) from error


def has_accelerator(python: Path) -> bool:
    """Whether torch in this Python finds a GPU. Where the system shows none, torch is not asked (2 s)."""
    signs = (shutil.which("nvidia-smi"), Path("/dev/nvidia0").exists(), Path("/dev/kfd").exists())
    if not any(signs) and sys.platform != "darwin" and os.name != "nt":
        return False
    probe = "import torch; print(torch.cuda.is_available() or torch.backends.mps.is_available())"
    result = subprocess.run(
        [str(python), "-c", probe], capture_output=True, text=True, env=paths.environment()
    )
    return result.stdout.strip() == "True"


def wait_until_it_answers(server: Server) -> None:
    """Return when the server answers; raise HostError with the end of its log if it ends or stays silent."""
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise HostError(f"ComfyUI ended while starting.\n{_end_of(server.log)}")
        try:
            with urllib.request.urlopen(f"{server.url}/system_stats", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise HostError(f"ComfyUI did not answer within {SECONDS_TO_START} s.\n{_end_of(server.log)}")


def check_pack_loaded(log: str, host: Host) -> None:
    """Raise HostError, with the traceback that the host only logged, unless the host loaded this pack."""
    log = LOG_DECORATION.sub("", log)
    loaded = {
        Path(path).name: not failed
        for failed, path in re.findall(r"seconds( \(.+ FAILED\))?: (.+)$", log, re.M)
    }
    if PACK_NAME not in loaded:
        raise HostError(f"ComfyUI at {host.root} did not look for the pack in {HOST_DIR / 'custom_nodes'}.")
    if not loaded[PACK_NAME]:
        reasons = re.findall(rf"(?:^Traceback [\s\S]+?)?^[A-Za-z].*{PACK_NAME}.*$", log, re.M)
        raise HostError("ComfyUI could not load the pack:\n" + "\n".join(reasons))


def stop(process: subprocess.Popen) -> None:
    """End the server and whatever it started."""
    if process.poll() is not None:
        return
    for end in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        if os.name == "posix":
            os.killpg(process.pid, end)
        else:
            process.terminate()
        try:
            process.wait(SECONDS_TO_STOP)
            return
        except subprocess.TimeoutExpired:
            continue


def _end_of(log: Path) -> str:
    lines = log.read_text("utf-8", errors="replace").strip().split("\n")
    return "\n".join(lines[-25:]) + f"\nIts whole output: {log}"
