"""A study through the queue of a real server: verdicts, where the method acted, what the server refuses."""

import json

import pytest

from tools.host_env.paths import CLONE
from tools.study import server_study
from tools.study.cells import Cell, Grid, Task, Template
from tools.study.pools import StudyFailed
from tools.study.prompt_sets import AskedPrompt
from tools.study.server_results import CellStore
from tools.study.server_worker import ServerWorker

from ..support.study_worker import METHOD, Inline

STEPS = 6
GRID = Grid(
    (AskedPrompt("own", "a red circle and a blue square", coloured=True),),
    seeds=(5,),
    methods=(METHOD,),
    candidates=(0, 3),
    overrides="shifts=1",
)


@pytest.fixture(scope="module")
def template() -> Template:
    workflow = json.loads((CLONE / "tools" / "study" / "demo_workflow.json").read_text("utf-8"))
    workflow["6"]["inputs"]["steps"] = STEPS
    return Template(workflow)


def test_cells_are_made_judged_and_placed_in_the_schedule(server, template, tmp_path):
    store = CellStore(tmp_path / "records.jsonl", template.digest)
    worker = ServerWorker(server.url)
    server_study.make_study(GRID, template, store, Inline(make=worker), 1)
    plain, first, later = (store.results[cell.key] for cell in next(GRID.rounds()))
    assert "step" not in plain and (first["step"], later["step"]) == (0, 3)
    assert 0 <= first["percent"] < later["percent"] < 1 and first["sigma"] > later["sigma"]
    assert first["weights"] == later["weights"] and len(first["weights"]) == 16
    assert all(isinstance(r["right"], bool) and 0 <= r["score"] <= 1 for r in (plain, first, later))
    again = CellStore(tmp_path / "records.jsonl", template.digest)
    server_study.make_study(GRID, template, again, Inline(make=None), 1)
    assert again.results == store.results, "nothing was left to make"


def asked(template: Template, **inputs) -> Task:
    """A plain cell with other inputs of the judge."""
    cell = Cell("own", "a red circle", inputs.pop("subjects", ""), True, 7)
    workflow = template.of(cell)
    workflow["8"]["inputs"] |= inputs
    return Task(cell, workflow)


@pytest.mark.parametrize(
    "inputs, why",
    (
        ({"judge_by": "what is connected"}, "GSNJudge"),
        ({"judge_by": "what is connected", "detector": ["1", 0]}, "does not detect objects"),
        ({"subjects": "red zeppelin"}, "Nothing that is connected can find zeppelin"),
        ({"subjects": "red circle, zeppelin"}, "cannot find 'zeppelin' of 'a red circle'"),
    ),
)
def test_what_the_judge_refuses_ends_a_study_in_its_words(server, template, inputs, why):
    worker = ServerWorker(server.url)
    with pytest.raises(ValueError, match=why) as refused:
        worker(asked(template, **inputs))
    assert "Traceback" not in str(refused.value)


def test_a_server_that_is_gone_costs_no_cell(template):
    from tools.host_env.server import free_port
    from tools.study.pools import Died, WorkerLost, dispatch

    worker = ServerWorker(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(WorkerLost):
        worker(asked(template))
    made = []
    pool = Inline(fails=dict.fromkeys(range(1, 9), Died()))
    with pytest.raises(StudyFailed, match="run the same command again"):
        dispatch([asked(template)], pool, 1, lambda task, result: made.append(task))
    assert not made
