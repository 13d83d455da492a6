"""Whole prompts through the queue of the real server: reports under caching, progress, interrupts, errors as
people read them.
"""

import copy
import io
import json

import pytest
from PIL import Image

from tools.host_env.client import PromptFailed

STEPS, SHIFTS = 6, 3


@pytest.fixture(scope="module")
def demo():
    """A function: the demo as a prompt, small. 1 model, 2 nursing, 5 sampler, 7 picture, 8 report."""

    def build(seed: int = 1, **nursing) -> dict:
        method = "Latent Refine (Grimal et al. 2025)"
        settings = {"method": method, "at_step": 1, "overrides": f"shifts={SHIFTS}", **nursing}
        nodes = {
            "1": ("GSNDemoModel", {}),
            "2": ("GSNNursing", {"model": ["1", 0], "clip": ["1", 1], **settings}),
            "3": ("CLIPTextEncode", {"text": "a red circle and a blue square", "clip": ["2", 1]}),
            "4": ("EmptyLatentImage", {"width": 128, "height": 128, "batch_size": 1}),
            "5": sampler(seed),
            "6": ("VAEDecode", {"samples": ["5", 0], "vae": ["1", 2]}),
            "7": ("PreviewImage", {"images": ["6", 0]}),
            "8": ("GSNReport", {"latent": ["5", 0], "report": ["2", 2], "vae": ["1", 2]}),
        }
        return {i: {"class_type": kind, "inputs": inputs} for i, (kind, inputs) in nodes.items()}

    return build


def sampler(seed: int, model: str = "2") -> tuple[str, dict]:
    return (
        "KSampler",
        {
            "model": [model, 0],
            "seed": seed,
            "steps": STEPS,
            "cfg": 7.5,
            "sampler_name": "euler",
            "scheduler": "normal",
            "positive": ["3", 0],
            "negative": ["3", 0],
            "latent_image": ["4", 0],
            "denoise": 1.0,
        },
    )


def changed(prompt: dict, node: str, **inputs) -> dict:
    """A copy of a prompt with other inputs of one node; None takes an input away."""
    prompt = copy.deepcopy(prompt)
    for name, value in inputs.items():
        prompt[node]["inputs"].pop(name, None) if value is None else prompt[node]["inputs"].update(
            {name: value}
        )
    return prompt


def executed(messages: list[dict]) -> set[str]:
    """The nodes that did not come from the cache."""
    return {m["data"]["node"] for m in messages if m["type"] == "executing"} - {None}


def run(client, prompt: dict) -> tuple[set[str], dict]:
    """Which nodes were executed, and the history entry."""
    messages = client.messages(prompt)
    assert messages[-1]["type"] == "execution_success", messages[-1]["data"]
    return executed(messages), client.wait(
        messages[-1]["data"]["prompt_id"]
    )  # history is written after the last message


def text(entry: dict, node: str = "8") -> str:
    return entry["outputs"][node]["text"][0]


def pixels(client, entry: dict, node: str) -> bytes:
    (picture,) = client.images(entry, node)
    return Image.open(io.BytesIO(picture)).convert("RGB").tobytes()


def test_reports_stay_right_whatever_the_host_takes_from_its_cache(client, demo):
    first = demo(seed=11)
    done, entry = run(client, first)
    assert done >= {"2", "3", "5", "6", "7", "8"}  # the rest may be known from earlier prompts
    report = text(entry)
    assert "step 1" in report and "red circle" in report and "not made in a recorded run" not in report

    done, entry = run(client, first)  # identical: nothing runs, the words come from the cache
    assert done == set()
    assert text(entry) == report

    done, entry = run(client, demo(seed=12))  # another seed: the patched model is cached and its book goes on
    assert done == {"5", "6", "7", "8"}
    other = text(entry)
    assert other != report and "not made in a recorded run" not in other

    done, entry = run(client, first)  # back: the run is found although it is not the last one entered
    assert done == {"5", "6", "7", "8"}
    assert text(entry) == report

    done, entry = run(client, changed(first, "8", label="a title"))  # only the report's widget
    assert done == {"8"}
    assert report in text(entry)


def test_two_samplers_on_one_patched_model_each_find_their_own_run(client, demo):
    prompt = demo(seed=21)
    prompt["15"] = {"class_type": "KSampler", "inputs": sampler(22)[1]}
    prompt["18"] = {"class_type": "GSNReport", "inputs": {"latent": ["15", 0], "report": ["2", 2]}}
    _, entry = run(client, prompt)
    alone = {seed: text(run(client, demo(seed=seed))[1]) for seed in (21, 22)}
    assert text(entry, "8") == alone[21]
    assert text(entry, "18") == alone[22]
    assert alone[21] != alone[22]


def test_a_missing_report_link_is_said(client, demo):
    _, entry = run(client, changed(demo(seed=31), "8", report=None))
    assert "connect the report output of the node that patched the model" in text(entry)
    assert len(client.images(entry, "8")) == 1


def test_strength_0_is_the_plain_picture_bit_for_bit_and_says_so(client, demo):
    off, plain = demo(seed=41, strength=0.0), demo(seed=41)
    plain["5"]["inputs"]["model"] = ["1", 0]
    plain["3"]["inputs"]["clip"] = ["1", 1]
    del plain["8"]["inputs"]["report"]
    _, with_node = run(client, off)
    _, without = run(client, plain)
    _, refined = run(client, demo(seed=41))
    assert pixels(client, with_node, "7") == pixels(client, without, "7") != pixels(client, refined, "7")
    assert "nursing is off" in text(with_node).lower()


def test_a_latent_that_was_processed_further_gets_the_last_report_and_is_told_so(client, demo):
    prompt = demo(seed=51)
    prompt["9"] = {
        "class_type": "LatentFlip",
        "inputs": {"samples": ["5", 0], "flip_method": "y-axis: horizontally"},
    }
    prompt["8"]["inputs"]["latent"] = ["9", 0]
    _, entry = run(client, prompt)
    assert "not made in a recorded run" in text(entry)
    assert "step 1" in text(entry)


def test_a_batch_gets_one_sheet_per_image_and_one_map_per_word(client, demo):
    prompt = changed(demo(seed=61), "4", batch_size=2)
    prompt["9"] = {
        "class_type": "GSNAttentionMaps",
        "inputs": {"latent": ["5", 0], "report": ["2", 2], "image": ["6", 0]},
    }
    _, entry = run(client, prompt)
    assert len(client.images(entry, "8")) == 2
    assert (
        len(client.images(entry, "9")) == 2
    )  # the previews, with both words on each; the output has them one by one
    prompt["10"] = {"class_type": "PreviewImage", "inputs": {"images": ["9", 0]}}
    prompt["11"] = {"class_type": "MaskPreview", "inputs": {"mask": ["9", 1]}}
    _, entry = run(client, prompt)
    assert len(client.images(entry, "10")) == len(client.images(entry, "11")) == 4


def test_one_progress_bar_counts_steps_and_shifts(client, demo):
    messages = client.messages(demo(seed=71))
    bar = [
        (m["data"]["value"], m["data"]["max"])
        for m in messages
        if m["type"] == "progress" and m["data"]["node"] == "5"
    ]
    assert {most for _, most in bar} == {STEPS + SHIFTS}
    values = [value for value, _ in bar]  # the server leaves some out when they come fast
    assert values == sorted(set(values))
    assert (values[0], values[-1]) == (1, STEPS + SHIFTS)


def all_lines(messages: list[dict]) -> list[tuple[str, str]]:
    """(node, line) in the order in which they were said (the server's binary event 3)."""
    lines = []
    for frame in (m["data"] for m in messages if m["type"] == "binary"):
        if int.from_bytes(frame[:4], "big") == 3:
            end = 8 + int.from_bytes(frame[4:8], "big")
            lines.append((frame[8:end].decode(), frame[end:].decode()))
    return lines


def lines_on_nodes(messages: list[dict]) -> dict[str, str]:
    """Node -> the last line it said on itself."""
    return dict(all_lines(messages))


def test_the_node_that_acts_says_its_line_and_a_report_says_none(client, demo):
    for seed in (75, 76):  # the second time the patched model is cached: its node still speaks
        said = lines_on_nodes(client.messages(demo(seed=seed)))
        assert set(said) == {"2"}, said
        assert "step" not in said["2"] and not said["2"].startswith("Skipped"), said
    said = lines_on_nodes(client.messages(demo(seed=75, strength=0.0)))
    assert set(said) == {"2"} and said["2"].startswith("Off")
    nothing = changed(demo(seed=75), "3", text="and of")
    said = lines_on_nodes(client.messages(nothing))
    assert said["2"].startswith("Skipped: type subjects") and "no subjects found" in said["2"]


def renamed(prompt: dict, old: str, new: str) -> dict:
    """The prompt with another id for one node."""
    named = {}
    for key, node in prompt.items():
        inputs = {
            name: [new, value[1]] if isinstance(value, list) and value[:1] == [old] else value
            for name, value in node["inputs"].items()
        }
        named[new if key == old else key] = {**node, "inputs": inputs}
    return named


@pytest.mark.parametrize("name", ("99", "17:2"))  # the second as a node inside a subgraph has it
def test_m2_a_node_under_another_id_says_its_line_under_that_id(client, demo, name):
    client.messages(demo(seed=77))
    assert set(lines_on_nodes(client.messages(renamed(demo(seed=78), "2", name)))) == {name}


def test_m2_two_equal_nodes_each_say_their_own_line(client, demo):
    prompt = demo(seed=79)
    prompt["12"] = {**prompt["2"]}
    prompt["15"] = {**prompt["5"], "inputs": {**prompt["5"]["inputs"], "model": ["12", 0], "seed": 80}}
    prompt["16"] = {"class_type": "PreviewImage", "inputs": {"images": ["17", 0]}}
    prompt["17"] = {**prompt["6"], "inputs": {**prompt["6"]["inputs"], "samples": ["15", 0]}}
    assert set(lines_on_nodes(client.messages(prompt))) == {"2", "12"}


def test_m1_a_cached_run_says_its_line_again(client, demo):
    """A page that was loaded anew has its pictures again after such a run, and the line."""
    prompt = demo(seed=81)
    before = lines_on_nodes(client.messages(prompt))
    other = lines_on_nodes(client.messages(demo(seed=82)))
    assert before["2"] != other["2"]  # the newest line is not the one of this graph
    again = client.messages(prompt)
    assert "2" not in executed(again) and lines_on_nodes(again) == before
    cached = client.messages(prompt)
    assert not executed(cached) and all_lines(cached) == list(before.items())
    saved = changed(prompt, "7")
    saved["7"] = {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "m1"}}
    assert all_lines(client.messages(saved)) == list(before.items())  # what only shows is no part of it


@pytest.mark.parametrize("change", ({"node": "5", "seed": 84}, {"node": "2", "at_step": 2}))
def test_m1_another_run_never_begins_with_an_old_line(client, demo, change):
    prompt = demo(seed=83)
    old = lines_on_nodes(client.messages(prompt))
    said = all_lines(client.messages(changed(prompt, **change)))
    assert said[0] != ("2", old["2"]) and "; at step" in said[0][1]


def test_the_json_is_data_for_scripts(client, demo):
    prompt = demo(seed=81)
    prompt["9"] = {"class_type": "PreviewAny", "inputs": {"source": ["8", 2]}}
    _, entry = run(client, prompt)
    data = json.loads(entry["outputs"]["9"]["text"][0])
    assert data["schema"] == 2
    assert data["n_steps"] == STEPS
    assert [s["label"] for s in data["subjects"]] == ["red circle", "blue square"]
    assert len(data["recipes"][0]["losses"]) == SHIFTS


def test_an_interrupt_during_the_shifts_ends_the_prompt_and_leaves_nothing_behind(client, demo):
    _, before = run(client, demo(seed=91))
    steps_done = []

    def interrupt(message: dict) -> None:
        if message["type"] == "progress":
            steps_done.append(message["data"]["value"])
            if len(steps_done) == 4:  # one step and three shifts
                client.interrupt()

    long = demo(seed=92, overrides="shifts=5000")
    messages = client.messages(long, on_message=interrupt)
    assert messages[-1]["type"] == "execution_interrupted"
    assert messages[-1]["data"]["node_id"] == "5"
    assert max(steps_done) < 1000

    done, after = run(client, changed(demo(seed=91), "8", label="after the interrupt"))
    assert "5" in done
    assert pixels(client, after, "7") == pixels(client, before, "7")
    assert text(before) in text(after)


@pytest.mark.parametrize(
    "settings, cause, cure",
    [
        ({"subjects": "red circel"}, "red circel", "Did you mean 'circle'"),
        ({"overrides": "lr=0.1"}, "there is no setting 'lr'", "learning_rate"),
        ({"overrides": "learning_rate=0"}, "learning_rate is 0", "greater than 0"),
        ({"overrides": "levels=two"}, "levels is 'two'", "write auto"),
    ],
)
def test_bad_settings_are_refused_before_the_sampler_runs_in_words(client, demo, settings, cause, cure):
    with pytest.raises(PromptFailed) as failure:
        client.run(demo(seed=101, **settings))
    assert failure.value.kind == "error"
    assert cause in failure.value.details["exception_message"]
    assert cure in failure.value.details["exception_message"]


def test_a_choice_that_is_not_on_the_list_is_refused_by_the_server(client, demo):
    with pytest.raises(PromptFailed, match="method") as failure:
        client.run(demo(seed=111, method="Latent Refine (Nobody 1999)"))
    assert failure.value.kind == "refused"


def test_the_clip_output_without_a_clip_stops_the_text_node_and_says_why(client, demo):
    with pytest.raises(PromptFailed, match="nothing is connected to its clip input"):
        client.run(changed(demo(seed=121), "2", clip=None))
