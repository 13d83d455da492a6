"""A study through servers: cells, what is refused, kills at any moment, workers that die, early stopping."""

import json
import multiprocessing
import random
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from gsn_ops.chosen_moments import read_moments
from tools.study import server_results, server_study, server_worker
from tools.study.cells import Cell, Grid, Template, check_different
from tools.study.pools import MOST_DEATHS, Died, Failed, LocalPool, RayPool, StudyFailed, dispatch
from tools.study.prompt_sets import SETS, AskedPrompt, read_prompts, shapes, tiam
from tools.study.server_results import CellStore

from ..support.import_graph import CLONE
from ..support.study_worker import GRID, METHOD, Inline, Worker

WORKFLOW = json.loads((CLONE / "tools/study/demo_workflow.json").read_text("utf-8"))


@pytest.fixture(autouse=True)
def without_another_tests_package(monkeypatch):
    """Other processes import the worker by its name, and ComfyUI, on the path here, has a package `tests`."""
    own = [folder for folder in sys.path if not (Path(folder) / "tests" / "__init__.py").exists()]
    monkeypatch.setattr(sys, "path", own)


@pytest.fixture(scope="module")
def template() -> Template:
    return Template(WORKFLOW)


def finished(path, template, pool=None, workers: int = 1) -> tuple[dict, set]:
    """Cells and numbers of a study that has run to its end."""
    store = CellStore(path, template.digest)
    stopped = server_study.make_study(GRID, template, store, pool or Inline(), workers)
    lines = path.read_text().splitlines()[1:]
    keys = [json.dumps(json.loads(line)["cell"]) for line in lines]
    assert len(keys) == len(set(keys)), "a cell was made twice"
    return dict(store.results), stopped


@pytest.fixture(scope="module")
def undisturbed(template, tmp_path_factory) -> tuple[dict, set]:
    return finished(tmp_path_factory.mktemp("store") / "records.jsonl", template)


def test_every_cell_is_made_but_those_of_a_hopeless_step(undisturbed):
    made, stopped = undisturbed
    assert stopped == {(METHOD, 4)}
    per_way = len(GRID.prompts) * len(GRID.seeds)
    assert 3 * per_way < len(made) < 4 * per_way


def study_in_a_process(path) -> None:
    finished(path, Template(WORKFLOW))


def test_five_kills_at_random_moments_give_the_undisturbed_study(tmp_path, template, undisturbed):
    """kill -9 as soon as the file has a random number of lines; a half line is left behind as well."""
    path, rng = tmp_path / "records.jsonl", random.Random(13)
    context = multiprocessing.get_context(
        "fork" if "fork" in multiprocessing.get_all_start_methods() else None
    )
    for lines in sorted(rng.sample(range(5, 120), 5)):
        process = context.Process(target=study_in_a_process, args=(path,))
        process.start()
        while process.is_alive() and not (path.exists() and path.read_bytes().count(b"\n") >= lines):
            time.sleep(0.001)
        process.kill()
        process.join()
        with path.open("ab") as file:
            file.write(b'{"cell": {"set": "a c')
    assert finished(path, template) == undisturbed


@pytest.mark.parametrize("workers", (1, 2))
def test_one_or_two_processes_and_one_of_them_killed_give_the_same(tmp_path, template, undisturbed, workers):
    folder = tmp_path / "seen"
    folder.mkdir()
    pool = LocalPool([partial(Worker, str(folder), dies_at=20 * workers)] * workers)
    try:
        assert finished(tmp_path / "records.jsonl", template, pool, workers) == undisturbed
    finally:
        pool.close()
    assert (folder / "died").exists(), "the worker was killed"
    assert not any(process.is_alive() for process in pool.processes.values())


@pytest.mark.parametrize("workers", (1, 2))
def test_ray_gives_the_same_with_one_worker_killed(tmp_path, template, undisturbed, workers):
    pytest.importorskip("ray", reason="Ray is optional: tools/requirements-ray.txt")
    folder = tmp_path / "seen"
    folder.mkdir()
    pool = RayPool([partial(Worker, str(folder), dies_at=20)] * workers)
    try:
        assert finished(tmp_path / "records.jsonl", template, pool, workers) == undisturbed
    finally:
        pool.close()
    assert (folder / "died").exists()


def test_a_worker_that_dies_again_and_again_is_given_up():
    pool, made = Inline(dict.fromkeys(range(3, 99), Died())), []
    with pytest.raises(StudyFailed, match="No worker is left"):
        dispatch([some_task(n) for n in range(9)], pool, 1, lambda task, _: made.append(task))
    assert len(made) == 2 and pool.started == MOST_DEATHS - 1


def test_a_cell_that_cannot_be_made_ends_the_study_in_the_servers_words():
    pool, made = Inline({4: Failed("node 8 (GSNJudge): choose a detector")}), []
    with pytest.raises(StudyFailed, match="A cell cannot be made: node 8 .GSNJudge.: choose a detector"):
        dispatch([some_task(n) for n in range(9)], pool, 1, lambda task, _: made.append(task))
    assert len(made) == 3


def test_the_verdict_of_another_version_is_one_sentence():
    worker = object.__new__(server_worker.ServerWorker)
    entry = {"outputs": {server_worker.JUDGE_JSON: {"text": ["{}"]}}}
    worker.client = SimpleNamespace(run=lambda *of: entry)
    with pytest.raises(ValueError, match="verdict lacks 'not_judged': is this pack of the same version"):
        worker(some_task(1))


def some_task(seed: int):
    return server_study.Task(Cell("set", "a cat", "", False, seed), {})


def test_a_cell_is_the_workflow_with_everything_explicit(template):
    prompt = AskedPrompt("2 coloured", "a red cat and a dog", "red cat, dog", coloured=True)
    grid = Grid((prompt,), (11,), (METHOD, "Latent Refine (fast)"), (3, 0), overrides="shifts=2")
    plain, third, *_ = (template.of(cell) for cells in grid.rounds() for cell in cells)
    assert third["3"]["inputs"]["text"] == prompt.text and third["6"]["inputs"]["seed"] == 11
    nursing = third["2"]["inputs"]
    assert (nursing["method"], nursing["at_step"], nursing["overrides"]) == (METHOD, 3, "shifts=2")
    assert (nursing["subjects"], nursing["strength"], nursing["at_percent"]) == ("red cat, dog", 1.0, -1.0)
    assert plain["2"]["inputs"]["strength"] == 0.0 and "gsn_study_run" not in plain
    assert third["8"]["inputs"]["subjects"] == "red cat, dog" and third["8"]["inputs"]["colours"] is True
    assert "9" not in third, "nodes that the verdict does not need are left out"
    assert template.workflow == WORKFLOW, "the person's workflow stays"
    assert check_different(template, grid) == 5


def test_cells_that_would_be_the_same_are_refused(template):
    grid = replace(GRID, seeds=(3, 3))
    with pytest.raises(ValueError, match="Two cells of the study are the same"):
        check_different(template, grid)
    assert check_different(template, GRID) == 4 * len(GRID.prompts) * 2


def test_the_seed_of_a_custom_sampler_is_found():
    workflow = json.loads(json.dumps(WORKFLOW))
    workflow["20"] = {"class_type": "PrimitiveInt", "inputs": {"value": 5}}
    workflow["6"]["inputs"]["seed"] = ["20", 0]
    made = Template(workflow).of(Cell("s", "a cat", "", False, 77))
    assert made["20"]["inputs"]["value"] == 77 and made["6"]["inputs"]["seed"] == ["20", 0]


def without(node: str) -> dict:
    return {i: one for i, one in WORKFLOW.items() if i != node}


def changed(node: str, **inputs) -> dict:
    workflow = json.loads(json.dumps(WORKFLOW))
    workflow[node]["inputs"] |= inputs
    return workflow


@pytest.mark.parametrize(
    "workflow, why",
    (
        ([], "no workflow in API form"),
        ({"1": {"class_type": "KSampler"}}, "no workflow in API form"),
        (changed("6", seed=["99", 0]), "no seed to set"),
        ({"nodes": [], "links": []}, "no workflow in API form"),
        (without("8"), "0 nodes Subject Judge, and needs one: put it behind VAE Decode"),
        (without("2"), "0 nodes Semantic Nursing"),
        (changed("6", positive=["99", 0]), "no text node"),
        (changed("6", seed=None), "no seed to set"),
        (changed("8", images=["4", 0]), "from no VAE Decode"),
    ),
)
def test_a_workflow_that_cannot_be_studied_is_one_sentence(workflow, why):
    with pytest.raises(ValueError, match=why):
        Template(workflow)


def test_a_file_of_prompts(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("a cat and a dog\n\n  \na red cat\tred cat\na cat and a dog\n", encoding="utf-8")
    found, said = read_prompts(file)
    assert found == [AskedPrompt("mine", "a cat and a dog"), AskedPrompt("mine", "a red cat", "red cat")]
    assert said == "3 empty or repeated lines of mine.txt were left out."
    for text, why in (("\n \n", "has no prompt"), ("\tcat\n", "line 1 has subjects and no prompt")):
        file.write_text(text)
        with pytest.raises(ValueError, match=why):
            read_prompts(file)
    file.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ValueError, match="cannot be read as text"):
        read_prompts(file)


@pytest.mark.parametrize("name", SETS)
def test_tiam_sets_never_meet_and_repeat_nothing(name):
    lists = {split: tiam(name, 40, split) for split in ("validation", "test")}
    texts = {split: {p.text for p in found} for split, found in lists.items()}
    assert len(texts["validation"]) == len(texts["test"]) == 40
    assert not texts["validation"] & texts["test"]
    assert tiam(name, 10, "test") == lists["test"][:10]
    entities, coloured = SETS[name]
    for prompt in lists["test"]:
        things = prompt.subjects.split(", ")
        assert len(things) == len(set(things)) == entities and prompt.coloured == coloured
        assert all(thing in prompt.text for thing in things)
    assert {p.set for p in shapes(3, "test")} == {"2 shapes", "3 shapes"}


@pytest.mark.parametrize(
    "words, why",
    (
        (["--candidates", "0", "2"], "There is no prompt"),
        (["--candidates", "0", "20", "--shapes"], "Step 20 is outside of a run of 20 steps"),
        (["--candidates", "2", "--shapes"], "nothing to choose from"),
        (["--candidates", "0", "2", "--shapes", "--workflow", "none.json"], "none.json cannot be read"),
    ),
)
def test_bad_input_is_one_sentence_before_a_server_is_asked(tmp_path, words, why):
    with pytest.raises(SystemExit, match=why):
        server_study.main([*words, "--records", str(tmp_path / "records.jsonl")])


@pytest.mark.parametrize(
    "head, why",
    (
        ('{"gsn_study": 7, "plan": "x"}', "a store of version 7, this is version 1"),
        ('{"study": {}}', "a store of version none"),
        ('{"gsn_study": 1, "plan": "x"}', "has the cells of another workflow"),
        ("[]", "line 1 is not a record"),
        ('{"gsn_study": 1, "plan": "PLAN"}\n{"cell": {"new": 1}}', "line 2 is not a record"),
        ('{"gsn_study": 1, "plan": "PLAN"}\n\n', "line 2 is not a record"),
    ),
)
def test_a_store_of_another_kind_is_refused_and_kept(tmp_path, template, head, why):
    path = tmp_path / "records.jsonl"
    head = head.replace("PLAN", template.digest)
    path.write_text(head + "\n")
    words = ["--shapes", "--candidates", "0", "2", "--records", str(path)]
    with pytest.raises(SystemExit, match=why):
        server_study.main(words)
    assert path.read_text() == head + "\n"


@pytest.mark.parametrize("name", ("folder", "file/records.jsonl"))
def test_a_place_that_cannot_hold_records_is_one_sentence(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    words = ["--shapes", "--candidates", "0", "2", "--records", str(tmp_path / name)]
    with pytest.raises(SystemExit, match="cannot be used for records .*name another file"):
        server_study.main(words)


@pytest.mark.parametrize("option", ("--round", "--workers", "--pairs"))
@pytest.mark.parametrize("number", ("0", "-1", "x"))
def test_numbers_below_one_are_refused(option, number, capsys):
    with pytest.raises(SystemExit):
        server_study.main(["--shapes", "--candidates", "0", "2", f"{option}={number}"])
    assert f"{number} is no whole number from 1" in capsys.readouterr().err


def test_addresses_and_a_workflow_from_an_editor(tmp_path):
    args = server_study.parser().parse_args(["--candidates", "0", "--url", "127.0.0.1:8188/", "https://a/b"])
    assert args.url == ["http://127.0.0.1:8188", "https://a/b"]
    file = tmp_path / "mine.json"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(WORKFLOW).encode())
    words = ["--shapes", "--candidates", "0", "2", "--workflow", str(file)]
    words += ["--records", str(tmp_path / "r.jsonl")]
    assert server_study.prepared(server_study.parser().parse_args(words))[1].steps == 20
    file.write_bytes(b"\xff\xfe{")
    with pytest.raises(SystemExit, match="mine.json cannot be read as JSON"):
        server_study.main(words)


def test_a_study_that_is_ended_says_how_it_goes_on(tmp_path, monkeypatch):
    def ended(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(server_study, "pool_of", lambda args: (Inline(), 1))
    monkeypatch.setattr(server_study, "make_study", ended)
    with pytest.raises(SystemExit, match="Ended by you.*the same command goes on"):
        server_study.main(["--shapes", "--candidates", "0", "2", "--records", str(tmp_path / "r.jsonl")])


def test_tables_are_of_the_cells_that_were_asked_for_now(tmp_path, template):
    store = CellStore(tmp_path / "r.jsonl", template.digest)
    grid = replace(GRID, prompts=GRID.prompts[:2], seeds=(0,), overrides="shifts=1")
    for other in (replace(grid, overrides="shifts=9"), replace(grid, seeds=(7,)), grid):
        for cells in other.rounds():
            for cell in cells:
                store.add(cell, {"right": other is grid, "score": 1.0})
    asked = store.within(grid)
    way = (METHOD, grid.candidates[0])
    assert len(server_results.images(store, way, grid.prompts[0].set)) > len(grid.prompts)
    made = server_results.images(asked, way, grid.prompts[0].set)
    assert len(made) == sum(p.set == grid.prompts[0].set for p in grid.prompts)
    assert all(result["right"] for result in made) and len(store.results) > len(asked.results)


def test_tables_curve_and_choice(tmp_path, template, monkeypatch, capsys):
    monkeypatch.setattr(server_study, "pool_of", lambda args: (Inline(), 1))
    moments = tmp_path / "user" / "moments.json"
    words = [
        "--shapes",
        "--pairs",
        "24",
        "--candidates",
        "0",
        "2",
        "4",
        "--records",
        str(tmp_path / "r.jsonl"),
    ]
    server_study.main([*words, "--moments", str(moments), "--write", str(tmp_path / "page.md")])
    said = capsys.readouterr().out
    assert "| way | 2 shapes (95 %), n | 3 shapes (95 %), n | score(k) |" in said
    assert f"| {METHOD}, step 4 |" in said and "ended early" in said
    assert "| Latent Refine (Ours) | 65.8 | 23.1 | 8.7 | 0.4 |" in said, "the published table"
    assert f"| **{METHOD}, step 2** |  |  |  |  |" in said, "an empty row: other prompts than the paper's"
    assert "| **yours** |  |  |  |" in said
    assert "points over plain, McNemar p = " in said
    assert (tmp_path / "r_0.png").read_bytes().startswith(b"\x89PNG")
    chosen = read_moments(moments.read_text())["abc"][METHOD]
    assert (chosen.at_percent, chosen.step, chosen.steps, chosen.images) == (0.1, 2, 20, 48)
    assert said.strip().splitlines()[0] in (tmp_path / "page.md").read_text()


def test_similarities_of_image_scores_stand_beside_the_papers(tmp_path):
    scores = {"12": {"class_type": "GSNScores", "inputs": {"images": ["7", 0], "prompt": "", "subjects": ""}}}
    template = Template({**WORKFLOW, **scores})
    prompt = AskedPrompt("2 entities", "a photo of a cat and a dog", "cat, dog")
    cell = Cell(prompt.set, prompt.text, prompt.subjects, False, 3)
    made = template.of(cell)
    assert made["12"]["inputs"] == {"images": ["7", 0], "prompt": prompt.text, "subjects": "cat, dog"}
    said = {"gsn_study_judge": '{"all_present": true, "score": 1.0, "not_judged": []}',
            "gsn_study_scores": '{"mean": {"full prompt": 0.3, "minimum object": 0.2}}'}  # fmt: skip
    entry = {"outputs": {node: {"text": [text]} for node, text in said.items()}}
    result = server_worker.result_of(entry, cell, 1.0)
    store, grid = CellStore(tmp_path / "r.jsonl", template.digest), Grid((prompt,), (3, 4), (), ())
    store.add(cell, result)
    store.add(replace(cell, seed=4), result | {"similarities": {"full prompt": 0.4, "minimum object": 0.2}})
    text = "\n".join(server_results.tables(store, grid, set()))
    assert "Similarities, 2 entities:" in text and "| Stable Diffusion 1.4 | 0.3313 |" in text
    assert "| **plain** | 0.3500 | 0.2000 |  |" in text
