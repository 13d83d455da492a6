"""Prompt-to-Prompt without ComfyUI: which columns take which, reweighting, shares, and what is refused."""

import pytest
import torch

from gsn_ops.modulate.pair_edit import PromptToPrompt
from gsn_ops.modulate.prompt_alignment import aligned, words_of
from gsn_ops.modulate.prompt_to_prompt import MapEdit, refined_maps, replacement, reweighted
from gsn_ops.prompt import EncoderTokens, Piece, PromptTokens, SubjectPhrase

ROWS = 16


def prompt(*words: str, rows: int = ROWS, name: str = "l") -> PromptTokens:
    """A prompt in one chunk. A word with "|" has several pieces; another chunk begins after "/"."""
    text, pieces, column = " ".join(words).replace("|", ""), [], 1
    at = 0
    for word in words:
        for piece in word.split("|"):
            pieces.append(Piece(piece, at, at + len(piece), column))
            at, column = at + len(piece), column + 1
        at += 1
    return PromptTokens((EncoderTokens(name, text, tuple(pieces), ((1, column, rows),)),), rows)


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_replace_takes_word_for_word_as_the_formula_says():
    source, target = prompt("a", "cat", "sit|ting"), prompt("a", "tig|er", "sit|ting")
    for published in (False, True):
        found = aligned(source, target, "replace", published)
        assert torch.equal(found.take, replacement([1, 1, 2], [1, 2, 2], [1], ROWS, published))
        assert found.kind == "replace" and found.changed == (("cat", "tiger"),)
    assert aligned(source, target, "auto").kind == "replace"


def test_refine_keeps_what_both_prompts_have_and_leaves_new_words_alone():
    source, target = (
        prompt("a", "cat", "and", "a", "dog"),
        prompt("a", "red", "cat", "and", "a", "small", "dog"),
    )
    found = aligned(source, target, "auto")
    assert found.kind == "refine" and found.changed == (("", "red"), ("", "small"))
    assert found.matched[[2, 6]].sum() == 0 and found.matched[:9].sum() == 7
    a, b = random(2, ROWS), random(2, ROWS, seed=1)
    edit = MapEdit(found.take, found.matched, torch.ones(ROWS), torch.ones(ROWS))
    clean = refined_maps(a[:, 1:6], b[:, 1:8], [0, -1, 1, 2, 3, -1, 4])
    assert torch.allclose(edit.edited(a, b)[:, 1:8], clean)
    assert torch.allclose(edit.edited(a, b)[:, 8], a[:, 6])  # the end markers


def test_refine_as_published_copies_the_padding_by_target_position():
    source, target = prompt("a", "cat"), prompt("a", "red", "cat")
    clean, published = (aligned(source, target, "refine", rule).take for rule in (False, True))
    assert clean[4, 5] == 1 and clean[5, 5] == 0  # the first padding of each
    assert published[5, 5] == 1 and published[4, 5] == 0
    assert torch.equal(clean[:4, :5], published[:4, :5])


def test_equal_prompts_take_every_column_from_its_own_place():
    for kind in ("replace", "refine"):
        found = aligned(prompt("a", "big|ger", "dog"), prompt("a", "big|ger", "dog"), kind)
        assert torch.equal(found.take, torch.eye(ROWS)) and found.matched.all() and not found.changed


def test_replace_of_other_numbers_of_words_lists_them_with_their_positions():
    with pytest.raises(ValueError) as error:
        aligned(prompt("a", "cat"), prompt("a", "red", "cat"), "replace")
    assert "source, 2: 1 a, 2 cat; target, 3: 1 a, 2 red, 3 cat" in str(error.value)
    assert "choose 'refine' or 'auto'" in str(error.value)


def test_encoders_that_share_rows_count_once_and_others_have_their_own_columns():
    one, other = prompt("a", "cat"), prompt("a", "dog")
    both = [PromptTokens((*t.encoders, prompt("x", name="g").encoders[0]), ROWS) for t in (one, other)]
    assert torch.equal(aligned(*both, "replace").take, aligned(one, other, "replace").take)


def test_a_text_without_spaces_is_replaced_piece_by_piece_or_refined():
    assert aligned(prompt("ab|cd"), prompt("ab|ef"), "auto").kind == "replace"
    assert aligned(prompt("ab|cd"), prompt("ab|ef|cd"), "auto").kind == "refine"
    assert [w.text for w in words_of(prompt("a", "b|c").encoders[0])] == ["a", "bc"]


def test_reweighting_as_published_and_with_rows_that_keep_their_sum():
    maps, factors = random(3, 5).softmax(-1), torch.tensor([1.0, 1.4, 1.0, 0.0, -1.0])
    assert torch.allclose(reweighted(maps, factors, published=True), factors * maps)
    ours = reweighted(maps, factors)
    assert torch.allclose(ours.abs().sum(-1), torch.ones(3)) and (ours[:, 3] == 0).all()
    assert torch.allclose(ours[:, 1] / ours[:, 0], 1.4 * maps[:, 1] / maps[:, 0]) and (ours[:, 4] < 0).all()
    assert torch.allclose(reweighted(maps, torch.ones(5)), maps)


def test_shares_are_of_single_columns_and_outside_them_the_target_keeps_its_own():
    a, b = random(2, 4), random(2, 4, seed=1)
    share = torch.tensor([1.0, 0.0, 1.0, 0.0])
    edit = MapEdit(torch.eye(4), torch.ones(4), torch.ones(4), share)
    made = edit.edited(a, b)
    assert torch.equal(made[:, 0::2], a[:, 0::2]) and torch.equal(made[:, 1::2], b[:, 1::2])


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"cross_share": 1.5}, "cross_share is 1.5: it is a share of the steps, from 0 to 1"),
        ({"cross_share": float("nan")}, "cross_share is nan"),
        (
            {"self_share": -0.5},
            "self_share is -0.5: it is a share of the steps, from 0 to 1 (-1 = as published)",
        ),
        ({"word_shares": ((SubjectPhrase("star", "star"), 2.0),)}, "word_shares: 'star' is 2"),
        ({"blend_start": 2.0}, "blend_start is 2"),
        ({"threshold": 1.0}, "blend_threshold is 1: choose between 0"),
        ({"kind": "swap"}, "edit is 'swap': choose one of auto, replace, refine"),
        ({"blocks": "first"}, "blocks is 'first'"),
    ],
)
def test_settings_that_no_run_can_have_are_refused(settings, cause):
    with pytest.raises(ValueError) as error:
        PromptToPrompt(**settings).check()
    assert cause in str(error.value)


def test_disabled_is_what_changes_nothing():
    off = {"cross_share": 0.0, "self_share": 0.0}
    assert PromptToPrompt(**off).disabled and not PromptToPrompt().disabled
    assert not PromptToPrompt(**off, blend=(SubjectPhrase("star", "star"),)).disabled
    assert not PromptToPrompt(**off, word_shares=((SubjectPhrase("star", "star"), 0.4),)).disabled
    assert PromptToPrompt().self_share_on(unet=True) == 0.4
    assert PromptToPrompt().self_share_on(unet=False) == 0.2
    assert PromptToPrompt(self_share=0.7).self_share_on(unet=False) == 0.7
