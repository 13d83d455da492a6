"""Every text encoder of the host with its own tokenizer and code: the rows claimed for a word are those that change with the word."""

import re
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from .architectures import Architecture
from .encoders import INSTEAD, SETUPS, SUBJECT, Setup
from .test_architectures import Made

BARE = ("\u2581", "\u0120")  # marks of a word's beginning, alone


@pytest.fixture(scope="module", params=SETUPS)
def spoken(request, host, pack_module):
    """(set-up, its CLIP that remembers)."""
    setup = SETUPS[request.param]
    return setup, pack_module("gsn_ops.host.prompt_tokens").remember(setup.build())


def encode(clip, tokens) -> tuple[dict, object]:
    """({name of a tensor of text: rows [N, C]}, the memory) of an encode call."""
    with torch.inference_mode():
        ((rows, extra),) = clip.encode_from_tokens_scheduled(tokens)
    tensors = {name: t for name, t in extra.items() if torch.is_tensor(t) and (t.ndim > 2 or name.endswith("_ids"))}
    return {"": rows[0]} | {name: t[0] if t.ndim > 2 else t.reshape(-1, 1) for name, t in tensors.items()}, extra["gsn"]


def changes(a: dict, b: dict) -> dict[str, torch.Tensor]:
    """How much each row of each tensor changed, largest over layers and channels; tensors that stayed the same are left out."""
    found = {name: (a[name].float() - b[name].float()).abs().amax(-1) for name in a}
    found = {name: rows.amax(0) if rows.ndim > 1 else rows for name, rows in found.items()}
    return {name: rows for name, rows in found.items() if rows.any()}


def ids(chunks) -> list:
    return [entry[0] for chunk in chunks for entry in chunk]


def other_word(clip, text: str, word: str, key: str) -> list:
    """Tokens of `key` for another word in the place of `word`: the same number, and all that spell the word are different."""
    tokenizer = getattr(clip.tokenizer, key, None) or getattr(clip.tokenizer, f"clip_{key}")
    before = ids(clip.tokenize(text)[key])
    for instead in INSTEAD:
        chunks = clip.tokenize(text.replace(word, instead))[key]
        after = ids(chunks)
        if len(after) == len(before):
            spelled = tokenizer.decode([a for a, b in zip(before, after) if a != b])
            if re.sub(r"\W", "", spelled) == word and not set(BARE) & {tokenizer.inv_vocab.get(a) for a, b in zip(before, after) if a != b}:
                return chunks
    raise AssertionError(f"no other word of the same length for '{word}' in {key}")


def claims(pack_module, memory) -> dict[str, dict[str, tuple[int, ...]]]:
    """word -> encoder -> the rows claimed for it. Those of the subject of both words are the two together, in order."""
    subjects = pack_module("gsn_ops.subjects")
    both, *words = (dict(subjects.resolve(subjects.parse_subjects(text), memory)[0].columns("phrase")) for text in (SUBJECT, *SUBJECT.split()))
    assert both == {name: words[0][name] + words[1][name] for name in both} and set(both) == set(words[0]) == set(words[1])
    return dict(zip(SUBJECT.split(), words))


def test_the_rows_claimed_for_a_word_are_those_that_change_with_it(spoken, pack_module):
    setup, clip = spoken
    tokens = clip.tokenize(setup.prompt)
    plain, memory = encode(clip, tokens)
    claimed = claims(pack_module, memory)
    for encoder in memory.encoders:
        for word, columns in claimed.items():
            rows = columns.get(encoder.name, ())
            other = other_word(clip, setup.prompt, word, encoder.name)
            changed = changes(plain, encode(clip, {**tokens, encoder.name: other})[0])
            if encoder.name in setup.unseen:
                assert not rows and not changed
                continue
            assert encoder.tensor in changed and set(changed) <= {encoder.tensor, "text_input_ids"}
            change = changed[encoder.tensor]
            assert sorted(change.topk(len(rows)).indices.tolist()) == sorted(rows), (encoder.name, word)
            if encoder.name not in setup.both_ways:
                assert int(change.nonzero()[0]) == min(rows)


@dataclass
class Spoken(Made):
    """A tiny network with the conditioning that its own text encoders make."""

    clip: object = None
    tokens: dict | None = None

    def prompts(self, louder, also) -> tuple[list, list]:
        ((rows, extra),) = self.clip.encode_from_tokens_scheduled(self.tokens)
        return [[rows, {**extra, **also}]], [[rows, {name: value for name, value in extra.items() if name != "gsn"}]]

    def first_maps(self, tokens: dict) -> tuple[Tensor, int]:
        """Attention of the image to each column in the first layer that is read [h, w, n], and the first column."""
        def look(probe, z, conds):
            probe.layers = 1
            with torch.no_grad():
                return next(iter(probe.maps_of(z).cross.values()))[0], probe.columns.start
        self.tokens = tokens
        return self.at_state(look)


def with_voice(arch: Architecture, tiny, clip) -> Spoken:
    import comfy.model_patcher

    cpu = torch.device("cpu")
    with torch.inference_mode():
        return Spoken(arch, comfy.model_patcher.ModelPatcher(arch.build(), load_device=cpu, offload_device=cpu), tiny, clip=clip)


def columns_in_attention(setup: Setup, tensors: dict, claimed: dict) -> dict[str, tuple[int, ...]]:
    """Where the words of `claimed` are in the network's attention, by the numbers written down for this set-up."""
    starts = setup.starts({name: rows.shape[-2] for name, rows in tensors.items()})
    seen = claimed | {name: claimed[name.split()[0]] for name in starts}
    return {name: tuple(row + starts.get(name, 0) for row in rows) for name, rows in seen.items() if name not in setup.blind}


def test_a_word_changes_its_columns_in_the_attention_and_is_refined(spoken, tiny, pack_module):
    setup, clip = spoken
    network = with_voice(setup.architecture, tiny, clip)
    tokens = clip.tokenize(setup.prompt)
    tensors, memory = encode(clip, tokens)
    plain, first = network.first_maps(tokens)
    expected = {}
    for word, rows in claims(pack_module, memory).items():
        columns = columns_in_attention(setup, tensors, rows)
        expected = {name: expected.get(name, ()) + found for name, found in columns.items()}
        for key in rows:
            wanted = sorted(c for name, found in columns.items() if name.split()[0] == key for c in found)
            other, _ = network.first_maps({**tokens, key: other_word(clip, setup.prompt, word, key)})
            change = other.log() - plain.log()
            change = (change - change.median(-1, keepdim=True).values).abs().mean((0, 1))
            assert [c + first for c in sorted(change.topk(len(wanted)).indices.tolist())] == wanted, (key, word)

    network.tokens = tokens
    said = []
    patched, book = tiny.attach(network.model, said.append, step=0, subjects=pack_module("gsn_ops.subjects").parse_subjects(SUBJECT))
    refined = network.sample(patched)
    assert torch.isfinite(refined).all() and not torch.equal(refined, network.sample())
    report = book.last()
    assert report.actions[0].shifts == (2,) and f"[{SUBJECT}]" in said[0]
    assert report.subjects[0].columns == expected
