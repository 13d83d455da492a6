"""Trains the part-of-speech tagger of the built-in parser: an averaged structured perceptron, in minutes.

Text: the English Web Treebank of Universal Dependencies (annotations CC BY-SA 4.0) in a folder of yours, and
captions made of our own word lists. The same texts and seed give the same file.
"""

from __future__ import annotations

import argparse
import json
import random
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gsn_ops.subjects.tagger import BUCKETS, FILE, TAGS, best_path, features

from .made_captions import Maker, Tagged
from .treebank import sentences

SOURCE = {
    "title": "Part-of-speech weights of the built-in parser",
    "training_text": "Universal Dependencies English Web Treebank 2.15 (Silveira et al. 2014), own captions",
    "attribution": "annotations (c) 2013-2021 The Board of Trustees of The Leland Stanford Junior University",
    "license": "CC BY-SA 4.0 for the treebank's annotations; these weights: GPL-3.0-or-later",
}
Example = tuple[np.ndarray, np.ndarray]
"""Feature rows [N, F] and tags [N] of a sentence."""


def example(words: Tagged) -> Example:
    """A sentence as numbers."""
    rows = features([(word, gap) for word, gap, _ in words])
    return rows, np.array([TAGS.index(tag) if tag in TAGS else len(TAGS) - 1 for _, _, tag in words])


class Perceptron:
    """Weights [BUCKETS, T] and transitions [T + 1, T] with their sums over all steps."""

    def __init__(self) -> None:
        size = len(TAGS)
        self.weights = np.zeros((BUCKETS, size), np.float32)
        self.transitions = np.zeros((size + 1, size), np.float32)
        self.sums = (np.zeros_like(self.weights), np.zeros_like(self.transitions))
        self.step = 1

    def learn(self, rows: np.ndarray, tags: np.ndarray) -> None:
        """One step on one sentence."""
        guess = np.array(best_path(self.weights[rows].sum(1), self.transitions))
        self.step += 1
        for n in np.flatnonzero(guess != tags):
            self._add(0, (rows[n], tags[n]), 1)
            self._add(0, (rows[n], guess[n]), -1)
        start = [len(TAGS)]
        for right, wrong in zip(zip([*start, *tags], tags), zip([*start, *guess], guess)):
            if right != wrong:
                self._add(1, right, 1)
                self._add(1, wrong, -1)

    def _add(self, which: int, at: tuple, by: int) -> None:
        np.add.at((self.weights, self.transitions)[which], at, by)
        np.add.at(self.sums[which], at, by * self.step)

    def average(self) -> tuple[np.ndarray, np.ndarray]:
        """The mean of the weights over all steps, as int8 and int32 on one scale."""
        means = [now - total / self.step for now, total in zip((self.weights, self.transitions), self.sums)]
        scale = 127 / np.quantile(np.abs(means[0]).max(1), 0.9995)
        weights = np.clip(np.rint(means[0] * scale), -127, 127).astype(np.int8)
        return weights, np.rint(means[1] * scale).astype(np.int32)


def accuracy(weights: np.ndarray, transitions: np.ndarray, examples: Sequence[Example]) -> float:
    """Share of right tags."""
    right = total = 0
    for rows, tags in examples:
        guess = best_path(weights[rows].sum(1, dtype=np.int32), transitions)
        right += int((np.array(guess) == tags).sum())
        total += len(tags)
    return right / total


def write(file: Path, weights: np.ndarray, transitions: np.ndarray) -> None:
    """A safetensors file."""
    parts = {"transitions": ("I32", transitions), "weights": ("I8", weights)}
    header: dict = {"__metadata__": SOURCE}
    offset = 0
    for name, (kind, values) in parts.items():
        size = values.nbytes
        header[name] = {"dtype": kind, "shape": list(values.shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(v.tobytes() for _, v in parts.values()))


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools/dev.py tagger", description=__doc__)
    parser.add_argument("treebank", type=Path, help="a folder with its .conllu files")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--made", type=int, default=35_000, help="captions made for each epoch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--file", type=Path, default=FILE)
    args = parser.parse_args()

    documents = list(sentences(args.treebank))
    if not documents:
        sys.exit(f"There is no .conllu file below {args.treebank}.")
    order = random.Random(args.seed)
    held = set(order.sample(sorted({name for name, _ in documents}), len({n for n, _ in documents}) // 12))
    read = [example(words) for name, words in documents if name not in held]
    tests = {
        "treebank, held-out documents": [example(words) for name, words in documents if name in held],
        "made captions": [example(Maker(-1 - n).sentence()) for n in range(2000)],
    }
    model = Perceptron()
    for epoch in range(args.epochs):
        maker = Maker(args.seed + epoch)
        examples = [*read, *(example(maker.sentence()) for _ in range(args.made))]
        order.shuffle(examples)
        for rows, tags in examples:
            model.learn(rows, tags)
        weights, transitions = model.average()
        shown = ", ".join(
            f"{name} {accuracy(weights, transitions, test):.4f}" for name, test in tests.items()
        )
        print(f"epoch {epoch + 1}: {shown}", flush=True)
    write(args.file, weights, transitions)
    print(f"{args.file}: {args.file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
