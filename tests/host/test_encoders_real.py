"""Every text encoder of the host with its own tokenizer and code: the rows claimed for a word are those that change with the word."""

import pytest

from .encoders import SETUPS, SUBJECT
from .speaking import another, assert_rows_change, claims, clip_of, columns_in_attention, encode, encode_each, network


@pytest.fixture(params=SETUPS)
def spoken(request, pack):
    """(set-up, its CLIP that remembers)."""
    return SETUPS[request.param], clip_of(request.param)


def test_the_rows_claimed_for_a_word_are_those_that_change_with_it(spoken):
    setup, clip = spoken
    texts = dict.fromkeys(clip.tokenize(setup.prompt), setup.prompt)
    (_, extra), = encode_each(clip, texts)
    assert_rows_change(setup, clip, texts, lambda texts: encode_each(clip, texts), claims(extra["gsn"]))
    assert all(any(p.column is not None for p in e.pieces) == (e.name not in setup.unseen) for e in extra["gsn"].encoders)


def test_a_word_changes_its_columns_in_the_attention_and_is_refined(spoken, tiny):
    setup, clip = spoken
    model, conditioning = network(setup.architecture, tiny), encode(clip, setup.prompt)
    plain, first = model.first_maps(conditioning)
    *_, rows = words = claims(conditioning[0][1]["gsn"]).values()
    columns = columns_in_attention(setup, conditioning, rows)
    word = SUBJECT.split()[-1]
    for key in rows:
        wanted = sorted(c for name, found in columns.items() if name.split()[0] == key for c in found)
        texts = {**dict.fromkeys(clip.tokenize(setup.prompt), setup.prompt), key: another(clip, key, setup.prompt, word)}
        other, _ = model.first_maps(encode_each(clip, texts))
        change = other.log() - plain.log()
        change = (change - change.median(-1, keepdim=True).values).abs().mean((0, 1))  # without what a softmax takes from all alike
        assert [c + first for c in sorted(change.topk(len(wanted)).indices.tolist())] == wanted, key
    model.conditioning = conditioning
    both = [columns_in_attention(setup, conditioning, rows) for rows in words]
    assert model.refined(SUBJECT).subjects[0].columns == {name: both[0][name] + both[1][name] for name in columns}


@pytest.mark.parametrize("spoken, words, cut", [
    ("SDXL", 200, ()), ("Flux", 300, ()), ("HiDream", 200, ("t5xxl",)), ("PixelDiT", 550, ("gemma2_2b",)), ("LongCat", 550, ("qwen25_7b",)),
    ("Lens", 550, ("gpt_oss",)), ("Anima", 300, ()),
], indirect=["spoken"])
def test_a_word_at_the_end_of_a_long_prompt(spoken, words, cut, pack_module):
    """Chunks of CLIP, and what the others take; what they cut off has no rows, and that is said."""
    setup, clip = spoken
    text = "a blue dog or " * (words // 4) + setup.prompt
    texts = dict.fromkeys(clip.tokenize(text), text)
    (_, extra), = conditioning = encode_each(clip, texts)
    notes = [f"the text encoder {key} cuts this long prompt off after its first" for key in cut]
    assert len(extra["gsn"].notes) == len(notes) and all(map(str.startswith, extra["gsn"].notes, notes))
    if set(cut) == set(texts):
        with pytest.raises(ValueError, match=notes[0]):
            claims(extra["gsn"])
    else:
        assert_rows_change(setup, clip, texts, lambda texts: encode_each(clip, texts), claims(extra["gsn"]))
    assert pack_module("gsn_ops.host.prompt_tokens").check(conditioning).rows == conditioning[0][0].shape[1]
