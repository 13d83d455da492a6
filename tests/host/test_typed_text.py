"""The text as typed beside the tokens: line breaks, quotes and marks that tokenizers lose."""

import pytest
import torch

from ..support.text_encoder_checks import clip_of, encode

LORA = "a red dog and a blue house <lora:detail_v2:0.8>"
LINES = "red cat\nblue dog\ngreen bird"
JSON = '{"subjects": [{"description": "a black mug"}], "style": "oil"}'
QUOTED = 'a sign reading "Blue Bird", a woman'

pytestmark = pytest.mark.usefixtures("pack")


def memory(name: str, text: str):
    return encode(clip_of(name), text)[0][1]["gsn"]


@pytest.mark.parametrize("text", [LINES, JSON, QUOTED, LORA, "  a (red:1.2) dog,\r\n\u732b  "])
@pytest.mark.parametrize("name", ["SDXL", "Flux", "SD3", "PixArt", "Qwen-Image", "HiDream"])
def test_s5_the_text_is_kept_as_typed_for_every_encoder(name, text):
    assert {encoder.typed for encoder in memory(name, text).encoders} == {text}


@pytest.mark.parametrize(
    "text",
    [
        LORA,
        "a red dog and a blue house<lora:detail_v2:0.8>",
        "<lora:x:1><hypernet:y:1> a red dog, a blue house",
    ],
)
@pytest.mark.parametrize("name", ["Flux", "PixArt", "SDXL"])
def test_s7_a_lora_tag_is_no_word_of_a_subject_on_t5(name, text, subjects):
    found, _ = subjects.choose_subjects((), memory(name, text))
    assert [s.label for s in found] == ["red dog", "blue house"]
    assert all(column for s in found for column in s.columns("phrase").values())


def test_instructions_before_a_prompt_are_not_in_its_typed_text():
    (encoder,) = memory("Lumina 2", "You are an assistant. <Prompt Start> a red\nfire truck").encoders
    assert encoder.typed == "a red\nfire truck"


def test_each_text_of_a_node_with_several_is_kept(host, pack_module):
    from comfy_extras.nodes_clip_sdxl import CLIPTextEncodeSDXL

    with torch.inference_mode():
        (made,) = CLIPTextEncodeSDXL.execute(
            clip_of("SDXL"), 64, 64, 0, 0, 64, 64, "a cat,\n" * 40 + "a zebra", "a\ndog"
        ).args
    assert {e.name: e.typed for e in made[0][1]["gsn"].encoders} == {
        "g": "a cat,\n" * 40 + "a zebra",
        "l": "a\ndog",
    }


def test_token_lists_that_a_text_node_joins_have_both_texts(pack_module):
    clip = clip_of("SDXL")
    tokens, more = clip.tokenize("a red\ncat"), clip.tokenize('a "blue" dog')
    for key in tokens:
        tokens[key].extend(more[key])
    found = clip.encode_from_tokens_scheduled(tokens)[0][1]["gsn"]
    assert {e.typed for e in found.encoders} == {'a red\ncat\na "blue" dog'}
    assert all(len(e.chunks) == 2 for e in found.encoders)


def test_changed_tokens_have_no_typed_text():
    clip = clip_of("SDXL")
    tokens = clip.tokenize("a red cat")
    (first, second, *rest) = tokens["l"][0]
    tokens["l"][0][:] = [first, (rest[0][0], 1.0), *rest]
    found = {e.name: e for e in clip.encode_from_tokens_scheduled(tokens)[0][1]["gsn"].encoders}
    assert found["l"].typed == "" and found["g"].typed == "a red cat"
    assert found["l"].text == "red red cat" and second not in tokens["l"][0]


def test_weights_that_a_pack_changes_leave_the_typed_text():
    clip = clip_of("SDXL")
    tokens = clip.tokenize(LINES)
    for chunk in tokens["l"]:
        chunk[:] = [(token, 1.3) for token, _ in chunk]
    assert clip.encode_from_tokens_scheduled(tokens)[0][1]["gsn"].encoders[0].typed == LINES


def test_subjects_of_a_part_that_an_encoder_cuts_off_are_not_chosen(subjects):
    text = "a blue dog or " * 140 + "a red fire truck"
    found, _ = subjects.choose_subjects((), memory("PixelDiT", text))
    assert "red fire truck" not in [s.label for s in found] and found


# --- what is not a string
@pytest.mark.parametrize("given", [["a cat", "a dog"], ("a cat",), 3, None])
def test_f6_what_is_not_a_string_is_handed_to_the_tokenizer_as_it_is(pack_module, monkeypatch, given):
    """A1111-style text nodes exchange the tokenizer while they encode, and call it with a list of texts."""
    clip = clip_of("SDXL").clone()

    class Tokenizer:
        def tokenize_with_weights(self, text, return_word_ids=False, **options):
            return {"l": [("tokens of", text)], "g": text}

    clip.tokenizer = Tokenizer()
    assert clip.tokenize(given) == {"l": [("tokens of", given)], "g": given}


def test_f6_a_tokenizer_that_returns_no_table_is_left_alone(pack_module):
    clip = clip_of("SDXL").clone()

    class Tokenizer:
        def tokenize_with_weights(self, text, return_word_ids=False, **options):
            return [text.upper()]

    clip.tokenizer = Tokenizer()
    assert clip.tokenize("a cat") == ["A CAT"]


# --- long prompts
def test_c5_interrupt_is_answered_while_a_long_prompt_is_read(pack_module):
    import comfy.model_management as management

    clip = clip_of("SDXL")
    tokens = clip.tokenize("a cat, " * 500)
    management.interrupt_current_processing(True)
    try:
        with pytest.raises(management.InterruptProcessingException):
            pack_module("gsn_ops.host.prompts.token_alignment").read_prompt(clip, tokens)
        assert not management.processing_interrupted()
    finally:
        management.interrupt_current_processing(False)


def test_c5_interrupt_is_answered_while_the_token_table_is_made(pack_module):
    import comfy.model_management as management

    found = memory("SDXL", "a cat, " * 50)
    management.interrupt_current_processing(True)
    try:
        with pytest.raises(management.InterruptProcessingException):
            pack_module("gsn_ops.host.prompts.conditioning").token_table(found)
    finally:
        management.interrupt_current_processing(False)


def test_c5_reading_takes_time_in_proportion_to_the_prompt(pack_module, monkeypatch):
    """Counted in calls of the tokenizer's decoder and in the tokens they get."""
    alignment = pack_module("gsn_ops.host.prompts.token_alignment")
    clip = clip_of("SDXL")

    def work(text: str) -> int:
        tokens, seen = clip.tokenize(text), []
        part = clip.tokenizer.clip_l
        decode = type(part).decode
        monkeypatch.setattr(
            part, "decode", lambda ids: seen.append(len(ids)) or decode(part, ids), raising=False
        )
        alignment.read_prompt(clip, tokens)
        monkeypatch.undo()
        return sum(seen)

    assert work("a red cat, " * 400) < 4.4 * work("a red cat, " * 100)
