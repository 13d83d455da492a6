"""The part-of-speech tagger: what it can tell, and that its weights are small and nothing but data."""

import numpy as np
import pytest

from gsn_ops.subjects import tagger

LIMIT = 1_000_000


def test_the_weights_are_small_and_of_the_right_shape():
    tensors = tagger.read_tensors(tagger.FILE)
    assert tagger.FILE.stat().st_size < LIMIT
    assert tensors["weights"].shape == (tagger.BUCKETS, len(tagger.TAGS))
    assert tensors["transitions"].shape == (len(tagger.TAGS) + 1, len(tagger.TAGS))
    assert tensors["weights"].dtype == np.int8


@pytest.mark.parametrize(
    "text, tags",
    [
        ("a bird gives a nut", "OTHER NOUN VERB OTHER NOUN"),
        ("the dog sleeping on a red sofa", "OTHER NOUN ING OTHER OTHER ADJ NOUN"),
        ("a watch lies on the table", "OTHER NOUN VERB OTHER OTHER NOUN"),
        ("a man watches a train", "OTHER NOUN VERB OTHER NOUN"),
    ],
)
def test_the_place_of_a_word_decides(text, tags):
    assert " ".join(tagger.tag([(word, "") for word in text.split()])) == tags


def test_no_words_have_no_tags():
    assert tagger.tag([]) == []


def test_only_the_words_around_one_count():
    words = [(word, "") for word in "a bird gives a nut to a fox on a hill".split()]
    assert tagger.tag(words * 50)[: len(words) - 3] == tagger.tag(words)[:-3]


def test_the_best_path_is_the_best_of_all():
    rng = np.random.default_rng(0)
    scores, transitions = rng.integers(-9, 9, (4, 3)), rng.integers(-9, 9, (4, 3))

    def total(path):
        steps = sum(transitions[a, b] for a, b in zip(path, path[1:]))
        return transitions[3, path[0]] + steps + sum(scores[n, tag] for n, tag in enumerate(path))

    every = np.stack(np.meshgrid(*[range(3)] * 4), -1).reshape(-1, 4)
    assert total(tagger.best_path(scores, transitions)) == max(map(total, every))
