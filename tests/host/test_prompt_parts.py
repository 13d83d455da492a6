"""Prompts in several parts: every word of every part has its true row, in one conditioning entry or in
several; what cannot be read is named.
"""

import copy
import pickle

import pytest
import torch

from ..support.text_encoder_checks import clip_of, encode, most_changed, network
from ..support.text_encoders import SETUPS

FIRST, SECOND = "a red circle", "a blue square and a green triangle"


@pytest.fixture(scope="module")
def pt(pack_module):
    return pack_module("gsn_ops.host.prompts.conditioning")


def concat(host, *conditionings):
    made, *more = conditionings
    for other in more:
        (made,) = host.ConditioningConcat().concat(made, other)
    return made


def found_in(subjects, tokens, typed=""):
    found, notes = subjects.choose_subjects(subjects.parse_subjects(typed), tokens)
    return {s.label: dict(s.noun) for s in found}, notes


# --- concatenated
def test_b1_automatic_subjects_of_both_parts_have_their_true_columns(host, tiny, pt, subjects):
    both = concat(host, tiny.encode(FIRST), tiny.encode(SECOND))
    (tokens,) = pt.read(both)
    assert tokens.rows == 154 and tokens.notes == ()
    found, notes = found_in(subjects, tokens)
    assert found == {"red circle": {"l": (3,)}, "blue square": {"l": (80,)}, "green triangle": {"l": (84,)}}
    assert notes == ()


@pytest.mark.parametrize(
    "typed", ["blue square", "red circle, green triangle", "triangle, circle, square", "square*"]
)
def test_b1_typed_subjects_may_be_in_any_part(host, tiny, typed):
    both = concat(host, tiny.encode(FIRST), tiny.encode(SECOND))
    parse = tiny.module("gsn_ops.subjects.syntax").parse_subjects
    patched, book = tiny.attach(subjects=parse(typed))
    tiny.sample(patched, positive=both)
    report = book.last()
    assert [s.label for s in report.subjects] == [p.label for p in parse(typed)]
    assert not [w for w in report.warnings if "part" in w or "append" in w]


def test_b1_the_rows_claimed_in_a_later_part_are_those_that_change_with_the_word(host, tiny, pt, subjects):
    texts = [FIRST, "a blue square", "a green triangle"]
    made = concat(host, *map(tiny.encode, texts))
    found, _ = found_in(subjects, pt.read(made)[0])
    for n, label in enumerate(("red circle", "blue square", "green triangle")):
        word = label.split()[1]
        changed = [text.replace(word, "star") if n == k else text for k, text in enumerate(texts)]
        rows = (made[0][0] != concat(host, *map(tiny.encode, changed))[0][0]).any(-1)[0]
        assert found[label]["l"] == (int(rows.nonzero()[0]),)


def test_b1_a_phrase_does_not_cross_from_one_part_into_the_next(host, tiny, pt, subjects):
    both = concat(host, tiny.encode("a circle and a red"), tiny.encode("square and a blue triangle"))
    (tokens,) = pt.read(both)
    assert "red square" not in found_in(subjects, tokens)[0]
    _, notes = found_in(subjects, tokens, "red square")
    assert any("do not stand together" in note for note in notes)


@pytest.mark.parametrize("name", ["SDXL", "Flux", "SD3", "Qwen-Image"])
def test_b1_parts_on_other_text_encoders(name, host, tiny, pack):
    clip = clip_of(name)
    both = concat(host, encode(clip, "a blue dog"), encode(clip, "a red fire truck"))
    model = network(SETUPS[name].architecture, tiny)
    model.conditioning = both
    report = model.refined("fire truck, dog")
    assert [s.label for s in report.subjects] == ["fire truck", "dog"]
    other = concat(host, encode(clip, "a blue dog"), encode(clip, "a red gold truck"))
    wanted = sorted(c for columns in report.subjects[0].columns.values() for c in columns)
    assert most_changed(model.first_maps(both), model.first_maps(other), 1)[0] in wanted


def test_b1_other_nodes_after_a_concat_keep_the_parts(host, tiny, pt, subjects):
    both = concat(host, tiny.encode(FIRST), tiny.encode(SECOND))
    (scaled,) = host.ConditioningSetTimestepRange().set_range(both, 0.0, 0.5)
    masked = host.ConditioningSetMask().append(scaled, torch.ones(1, 8, 8), "default", 1.0)[0]
    assert len(found_in(subjects, pt.read(masked)[0])[0]) == 3
    out = pt.with_subjects(both, subjects.parse_subjects("green triangle, red circle"))
    again = concat(host, out, tiny.encode("a yellow star"))
    assert list(found_in(subjects, pt.read(again)[0])[0]) == ["green triangle", "red circle"]


def test_b1_a_part_without_our_clip_is_said(host, tiny, pt, subjects):
    other = tiny.encode("a yellow star that nobody has remembered", plain=True)
    for parts, rows in (
        ((tiny.encode(FIRST), other), "77 to 153"),
        ((tiny.encode(FIRST), other, tiny.encode(SECOND)), "77 to 153"),
        ((other, tiny.encode(SECOND)), "0 to 76"),
    ):
        (tokens,) = pt.read(concat(host, *parts))
        (note,) = tokens.notes
        assert note.startswith(f"a part of the prompt cannot be read (rows {rows}, ")
        found, _ = found_in(subjects, tokens)
        assert found and "yellow star" not in found
    assert found["blue square"] == {"l": (80,)}


def test_b1_a_scaled_conditioning_is_no_blend(host, tiny, pt):
    (scaled,) = host.ConditioningMultiply().multiply(tiny.encode(FIRST), 0.7)
    assert pt.read(scaled)[0].notes == ()
    (both,) = host.ConditioningMultiply().multiply(concat(host, tiny.encode(FIRST), tiny.encode(SECOND)), 1.2)
    assert pt.read(both)[0].notes == () and pt.read(both)[0].rows == 154


# --- averaged
def test_b1_an_average_knows_both_prompts_and_their_shares(host, tiny, pt, subjects):
    (mean,) = host.ConditioningAverage().addWeighted(tiny.encode(FIRST), tiny.encode(SECOND), 0.7)
    (tokens,) = pt.read(mean)
    assert any("(70%) and 'a blue square and a green triangle'" in note for note in tokens.notes)
    assert list(found_in(subjects, tokens)[0]) == ["red circle"]  # the greater share
    assert found_in(subjects, tokens, "green triangle, red circle")[0] == {
        "green triangle": {"l": (7,)},
        "red circle": {"l": (3,)},
    }
    (mean,) = host.ConditioningAverage().addWeighted(tiny.encode(FIRST), tiny.encode(SECOND), 0.2)
    assert list(found_in(subjects, pt.read(mean)[0])[0]) == ["blue square", "green triangle"]


def test_b1_an_average_with_a_longer_prompt_ends_where_the_first_one_does(host, tiny, pt, subjects):
    long = "a circle, " * 40 + "a yellow star"
    (mean,) = host.ConditioningAverage().addWeighted(tiny.encode(FIRST), tiny.encode(long), 0.5)
    (tokens,) = pt.read(mean)
    assert tokens.rows == 77 and max(c[2] for e in tokens.encoders for c in e.chunks) == 77
    with pytest.raises(ValueError, match="'yellow star' is in the prompt, but"):
        found_in(subjects, tokens, "yellow star")


def test_b1_an_average_with_an_unknown_prompt_is_said(host, tiny, pt):
    plain = tiny.encode("a star seen by a stock clip", plain=True)
    (mean,) = host.ConditioningAverage().addWeighted(tiny.encode(FIRST), plain, 0.5)
    (note,) = pt.read(mean)[0].notes
    assert "averaged?" in note


def test_b1_an_averaged_prompt_in_a_concat(host, tiny, pt, subjects):
    (mean,) = host.ConditioningAverage().addWeighted(tiny.encode(FIRST), tiny.encode("a star"), 0.9)
    (tokens,) = pt.read(concat(host, mean, tiny.encode(SECOND)))
    assert list(found_in(subjects, tokens)[0]) == ["red circle", "blue square", "green triangle"]


# --- what is remembered
def test_remembering_adds_nothing_to_a_conditioning(tiny, pt):
    a, clip = tiny.encode(FIRST), pt.with_token_metadata(tiny.plain_clip)
    with torch.inference_mode():
        b = tiny.host.CLIPTextEncode().encode(clip, FIRST)[0]
    assert a[0][1][pt.KEY] == b[0][1][pt.KEY] == copy.deepcopy(a[0][1][pt.KEY])
    assert len(pickle.dumps(a[0][1][pt.KEY])) < 2000


def test_the_memory_has_a_limit_and_what_is_used_stays(tiny, pack_module, monkeypatch):
    module = pack_module("gsn_ops.host.prompts.encoded_prompts")
    prompts = [tiny.encode(f"a {word} circle") for word in ("red", "blue", "green", "black", "white")]
    monkeypatch.setattr(module, "MAX_PROMPTS", 3)  # not before: the pack's own memory would forget
    memory = module.EncodedPrompts()
    for ((rows, extra),) in prompts[:3]:
        memory.record(rows, extra["gsn"], True)
    assert len(memory.parts(prompts[0][0][0])[0]) == 1  # used: the newest again
    for ((rows, extra),) in prompts[3:]:
        memory.record(rows, extra["gsn"], True)
    assert [len(memory.parts(rows)[0]) for ((rows, _),) in prompts] == [1, 0, 0, 1, 1]
    monkeypatch.setattr(module, "MAX_PIECES", 4)
    memory.record(prompts[1][0][0], prompts[1][0][1]["gsn"], True)
    assert len(list(memory)) == 1


def test_a_stock_conditioning_is_not_recognised_because_ours_has_encoded_the_same_text(tiny, pt):
    tiny.encode("a pink circle of both kinds")
    with pytest.raises(ValueError, match="no token data from this pack"):
        pt.read(tiny.encode("a pink circle of both kinds", plain=True))


# --- text nodes that encode by themselves
def own_encode(clip, text):
    """As text nodes of other packs do: rows and a dictionary of their own."""
    with torch.inference_mode():
        rows, pooled = clip.encode_from_tokens(clip.tokenize(text), return_pooled=True)
    return [[rows, {"pooled_output": pooled}]]


def test_f2_a_conditioning_from_encode_from_tokens_is_recognised(tiny, pt, subjects):
    patched, book = tiny.attach()
    tiny.sample(patched, positive=own_encode(tiny.clip, "a yellow circle and a blue star"))
    assert [s.label for s in book.last().subjects] == ["yellow circle", "blue star"]


@pytest.mark.parametrize("how", ["dict", "rows alone"])
def test_f2_every_form_of_encode_from_tokens_is_recognised(tiny, pt, subjects, how):
    with torch.inference_mode():
        tokens = tiny.clip.tokenize(f"a green star and a cross {how}")
        if how == "dict":
            rows = tiny.clip.encode_from_tokens(tokens, return_dict=True)["cond"]
        else:
            rows = tiny.clip.encode_from_tokens(tokens)
    assert "green star" in found_in(subjects, pt.read([[rows, {}]])[0])[0]


def test_f2_a_node_that_splits_at_break_and_joins_by_itself(host, tiny, pt, subjects):
    made = concat(host, *(own_encode(tiny.clip, part) for part in (FIRST, SECOND)))
    assert found_in(subjects, pt.read(made)[0])[0] == {
        "red circle": {"l": (3,)},
        "blue square": {"l": (80,)},
        "green triangle": {"l": (84,)},
    }


def test_f2_a_node_that_inverts_or_scales_the_weights_of_all_words(tiny, pt, subjects):
    tokens = {
        key: [[(token, 1.4) for token, _ in chunk] for chunk in chunks]
        for key, chunks in tiny.clip.tokenize("a white circle and a star").items()
    }
    with torch.inference_mode():
        rows = tiny.clip.encode_from_tokens(tokens)
    assert list(found_in(subjects, pt.read([[rows, {}]])[0])[0]) == ["white circle", "star"]


def test_f2_a_node_that_weighs_single_rows_afterwards(tiny, pt, subjects):
    """As A1111's weights do: rows of words times a factor, all rows times another."""
    with torch.inference_mode():
        rows = tiny.clip.encode_from_tokens(tiny.clip.tokenize("a black circle and a red star")).clone()
        rows[:, 2] *= 1.3
        rows[:, 6] += 0.4 * rows[:, 9]
    (tokens,) = pt.read([[0.9 * rows, {}]])
    assert list(found_in(subjects, tokens)[0]) == ["black circle", "red star"]
    assert any("weights of some words" in note for note in tokens.notes)


def test_f2_a_conditioning_of_other_words_is_not_recognised(tiny, pt):
    with torch.inference_mode():
        rows = tiny.clip.encode_from_tokens(tiny.clip.tokenize("a purple ring")).clone()
    make = torch.Generator().manual_seed(4)
    with pytest.raises(ValueError, match="no token data from this pack"):
        pt.read([[rows + torch.randn(rows.shape, generator=make), {}]])


def test_f2_a_negative_prompt_of_the_same_clip_is_not_taken_for_the_positive(tiny, pt, subjects):
    own_encode(tiny.clip, "a grey ring"), own_encode(tiny.clip, "a grey box")
    assert list(found_in(subjects, pt.read(own_encode(tiny.clip, "a grey ring"))[0])[0]) == ["grey ring"]
