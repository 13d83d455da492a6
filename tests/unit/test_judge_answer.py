"""A vision model's answers, in the forms that models write, as detections."""

import pytest
import torch

from gsn_ops.judge.answer import detections_of_answer
from gsn_ops.judge.sources import GivenAnswer, judge
from gsn_ops.subjects.syntax import parse_subjects

IMAGE = torch.zeros(1, 8, 8, 3)


def present(answer, subjects="red car, bench"):
    """Which subjects an answer says are right."""
    phrases = parse_subjects(subjects)
    verdict = judge(IMAGE, phrases, [GivenAnswer(answer, phrases)]).images[0]
    return [s.right() for s in verdict.subjects]


@pytest.mark.parametrize(
    "answer",
    [
        "red car: yes\nbench: no",
        "- Red Car: Yes.\n- Bench: No, there is none.",
        "1. red car - yes\n2. bench - no",
        "**red car**: yes\n**bench**: no",
        '{"red car": true, "bench": false}',
        '```json\n{"red car": "yes", "bench": 0}\n```',
        '{"objects": {"red car": 1, "bench": 0}}',
        '[{"subject": "red car", "present": true}, {"subject": "bench", "present": "no"}]',
        "yes, no",
        "Yes\nNo",
        "<think>the bench: yes? no.</think>red car: yes, bench: no",
        "car = yes; bench = no",
    ],
)
def test_forms_of_an_answer(answer):
    assert present(answer) == [True, False]


def test_counts_are_read():
    assert present("cat: 2", "cat, cat") == [True, True]
    assert present('{"cats": {"present": true, "count": 3}}', "cat") == [True]
    assert present("cat: three", "cat") == [True] and present("cat: 0", "cat") == [False]
    found = detections_of_answer("cat: 3", parse_subjects("cat"))
    assert len(found) == 3 and found[0].box is None


def test_a_second_dog_is_asked_for_by_its_number():
    assert present("dog: yes\ndog#2: no", "dog, dog") == [True, False]
    assert present("dog: yes\ndog#2: yes", "dog, dog") == [True, True]


def test_colours_belong_to_their_subject():
    assert present("red car: yes\nblue car: no", "red car, blue car") == [True, False]


@pytest.mark.parametrize(
    "answer", ["", "I cannot see any image.", "red car: yes", "red car: maybe\nbench: no", "yes", "{broken"]
)
def test_an_answer_that_does_not_parse_is_refused_with_a_cure(answer):
    with pytest.raises(ValueError, match="cannot be read: it says nothing about .*one line per subject"):
        detections_of_answer(answer, parse_subjects("red car, bench"))


def test_a_long_answer_is_shown_in_part():
    with pytest.raises(ValueError) as error:
        detections_of_answer("blah " * 200, parse_subjects("cat"))
    assert len(str(error.value)) < 500 and str(error.value).endswith("...")


def test_one_answer_is_about_one_image():
    phrases = parse_subjects("cat")
    with pytest.raises(ValueError, match="about one image, but 2 are connected"):
        judge(IMAGE.expand(2, -1, -1, -1), phrases, [GivenAnswer("cat: yes", phrases)])


@pytest.mark.parametrize(
    "answer",
    [
        "cat: yes? dog: hm\nso it is\n</think>\ncat: yes\ndog: no",  # its prompt had the opening mark
        'Sure [1]: {"cat": true, "dog": false}.',
        '{"cat": true}\n{"dog": false}',
        "{'cat': True, 'dog': False}",
        '{"cat": true, "dog": false,}',
        '{"present": ["cat"], "missing_objects": ["dog"]}',
        '[{"label": "cat", "bbox_2d": [1, 2, 3, 4]}, {"label": "dog", "exists": false}]',
        '{"cat": [[1, 2, 3, 4]], "dog": []}',
        "cat: \u2705\ndog: \u274c",
        "| Subject | Present |\n|---|---|\n| cat | yes |\n| dog | no |",
        "a cat: oui ; the dog: non",
        "cat\uff1a\u662f\u7684\uff0cdog\uff1a\u6ca1\u6709",
        "cat: \u3042\u308a\u307e\u3059\ndog: \u3042\u308a\u307e\u305b\u3093",
    ],
)
def test_more_forms_of_an_answer(answer):
    assert present(answer, "cat, dog") == [True, False]


def test_an_answer_counts_for_its_own_subject_alone():
    assert present("man: yes\nwoman: no", "man, woman") == [True, False]
    assert present("big dog: no\nsmall dog: yes", "big dog, small dog") == [False, True]
    phrases = parse_subjects("red car, blue car")
    found = judge(IMAGE, phrases, [GivenAnswer("red car: yes\nblue car: no", phrases)]).images[0]
    assert [s.right(colours=False) for s in found.subjects] == [True, False]


def test_one_cat_is_not_two():
    assert present("cat: 1", "cat, cat") == [True, False]
    assert present("cat: 2", "cat#2") == [True] and present("cat: 1", "cat#2") == [False]
    assert present('[{"label": "cat", "box": [1]}, {"label": "cat", "box": [2]}]', "cat, cat") == [True, True]


@pytest.mark.parametrize(
    "answer, subjects",
    [
        ("cat: yes", "cat, cat"),
        ("car: yes", "red car, blue car"),
        ("<think>cat: yes", "cat"),
        ('{"cat": NaN}', "cat"),
        ('{"cat": 1e999}', "cat"),
        ('{"cat": 0.93}', "cat"),
        ('{"cat": null}', "cat"),
        ("cat: 0.93", "cat"),
        ("cat: -1", "cat"),
        ("cat: \u00b2", "cat"),
        ("cat: not sure", "cat"),
        ("[" * 3000 + "]", "cat"),
        ('{"missing": ["dog"]}', "cat"),
    ],
)
def test_what_says_too_little_is_refused_and_not_guessed(answer, subjects):
    with pytest.raises(ValueError, match="cannot be read: it says nothing about"):
        detections_of_answer(answer, parse_subjects(subjects))


def test_a_huge_number_and_a_sentence():
    assert len(detections_of_answer("cat: " + "9" * 5000, parse_subjects("cat"))) == 100
    assert present("No, there is none.", "cat") == [False] and present("Yes, a cat.", "cat") == [True]
    assert present('{"missing": ["dog"]}', "dog") == [False]
