"""A part of the prompt that cannot be read is named with the node that made it, from the running workflow."""

import contextlib

import pytest

from ..support.text_encoder_checks import clip_of


def link(node: str, slot: int = 0) -> list:
    return [node, slot]


def text(clip: str, words: str) -> dict:
    return {"class_type": "CLIPTextEncode", "inputs": {"clip": link(clip, 1), "text": words}}


WORKFLOW = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "x"}},
    "2": text("1", "a red circle"),
    "3": {"class_type": "CLIPTextEncodeSDXL", "inputs": {"clip": link("1", 1)}},
    "4": {
        "class_type": "ConditioningConcat",
        "inputs": {"conditioning_to": link("2"), "conditioning_from": link("3")},
    },
    "5": text("1", "ugly"),
    "6": {
        "class_type": "KSampler",
        "inputs": {
            "model": link("1"),
            "positive": link("4"),
            "negative": link("5"),
            "latent_image": link("9"),
        },
    },
    "7": {"class_type": "CFGGuider", "inputs": {"positive": link("3"), "negative": link("5")}},
    "8": {"class_type": "SamplerCustomAdvanced", "inputs": {"guider": link("7")}},
}


@contextlib.contextmanager
def running(node: str, workflow: dict = WORKFLOW):
    """As ComfyUI's executor runs this node."""
    from comfy_execution.graph import DynamicPrompt
    from comfy_execution.progress import reset_progress_state
    from comfy_execution.utils import CurrentNodeContext

    reset_progress_state("a prompt", DynamicPrompt(workflow))
    try:
        with CurrentNodeContext("a prompt", node):
            yield
    finally:
        reset_progress_state("", DynamicPrompt({}))


@pytest.fixture(scope="module")
def unread(pack_module, host):
    host.NODE_CLASS_MAPPINGS.update(_extras())
    return pack_module("gsn_ops.host.prompts.text_nodes").unread_text_nodes


def _extras() -> dict:
    from comfy_extras.nodes_clip_sdxl import CLIPTextEncodeSDXL
    from comfy_extras.nodes_custom_sampler import CFGGuider, SamplerCustomAdvanced

    return {cls.__name__: cls for cls in (CLIPTextEncodeSDXL, CFGGuider, SamplerCustomAdvanced)}


@pytest.mark.parametrize(
    "node, read, expected",
    [
        ("6", (), ["'CLIP Text Encode (Prompt)' (node 2)", "'CLIPTextEncodeSDXL' (node 3)"]),
        ("6", ("2",), ["'CLIPTextEncodeSDXL' (node 3)"]),
        ("8", (), ["'CLIPTextEncodeSDXL' (node 3)"]),
    ],
)
def test_b1_the_nodes_of_the_positive_prompt_are_named(unread, node, read, expected):
    with running(node):
        assert unread(read) == expected


def test_b1_outside_of_a_workflow_nothing_is_named(unread):
    assert unread(()) == []


def test_f2_the_error_names_the_node_and_the_cure(tiny, unread, pack_module):
    with running("8"), pytest.raises(ValueError, match=r"'CLIPTextEncodeSDXL' \(node 3\).*'Set Subjects'"):
        tiny.sample(tiny.attach()[0], positive=tiny.encode("a text of a stock clip", plain=True))


def test_b1_the_remark_names_the_node_of_the_part(host, tiny, unread, pack_module):
    with running("2"):
        first = host.CLIPTextEncode().encode(tiny.clip, "a red circle named by its node")[0]
    (both,) = host.ConditioningConcat().concat(first, tiny.encode("a stock star", plain=True))
    patched, book = tiny.attach()
    with running("6"):
        tiny.sample(patched, positive=both)
    (remark,) = [w for w in book.last().warnings if "cannot be read" in w]
    assert "made by 'CLIPTextEncodeSDXL' (node 3)" in remark and "(node 2)" not in remark


# --- wildcards
@pytest.mark.parametrize(
    "prompt, left",
    [
        ("a {cat|dog} and a mouse", ["{cat|dog}"]),
        ("a __animal__ in a __place/city__", ["__animal__", "__place/city__"]),
        ("a {red|blue} __animal__", ["{red|blue}", "__animal__"]),
        ('{"prompt": "a cat | a dog"}', []),
        ("a snake_case__name and __init", []),
    ],
)
def test_b19_wildcards_that_were_not_drawn_are_said(prompt, left, pack):
    clip = clip_of("SDXL")
    notes = clip.encode_from_tokens_scheduled(clip.tokenize(prompt))[0][1]["gsn"].notes
    assert len(notes) == bool(left)
    if left:
        assert f"still has {', '.join(left)}: " in notes[0] and notes[0].line == f"{left[0]} was not drawn"


def test_b19_a_subject_that_may_be_missing_does_not_stop_the_run(tiny, subjects):
    typed = subjects.parse_subjects("square?, red circle, blue star\uff1f")
    patched, book = tiny.attach(subjects=typed)
    tiny.sample(patched, positive=tiny.encode("a red circle and a yellow star"))
    assert [s.label for s in book.last().subjects] == ["red circle"]
    said = [w for w in book.last().warnings if "left out" in w]
    assert said == [f"'{name}' is not in the prompt: left out" for name in ("square", "blue star")]


def test_b19_no_subject_of_those_that_may_be_missing_is_a_plain_run(tiny, subjects):
    patched, book = tiny.attach(subjects=subjects.parse_subjects("square?"))
    positive = tiny.encode("a red circle and a yellow star")
    out = tiny.sample(patched, positive=positive)
    assert bool((out == tiny.sample(positive=positive)).all()) and not book.last().subjects


def test_b19_the_error_for_a_missing_subject_names_the_mark(tiny, subjects):
    with pytest.raises(ValueError, match=r"Write 'square\?' if it may be missing"):
        tiny.sample(
            tiny.attach(subjects=subjects.parse_subjects("square"))[0], positive=tiny.encode("a red circle")
        )


def test_b19_the_mark_is_no_part_of_the_subject(subjects):
    (dog, cat, glasses) = subjects.parse_subjects("red dog?, cat#2?, -glasses ?")
    assert [(p.label, p.optional) for p in (dog, cat, glasses)] == [
        ("red dog", True),
        ("cat#2", True),
        ("glasses", True),
    ]
    assert glasses.role == "unwanted" and subjects.parse_subjects("dog")[0].optional is False
