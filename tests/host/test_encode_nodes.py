"""ComfyUI's text nodes, those with a text for each encoder above all: a subject is found in each of the
texts, where it stands there.
"""

import importlib

import pytest
import torch

from ..support.text_encoder_checks import (
    assert_rows_change,
    changes,
    claims,
    clip_of,
    columns_in_attention,
    encode,
    most_changed,
    network,
)
from ..support.text_encoders import SETUPS

FIRE = "fire truck"
LATE, ALONE, RED = "a blue dog and a fire truck", "fire truck with blue", "a red fire truck and a blue dog"
SIZE = {"width": 64, "height": 64, "crop_w": 0, "crop_h": 0, "target_width": 64, "target_height": 64}
NODES = {  # set-up -> (node, {encoder: its text's input}, the other inputs)
    "SDXL": ("clip_sdxl.CLIPTextEncodeSDXL", {"g": "text_g", "l": "text_l"}, SIZE),
    "SD3": (
        "sd3.CLIPTextEncodeSD3",
        {"g": "clip_g", "l": "clip_l", "t5xxl": "t5xxl"},
        {"empty_padding": "none"},
    ),
    "Flux": ("flux.CLIPTextEncodeFlux", {"l": "clip_l", "t5xxl": "t5xxl"}, {"guidance": 3.5}),
    "HunyuanDiT": ("hunyuan.CLIPTextEncodeHunyuanDiT", {"hydit_clip": "bert", "mt5xl": "mt5xl"}, {}),
    "HiDream": (
        "hidream.CLIPTextEncodeHiDream",
        {"g": "clip_g", "l": "clip_l", "t5xxl": "t5xxl", "llama": "llama"},
        {},
    ),
    "Kandinsky 5": ("kandinsky5.CLIPTextEncodeKandinsky5", {"l": "clip_l", "qwen25_7b": "qwen25_7b"}, {}),
    "PixArt": ("pixart.CLIPTextEncodePixArtAlpha", {"t5xxl": "text"}, {"width": 64, "height": 64}),
    "Lumina 2": (
        "lumina2.CLIPTextEncodeLumina2",
        {"gemma2_2b": "user_prompt"},
        {"system_prompt": "superior"},
    ),
    "Qwen-Image": ("qwen.TextEncodeQwenImageEdit", {"qwen25_7b": "prompt"}, {}),
}


pytestmark = pytest.mark.usefixtures("pack")


def by_node(clip, name: str, texts: dict[str, str], **inputs) -> list:
    """CONDITIONING of the text node of a set-up, with a text for each encoder."""
    path, fields, others = NODES[name]
    module, node = path.split(".")
    node = getattr(importlib.import_module(f"comfy_extras.nodes_{module}"), node)
    with torch.inference_mode():
        return node.execute(
            clip=clip, **{fields[key]: text for key, text in texts.items()}, **{**others, **inputs}
        ).args[0]


@pytest.mark.parametrize("name", NODES)
def test_each_encoder_has_its_own_text(name, tiny):
    setup, clip = SETUPS[name], clip_of(name)
    texts = dict(zip(NODES[name][1], (LATE, ALONE, RED, LATE)))
    conditioning = by_node(clip, name, texts)
    memory = conditioning[0][1]["gsn"]
    assert {encoder.name: encoder.text for encoder in memory.encoders} == texts and not memory.notes
    claimed = claims(memory)
    assert_rows_change(setup, clip, texts, lambda texts: by_node(clip, name, texts), claimed)

    model = network(setup.architecture, tiny)
    model.conditioning = conditioning
    found = [columns_in_attention(setup, conditioning, rows) for rows in claimed.values()]
    (subject,) = model.refined(FIRE).subjects
    assert subject.columns == {encoder: found[0][encoder] + found[1][encoder] for encoder in found[0]}
    assert all(
        "".join(pieces).replace("\u2581", "").replace("\u0120", "").replace("</w>", "") == "firetruck"
        for pieces in subject.pieces.values()
    )


def test_texts_that_are_padded_to_the_longest(tiny):
    """CLIP's shorter text gets whole chunks of padding, after which come the rows of T5."""
    texts = {"g": "a blue dog and " * 30 + FIRE, "l": LATE, "t5xxl": ALONE}
    conditioning = by_node(clip_of("SD3"), "SD3", texts)
    assert conditioning[0][0].shape[1] == 2 * 77 + 77
    claimed = claims(conditioning[0][1]["gsn"])
    assert claimed["truck"] == {"g": (77 + 1 + 120 - 75 + 1,), "l": (7,), "t5xxl": (154 + 1,)}
    assert_rows_change(
        SETUPS["SD3"], clip_of("SD3"), texts, lambda texts: by_node(clip_of("SD3"), "SD3", texts), claimed
    )
    model = network(SETUPS["SD3"].architecture, tiny)
    model.conditioning = conditioning
    assert set(model.refined(FIRE).subjects[0].columns) == {"g", "l", "t5xxl"}


@pytest.mark.parametrize(
    "texts, rows",
    [
        ({"g": "", "l": "", "t5xxl": LATE}, {"t5xxl": (7, 8)}),
        ({"g": LATE, "l": LATE, "t5xxl": ""}, {"g": (6, 7), "l": (6, 7)}),
    ],
)
def test_empty_texts_without_padding_have_no_rows(texts, rows):
    clip = clip_of("SD3")
    claimed = claims(by_node(clip, "SD3", texts)[0][1]["gsn"])
    assert {key: claimed["fire"][key] + claimed["truck"][key] for key in claimed["fire"]} == rows
    typed = {key: text for key, text in texts.items() if text}
    assert_rows_change(
        SETUPS["SD3"], clip, typed, lambda changed: by_node(clip, "SD3", {**texts, **changed}), claimed
    )


def test_a_text_that_lacks_the_subject_is_said_and_the_others_are_used(tiny):
    model = network(SETUPS["SD3"].architecture, tiny)
    model.conditioning = by_node(clip_of("SD3"), "SD3", {"g": LATE, "l": "a blue dog", "t5xxl": RED})
    report = model.refined(FIRE)
    assert set(report.subjects[0].columns) == {"g", "t5xxl"}
    assert "'fire truck' is not in the text of the text encoder l; the others are used" in report.warnings


def test_a_subject_that_only_a_pooled_text_has_is_refused_with_the_cure(tiny):
    model = network(SETUPS["Flux"].architecture, tiny)
    model.conditioning = by_node(clip_of("Flux"), "Flux", {"l": RED, "t5xxl": "a blue dog"})
    with pytest.raises(
        ValueError,
        match=(
            "'fire truck' is in the prompt, but .* it is only in the text of l, which "
            "passes no single tokens to the model"
        ),
    ):
        model.refined(FIRE)


def test_instructions_before_a_prompt_are_no_part_of_it(pack_module):
    """They name images and an assistant, which are not subjects."""
    memory = by_node(clip_of("Lumina 2"), "Lumina 2", {"gemma2_2b": RED})[0][1]["gsn"]
    subjects = pack_module("gsn_ops.subjects.resolve")
    found, _ = subjects.choose_subjects((), memory)
    assert [s.label for s in found] == ["red fire truck", "blue dog"]
    (encoder,) = memory.encoders
    assert encoder.chunks[0][0] == encoder.pieces[0].column > 20 and encoder.pieces[0].text == "\u2581a"


def test_the_token_table_shows_every_encoder(pack_module):
    clip = clip_of("HiDream")
    memory = encode(clip, RED)[0][1]["gsn"]
    lines = [
        line.split()
        for line in pack_module("gsn_ops.host.prompts.conditioning").token_table(memory).splitlines()
    ]
    trucks = [line for line in lines if "truck</w>" in line or "\u2581truck" in line or "\u0120truck" in line]
    assert [line[0] for line in trucks] == ["g", "l", "t5xxl", "llama"] and all(
        line[-3:] == ["red", FIRE.split()[0], "truck"] for line in trucks[2:]
    )
    assert (
        trucks[0][1] == trucks[1][1] == "-"
        and trucks[2][1] == "4"
        and trucks[3][1:4] == ["4", "of", "conditioning_llama3"]
    )


def test_a_prompt_appended_to_one_of_two_tensors(tiny, host):
    """ConditioningConcat appends to the conditioning only: what stands beside it begins later in the
    attention.
    """
    clip = clip_of("HiDream")
    first, second = encode(clip, RED), encode(clip, LATE)
    (both,) = host.ConditioningConcat().concat(first, second)
    model = network(SETUPS["HiDream"].architecture, tiny)
    model.conditioning = both
    columns = model.refined(FIRE).subjects[0].columns
    assert columns == {
        "t5xxl": (3, 4),
        "llama": (256 + 3, 256 + 4),
        "llama 2": (256 + 128 + 3, 256 + 128 + 4),
    }
    other = [[both[0][0], {**both[0][1], "conditioning_llama3": both[0][1]["conditioning_llama3"].clone()}]]
    other[0][1]["conditioning_llama3"][:, :, 4] *= -1
    assert most_changed(model.first_maps(both), model.first_maps(other), 2) == [
        columns["llama"][1],
        columns["llama 2"][1],
    ]


def test_of_combined_prompts_the_one_with_the_subject_is_refined(tiny, host):
    clip = clip_of("Flux")
    (both,) = host.ConditioningCombine().combine(encode(clip, "a blue dog"), encode(clip, LATE))
    model = network(SETUPS["Flux"].architecture, tiny)
    model.conditioning = both
    assert model.refined(FIRE).subjects[0].columns == {"t5xxl": (7, 8)}


def test_an_average_of_two_prompts_is_said(tiny, host):
    clip = clip_of("SD3")
    (mean,) = host.ConditioningAverage().addWeighted(encode(clip, RED), encode(clip, LATE), 0.7)
    model = network(SETUPS["SD3"].architecture, tiny)
    model.conditioning = mean
    report = model.refined(FIRE)
    assert report.subjects[0].columns == {"g": (3, 4), "l": (3, 4), "t5xxl": (80, 81)}
    assert any("averaged here" in warning for warning in report.warnings)


@pytest.mark.parametrize(
    "name, text",
    [
        ("SD3", "a (red:1.3) fire truck and a dog"),
        ("SD3", "a (red fire truck:1.3) and a dog"),
        ("Anima", "a ((red)) fire (truck:0.7) and a dog"),
        ("OmniGen 2", "a (red:1.3) fire truck and a dog"),
        ("Qwen-Image", "a (red:1.3) fire truck and a dog"),
        ("Z-Image", "a (red fire truck:1.3), a dog"),
    ],
)
def test_weights_do_not_hide_a_word(name, text, pack_module):
    """Also where the parentheses are read as they stand."""
    setup, clip = SETUPS[name], clip_of(name)
    memory = encode(clip, text)[0][1]["gsn"]
    claimed = claims(memory, "red fire truck")
    subjects = pack_module("gsn_ops.subjects.resolve")
    (typed,) = subjects.resolve(
        pack_module("gsn_ops.subjects.syntax").parse_subjects("(red:1.2) fire truck"), memory
    )
    for key, columns in typed.columns("phrase").items():
        other = encode(clip, text.replace("red", "new"))
        change = changes(encode(clip, text), other)
        tensor = next(e.tensor for e in memory.encoders if e.name == key)
        assert columns[0] in change[tensor].topk(3).indices.tolist()
    assert setup and claimed["truck"] == {
        key: rows[-len(claimed["truck"][key]) :] for key, rows in typed.noun.items()
    }


@pytest.mark.parametrize("name, key", [("Z-Image", "qwen3_4b"), ("HiDream", "llama")])
def test_a_character_of_several_pieces(name, key, pack_module):
    """Pieces of bytes that are no character alone: the rows of all of them, and of nothing else."""
    clip, subjects = clip_of(name), pack_module("gsn_ops.subjects.resolve")
    text = "a blue dog \u9f98 and a dog"

    conditioning = encode(clip, text)
    (found,) = subjects.resolve(
        pack_module("gsn_ops.subjects.syntax").parse_subjects("\u9f98"), conditioning[0][1]["gsn"]
    )
    rows = found.noun[key]
    tokenizer = getattr(clip.tokenizer, key).tokenizer
    before = tokenizer(text)["input_ids"]

    def all_differ(other: str) -> bool:
        after = tokenizer(other)["input_ids"]
        return len(after) == len(before) and sum(a != b for a, b in zip(after, before)) == len(rows)

    other = next(filter(all_differ, (text.replace("\u9f98", chr(c)) for c in range(0x3400, 0xD7A3, 7))))
    tensor = next(e.tensor for e in conditioning[0][1]["gsn"].encoders if e.name == key)
    assert len(rows) > 1 and sorted(
        changes(conditioning, encode(clip, other))[tensor].topk(len(rows)).indices.tolist()
    ) == list(rows)


def test_options_of_a_tokenizer_change_no_row_of_a_word():
    """T5TokenizerOptions: padding to another length."""
    from comfy_extras.nodes_cond import T5TokenizerOptions

    clip = T5TokenizerOptions.execute(clip_of("PixArt"), 3, 40).args[0]
    ((rows, extra),) = encode(clip, RED)
    assert rows.shape[1] == 40 and claims(extra["gsn"])["truck"] == {"t5xxl": (4,)}
    assert extra["gsn"].encoders[0].text == RED


EDIT = (
    "<|im_start|>system\nDescribe the input "
    "image.<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)


@pytest.mark.parametrize(
    "name, before, options",
    [
        ("MageFlow", "", {}),
        ("LongCat", "", {}),
        ("Qwen-Image", "Picture 1: {0}Picture 2: {0}", {"llama_template": EDIT}),
    ],
    ids=["MageFlow", "LongCat", "Qwen-Image"],
)
def test_pictures_in_a_prompt_move_the_words_behind_them(name, before, options):
    """Editing prompts, their pictures in the template or in the text: ComfyUI makes as many rows of each as
    its vision tower does.
    """
    setup, clip = SETUPS[name], clip_of(name)
    pictures = [torch.zeros(1, 56, 84, 3), torch.ones(1, 84, 56, 3)]
    before = before.format("<|vision_start|><|image_pad|><|vision_end|>")

    def edit(texts):
        with torch.inference_mode():
            ((key, text),) = texts.items()
            return clip.encode_from_tokens_scheduled(
                {key: clip.tokenize(before + text, images=pictures, **options)[key]}
            )

    texts = dict.fromkeys(clip.tokenize(RED), RED)
    memory = edit(texts)[0][1]["gsn"]
    assert memory.encoders[0].text == RED and not memory.notes
    claimed = claims(memory)
    assert claimed["fire"][memory.encoders[0].name][0] > 8
    assert_rows_change(setup, clip, texts, edit, claimed)
