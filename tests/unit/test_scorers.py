"""Scores of images by hand-made embeddings: cosines, minima, TIAM and the aesthetic head."""

import math

import pytest
import torch

from gsn_ops.judge.detection import Detection
from gsn_ops.judge.prompt_templates import TEMPLATES, filled
from gsn_ops.judge.scorers import (
    Aesthetic,
    ClipScore,
    FullPrompt,
    MinimumObject,
    ScoreRequest,
    TextText,
    Tiam,
)
from gsn_ops.subjects.syntax import parse_subjects

IMAGES = torch.zeros(2, 8, 8, 3)
AXES = {"cat": 0, "dog": 1}


class Known:
    """Towers with embeddings that are known: a text is the sum of the axes of its words, lengths differ."""

    def __init__(self, *images):
        self.embedded, self.asked = torch.tensor(images, dtype=torch.float32), []

    def images(self, images):
        return self.embedded

    def texts(self, texts):
        self.asked += texts
        rows = [[float(word in text) for word in AXES] + [0.0] for text in texts]
        return torch.tensor(rows) * torch.arange(1, len(texts) + 1)[:, None]


def request(prompt="a photo of a cat and a dog", *captions):
    return ScoreRequest(prompt, parse_subjects("cat, dog"), captions)


def test_there_are_80_templates_and_one_article_is_left_of_two():
    assert len(set(TEMPLATES)) == 80
    assert "a bad photo of a cat." in filled("a cat") and "art of an owl." in filled("an owl")
    assert not [text for text in filled("a cat") if "a a " in text or "the a " in text]
    assert "itap of my red car." in filled("red car")


def test_full_prompt_is_the_cosine_with_the_mean_of_normalised_texts():
    towers = Known((5, 5, 0), (3, 0, 0))
    assert FullPrompt(towers).score(IMAGES, request()) == pytest.approx([1, math.sqrt(0.5)])
    assert len(towers.asked) == 80 and not [t for t in towers.asked if "photo of a photo" in t]


def test_minimum_object_is_the_lowest_of_the_subjects():
    assert MinimumObject(Known((3, 4, 0), (0, 0, 2))).score(IMAGES, request()) == pytest.approx([0.6, 0])


def test_two_dogs_are_one_text():
    towers = Known((3, 4, 0), (0, 0, 2))
    MinimumObject(towers).score(IMAGES, ScoreRequest("dogs", parse_subjects("dog, dog")))
    assert len(towers.asked) == 80 and not [text for text in towers.asked if "#" in text]


def test_text_text_compares_captions():
    found = TextText(Known()).score(IMAGES, request("a cat", "one cat", "a cat, a dog"))
    assert found == pytest.approx([1, math.sqrt(0.5)])
    with pytest.raises(ValueError, match="connect a caption"):
        TextText(Known()).score(IMAGES, request())
    with pytest.raises(ValueError, match="1 captions for 2 images"):
        TextText(Known()).score(IMAGES, request("a cat", "one cat"))


def test_clip_score_is_100_cos_and_not_below_0():
    assert ClipScore(Known((1, 1, 0), (-1, -1, 0))).score(IMAGES, request()) == pytest.approx([100, 0])


def head(width=3):
    return {
        "layers.0.weight": torch.eye(2, width), "layers.0.bias": torch.tensor([0.0, 1.0]),
        "layers.2.weight": torch.tensor([[2.0, 3.0]]), "layers.2.bias": torch.tensor([0.5]),
    }  # fmt: skip


def test_the_aesthetic_head_is_linear_on_the_normalised_embedding():
    found = Aesthetic(Known((0, 0, 9), (6, 8, 0)), head()).score(IMAGES, request())
    assert found == pytest.approx([0 + 3 + 0.5, 2 * 0.6 + 3 * 1.8 + 0.5])


def test_another_file_or_another_clip_is_refused():
    with pytest.raises(ValueError, match="not the head of the LAION aesthetic predictor"):
        Aesthetic(Known((1, 0, 0)), {"weight": torch.eye(2)}).score(IMAGES, request())
    with pytest.raises(ValueError, match="reads 768 numbers, but this CLIP Vision gives 3"):
        Aesthetic(Known((1, 0, 0)), head(768)).score(IMAGES, request())
    broken = head() | {"layers.9.weight": torch.ones(1, 77), "layers.9.bias": torch.ones(1)}
    with pytest.raises(ValueError, match="not the head of the LAION aesthetic predictor"):
        Aesthetic(Known((1, 0, 0)), broken).score(IMAGES, request())


class Finds:
    name = "by hand"

    def unknown(self, nouns):
        return ()

    def find(self, images, nouns, confidence):
        boxes = (0, 0, 2, 2), (4, 4, 8, 8)
        both = [Detection(noun, 0.9, box) for noun, box in zip(("cat", "dog"), boxes, strict=True)]
        return [both, both[:1]]


def test_tiam_is_1_where_all_subjects_are():
    assert Tiam((Finds(),)).score(IMAGES, request()) == [1.0, 0.0]


def test_each_scorer_says_which_files_it_needs():
    towers = Known()
    for scorer in (FullPrompt(towers), MinimumObject(towers), TextText(towers), ClipScore(towers)):
        assert "models/clip_vision" in scorer.needs and "models/text_encoders" in scorer.needs
    assert "sac+logos" in Aesthetic(towers, head()).needs and "RT-DETR" in Tiam(()).needs
