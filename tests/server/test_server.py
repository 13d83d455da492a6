"""The server and the client that the other tests use, on core nodes only."""

import io

import pytest
from PIL import Image

from tools.host_env.client import PromptFailed


def grey_picture(color: int) -> dict:
    """A prompt of core nodes: one picture of one colour, kept in the temp folder."""
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 32, "height": 16, "batch_size": 1, "color": color}},
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
    prompt = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
        "2": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
        "3": {"class_type": "ImageCompositeMasked", "inputs": {"destination": ["1", 0], "source": ["2", 0], "x": 0,
                                                               "y": 0, "resize_source": False, "mask": ["4", 0]}},
        "4": {"class_type": "LoadImageMask", "inputs": {"image": "absent.png", "channel": "red"}},
        "5": {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}},
    }  # fmt: skip
    with pytest.raises(PromptFailed, match="absent.png"):
        client.run(prompt)


def test_the_pack_is_loaded_and_described(server, client):
    described = {node for node, info in client.object_info().items() if "semantic-nursing" in info["python_module"]}
    assert described >= {node for node in client.object_info() if node.startswith("GSN")}
    assert "FAILED" not in server.log.read_text("utf-8")
