"""The server and the client that the other tests use, on core nodes only."""

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from tools.host_env.client import PromptFailed
from tools.host_env.paths import CLONE
from tools.host_env.server import running_server


def grey_picture(color: int) -> dict:
    """A prompt of core nodes: one picture of one colour, kept in the temp folder."""
    return {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": 32, "height": 16, "batch_size": 1, "color": color},
        },
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }


def test_a_prompt_runs_and_its_picture_comes_back(client):
    entry = client.run(grey_picture(0x102030))
    (picture,) = client.images(entry, "2")
    assert Image.open(io.BytesIO(picture)).size == (32, 16)
    assert Image.open(io.BytesIO(picture)).convert("RGB").getpixel((3, 3)) == (0x10, 0x20, 0x30)


def test_the_websocket_tells_the_run_from_start_to_success(client):
    said = [message["type"] for message in client.messages(grey_picture(0x112233))]
    assert said.index("execution_start") < said.index("executed") < said.index("execution_success")


def test_a_refused_prompt_says_which_input_is_wrong(client):
    prompt = grey_picture(1)
    prompt["1"]["inputs"]["width"] = -5
    with pytest.raises(PromptFailed, match="EmptyImage.*width") as refusal:
        client.queue(prompt)
    assert refusal.value.kind == "refused"


def test_a_failed_prompt_says_what_the_node_said(client):
    replace = {"string": "a", "regex_pattern": "(", "replace": "b"}
    prompt = {
        "1": {"class_type": "RegexReplace", "inputs": replace},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }
    with pytest.raises(PromptFailed, match=r"node 1 \(RegexReplace\).*unterminated subpattern") as failure:
        client.run(prompt)
    assert failure.value.kind == "error"


def test_the_server_is_gone_when_the_block_is_left_by_an_error():
    with pytest.raises(ZeroDivisionError), running_server(cpu=True) as second:
        raise ZeroDivisionError
    assert second.process.poll() is not None


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from tools.host_env import server
server.wait_until_it_answers = server.check_pack_loaded = lambda *known: None
with server.running_server(cpu=True) as started:
    print(started.process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system has no such service")
def test_the_server_is_gone_when_its_owner_is_killed():
    killed = subprocess.run([sys.executable, "-c", KILLED, str(CLONE)], capture_output=True, text=True)
    pid = int(killed.stdout)
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":  # ended; its new parent has not yet asked
            return
        time.sleep(0.1)
    pytest.fail(f"the server (process {pid}) outlived its owner")


def test_the_pack_is_loaded_and_described(server, client):
    described = {
        node for node, info in client.object_info().items() if "semantic-nursing" in info["python_module"]
    }
    ours = {name.removesuffix(".md") for name in os.listdir(CLONE / "web" / "docs")}
    assert described == ours and len(ours) >= 11
    assert "FAILED" not in server.log.read_text("utf-8")
