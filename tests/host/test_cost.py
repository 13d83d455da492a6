"""What a run may cost, and did cost, stands on the node, in images."""

import pytest


def lines_of(tiny, sampler="euler", cfg=7.5, steps=6, **settings) -> tuple[list[str], object]:
    lines = []
    model, book = tiny.attach(on_status=lines.append, **settings)
    found = book.find(tiny.sample(model, sampler=sampler, cfg=cfg, steps=steps))
    return lines, found


@pytest.mark.parametrize(
    "sampler, cfg, images",
    # 2 update steps are 4 passes; the image's own are 6 x 2, 6, and 2 x (5 x 2 + 1)
    (("euler", 7.5, "0.33"), ("euler", 1.0, "0.67"), ("heun", 7.5, "0.18")),
)
def test_the_cost_is_told_before_and_after_the_run(tiny, sampler, cfg, images):
    lines, report = lines_of(tiny, sampler, cfg, step=1, shifts=2, report="curve")
    assert lines[0].endswith(f"; up to +{images} images"), lines
    assert f"; cost +{images} images" in lines[-1], lines
    (recipe,) = report.recipes
    assert recipe.cost == pytest.approx(float(images), abs=0.01)
    assert (recipe.forwards, recipe.backwards) == (2, 2)


def test_more_than_three_images_is_a_remark_and_the_report_counts_too(tiny):
    lines, report = lines_of(tiny, cfg=1.0, step=1, shifts=9)
    assert lines[0].endswith("; up to +3.3 images, more than 3: the method Auto costs less"), lines
    assert report.recipes[0].cost == pytest.approx(20 / 6, abs=0.001)


def test_a_run_that_is_skipped_costs_nothing(tiny):
    moment = tiny.module("gsn_ops.schedule").Moment(sigma=10000.0)
    lines, report = lines_of(tiny, moment=moment)
    assert all("images" not in line for line in lines) and report.recipes[0].cost is None
