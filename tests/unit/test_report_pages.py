"""Pages of reports and maps as they are seen on a node: large type, landscape, regions, before and after."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import ImageColor

from gsn_ops.regions import Region
from gsn_ops.report import views
from gsn_ops.report.drawing.canvas import AFTER, COLOURS, PAPER, WHITE
from gsn_ops.report.drawing.cards import CARD, report_card
from gsn_ops.report.drawing.charts import SMALL
from gsn_ops.report.drawing.outlines import outlined
from gsn_ops.report.run_report import RecipeReport, RunReport

BLACK = np.zeros((32, 32, 3))
DONE = RecipeReport(
    "BoxDiff (Xie et al. 2023)",
    "done",
    3,
    5.4,
    5.5,
    losses=((0.8,), (0.4,)),
    loss_after=(0.2,),
    updates=(2,),
    forwards=4,
    backwards=2,
    maxima_before=((0.9, 0.01),),
    maxima_after=((0.95, 0.7),),
    subjects=("dog", "cat"),
    maps_before=torch.tensor([[[[0.9, 0.1], [0.1, 0.1]], [[0.0, 0.01], [0.0, 0.0]]]]),
    maps_after=torch.tensor([[[[0.9, 0.1], [0.1, 0.1]], [[0.0, 0.7], [0.0, 0.0]]]]),
    verdict="cat was missing (0.01), now 0.70",
)
SKIPPED = RecipeReport("SynGen", "SynGen: skipped, why", line="Skipped: do this (why)")


def run(*recipes):
    return RunReport("0.1.0", "SD1", "sample_ddpm", 20, (), recipes)


def ink(image, colour):
    """How many pixels have this colour."""
    wanted = np.array(ImageColor.getrgb(colour), dtype=np.float32) / 255
    return int((np.abs(np.asarray(image) - wanted).max(-1) < 0.02).sum())


def test_m7_pages_are_landscape_and_their_type_is_ten_pixels_on_a_node_420_wide():
    page = report_card(run(DONE), DONE, 0, BLACK, BLACK)
    assert page.shape[1] == CARD > page.shape[0]
    assert SMALL * 400 / CARD > 9.5  # of the node, 10 pixels on either side are its frame


def test_m7_the_page_is_not_the_brightest_thing_on_the_canvas():
    assert float(np.median(report_card(run(DONE), DONE, 0, BLACK, BLACK))) < 0.25
    assert float(np.median(views.note("Title", "text").numpy())) < 0.25


@pytest.mark.parametrize(
    "recipes, pages", [((DONE,), 1), ((DONE, DONE), 2), ((DONE, SKIPPED), 1), ((SKIPPED,), 1)]
)
def test_m7_one_page_per_action(recipes, pages):
    assert views.cards(run(*recipes)).shape[0] == pages


def test_m7_pages_of_a_batch_follow_image_by_image_and_have_one_size():
    two = replace(
        DONE,
        losses=((0.8, 0.1), (0.4, 0.1)),
        loss_after=(0.2, 0.1),
        updates=(2, 0),
        maxima_before=((0.9, 0.01), (0.9, 0.8)),
        maxima_after=((0.95, 0.7), (0.9, 0.8)),
    )
    pages = views.cards(run(two, two)).numpy()
    assert len(pages) == 4
    curves = [ink(page[350:], AFTER) > 500 for page in pages]
    assert curves == [True, True, False, False]


def test_m7_nothing_to_mend_is_said_and_the_picture_is_there_once():
    idle = replace(DONE, losses=((0.1,),), loss_after=(0.1,), updates=(0,), maxima_before=((0.9, 0.8),))
    both = ink(report_card(run(DONE), DONE, 0, BLACK, BLACK), "#000000")
    page = report_card(run(idle), idle, 0, BLACK, BLACK)
    assert ink(page, "#000000") == both / 2
    assert page.shape[0] < report_card(run(DONE), DONE, 0, BLACK, BLACK).shape[0] - 100  # no empty chart


def test_m7_a_method_without_update_steps_has_no_empty_chart():
    weighted = replace(DONE, losses=(), loss_after=(), updates=(), forwards=0)
    with_curve, without = (report_card(run(r), r, 0, BLACK, BLACK) for r in (DONE, weighted))
    assert len(without) < len(with_curve) - 150


def test_m7_regions_are_drawn_on_the_predicted_pictures():
    free = report_card(run(DONE), DONE, 0, BLACK, BLACK)[:, :500]
    placed = replace(DONE, regions={"cat": Region(boxes=((0.1, 0.1, 0.5, 0.6),))})
    page = report_card(run(placed), placed, 0, BLACK, BLACK)[:, :500]
    assert ink(free, COLOURS[1]) == 0 and ink(page, COLOURS[1]) > 300


@pytest.mark.parametrize(
    "region",
    [
        Region(boxes=((0.25, 0.25, 0.75, 0.75),)),
        Region(mask=torch.nn.functional.pad(torch.ones(20, 20), (10, 10, 10, 10))),
        Region(point=(0.3, 0.6)),
        Region(boxes=((0.0, 0.0, 0.2, 0.2), (0.6, 0.6, 1.0, 1.0))),
    ],
)
def test_m7_the_edge_of_every_kind_of_region_is_drawn_and_its_inside_left(region):
    image = outlined(np.zeros((80, 80, 3)), [(region, WHITE)])
    assert 0 < ink(image, WHITE) < 800
    assert ink(outlined(np.zeros((80, 80, 3)), [(Region(), WHITE)]), WHITE) == 0


def test_m7_maps_before_and_after_are_in_one_sheet_with_one_scale():
    image = torch.full((1, 64, 64, 3), 0.5)
    before, after = (views.attention_maps(run(DONE), image, [], later) for later in (False, True))
    (sheet,) = views.map_sheets(before, after, 0.75).numpy()
    half, right = len(sheet) // 2, sheet.shape[1] // 2
    missing, found = sheet[:half, right:], sheet[half:, right:]  # the cat
    colourful = [float(np.ptp(part, axis=-1).max()) for part in (missing, found)]
    assert colourful[0] < 0.2 < 0.5 < colourful[1]


@pytest.mark.parametrize("subjects, columns", [(1, 2), (2, 2), (3, 3), (4, 4), (5, 4), (7, 4)])
def test_m7_sheets_of_many_subjects_stay_as_wide_as_four_maps(subjects, columns):
    values = torch.rand(1, subjects, 4, 4)
    maps = views.Maps(tuple(f"s{j}" for j in range(subjects)), values, torch.zeros(1, 8, 8, 3))
    (sheet,) = views.map_sheets(maps, maps, 0.5)
    assert sheet.shape[1] == 2 * 20 + columns * (views.CELL + 16) - 16


def test_m7_only_one_kind_of_maps_is_one_row():
    maps = views.Maps(("dog", "cat"), torch.rand(1, 2, 4, 4), torch.zeros(1, 8, 8, 3))
    both, one = views.map_sheets(maps, maps, 0.5), views.map_sheets(None, maps, 0.5)
    assert one.shape[1] < both.shape[1] and one.shape[2] == both.shape[2]


def test_m7_maps_of_two_recipes_are_not_set_against_each_other():
    before = views.Maps(("dog",), torch.rand(1, 1, 4, 4), torch.zeros(1, 8, 8, 3))
    after = views.Maps(("dog", "cat"), torch.rand(1, 2, 4, 4), torch.zeros(1, 8, 8, 3))
    assert views.map_sheets(before, after, 0.5).shape == views.map_sheets(None, after, 0.5).shape


@pytest.mark.parametrize(
    "label, title", [("", DONE.method), ("BoxDiff", DONE.method), ("Left", f"Left: {DONE.method}")]
)
def test_m7_the_label_does_not_double_the_title(label, title, monkeypatch):
    titles = []

    def noted(*given):
        titles.append(given[-1] or given[1].method)
        return np.zeros((10, 10, 3), dtype=np.float32)

    monkeypatch.setattr(views, "report_card", noted)
    views.cards(run(DONE), None, label)
    assert titles == [title]


def test_regions_go_into_the_json_without_their_masks():
    region = Region(boxes=((0.0, 0.0, 0.5, 0.5),), mask=torch.ones(4, 4))
    data = run(replace(DONE, regions={"cat": region})).to_dict()["recipes"][0]["regions"]
    assert data == {"cat": {"boxes": [[0.0, 0.0, 0.5, 0.5]], "point": None}}


def test_paper_is_what_fills_a_shorter_page():
    pages = views.cards(run(replace(DONE, losses=(), updates=()), DONE)).numpy()
    assert ink(pages[0][-150:], PAPER) == 150 * CARD
