"""tools/gpu: every check sees the fault that it is for, time limits hold, and the patch of choices is one."""

import re
import subprocess
import sys
from collections import Counter

import pytest
import torch

from tools.gpu import bundle, checks, choices, jobs, syncs


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


RIGHT = noise(2, 4, 8, 8)


def test_the_right_gradient_has_no_fault():
    assert checks.gradient_faults(RIGHT.clone(), RIGHT, 0.9999) == []


@pytest.mark.parametrize("spoil, said", (
    (lambda g: g.index_fill(0, torch.tensor([1]), 0.0), r"image \[1\] is zero"),
    (lambda g: g + 0.1 * noise(*g.shape, seed=1), "agrees to a cosine of"),
    (lambda g: -g, "agrees to a cosine of -1"),
    (lambda g: 1024 * g, "times as long"),
    (lambda g: g.index_fill(1, torch.tensor([0]), float("nan")), "not finite"),
))  # fmt: skip
def test_a_planted_wrong_gradient_is_reported(spoil, said):
    faults = checks.gradient_faults(spoil(RIGHT), RIGHT, 0.999)
    assert any(re.search(said, fault) for fault in faults), faults


def test_cosines():
    assert checks.cosine(RIGHT, 3 * RIGHT) == pytest.approx(1)
    assert (
        checks.cosine(torch.zeros(3), torch.ones(3))
        == -1
        == checks.cosine(torch.full((3,), float("nan")), torch.ones(3))
    )
    assert checks.cosine(torch.zeros(3), torch.zeros(3)) == 1


def test_a_gradient_of_zeros_bits_that_differ_and_bytes_that_stay_are_reported():
    assert checks.empty(RIGHT) == [] and "[0, 1] is zero" in checks.empty(0 * RIGHT)[0]
    other = RIGHT.clone()
    other[1, 2, 3, 4] += 1e-6
    assert (
        checks.same_bits("off", RIGHT.clone(), RIGHT) == []
        and "off: not the same bits" in checks.same_bits("off", other, RIGHT)[0]
    )
    assert (
        checks.near("cut", other, RIGHT, 1e-5) == []
        and "off by" in checks.near("cut", 1.01 * RIGHT, RIGHT, 1e-5)[0]
    )
    assert checks.near("cut", float("nan") * RIGHT, RIGHT, 1e-5)
    assert checks.slope_faults(1.02) == [] and "0.500 times" in checks.slope_faults(0.5)[0]
    assert checks.slope_faults(float("nan")) != []
    assert checks.still_held(10, 10) == [] and checks.still_held(10, 42) == [
        "32 bytes of the device are still held"
    ]


def test_a_wait_in_every_update_step_is_reported():
    once = Counter({"samplers.py:1005 sample": 1})
    assert syncs.judged(once, once, more=5)["faults"] == []
    found = syncs.judged(once, once + Counter({"refine.py:70 refine": 5}), more=5)
    assert found["per_update"] == 1 and "refine.py:70" in found["faults"][0]


def job(name: str, seconds: float, code: str = "", **more) -> jobs.Job:
    return jobs.Job(name, code, (), seconds, "a", **more)


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """A runner whose workers are one line of Python each; `{out}` in it is the worker's file."""

    def made(limit: float) -> jobs.Runner:
        found = jobs.Runner(tmp_path, limit)

        def begin(job):
            code = job.part.replace("{out}", str(tmp_path / f"{job.name}.json"))
            return subprocess.Popen([sys.executable, "-c", code])

        monkeypatch.setattr(found, "_begin", begin)
        return found

    return made


GOOD = 'open("{out}", "w").write(\'{"seconds": 1, "found": {"SD1": {"faults": []}, "ended": true}}\')'


def test_what_does_not_fit_is_left_out_and_said(runner):
    found = runner(100)
    found.run(
        [job("small", 1, GOOD), job("long", 1000, GOOD), job("large", 1, GOOD, needs_gib=90)], memory_gib=80
    )
    assert set(found.results) == {"small"} and jobs.faults_in(found.results["small"]) == []
    assert "about 1000 s" in found.left_out["long"] and "needs 90 GiB" in found.left_out["large"]


def test_a_slower_card_is_given_more_time(runner):
    found = runner(100)
    found.scale = 30.0
    found.run([job("small", 5, GOOD)])
    assert "about 150 s" in found.left_out["small"]


def test_a_worker_that_hangs_is_ended_and_is_a_fault(runner):
    found = runner(1.5)
    found.run([job("hangs", 0, "import time; time.sleep(600)")])
    assert jobs.faults_in(found.results["hangs"]) == ["the process ended with stopped at its time limit"]


@pytest.mark.parametrize("code, said", (
    ("import os; os.abort()", "the process ended with -6"),
    (GOOD.replace('"ended": true', '"error": {"type": "OSError", "text": "gone"}'), "OSError: gone"),
    (GOOD.replace('"faults": []', '"faults": ["a zero"]'), "SD1: a zero"),
    (GOOD.replace('"faults": []', '"error": "out of order"'), "SD1: out of order"),
))  # fmt: skip
def test_a_worker_that_fails_is_a_fault(runner, code, said):
    found = runner(60)
    found.run([job("bad", 1, code)])
    assert jobs.faults_in(found.results["bad"]) == [said]


def test_jobs_are_in_order_of_worth_and_have_names_of_their_own():
    names = [j.name for j in jobs.all_jobs(smoke=False)]
    assert names[0] == "facts" and len(set(names)) == len(names)
    assert [j.letter for j in jobs.all_jobs(False)].index("a") == 1
    assert {j.letter for j in jobs.all_jobs(True)} == {j.letter for j in jobs.all_jobs(False)}


def way(seconds: float, **more) -> dict:
    return {"pass": {"seconds": seconds}, "faults": [], **more}


DYNAMIC = {
    "began": {},
    "node, all free": way(0.3),
    "again, all free": way(0.4),
    "own, all free": way(0.2),
    "own, 5 GiB free": {"faults": [], "failed": "inference tensors"},
}
EAGER = {"seconds": 0.2}
GRAPH = {"seconds": 0.05, "cosine": 1.0, "faults": []}
RESULTS = {
    "vram_sdxl_dynamic": {"found": DYNAMIC},
    "graph_sdxl": {"found": {"eager": EAGER, "cuda_graph": GRAPH}},
    "compile_sdxl": {"found": {"eager": EAGER, "compiled": {**GRAPH, "cosine": 0.5, "faults": ["wrong"]}}},
}


def test_choices_take_the_fastest_way_that_was_never_wrong():
    found = {row.question: row.choice for row in choices.choices(RESULTS)}
    assert found == {"dynamic VRAM, sdxl": "node", "graph, sdxl": "yes", "compile, sdxl": "no"}
    wrong = {**DYNAMIC, "node, 5 GiB free": {**way(0.3), "faults": ["zero"]}}
    assert choices.choices({"vram_sdxl_dynamic": {"found": wrong}})[0].choice == "again"


def test_the_patch_applies_and_replaces_the_table_of_the_same_card(tmp_path):
    file, rows = tmp_path / "gpu-choices.md", choices.choices(RESULTS)
    first = choices.as_patch("Card A", rows, file)
    assert not file.exists() and "+| graph, sdxl | yes |" in first
    lines = [line[1:] for line in first.splitlines() if line.startswith("+") and not line.startswith("+++")]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert choices.as_patch("Card A", rows, file) == ""
    changed = choices.as_patch("Card A", rows[1:], file)
    assert "-| dynamic VRAM, sdxl" in changed and "+| dynamic VRAM" not in changed
    assert file.read_text(encoding="utf-8").count("## Card A") == 1


def test_every_package_of_the_bundle_has_a_pinned_version():
    pins = bundle.pins()
    assert {name.lower().replace("_", "-") for name in bundle.PACKAGES} <= pins.keys()
    assert all(re.fullmatch(r"[\w.+]+", version) for version in pins.values())
