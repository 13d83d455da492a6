"""Every text encoder of ComfyUI with its own tokenizer and code: the rows claimed for a word are those that
change with the word.
"""

import pytest

from ..support.text_encoder_checks import (
    another,
    assert_rows_change,
    claims,
    clip_of,
    columns_in_attention,
    encode,
    encode_each,
    most_changed,
    network,
)
from ..support.text_encoders import SETUPS, SUBJECT


@pytest.fixture(params=SETUPS)
def spoken(request, pack):
    """(set-up, its CLIP that remembers)."""
    return SETUPS[request.param], clip_of(request.param)


def test_the_rows_claimed_for_a_word_are_those_that_change_with_it(spoken):
    setup, clip = spoken
    texts = dict.fromkeys(clip.tokenize(setup.prompt), setup.prompt)
    ((_, extra),) = encode_each(clip, texts)
    assert_rows_change(setup, clip, texts, lambda texts: encode_each(clip, texts), claims(extra["gsn"]))
    assert all(
        any(p.column is not None for p in e.pieces) == (e.name not in setup.unseen)
        for e in extra["gsn"].encoders
    )


def test_a_word_changes_its_columns_in_the_attention_and_is_refined(spoken, tiny):
    setup, clip = spoken
    model, conditioning = network(setup.architecture, tiny), encode(clip, setup.prompt)
    plain = model.first_maps(conditioning)
    *_, rows = words = claims(conditioning[0][1]["gsn"]).values()
    columns = columns_in_attention(setup, conditioning, rows)
    word = SUBJECT.split()[-1]
    for key in rows:
        wanted = sorted(c for name, found in columns.items() if name.split()[0] == key for c in found)
        texts = {
            **dict.fromkeys(clip.tokenize(setup.prompt), setup.prompt),
            key: another(clip, key, setup.prompt, word),
        }
        assert most_changed(plain, model.first_maps(encode_each(clip, texts)), len(wanted)) == wanted, key
    model.conditioning = conditioning
    both = [columns_in_attention(setup, conditioning, rows) for rows in words]
    assert model.refined(SUBJECT).subjects[0].columns == {
        name: both[0][name] + both[1][name] for name in columns
    }


@pytest.mark.parametrize(
    "spoken, words, cut",
    [
        ("SDXL", 200, ()),
        ("Flux", 300, ()),
        ("HiDream", 200, ("t5xxl",)),
        ("PixelDiT", 550, ("gemma2_2b",)),
        ("LongCat", 550, ("qwen25_7b",)),
        ("Lens", 550, ("gpt_oss",)),
        ("Anima", 300, ()),
    ],
    indirect=["spoken"],
)
def test_a_word_at_the_end_of_a_long_prompt(spoken, words, cut, pack_module):
    """Chunks of CLIP, and what the others take; what they cut off has no rows, and that is said."""
    setup, clip = spoken
    text = "a blue dog or " * (words // 4) + setup.prompt
    texts = dict.fromkeys(clip.tokenize(text), text)
    ((_, extra),) = conditioning = encode_each(clip, texts)
    notes = [f"the text encoder {key} cuts this long prompt off after its first" for key in cut]
    assert len(extra["gsn"].notes) == len(notes) and all(map(str.startswith, extra["gsn"].notes, notes))
    if set(cut) == set(texts):
        with pytest.raises(ValueError, match=notes[0]):
            claims(extra["gsn"])
    else:
        assert_rows_change(setup, clip, texts, lambda texts: encode_each(clip, texts), claims(extra["gsn"]))
    assert (
        pack_module("gsn_ops.host.prompts.conditioning").read(conditioning)[0].rows
        == conditioning[0][0].shape[1]
    )


@pytest.mark.parametrize(
    "name, which, seen",
    [
        ("SD3", {"clip_l": False}, {"g", "t5xxl"}),
        ("SD3", {"clip_g": False}, {"l", "t5xxl"}),
        ("SD3", {"t5": False}, {"l", "g"}),
        ("HiDream", {"clip_l": False, "t5": False}, {"llama"}),
        ("HiDream", {"llama": False, "clip_g": False}, {"t5xxl"}),
        ("HunyuanImage", {"byt5": False}, {"qwen25_7b"}),
    ],
)
def test_an_encoder_that_is_not_loaded_has_no_rows(name, which, seen, pack, pack_module):
    """Its tokens are there all the same."""
    setup = SETUPS[name]
    clip = pack_module("gsn_ops.host.prompts.conditioning").with_token_metadata(setup.build(**which))
    texts = dict.fromkeys(clip.tokenize(setup.prompt), setup.prompt)
    ((_, extra),) = encode_each(clip, texts)
    assert {e.name for e in extra["gsn"].encoders if e.chunks} == seen
    assert_rows_change(setup, clip, texts, lambda texts: encode_each(clip, texts), claims(extra["gsn"]))


def test_every_text_encoder_that_the_host_gives_to_a_known_model_is_here(pack, pack_module):
    import comfy.supported_models

    layouts = pack_module("gsn_ops.host.architectures.family")
    known = [
        c
        for c in comfy.supported_models.models
        if layouts.FAMILIES.keys() & {cls.__name__ for cls in c.__mro__}
        and not layouts.REFUSED.keys() & {cls.__name__ for cls in c.__mro__}
    ]
    given = {config.__name__: config.clip_target(config.__new__(config), {}) for config in known}
    here = {setup.tokenizer.rsplit(".", 1)[-1] for setup in SETUPS.values()}
    assert {
        name for name, target in given.items() if target is not None and target.tokenizer.__name__ not in here
    } == set()
    assert {name for name, target in given.items() if target is None} == {
        "Flux2",
        "HiDream",
    }  # by a loader of their own only
