"""Layout Request -> Generate Text -> Layout in the real server, with a tiny random language model."""

import pytest

from tools.host_env.client import Client, PromptFailed

ANSWER = (
    "Objects: [('a red circle', [20, 60, 90, 90]), ('a blue square', [150, 60, 90, 90])]\n"
    "Background prompt: a photo\nNegative prompt: stars"
)


@pytest.fixture
def client(server_with_packs) -> Client:
    return Client(server_with_packs.url)


def shown(client: Client, nodes: dict) -> str:
    return client.run(nodes)["outputs"]["shown"]["text"][0]


def test_a_language_model_is_asked_and_its_nonsense_is_refused_politely(client):
    size = {"width": 256, "height": 256}
    nodes = {
        "request": {
            "class_type": "GSNLayoutRequest",
            "inputs": {"prompt": "a cat left of a dog", "instruction": "", **size},
        },
        "model": {"class_type": "TinyLanguageModel", "inputs": {}},
        "answer": {
            "class_type": "TextGenerate",
            "inputs": {
                "clip": ["model", 0],
                "prompt": ["request", 0],
                "max_length": 12,
                "sampling_mode": "on",
                "sampling_mode.temperature": 2.0,
                "sampling_mode.top_k": 1000,
                "sampling_mode.top_p": 1.0,
                "sampling_mode.min_p": 0.0,
                "sampling_mode.repetition_penalty": 2.0,
                "sampling_mode.seed": 1,
                "thinking": False,
                "use_default_template": True,
            },
        },
        "shown": {"class_type": "PreviewAny", "inputs": {"source": ["answer", 0]}},
    }
    assert shown(client, nodes).strip()  # it says something
    nodes["layout"] = {
        "class_type": "GSNLayout",
        "inputs": {"text": ["answer", 0], "coordinates": "auto", "names": "", **size},
    }
    with pytest.raises(PromptFailed, match=r"no layout in this text: .*Ask for it again, or write a line"):
        client.run(nodes)


def test_an_answer_goes_through_the_box_editor_and_into_the_next_request(client):
    size = {"width": 256, "height": 256}
    nodes = {
        "layout": {
            "class_type": "GSNLayout",
            "inputs": {"text": ANSWER, "coordinates": "auto", "names": "", **size},
        },
        "editor": {
            "class_type": "CreateBoundingBoxes",
            "inputs": {"bboxes": ["layout", 1], "editor_state": {"__value__": []}, **size},
        },
        "edited": {
            "class_type": "GSNLayout",
            "inputs": {
                "text": ANSWER,
                "boxes": ["editor", 2],
                "coordinates": "auto",
                "names": "",
                **size,
            },
        },
        "request": {
            "class_type": "GSNLayoutRequest",
            "inputs": {
                "prompt": "",
                "previous": ["edited", 0],
                "instruction": "add a green star",
                **size,
            },
        },
        "shown": {"class_type": "PreviewAny", "inputs": {"source": ["request", 0]}},
    }
    text = shown(client, nodes)
    assert "('a red circle', [20, 60, 90, 90]), ('a blue square', [150, 60, 90, 90])" in text
    assert "Change it: add a green star" in text and "Background prompt: a photo" in text
