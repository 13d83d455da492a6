"""What is drawn is where it should be: curves, bars, heat, sheets, text that fonts cannot spell."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import ImageColor

from gsn_ops.report.drawing.canvas import (
    AFTER,
    BEFORE,
    INK,
    Canvas,
    font_for,
    shorten,
    to_array,
    to_image,
    width_of,
    wrap,
)
from gsn_ops.report.drawing.cards import CARD, GAP, contact_sheet, report_card
from gsn_ops.report.drawing.charts import PAD, loss_curve, maxima_bars, ticks
from gsn_ops.report.drawing.heat_map import heat_colours, heat_map
from gsn_ops.report.run_report import RecipeReport, RunReport, SubjectReport


def action(losses=(0.8, 0.4, 0.2), after=0.1, updates=3, before=(0.9, 0.3), then=(0.95, 0.8)):
    return RecipeReport(
        "Latent Refine",
        "done",
        3,
        5.4,
        5.5,
        tuple((y,) for y in losses),
        (after,),
        (updates,),
        5,
        3,
        (before,),
        (then,),
    )


def run(*actions, labels=("dog", "cat"), warnings=()):
    subjects = tuple(SubjectReport(label, "typed", {}, {}) for label in labels)
    return RunReport("0.1.0", "SD1", "euler", 20, subjects, actions, warnings)


def where(image, colour, tolerance=0.02):
    """Mask of the pixels of one colour."""
    wanted = np.array(ImageColor.getrgb(colour), dtype=np.float32) / 255
    return np.abs(image - wanted).max(-1) < tolerance


def is_image(image, height=None, width=None):
    assert image.dtype == np.float32 and image.ndim == 3 and image.shape[2] == 3
    assert image.min() >= 0 and image.max() <= 1
    assert height in (None, image.shape[0]) and width in (None, image.shape[1])
    return True


def test_curve_passes_through_its_points():
    image = loss_curve(action((0.8, 0.4, 0.2, 0.4), after=0.8, updates=4))
    assert is_image(image, 320, 560)
    ys, xs = where(image, AFTER).nonzero()
    left, right, top, bottom = xs.min(), xs.max(), ys.min(), ys.max()
    assert 55 < left < 80 and right > 400
    middle = ys[np.abs(xs - (left + right) / 2) < 2].mean()
    assert middle == pytest.approx(bottom, abs=4)  # the smallest loss is half way, at the lowest point
    quarter = ys[np.abs(xs - (0.75 * left + 0.25 * right)) < 2].mean()  # 0.4 of 0.2 ... 0.8
    assert (bottom - quarter) / (bottom - top) == pytest.approx(1 / 3, abs=0.06)


def test_curve_starts_at_zero_and_knows_negative_losses():
    lowest = {
        y: where(loss_curve(action((1.0, y), after=y, updates=2)), AFTER).nonzero()[0].max()
        for y in (0.9, 0.5, 0.0, -1.0)
    }
    assert lowest[0.9] < lowest[0.5] < lowest[0.0]
    assert lowest[0.0] == lowest[-1.0] == pytest.approx(280, abs=6)  # the bottom of the axis


def test_an_image_that_stopped_has_a_shorter_curve():
    both = RecipeReport("m", "s", 3, 5.4, 5.5, ((0.8, 0.7), (0.6, math.nan), (0.5, math.nan)), (), (3, 0))
    long, short = loss_curve(both, 0), loss_curve(both, 1)
    width = [np.ptp(where(p, AFTER).nonzero()[1]) for p in (long, short)]
    assert width[0] > 300 and width[1] < 15
    assert where(short, BEFORE, 0.1).sum() > 100  # the other image, faint


@pytest.mark.parametrize(
    "empty",
    [
        RecipeReport("m", "skipped"),
        RecipeReport("m", "s", 3, losses=((math.nan,),), updates=(0,)),
        RecipeReport(
            "m",
            "s",
            3,
            losses=((math.inf,),),
            loss_after=(math.nan,),
            updates=(1,),
            maxima_before=((math.nan,),),
        ),
    ],
)
def test_nothing_to_draw_is_said_in_words(empty):
    for image in (loss_curve(empty), maxima_bars(empty, ["dog"])):
        assert is_image(image, width=560) and not where(image, AFTER).any()
        middle = len(image) // 2
        assert np.ptp(image[middle - 20 : middle + 20].mean(-1)) > 0.3  # words in the middle


def bar_lengths(image, colour):
    """Longest run of the colour in each bar, from top to bottom."""
    mask = where(image, colour)[45:]  # below the legend
    rows = mask.sum(1)
    bars = np.split(rows, (rows == 0).nonzero()[0])
    return [bar.max() for bar in bars if bar.sum() > 20]


def test_bars_are_as_long_as_the_values():
    image = maxima_bars(action(before=(0.9, 0.3), then=(1.0, 0.6)), ["dog", "cat"])
    before, after = bar_lengths(image, BEFORE), bar_lengths(image, AFTER)
    assert len(before) == len(after) == 2
    full = after[0]
    assert [before[0] / full, before[1] / full, after[1] / full] == pytest.approx([0.9, 0.3, 0.6], abs=0.01)


def test_small_maxima_get_their_own_scale_and_no_after_is_fine():
    image = maxima_bars(action(before=(0.01, 0.005), then=()), ["dog", "cat"])
    lengths = bar_lengths(image, BEFORE)
    assert lengths[0] > 150 and lengths[1] / lengths[0] == pytest.approx(0.5, abs=0.02)
    assert not where(image, AFTER).any()


def test_many_subjects_with_long_names_stay_inside():
    labels = [f"subject number {i} with quite a long name" for i in range(12)]
    image = maxima_bars(action(before=(0.5,) * 12, then=(0.7,) * 12), labels)
    assert len(bar_lengths(image, AFTER)) == 12
    assert np.ptp(image[-12:-2, 8:-8], axis=(0, 1)).max() < 0.01  # the margin below is empty


def test_heat_is_monotonous_in_brightness_and_ends_pale():
    light = heat_colours(np.linspace(0, 1, 200)) @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(light) > -1e-3).all() and light[0] < 0.01 and light[-1] > 0.9
    assert heat_colours(np.array([-3.0, 7.0])).min() >= 0


@pytest.mark.parametrize("shape", [(64, 64), (48, 80), (200, 120)])
@pytest.mark.parametrize("place", [(0, 0), (3, 5), (7, 2)])
def test_heat_is_where_the_map_is(shape, place):
    values = np.zeros((8, 8), dtype=np.float32)
    values[place] = 0.4
    image = heat_map(np.full((*shape, 3), 0.2, dtype=np.float32), values)
    assert is_image(image, *shape)
    y, x = np.unravel_index(image.sum(-1).argmax(), shape)
    assert (y * 8 // shape[0], x * 8 // shape[1]) == place


def test_peak_makes_maps_comparable_and_opacity_does_what_it_says():
    image = np.random.default_rng(0).random((32, 32, 3), dtype=np.float32)
    weak, strong = np.full((4, 4), 0.1), np.full((4, 4), 0.8)
    assert np.allclose(heat_map(image, weak, 1.0), heat_map(image, strong, 1.0))
    assert heat_map(image, weak, 1.0, peak=0.8).mean() < heat_map(image, strong, 1.0, peak=0.8).mean() - 0.2
    assert np.allclose(heat_map(image, strong, 0.0), image)
    assert np.allclose(heat_map(image, strong, 1.0, peak=1.6), heat_colours(np.array(0.5)), atol=1e-5)


@pytest.mark.parametrize("values", [np.zeros((8, 8)), np.full((8, 8), np.nan), np.full((1, 1), 0.5)])
def test_featureless_maps_are_drawn(values):
    assert is_image(heat_map(np.full((16, 24, 3), 0.5), values), 16, 24)


def test_maps_and_images_may_be_tensors():
    values = torch.rand(8, 8, generator=torch.Generator().manual_seed(0)).half()
    image = torch.full((16, 16, 3), 0.5)
    assert np.array_equal(heat_map(image, values), heat_map(image.numpy(), values.numpy()))


def test_sheet_shows_every_image_once_and_unchanged():
    colours = ["#ff0000", "#00ff00", "#0000ff", "#ffff00", "#00ffff"]
    images = [np.ones((64, 64, 3)) * np.array(ImageColor.getrgb(c)) / 255 for c in colours]
    sheet = contact_sheet(images, [f"image\n{c}" for c in colours], columns=3, cell=64, title="Colours")
    assert is_image(sheet, width=2 * PAD + 3 * 64 + 2 * GAP)
    corners = []
    for c in colours:
        ys, xs = where(sheet, c).nonzero()
        assert len(ys) == 64 * 64
        corners.append((ys.min(), xs.min()))
    assert corners[0][0] == corners[2][0] < corners[3][0] == corners[4][0]
    assert corners[0][1] == corners[3][1] < corners[1][1] < corners[2][1]


def test_sheet_keeps_proportions():
    wide, high = np.zeros((32, 64, 3)), np.zeros((64, 32, 3))
    sheet = contact_sheet([wide, high], ["", ""], cell=100)
    ys, xs = where(sheet, "#000000").nonzero()
    left = xs < sheet.shape[1] // 2
    assert (np.ptp(ys[left]), np.ptp(xs[left])) == (49, 99)
    assert (np.ptp(ys[~left]), np.ptp(xs[~left])) == (99, 49)


def test_sheet_needs_a_label_per_image():
    with pytest.raises(ValueError, match="one label per image"):
        contact_sheet([np.zeros((8, 8, 3))], [])
    with pytest.raises(ValueError, match="one label per image"):
        contact_sheet([], [])


def test_card_shows_both_images_side_by_side():
    before, after = np.zeros((32, 32, 3)), np.zeros((32, 32, 3))
    before[..., 0], after[..., 1] = 1, 1
    card = report_card(run(action()), action(), 0, before, after)
    assert is_image(card, width=CARD)
    red, green = where(card, "#ff0000").nonzero(), where(card, "#00ff00").nonzero()
    assert len(red[0]) == len(green[0]) == 240**2
    assert red[0].min() == green[0].min() and red[1].max() < green[1].min()
    assert where(card, AFTER).any()  # the charts below


def test_cards_of_one_run_stack():
    two = RecipeReport(
        "m",
        "s",
        3,
        5.4,
        5.5,
        ((0.8, 0.7), (0.6, math.nan)),
        (0.5, 0.6),
        (2, 1),
        4,
        2,
        ((0.9, 0.3), (0.2, 0.1)),
        ((0.95, 0.8), (0.3, 0.2)),
    )
    images = np.random.default_rng(0).random((2, 24, 40, 3))
    cards = [report_card(run(two), two, b, images[b], images[b]) for b in range(2)]
    assert np.stack(cards).shape[0] == 2 and not np.array_equal(*cards)
    assert report_card(run(two), two).shape[1] == cards[0].shape[1]  # without images


def test_card_of_a_skipped_action_is_its_reason():
    skipped = RecipeReport("Latent Refine", "The wanted noise level is not in this run. " * 12)
    card = report_card(run(skipped), skipped)
    assert is_image(card, width=CARD) and card.shape[0] < 260
    longer = report_card(run(skipped, warnings=("one more line",)), skipped)
    assert longer.shape[0] == card.shape[0] + 26


def test_text_is_shortened_and_wrapped_to_its_place():
    long = "a photograph of an extraordinarily photogenic capybara"
    assert shorten("cat", 16, 100) == "cat"
    assert shorten(long, 16, 120).endswith("...") and width_of(shorten(long, 16, 120), 16) <= 120
    lines = wrap(f"{long} {long}", 16, 200)
    assert len(lines) > 3 and " ".join(lines) == f"{long} {long}"
    assert all(width_of(line, 16) <= 200 for line in [*lines, *wrap("x" * 300, 16, 200)])
    assert wrap("", 16, 200) == []


def test_a_line_ends_between_wide_letters_and_never_before_a_comma():
    text = "\u6ca1\u6709\u7f3a\u5931\uff0cgreen star \u7684\u6ce8\u610f\u529b\u3002" * 3
    lines = wrap(text, 16, 240)
    assert len(lines) > 2 and "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert not any(line[0] in "\uff0c\u3002" for line in lines)
    assert all(width_of(line, 16) <= 240 for line in lines)


def test_letters_without_a_glyph_are_still_told():
    assert font_for("red car", 16)[1] == "red car"
    font, text = font_for("caf\u00e9", 16)
    assert text in ("caf\u00e9", "cafe") and font.getlength(text) > 0
    unknown = "\U0001f991\U000f0001"  # no font has the second one
    assert font_for(unknown, 16)[1] == unknown.encode("ascii", "backslashreplace").decode()
    canvas = Canvas(200, 40)
    canvas.text(4, 24, "\u732b \U000f0001 \u00e9")
    assert np.ptp(canvas.array()) > 0.5


def test_canvas_writes_bright_ink():
    canvas = Canvas(60, 30, "#000000")
    canvas.text(30, 15, "M", 20, INK, "mm")
    ys, xs = (canvas.array().mean(-1) > 0.5).nonzero()
    assert abs(ys.mean() - 14.5) < 2 and abs(xs.mean() - 29.5) < 2


@pytest.mark.parametrize("low, high", [(0, 1), (0, 0.724), (-4.17, 0.3), (0, 3e-5), (-2, 0), (0, 1234)])
def test_ticks_are_few_and_round_and_enclose(low, high):
    found = ticks(low, high)
    assert found[0] <= low + 1e-9 and found[-1] >= high - 1e-9 and 3 <= len(found) <= 6
    step = found[1] - found[0]
    assert f"{step:.0e}"[0] in "125" and np.allclose(np.diff(found), step)


def test_images_survive_the_round_trip():
    image = np.random.default_rng(0).random((5, 7, 3), dtype=np.float32)
    assert np.abs(to_array(to_image(image)) - image).max() <= 0.5 / 255 + 1e-6
    assert to_array(to_image(np.full((2, 2, 3), np.nan))).max() == 0
