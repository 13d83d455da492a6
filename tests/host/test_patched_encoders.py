"""Text encoders whose `encode_token_weights` another pack has replaced: the tokens keep their columns.

The stand-ins behave as the packs do: a partial on the module that puts keys and values into rows of their
own (NegPip), a closure around the module's own method that blends encodings (styles of prompt-control), and
a method that is left on the instance after the patch was taken off.
"""

from functools import partial

import pytest
import torch

PROMPT = "a red circle and a blue square"
COLUMNS = {"red circle": {"l": (3,)}, "blue square": {"l": (7,)}}


@pytest.fixture(scope="module")
def pt(pack_module):
    return pack_module("gsn_ops.host.prompts.conditioning")


@pytest.fixture
def fresh(tiny):
    """MODEL and CLIP with an encoder of their own: a patch may stay on it."""
    model, clip, _ = tiny.load()
    return model, clip


def patched(clip, patch):
    """A clone of the CLIP with this function as its encoder's encode_token_weights."""
    clip = clip.clone()
    path = "clip_l.encode_token_weights"
    clip.patcher.add_object_patch(path, patch(clip.patcher.model.clip_l, clip.patcher.get_model_object(path)))
    return clip


def keys_and_values(encoder, _):
    """Every row twice, the second one with the sign of its weight."""

    def encode(self, pairs):
        out, pooled = self.encode([[token for token, *_ in chunk] for chunk in pairs])[:2]
        weights = torch.tensor([weight for chunk in pairs for _, weight, *_ in chunk])
        rows = out.reshape(1, -1, out.shape[-1])
        return torch.stack((rows, rows * weights.sign()[:, None]), 2).flatten(1, 2), pooled[:1]

    return partial(encode, encoder)


def style(_, method):
    """A blend of two encodings of the module's own method."""
    mask = 267

    def encode(pairs):
        masked = [[(mask if n == 5 else chunk[n][0], 1.0) for n in range(len(chunk))] for chunk in pairs]
        (full, pooled, *more), (other, *_) = method(pairs), method(masked)
        return (0.7 * full + 0.3 * other, pooled, *more)

    def outer(pairs):
        return encode(pairs)

    return outer


def bound(encoder, _):
    """A method of another name."""
    return type(encoder).encode_token_weights.__get__(encoder)


def encode(tiny, clip, text=PROMPT):
    with torch.inference_mode():
        return tiny.host.CLIPTextEncode().encode(clip, text)[0]


def columns(subjects, tokens):
    return {s.label: dict(s.noun) for s in subjects.choose_subjects((), tokens)[0]}


class OwnEngine:
    """An encoder of the pack's own around the module."""

    def __init__(self, encoder):
        self.module = encoder
        self.method = type(encoder).encode_token_weights.__get__(encoder)

    def encode_token_weights(self, pairs):
        return self.method(pairs)


def engine(encoder, _):
    return OwnEngine(encoder).encode_token_weights


@pytest.mark.parametrize("patch", [style, keys_and_values, bound, engine])
@pytest.mark.parametrize("order", ["patched after", "patched before"])
def test_f5_the_words_of_a_patched_encoder_are_found(tiny, fresh, pt, subjects, patch, order):
    _, clip = fresh
    clip = pt.with_token_metadata(clip) if order == "patched after" else clip
    clip = patched(clip, patch)
    clip = clip if order == "patched after" else pt.with_token_metadata(clip)
    (tokens,) = pt.read(encode(tiny, clip))
    assert columns(subjects, tokens) == COLUMNS and tokens.notes == ()
    assert tokens.rows == 77 and tokens.rows_per_key == (2 if patch is keys_and_values else 1)


@pytest.mark.parametrize("patch", [style, keys_and_values, bound])
def test_f5_other_nodes_on_the_same_checkpoint_are_read_afterwards(tiny, fresh, pt, subjects, patch):
    """ComfyUI leaves the original method on the instance when the patch is taken off."""
    _, clip = fresh
    changed = encode(tiny, patched(pt.with_token_metadata(clip), patch))
    plain = encode(tiny, pt.with_token_metadata(clip))
    assert plain[0][0].shape[1] == 77 and columns(subjects, pt.read(plain)[0]) == COLUMNS
    assert torch.equal(plain[0][0], encode(tiny, clip)[0][0])
    assert pt.read(changed)[0].rows_per_key == (2 if patch is keys_and_values else 1)


def test_f5_reading_leaves_the_patch_and_the_encoder_alone(tiny, fresh, pt):
    _, clip = fresh
    calls = []

    def counted(_, method):
        def encode(pairs):
            calls.append(pairs)
            return method(pairs)

        return encode

    clip = patched(pt.with_token_metadata(clip), counted)
    encode(tiny, clip)
    encoder = clip.cond_stage_model.clip_l
    patch = clip.patcher.object_patches["clip_l.encode_token_weights"]
    assert encoder.encode_token_weights is patch and len(calls) == 2  # the encoding, and its trace
    assert patch.__closure__[1].cell_contents.__self__ is encoder


def test_f5_keys_and_values_in_rows_of_their_own_are_nursed(tiny, fresh, pt):
    """The attention patch takes the rows apart, so the attention has half as many keys."""
    model, clip = fresh
    clip = patched(pt.with_token_metadata(clip), keys_and_values)
    doubled = model.clone()
    doubled.set_model_attn2_patch(lambda q, k, v, options: (q, k[:, 0::2], v[:, 1::2]))
    run, book = tiny.attach(doubled)
    ours = tiny.sample(run, positive=encode(tiny, clip), negative=encode(tiny, clip, ""))
    plain_run, plain_book = tiny.attach(model)
    plain_clip = pt.with_token_metadata(fresh[1])
    theirs = tiny.sample(plain_run, positive=encode(tiny, plain_clip), negative=encode(tiny, plain_clip, ""))
    assert [s.columns for s in book.last().subjects] == [s.columns for s in plain_book.last().subjects]
    assert book.last().recipes[0].updates and (ours - theirs).abs().max() < 1e-4  # all weights are 1


def test_f5_two_doubled_parts_keep_their_columns(tiny, fresh, pt, subjects, host):
    clip = patched(pt.with_token_metadata(fresh[1]), keys_and_values)
    (both,) = host.ConditioningConcat().concat(
        encode(tiny, clip, "a red circle"), encode(tiny, clip, "a blue square")
    )
    (tokens,) = pt.read(both)
    assert tokens.rows == 154 and columns(subjects, tokens)["blue square"] == {"l": (80,)}
