"""Which rows and columns change when a word of a prompt does: experiments on real tokenizers and ComfyUI's
own code.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tools.host_env.inprocess import pack_module

from .architectures import Architecture
from .networks import Made
from .text_encoders import INSTEAD, SETUPS, SUBJECT, Setup

BARE = {"\u2581", "\u0120"}  # marks of a word's beginning, alone
Texts = dict[str, str]  # key of an encoder -> what it shall read


@functools.cache
def clip_of(name: str):
    """The CLIP of a set-up, which remembers its prompts."""
    return pack_module("gsn_ops.host.prompts.conditioning").with_token_metadata(SETUPS[name].build())


def encode(clip, text: str) -> list:
    with torch.inference_mode():
        return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def encode_each(clip, texts: Texts) -> list:
    """CONDITIONING of another text for each encoder."""
    tokens = clip.tokenize(next(iter(texts.values())))
    with torch.inference_mode():
        return clip.encode_from_tokens_scheduled(
            {**tokens, **{key: clip.tokenize(text)[key] for key, text in texts.items()}}
        )


def text_tensors(conditioning: list) -> dict[str, Tensor]:
    """Name -> rows [.., N, C] of what an encode call made; "" is the conditioning itself."""
    ((rows, extra),) = conditioning
    more = {
        name: t for name, t in extra.items() if torch.is_tensor(t) and (t.ndim > 2 or name.endswith("_ids"))
    }
    return {"": rows[0]} | {name: t[0] if t.ndim > 2 else t.reshape(-1, 1) for name, t in more.items()}


def changes(a: list, b: list) -> dict[str, Tensor]:
    """How much each row of each tensor changed, the largest over layers and channels; those that stayed the
    same are left out.
    """
    a, b = text_tensors(a), text_tensors(b)
    found = {name: (a[name].float() - b[name].float()).abs().amax(-1) for name in a}
    found = {name: rows.amax(0) if rows.ndim > 1 else rows for name, rows in found.items()}
    return {name: rows for name, rows in found.items() if rows.any()}


def another(clip, key: str, text: str, word: str) -> str:
    """The text with another word in the place of the last `word`: as many tokens, and all that spell the word
    are different.
    """
    tokenizer = getattr(clip.tokenizer, key, None) or getattr(clip.tokenizer, f"clip_{key}")
    before = [entry[0] for chunk in clip.tokenize(text)[key] for entry in chunk]
    for instead in INSTEAD:
        changed = instead.join(text.rsplit(word, 1))
        after = [entry[0] for chunk in clip.tokenize(changed)[key] for entry in chunk]
        gone = [a for a, b in zip(before, after) if a != b]
        if (
            len(after) == len(before)
            and re.sub(r"\W", "", tokenizer.decode(gone)) == word
            and not BARE & {tokenizer.inv_vocab.get(a) for a in gone}
        ):
            return changed
    raise AssertionError(f"no other word of the same length for '{word}' in {key}")


def claims(memory, subject: str = SUBJECT) -> dict[str, dict[str, tuple[int, ...]]]:
    """word -> encoder -> the rows claimed for it. Those of a subject of several words are these together, in
    order.
    """
    subjects = pack_module("gsn_ops.subjects.resolve")

    def found(text: str) -> dict[str, tuple[int, ...]]:
        return subjects.resolve(pack_module("gsn_ops.subjects.syntax").parse_subjects(text), memory)[
            0
        ].columns("phrase")

    both, words = found(subject), {word: found(word) for word in SUBJECT.split()}
    for name, columns in both.items():
        assert columns[-sum(len(rows[name]) for rows in words.values()) :] == sum(
            (rows[name] for rows in words.values()), ()
        )
    return words


def assert_rows_change(
    setup: Setup, clip, texts: Texts, make: Callable[[Texts], list], claimed: dict
) -> None:
    """The rows that change (the most) with a word of one encoder's text are those claimed for it, in the
    tensor that is claimed.
    """
    plain = make(texts)
    for encoder in plain[0][1]["gsn"].encoders:
        for word, columns in claimed.items():
            rows, key = columns.get(encoder.name, ()), encoder.name
            if key not in texts:
                assert not rows
                continue
            if word not in encoder.text:  # cut off: nothing that stands there counts
                assert not rows and not changes(
                    plain, make({**texts, key: INSTEAD[0].join(texts[key].rsplit(word, 1))})
                )
                continue
            changed = changes(plain, make({**texts, key: another(clip, key, texts[key], word)}))
            if not rows:
                assert not changed and all(piece.column is None for piece in encoder.pieces)
                continue
            assert encoder.tensor in changed and set(changed) <= {encoder.tensor, "text_input_ids"}
            change = changed[encoder.tensor]
            assert sorted(change.topk(len(rows)).indices.tolist()) == sorted(rows), (key, word)
            if key not in setup.both_ways:
                assert int(change.nonzero()[0]) == min(rows)


@dataclass
class Spoken(Made):
    """A tiny network with a conditioning that its own text encoders made."""

    conditioning: list = field(default_factory=list)

    def prompts(self, louder, also) -> tuple[list, list]:
        positive = [[rows, {**extra, **also}] for rows, extra in self.conditioning]
        return positive, [
            [rows, {name: value for name, value in extra.items() if name != "gsn"}]
            for rows, extra in self.conditioning[:1]
        ]

    def first_maps(self, conditioning: list) -> tuple[Tensor, int]:
        """Attention of the image to each column in the first layer that is read [h, w, n], and the first
        column.
        """

        def look(probe, z, conds):
            probe.layers = 1
            with torch.no_grad():
                return next(iter(probe.maps_of(z).cross.values()))[0], probe.columns.start

        self.conditioning = conditioning
        return self.at_state(look)

    def refined(self, subject: str = SUBJECT):
        """The report of a refined run with the last conditioning; the picture is another one than without."""
        patched, book = self.tiny.attach(
            self.model,
            step=0,
            subjects=pack_module("gsn_ops.subjects.syntax").parse_subjects(subject),
        )
        refined = self.sample(patched)
        assert torch.isfinite(refined).all() and not torch.equal(refined, self.sample())
        report = book.last()
        assert report.recipes[0].updates == (2,) and report.recipes[0].subjects == tuple(subject.split(", "))
        return report


def most_changed(a: tuple[Tensor, int], b: tuple[Tensor, int], count: int) -> list[int]:
    """Of two `first_maps`: the columns that changed the most."""
    (a, first), (b, _) = a, b
    read = (a > 0).flatten(0, 1).all(0).nonzero().flatten()  # 0: between two spans, not read
    change = a[..., read].log() - b[..., read].log()
    change = (
        (change - change.median(-1, keepdim=True).values).abs().mean((0, 1))
    )  # without what a softmax takes from all alike
    return sorted((read[change.topk(count).indices] + first).tolist())


def network(arch: Architecture, tiny) -> Spoken:
    import comfy.model_patcher

    cpu = torch.device("cpu")
    with torch.inference_mode():
        return Spoken(
            arch, comfy.model_patcher.ModelPatcher(arch.build(), load_device=cpu, offload_device=cpu), tiny
        )


def columns_in_attention(
    setup: Setup, conditioning: list, rows: dict[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """Where a word with these rows is in the network's attention, by the numbers written down for this
    set-up.
    """
    starts = setup.starts({name: made.shape[-2] for name, made in text_tensors(conditioning).items()})
    seen = rows | {name: rows[name.split()[0]] for name in starts if name.split()[0] in rows}
    return {
        name: tuple(row + starts.get(name, 0) for row in found)
        for name, found in seen.items()
        if name not in setup.blind
    }
