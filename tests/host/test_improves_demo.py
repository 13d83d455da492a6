"""What the pack is for, on the embedded model with the demo workflow's settings: more of the prompt is in the
image.

One fixed batch of test prompts and seeds, a regression test: on the development machine 8 of 16 images are
right plain and 14 refined (7 fixed, 1 broken); other lists gave +4 and +5. Other CPUs round differently,
hence the margins. docs/results.md has the large numbers.
"""

from dataclasses import replace

import pytest

from tools.study.embedded import Demo, Refined, Sampling, Verdict, judge
from tools.study.paired_statistics import compare
from tools.tiny.prompts import prompts
from tools.workflows.demo import shipped_settings

HOW = Sampling(steps=20)
PROMPTS = prompts(3, 16, "test", seed=6)


@pytest.fixture(scope="module")
def demo(pack) -> Demo:
    return Demo()


@pytest.fixture(scope="module")
def plain(demo) -> list[Verdict]:
    return judge(demo.sample(demo.model, PROMPTS, HOW), PROMPTS)


@pytest.fixture(scope="module")
def refined(demo, pack_module) -> Refined:
    node, settings = shipped_settings(), pack_module("gsn_ops.optimise.overrides")
    method = settings.override(
        pack_module("gsn_ops.optimise.methods").preset(node["method"]), node["overrides"]
    )
    moment = pack_module("gsn_ops.schedule").Moment(percent=node["at_percent"])
    return demo.refine(
        [replace(recipe, report="curve") for recipe in settings.moved(method, moment)], PROMPTS, HOW
    )


@pytest.mark.slow
def test_the_loss_falls_in_every_image(refined):
    assert sum(refined.last_loss) < 0.65 * sum(refined.first_loss)  # 0.47 when written
    assert all(last < first for first, last in zip(refined.first_loss, refined.last_loss, strict=True))


@pytest.mark.slow
def test_more_images_are_right_and_few_break(plain, refined):
    found = compare(
        (a.objects, b.objects) for a, b in zip(plain, judge(refined.latents, PROMPTS), strict=True)
    )
    assert found.refined >= found.plain + 3
    assert found.broken <= 3


def test_plain_images_of_the_same_noise_are_the_same(demo, plain):
    some, short = PROMPTS[:4], replace(HOW, steps=4)
    assert demo.sample(demo.model, some, short).equal(demo.sample(demo.model, some, short))
    assert any(v.objects for v in plain) and not all(
        v.objects for v in plain
    )  # room to mend, and not all lost
