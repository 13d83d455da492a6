"""The shapes world: its images, captions and prompts are reproducible, and its detector can be trusted."""

from collections import Counter

import numpy as np
import pytest
import torch

from gsn_ops.judge.demo_detector import Found, detect, shrink, success
from gsn_ops.judge.demo_shapes import RING, SHAPES
from tools.study.dreambooth import five
from tools.study.embedded import images_of
from tools.tiny import captions, prompts, world
from tools.tiny.latent_frame import latent_to_rgb, rgb_to_latent


def scenes(n, seed=11, **options):
    """Fresh scenes with one, two, three objects in equal parts, unseen pairs allowed."""
    drawn = world.sample_scenes(
        np.random.default_rng(seed), n, (1 / 3, 1 / 3, 1 / 3), hold_out=True, **options
    )
    return drawn, *world.render(drawn)


def count(found):
    return Counter((f.colour, f.shape) for f in found)


def test_same_seed_same_bytes():
    (a, images, masks), (b, again, _), (_, other, _) = scenes(50), scenes(50), scenes(50, seed=12)
    assert images.tobytes() == again.tobytes() and images.tobytes() != other.tobytes()
    assert captions.write_captions(np.random.default_rng(3), a) == captions.write_captions(
        np.random.default_rng(3), b
    )
    assert images.shape == (50, 32, 32, 3) and masks.shape == (50, 3, 32, 32) and images.dtype == np.uint8


def test_objects_do_not_overlap_and_stay_inside():
    drawn, _, masks = scenes(400)
    assert masks.sum(1, dtype=int).max() <= 255
    edge = max(masks[:, :, [0, -1]].max(), masks[..., [0, -1]].max())
    assert edge < 128  # the thin tip of a star may touch the outermost pixel
    assert (masks.any((2, 3)) == drawn.drawn).all()
    area = masks.sum((2, 3)) / 255
    assert area[drawn.drawn].min() > 20 and area.max() < 170


def test_neglect_leaves_out_about_one_in_five_but_never_all():
    drawn, _, _ = scenes(3000, neglect=0.2)
    several = drawn.named > 1
    missing = 1 - drawn.drawn.sum(1)[several].sum() / drawn.named[several].sum()
    assert 0.13 < missing < 0.2  # below p: the best of each scene always stays
    assert (
        drawn.drawn.any(1).all() and drawn.drawn.sum(1)[~several].tolist() == drawn.named[~several].tolist()
    )


def test_training_never_shows_the_hold_out_pairs():
    rng = np.random.default_rng(0)
    seen = world.sample_scenes(rng, 3000, (0, 0.5, 0.5))
    assert not any(world.has_hold_out(s for _, s in seen.objects(i)) for i in range(3000))
    allowed = world.sample_scenes(rng, 300, (0, 0, 1), hold_out=True)
    assert any(world.has_hold_out(s for _, s in allowed.objects(i)) for i in range(300))


@pytest.mark.parametrize(
    "objects, text",
    [
        ([("red", "circle")], "a red circle"),
        ([(None, "star"), (None, "heart")], "a star and a heart"),
        (
            [("red", "circle"), ("blue", "square"), ("green", "star")],
            "a red circle, a blue square and a green star",
        ),
    ],
)
def test_captions_parse_back(objects, text):
    assert captions.caption(objects) == text
    assert captions.parse(text) == captions.parse(captions.caption(objects, photo=True)) == objects


def test_a_foreign_word_is_named():
    with pytest.raises(ValueError, match="'zebra' is not a word of the shapes world"):
        captions.parse("a red zebra")


def test_captions_name_what_was_meant_and_columns_point_at_the_words():
    drawn, _, _ = scenes(300)
    texts = captions.write_captions(np.random.default_rng(1), drawn)
    rows = np.stack([captions.encode(t) for t in texts])
    columns = captions.object_columns(rows, drawn)
    for i, text in enumerate(texts):
        named, wanted = captions.parse(text), drawn.objects(i)
        assert [s for _, s in named] == [s for _, s in wanted]
        for j, (colour, shape) in enumerate(named):
            assert colour in (None, wanted[j][0])
            assert captions.WORDS[rows[i, columns[i, j, 0]]] == shape
            assert (
                (columns[i, j, 1] < 0)
                if colour is None
                else captions.WORDS[rows[i, columns[i, j, 1]]] == colour
            )
        assert (columns[i, len(named) :] == -1).all()


def test_swap_exchanges_two_colours():
    drawn, _, _ = scenes(200)
    swapped = captions.write_captions(np.random.default_rng(1), drawn, swap=1.0, coloured=1.0)
    for i, text in enumerate(swapped):
        wanted, named = drawn.objects(i), captions.parse(text)
        assert Counter(c for c, _ in named) == Counter(c for c, _ in wanted)
        assert (named != wanted) == (len(wanted) > 1)


def test_latent_frame_is_exactly_invertible():
    _, images, _ = scenes(60)
    rgb = torch.from_numpy(images).float() / 255
    latent = rgb_to_latent(rgb)
    assert latent.shape == (60, 4, 32, 32) and 0.5 < latent.std() < 1.2
    assert torch.allclose(latent_to_rgb(latent), rgb, atol=1e-6)


def test_detector_is_right_on_600_fresh_images_and_with_noise():
    drawn, images, _ = scenes(600)
    assert sum(count(detect(p)) == Counter(drawn.objects(i)) for i, p in enumerate(images)) >= 594
    noise = np.random.default_rng(5).normal(0, 0.05, images.shape)
    noisy = ((images / 255 + noise).clip(0, 1) * 255).round().astype(np.uint8)
    assert all(success(detect(p), drawn.objects(i)) == (True, True) for i, p in enumerate(noisy))


def smooth_enlargement(image):
    """What the demo VAE's decoder does, written once more: three times doubling, then (1/4, 1/2, 1/4) both
    ways.
    """
    ink = 1 - image / 255
    for axis in (0, 1):
        for _ in range(3):
            wide = np.pad(np.repeat(ink, 2, axis), [(1, 1) if a == axis else (0, 0) for a in range(3)])
            before, here, after = (
                np.take(wide, np.arange(k, wide.shape[axis] - 2 + k), axis) for k in range(3)
            )
            ink = before / 4 + here / 2 + after / 4
    return ((1 - ink) * 255).round().astype(np.uint8)


def test_detector_reads_decoded_images_like_latents():
    drawn, images, _ = scenes(80)
    for i, image in enumerate(images):
        big = smooth_enlargement(image)
        assert big.shape == (256, 256, 3) and abs(shrink(big) - image / 255).max() < 0.02
        small, found = detect(image), detect(big)
        assert count(found) == count(small) == Counter(drawn.objects(i))
        assert [f.box for f in found] == [tuple(8 * side for side in f.box) for f in small]


def test_boxes_surround_their_objects():
    drawn, images, _ = scenes(40)
    for i, image in enumerate(images):
        boxes = {(f.colour, f.shape): f.box for f in detect(image)}
        for j, (colour, shape) in enumerate(drawn.objects(i)):
            left, top, right, bottom = boxes[colour, shape]
            assert left < drawn.cx[i, j] < right and top < drawn.cy[i, j] < bottom
            assert abs((right - left) - drawn.size[i, j]) < 3


def test_two_shapes_grown_together_are_malformed():
    image = np.full((32, 32, 3), 235, np.uint8)
    mask = np.maximum(world.coverage("star", 13, 11, 16), world.coverage("square", 11, 19, 16))[0] > 0.5
    image[mask] = (220, 30, 30)
    (found,) = detect(image)
    assert found.shape == "malformed" and found.colour == "red" and found.score < 0.72


def test_the_ring_is_found_by_its_own_template_and_takes_no_other_shape():
    """What the study of DreamBooth teaches: malformed to the detector of the six shapes."""
    latents, texts = five()
    for picture, text in zip(images_of(latents), texts, strict=True):
        colour = text.split()[1]
        assert count(detect(picture)) == {(colour, "malformed"): 1}
        assert count(detect(picture, (*SHAPES, RING))) == {(colour, RING): 1}
    drawn, images, _ = scenes(100)
    for image in images:
        assert count(detect(image, (*SHAPES, RING))) == count(detect(image))


def test_an_empty_image_has_no_objects_and_a_wrong_size_is_refused():
    assert detect(np.full((32, 32, 3), 230, np.uint8)) == []
    with pytest.raises(ValueError, match="square RGB image"):
        detect(np.zeros((30, 30, 3), np.uint8))


def found(*names):
    return [Found(colour, shape, (0, 0, 1, 1), 0.9) for colour, shape in names]


@pytest.mark.parametrize(
    "there, wanted, expected",
    [
        ([("red", "circle"), ("blue", "star")], [("red", "circle"), ("blue", "star")], (True, True)),
        ([("blue", "circle"), ("red", "star")], [("red", "circle"), ("blue", "star")], (True, False)),
        ([("red", "circle")], [("red", "circle"), ("blue", "star")], (False, False)),
        ([("red", "circle"), ("blue", "malformed")], [("red", "circle"), ("blue", "star")], (False, False)),
        (
            [("red", "circle"), ("blue", "star"), ("green", "heart")],
            [("red", "circle"), ("blue", "star")],
            (True, True),
        ),
        ([("red", "circle")], [(None, "circle")], (True, True)),
        ([("red", "circle")], [(None, "circle"), (None, "circle")], (False, False)),
        ([("red", "circle"), ("red", "circle")], [("red", "circle"), ("red", "circle")], (True, True)),
        ([], [], (True, True)),
    ],
)
def test_success(there, wanted, expected):
    assert success(found(*there), wanted) == expected


@pytest.mark.parametrize("n, coloured", [(2, True), (3, True), (3, False)])
def test_prompt_splits_never_meet(n, coloured):
    lists = {split: prompts.prompts(n, 200, split, coloured) for split in ("validation", "test")}
    texts, seeds = ([{getattr(p, key) for p in ps} for ps in lists.values()] for key in ("text", "seed"))
    assert not texts[0] & texts[1] and not seeds[0] & seeds[1] and len(seeds[0]) == len(seeds[1]) == 200
    for chosen in lists.values():
        assert chosen[:10] == prompts.prompts(
            n, 10, "validation" if chosen is lists["validation"] else "test", coloured
        )
        assert {p.hold_out for p in chosen} == {True, False}
        for p in chosen:
            assert captions.parse(p.text) == list(p.wanted) and len(p.wanted) == n
            assert p.hold_out == world.has_hold_out(s for _, s in p.wanted)


def test_prompts_refuse_what_they_cannot_give():
    with pytest.raises(ValueError, match="validation and test"):
        prompts.prompts(2, 1, "training")
    with pytest.raises(ValueError, match="1 to 3"):
        prompts.prompts(4, 1, "test")
