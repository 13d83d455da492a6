"""The judge's rules (TIAM) on detections made by hand, and against the detector of the demo models."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from gsn_ops.judge import colour, demo_detector
from gsn_ops.judge.classes import coco_class, same_class
from gsn_ops.judge.detection import Detection, box_iou, from_bounding_boxes
from gsn_ops.judge.outputs import missing, subject_masks, summary, to_json
from gsn_ops.judge.sources import DemoShapes, GivenBoxes, judge
from gsn_ops.judge.verdict import judge_image, tiam
from gsn_ops.subjects.syntax import parse_subjects
from tools.tiny import world

GREY = torch.full((100, 100, 3), 0.5)
LEFT, RIGHT = (5.0, 5.0, 45.0, 95.0), (55.0, 5.0, 95.0, 95.0)
PAINT = {name: torch.tensor(world.PALETTE[name]) for name in ("red", "green", "blue", "yellow", "purple")}


def painted(*parts):
    """A grey image with boxes of colour: (box, colour, share of its width)."""
    image = GREY.clone()
    for (left, top, right, bottom), name, share in parts:
        stop = int(left + (right - left) * share)
        image[int(top) : int(bottom), int(left) : stop] = PAINT[name]
    return image


def verdict(found, subjects, image=GREY, **more):
    return judge_image(found, parse_subjects(subjects), image, **more)


def test_all_subjects_there():
    got = verdict([Detection("cat", 0.9, LEFT), Detection("dog", 0.8, RIGHT)], "cat, dog")
    assert got.right() and got.score() == 1 and got.missing() == ()
    assert [s.score for s in got.subjects] == [0.9, 0.8]


def test_a_missing_subject_is_named():
    got = verdict([Detection("cat", 0.9, LEFT)], "cat, dog")
    assert not got.right() and got.score() == 0.5 and got.missing() == ("dog",)


def test_an_empty_list_of_detections_misses_everything():
    got = verdict([], "red car, bench")
    assert got.score() == 0 and got.missing() == ("red car", "bench")
    assert got.subjects[0].colour_right is False and got.subjects[1].colour_right is None


@pytest.mark.parametrize("iou_shift, merged", [(0.0, True), (1.0, True), (4.0, False)])
def test_two_classes_on_one_box_have_merged_and_count_for_neither(iou_shift, merged):
    shifted = (LEFT[0] + iou_shift, *LEFT[1:])
    assert (box_iou(LEFT, shifted) >= 0.95) == merged
    got = verdict([Detection("cat", 0.9, LEFT), Detection("dog", 0.8, shifted)], "cat, dog")
    assert got.right() != merged
    if merged:
        assert got.subjects[0].merged_with == ("dog",) and got.subjects[1].merged_with == ("cat",)
        assert got.missing() == ("cat (merged with dog)", "dog (merged with cat)")


def test_a_merged_animal_beside_a_whole_one_of_the_class_counts():
    found = [Detection("cat", 0.9, LEFT), Detection("dog", 0.8, LEFT), Detection("cat", 0.7, RIGHT)]
    got = verdict(found, "cat, dog")
    assert got.missing() == ("dog (merged with cat)",) and got.subjects[0].count == 1


def test_merging_is_seen_in_masks_whatever_the_boxes_say():
    mask = torch.zeros(100, 100, dtype=torch.bool)
    mask[10:60, 10:60] = True
    found = [Detection("cat", 0.9, (0, 0, 61, 61), mask), Detection("dog", 0.9, (10, 10, 60, 60), mask)]
    assert not verdict(found, "cat, dog").right()


def test_two_cats_in_one_place_do_not_merge():
    got = verdict([Detection("cat", 0.9, LEFT), Detection("kitten", 0.8, LEFT)], "cat")
    assert got.right() and got.subjects[0].count == 2


def test_two_detectors_may_name_one_thing_differently():
    found = [Detection("horse", 0.9, LEFT, source="a"), Detection("unicorn", 0.9, LEFT, source="b")]
    assert verdict(found, "unicorn").right()


def test_two_cats_are_wanted_and_counted():
    one, two = [Detection("cat", 0.9, LEFT)], [Detection("cat", 0.9, LEFT), Detection("cat", 0.5, RIGHT)]
    assert verdict(one, "cat, cat").missing() == ("cat#2",)
    assert verdict(two, "cat, cat").right() and verdict(two, "cat").right()
    assert verdict(two, "cat").subjects[0].count == 2


@pytest.mark.parametrize("share, right", [(0.41, True), (0.39, False), (1.0, True)])
def test_a_colour_needs_40_percent_of_the_pixels(share, right):
    image = painted((LEFT, "blue", 1.0), (LEFT, "red", share))
    got = verdict([Detection("car", 0.9, LEFT)], "red car", image)
    assert got.subjects[0].present and got.right() == right
    assert got.subjects[0].colour_share == pytest.approx(share, abs=0.02)
    assert got.right(colours=False) and got.missing() == (() if right else ("red car (not red)",))


def test_a_colour_is_measured_in_the_mask_not_in_the_box():
    mask = torch.zeros(100, 100, dtype=torch.bool)
    mask[5:95, 5:10] = True
    image = painted((LEFT, "green", 1.0), (LEFT, "red", 0.13))
    assert not verdict([Detection("car", 0.9, LEFT)], "red car", image).right()
    assert verdict([Detection("car", 0.9, LEFT, mask)], "red car", image).right()


def test_colours_of_two_cars_are_told_apart():
    image = painted((LEFT, "red", 1.0), (RIGHT, "blue", 1.0))
    found = [Detection("car", 0.9, LEFT), Detection("car", 0.8, RIGHT)]
    assert verdict(found, "red car, blue car", image).right()
    assert verdict(found, "red car, green car", image).missing() == ("green car (not green)",)


@pytest.mark.parametrize("name", ["red", "yellow", "green", "blue", "purple"])
def test_plain_paints_have_their_names(name):
    shares = colour.colour_shares(PAINT[name].expand(10, 3))
    assert shares[name] == 1 and sum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    "rgb, name",
    [
        ((1.0, 0, 0), "red"),
        ((0, 0, 1.0), "blue"),
        ((1.0, 0.41, 0.71), "pink"),
        ((0, 0, 0), "black"),
        ((1.0, 1.0, 1.0), "white"),
        ((0.5, 0, 0.5), "purple"),
        ((0, 0.5, 0), "green"),
        ((0.27, 0.51, 0.71), "blue"),
    ],
)
def test_named_colours_of_the_web_have_their_names(rgb, name):
    shares = colour.colour_shares(torch.tensor([rgb]))
    assert max(shares, key=shares.get) == name


def test_lab_has_the_published_values():
    rgb = torch.tensor([[1.0, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    wanted = torch.tensor(
        [[100, 0, 0], [53.24, 80.09, 67.20], [87.73, -86.18, 83.18], [32.30, 79.19, -107.86]]
    )
    assert torch.allclose(colour.lab(rgb).float(), wanted, atol=0.05)


def test_a_colour_that_has_no_reference_is_not_judged():
    got = verdict([Detection("car", 0.9, LEFT)], "orange car, wooden bench")
    assert [s.colour for s in got.subjects] == [None, None] and got.subjects[0].right()


def test_boxes_outside_the_image_are_cut_or_left_out():
    found = [Detection("cat", 0.9, (-50, -50, 20, 20)), Detection("dog", 0.9, (150, 0, 190, 50))]
    got = verdict(found, "cat, dog")
    assert got.missing() == ("dog",) and got.detections[0].box == (0, 0, 20, 20)


def test_low_scores_do_not_count():
    found = [Detection("cat", 0.24, LEFT)]
    assert not verdict(found, "cat").right() and verdict(found, "cat", confidence=0.2).right()


def test_what_should_not_be_there_and_what_may_be_missing():
    found = [Detection("cat", 0.9, LEFT)]
    assert verdict(found, "cat, -dog, bench?").right()
    assert verdict(found, "-cat").missing() == ("cat (should not be there)",)
    assert verdict([], "bench?").right() and verdict([], "bench?").score() == 1


@pytest.mark.parametrize(
    "noun, name",
    [("bike", "bicycle"), ("sofa", "couch"), ("puppy", "dog"), ("puppies", "dog"), ("Cars", "car"),
     ("benches", "bench"), ("hot dogs", "hot dog"), ("bus", "bus"), ("buses", "bus"), ("woman", "person"),
     ("wine glasses", "wine glass"), ("giraffes", "giraffe"), ("skis", "skis"), ("doughnut", "donut"),
     ("knives", "knife"), ("school bus", "bus"), ("unicorn", None), ("crown", None),
     ("ties", "tie"), ("bow ties", "tie"), ("purses", "handbag"), ("taxis", "car"), ("TVs", "tv")],
)  # fmt: skip
def test_words_for_the_classes_of_coco(noun, name):
    assert coco_class(noun) == name


def test_all_24_classes_of_tiam_are_known():
    labels = (
        "bicycle car motorcycle truck donut bench bird cat dog horse sheep cow elephant bear zebra giraffe "
        "banana apple broccoli carrot chair couch oven refrigerator"
    ).split()
    assert len(labels) == 24 and [coco_class(name) for name in labels] == labels
    assert [coco_class(name + "s") for name in labels if name not in ("bench", "couch", "sheep")]
    assert same_class("unicorns", "Unicorn") and not same_class("cat", "dog")


@pytest.mark.parametrize(
    "many, one",
    [("houses", "house"), ("cookies", "cookie"), ("lenses", "lens"), ("wolves", "wolf"), ("roses", "rose"),
     ("potatoes", "potato"), ("glasses", "glass"), ("fairies", "fairy"), ("blouses", "blouse"),
     ("cafe\u0301s", "caf\u00e9")],
)  # fmt: skip
def test_a_plural_and_its_singular_are_one_name(many, one):
    assert same_class(many, one)


def test_a_man_and_a_woman_are_two_people():
    one, two = ([Detection("person", 0.9, box) for box in boxes] for boxes in ([LEFT], [LEFT, RIGHT]))
    assert verdict(one, "man, woman").missing() == ("woman",) and verdict(two, "man, woman").right()
    named = [Detection("man", 0.9, LEFT), Detection("man", 0.9, RIGHT)]
    assert verdict(named, "man, woman").missing() == ("woman",) and verdict(named, "person").right()
    assert verdict([Detection("kitten", 0.9, LEFT)], "cat, kitten").right() is False
    assert verdict(one, "man, woman?").right() and verdict(one, "person, -cat").right()


def test_a_car_is_there_for_the_subject_whose_colour_it_has():
    image, one = painted((LEFT, "blue", 1.0)), [Detection("car", 0.9, LEFT)]
    got = verdict(one, "red car, blue car", image)
    assert got.missing() == ("red car",) and got.score() == 0.5 and not got.right(colours=False)


def test_words_found_in_a_prompt_may_mean_one_thing():
    found = [replace(s, source="found") for s in parse_subjects("woman, girl")]
    assert judge_image([Detection("person", 0.9, LEFT)], found, GREY).right()


def test_what_was_found_by_its_name_is_nothing_else():
    found = [Detection("man", 0.9, LEFT, exact=True), Detection("person", 0.9, RIGHT, exact=True)]
    assert verdict(found, "man, woman").missing() == ("woman",)


class Fixed:
    """A source that knows some nouns and finds given things."""

    def __init__(self, name, known, found):
        self.name, self.known, self.found, self.asked = name, known, found, None

    def unknown(self, nouns):
        return tuple(noun for noun in nouns if noun not in self.known)

    def find(self, images, nouns, confidence):
        self.asked = nouns
        return [list(self.found) for _ in images]


def test_a_noun_goes_to_the_first_source_that_knows_it():
    first = Fixed("RT-DETR", {"cat"}, [Detection("cat", 0.9, LEFT)])
    second = Fixed("SAM 3", {"cat", "crown"}, [Detection("crown", 0.9, RIGHT)])
    got = judge(GREY[None], parse_subjects("cat, crown"), [first, second])
    assert first.asked == ["cat"] and second.asked == ["crown"]
    assert got.images[0].right() and got.sources == ("RT-DETR", "SAM 3") and got.unknown == ()


def test_a_noun_that_no_source_knows_is_said_and_not_judged():
    source = Fixed("RT-DETR", {"cat"}, [Detection("cat", 0.9, LEFT)])
    got = judge(GREY[None], parse_subjects("cat, crown"), [source])
    assert got.images[0].right() and got.unknown == ("crown",)
    assert summary(got, True).endswith("Not judged, for RT-DETR cannot find it: crown")
    assert json.loads(to_json(got, True))["not_judged"] == ["crown"]


def test_no_source_and_no_class_are_refused_before_anything_runs():
    with pytest.raises(ValueError, match="Nothing is connected that can say"):
        judge(GREY[None], parse_subjects("cat"), [])
    source = Fixed("RT-DETR", set(), [])
    with pytest.raises(ValueError, match="can find crown, wand.*connect SAM 3"):
        judge(GREY[None], parse_subjects("crown, wand"), [source])
    assert source.asked is None
    with pytest.raises(ValueError, match="it only knows circle, square"):
        judge(GREY[None], parse_subjects("cat"), [DemoShapes()])


def test_a_batch_is_judged_image_by_image():
    frames = [
        [{"x": 5, "y": 5, "width": 40, "height": 90, "label": "cat", "score": 0.9}],
        [],
        [{"x": 5, "y": 5, "width": 40, "height": 90, "label": "dog"}],
    ]
    got = judge(GREY.expand(3, -1, -1, -1), parse_subjects("cat, dog"), [GivenBoxes(frames)])
    assert [v.score() for v in got.images] == [0.5, 0, 0.5] and tiam(got.images) == 0
    assert missing(got, True) == "dog, cat"
    assert summary(got, True).startswith("0 of 3 images have all subjects; image 1: dog; image 2: cat, dog")
    masks = subject_masks(got, 100, 100)
    assert masks.shape == (6, 100, 100) and masks.sum((1, 2)).tolist() == [3600, 0, 0, 0, 0, 3600]


@pytest.mark.parametrize("value", [{}, [{}], [[{}]], "cat", 3, [{"x": 1}, []], [[{"x": "a"}]],
                                   [{"x": 0, "y": 0, "width": float("nan"), "height": 1}]])  # fmt: skip
def test_what_is_no_list_of_boxes_is_refused(value):
    with pytest.raises(ValueError, match="boxes input holds something else than boxes"):
        from_bounding_boxes(value, 1)


def test_boxes_of_other_images_and_boxes_without_labels_are_refused():
    box = {"x": 0, "y": 0, "width": 10, "height": 10}
    with pytest.raises(ValueError, match="boxes are of 2 images, but there are 3"):
        from_bounding_boxes([[box], []], 3)
    images = GREY[None]
    with pytest.raises(ValueError, match="boxes have no labels.*2 subjects"):
        judge(images, parse_subjects("cat, dog"), [GivenBoxes([box])])
    assert judge(images, parse_subjects("crown"), [GivenBoxes([box])]).images[0].right()
    assert from_bounding_boxes(box, 2) == from_bounding_boxes([[box]], 2)
    assert from_bounding_boxes({**box, "width": -10, "x": 10}, 1)[0][0].box == (0, 0, 10, 10)


def test_the_judge_agrees_with_the_demo_detector_on_1000_renders(monkeypatch):
    seen = {}

    def once(image):  # the judge must give the detector the very pixels that were rendered
        if image.tobytes() not in seen:
            seen[image.tobytes()] = detect(image)
        return seen[image.tobytes()]

    detect = demo_detector.detect
    monkeypatch.setattr(demo_detector, "detect", once)
    drawn = world.sample_scenes(np.random.default_rng(21), 1000, hold_out=True, neglect=0.3)
    images, _ = world.render(drawn)
    pixels = torch.from_numpy(images).float() / 255
    answers = {True: 0, False: 0}
    for i in range(1000):
        wanted = drawn.objects(i)
        subjects = parse_subjects(", ".join(f"{c} {s}" for c, s in wanted))
        got = judge(pixels[i : i + 1], subjects, [DemoShapes()]).images[0]
        objects, colours = demo_detector.success(demo_detector.detect(images[i]), wanted)
        assert (got.right(colours=False), got.right()) == (objects, colours), (i, wanted)
        answers[colours] += 1
    assert min(answers.values()) > 100 and len(seen) == 1000


def test_the_demo_judge_wants_the_demo_models_images():
    with pytest.raises(ValueError, match=r"square images of 32, 64, \.\.\. pixels.*not 96 x 64"):
        judge(torch.zeros(1, 64, 96, 3), parse_subjects("star"), [DemoShapes()])
