"""Studies: one record per image, resumed after a kill at any byte, printed again without running."""

import argparse
import json
from dataclasses import replace

import pytest

from gsn_ops.optimise.methods import preset
from gsn_ops.optimise.overrides import override
from tools.study import __main__ as command
from tools.study import auto, compare, compute_tradeoff, data, evaluate, gradient_free, run
from tools.study.data import PLAIN, Record, Study, Way
from tools.study.store import Store
from tools.study.tables import write_between

METHOD = "Latent Refine (Grimal et al. 2025)"
FACTS = {"pack": "0.1.0", "code": "abc", "date": "2026-01-01"}
STUDY = Study(
    "compare",
    (Way(), Way(METHOD, METHOD), Way("fast", "Latent Refine (fast)")),
    sampling=data.HOW["sd"],
    pairs=5,
    batch=2,
    facts=FACTS,
)


def made(study: Study, task: tuple) -> list[Record]:
    """Images that are right by a rule, in place of a model."""
    way, batch = task
    number = [w.name for w in study.ways].index(way.name)
    return [
        Record(
            study.name,
            study.model,
            prompt.text,
            way.seed(prompt),
            way.name,
            study.config(way, batch),
            study.facts["pack"],
            objects=way.seed(prompt) % (4 - number % 3) > 0,
            colours=way.seed(prompt) % 2 > 0,
            batch=len(batch),
            seconds=0.5 * len(batch),
            forwards=5 * number,
            backwards=4 * number,
            batch_forwards=6 * number,
            batch_backwards=6 * number,
            weakest=0.5,
        )
        for prompt in batch
    ]


@pytest.fixture
def tasks(monkeypatch) -> list:
    """(way, number of images) of every batch that was made, in order."""
    seen = []

    def make(study, task):
        seen.append((task[0].name, len(task[1])))
        return made(study, task)

    monkeypatch.setattr(run, "make", make)
    return seen


def finished(path, study: Study = STUDY) -> Store:
    store = Store(path)
    run.run(study, store)
    return store


def test_every_way_gets_every_prompt_once(tmp_path, tasks):
    store = finished(tmp_path / "records.jsonl")
    assert tasks == [(way.name, size) for size in (2, 2, 1) for way in STUDY.ways]
    prompts = [p.text for p in STUDY.prompts(3)]
    for records in store.images(STUDY, 3).values():
        assert [r.prompt for r in records] == prompts
        assert [r.seed for r in records] == [200_000, 200_001, 200_002, 200_003, 200_004]


def test_a_run_killed_at_any_byte_of_a_line_goes_on_and_prints_the_same(tmp_path, tasks):
    whole = tmp_path / "whole.jsonl"
    text, data = compare.tables(STUDY, finished(whole)), whole.read_bytes()
    lines = data.splitlines(keepends=True)
    before = b"".join(lines[:-3])
    for cut in (0, 1, len(lines[-3]) // 2, len(lines[-3]) - 1, len(lines[-3])):
        path = tmp_path / f"cut_{cut}.jsonl"
        path.write_bytes(before + lines[-3][:cut])
        tasks.clear()
        assert compare.tables(STUDY, finished(path)) == text
        assert path.read_bytes().splitlines()[1:] == data.splitlines()[1:]
        kept = 1 if cut == len(lines[-3]) else 0
        assert tasks == [(way.name, 1) for way in STUDY.ways[kept:]]


def test_a_stop_between_batches_loses_none_of_them(tmp_path, monkeypatch):
    def stops(study, task):
        if task[1][0].seed == 200_002:
            raise KeyboardInterrupt
        return made(study, task)

    path = tmp_path / "records.jsonl"
    monkeypatch.setattr(run, "make", stops)
    with pytest.raises(KeyboardInterrupt):
        finished(path)
    assert [len(records) for records in Store(path).images(STUDY, 3).values()] == [2, 2, 2]
    assert "n = 2 (unfinished: 2 of 5)" in "\n".join(compare.tables(STUDY, Store(path)))


def test_a_broken_line_in_the_middle_is_an_error_that_names_it(tmp_path, tasks):
    path = tmp_path / "records.jsonl"
    finished(path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:40], *lines[2:]]) + "\n")
    with pytest.raises(ValueError, match="records.jsonl, line 2 is not a record"):
        Store(path)


@pytest.mark.parametrize(
    "change",
    [
        {"batch": 5},
        {"sampling": data.Sampling(steps=7)},
        {"facts": {**FACTS, "code": "changed"}},
        {"model": "sd3"},
        {"split": "validation"},
        {"ways": tuple(replace(way, overrides="shifts=2") for way in STUDY.ways)},
    ],
)
def test_images_made_otherwise_are_not_taken_for_these(tmp_path, tasks, change):
    store = finished(tmp_path / "records.jsonl")
    tasks.clear()
    run.run(replace(STUDY, **change), store)
    assert len(tasks) == sum(1 for _ in replace(STUDY, **change).batches())


def test_a_larger_study_and_another_day_reuse_what_is_there(tmp_path, tasks):
    store = finished(tmp_path / "records.jsonl")
    tasks.clear()
    run.run(replace(STUDY, pairs=6, facts={**FACTS, "date": "2026-01-02"}), store)
    assert tasks == [(way.name, 2) for way in STUDY.ways]  # the last batch had one image and now has two
    assert [(s.pairs, s.facts["date"]) for s in store.studies] == [(6, "2026-01-02")]


def test_tables_are_printed_again_from_records_alone(tmp_path, tasks, monkeypatch, capsys):
    path, page = tmp_path / "records.jsonl", tmp_path / "page.md"
    text = "\n".join(compare.tables(STUDY, finished(path)))
    tasks.clear()
    page.write_text("before\n<!-- study compare sd -->\nold\n<!-- study compare sd: end -->\nafter\n")
    monkeypatch.setattr(
        "sys.argv", ["study", "tables", "compare", "--records", str(path), "--write", str(page)]
    )
    command.main()
    assert capsys.readouterr().out == text + "\n" and tasks == []
    new = f"before\n<!-- study compare sd -->\n{text}<!-- study compare sd: end -->\nafter\n"
    assert page.read_text() == new and "| fast |" in text


def test_text_without_marks_goes_to_the_end(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n")
    for text in ("first\n", "second\n"):
        write_between(page, text, "study eval sd")
    assert page.read_text() == "before\n<!-- study eval sd -->\nsecond\n<!-- study eval sd: end -->\n"


def test_another_number_of_steps_and_another_split_have_their_own_place_in_a_file():
    turbo = replace(STUDY, name="auto", model="sd3-turbo", sampling=data.HOW["sd3-turbo"])
    assert command.name_of(turbo) == "study auto sd3-turbo"
    four = replace(turbo, sampling=replace(turbo.sampling, steps=4), split="validation")
    assert command.name_of(four) == "study auto sd3-turbo 4 steps validation"
    assert command.command_of(four).endswith("--steps 4 --split validation")


def test_a_comparison_counts_pairs_and_passes(tmp_path, tasks):
    text = "\n".join(compare.tables(STUDY, finished(tmp_path / "records.jsonl")))
    # Seeds 200000 ... 200004: plain is wrong where 4 divides the seed, the method where 3 does.
    assert "| plain | 60.0 % (23.1 to 88.2) | 40.0 % (11.8 to 76.9) |" in text
    row = next(line for line in text.splitlines() if line.startswith(f"| {METHOD}"))
    assert [cell.strip() for cell in row.split("|")][4:9] == ["+0.0", "1", "1", "1", "6/6"]


def arguments(**given) -> argparse.Namespace:
    return argparse.Namespace(**{"model": "sd", "scale": 0.2, **given})


def test_the_tradeoff_counts_what_each_prompt_costs():
    ways = compute_tradeoff.ways(arguments())
    right = {  # three prompts
        PLAIN: (1, 0, 0),
        "new seed 1": (0, 1, 0),
        "new seed 2": (1, 1, 0),
        "new seed 3": (0, 0, 0),
        compute_tradeoff.PUBLISHED: (1, 1, 0),
        compute_tradeoff.FAST: (0, 1, 0),
        compute_tradeoff.FAST_AGAIN: (1, 1, 1),
    }
    images = {}
    for way in ways:
        verdicts = right.get(way.name, (0, 0, 0))
        cost = {"forwards": 15, "backwards": 15} if way.method else {}
        record = Record("tradeoff", "sd", "", 0, way.name, "", "", True, True, 1, 2.0, weakest=0.9, **cost)
        images[way.name] = [replace(record, objects=bool(v)) for v in verdicts]
    rows = {row.name: row for row in compute_tradeoff.rows_of(images, images, steps=20)}
    assert [round(sum(row.passes)) for row in rows.values()] == [
        *(120, 240, 200, 360, 240, 480, 280),  # plain; best of 2, 3, 4 seeds: all made, or until right
        *(210, 210, 210, 210),  # each method: 3 x (40 + 30)
        *(
            123,
            350,
            260,
            260,
        ),  # left alone after one evaluation; fast again where wrong; plain, then a method
    ]
    until = rows["seeds until right, at most 3"]
    assert until.right == [True, True, False] and until.passes == [40, 80, 120] and until.seconds == 4.0
    assert rows["50 updates, checked first (100% left alone)"].right == [True, False, False]
    assert rows["Latent Refine (fast), seeds until right, at most 2"].right == [True, True, True]
    joined = compute_tradeoff.joined([list(rows.values()), list(rows.values())])
    assert [sum(row.passes) for row in joined] == [2 * sum(row.passes) for row in rows.values()]
    assert "| plain | 33.3 %" in "\n".join(compute_tradeoff.table("title", list(rows.values()), 20))


def test_the_tradeoff_times_images_one_by_one(tmp_path, tasks):
    study = replace(STUDY, name="tradeoff", ways=compute_tradeoff.ways(arguments()), objects=(2, 3), timed=1)
    store = finished(tmp_path / "records.jsonl", study)
    assert tasks[-2 * len(study.ways) :] == 2 * [(way.name, 1) for way in study.ways]
    text = "\n".join(compute_tradeoff.tables(study, store))
    assert text.count("| plain |") == 3 and "### Mixed, n = 10" in text and "| 0.50 |" in text


@pytest.mark.parametrize(("model", "ways"), [("sd", 4), ("sd3", 6)])
def test_methods_without_gradients_are_compared_alone_and_before_the_fast_one(tmp_path, tasks, model, ways):
    found = gradient_free.ways(arguments(model=model, overrides="gain=2", only=None))
    boost, both = found[1], found[3]
    assert len(found) == ways and boost.edit == both.edit == gradient_free.BOOST
    assert not boost.method and both.method == gradient_free.FAST and both.edit_overrides.endswith("gain=2")
    study = replace(STUDY, name="gradient-free", ways=found, objects=(2, 3), model=model)
    text = "\n".join(gradient_free.tables(study, finished(tmp_path / "records.jsonl", study)))
    assert f"### {model}, all prompts, n = 10" in text and text.count("| plain |") == 3
    assert text.count(f"{gradient_free.THEN_FAST} against {gradient_free.FAST}: ") == 3


@pytest.mark.parametrize(
    ("model", "steps", "at"), [("sd", None, 0.1), ("sd3", 20, 0.2), ("sd3", 8, None), ("sd", 4, None)]
)
def test_auto_is_compared_with_its_parts_and_a_second_seed(tmp_path, tasks, model, steps, at):
    ways = auto.ways(arguments(model=model, steps=steps, only=None, at_step=None))
    by_name = {way.name: way for way in ways}
    assert by_name["Auto"].method == "Auto" and by_name["Auto"].at_percent == at
    assert (auto.LOOK_ALONE in by_name) == (model == "sd")  # elsewhere Auto has no Word boost to leave out
    assert all(
        way.overrides == by_name["Auto"].overrides for way in ways if way.method and "without" not in way.name
    )
    study = replace(STUDY, name="auto", ways=ways, objects=(2, 3), model=model)
    text = "\n".join(auto.tables(study, finished(tmp_path / "records.jsonl", study)))
    assert text.count("| plain |") == 2 and text.count("| best of 2 seeds, all made |") == 2
    assert text.count("Auto against Latent Refine (fast): ") == 2


def test_what_a_right_image_costs_with_a_method_and_with_a_second_seed():
    record = made(STUDY, (STUDY.ways[0], STUDY.prompts(3)[:1]))[0]

    def images(rights: tuple[int, ...], forwards: int = 0) -> list[Record]:
        return [replace(record, objects=bool(right), forwards=forwards, backwards=0) for right in rights]

    ways = {
        PLAIN: images((1, 0, 0, 1)),
        auto.new_seed_name(1): images((1, 1, 0, 0)),
        "x": images((1, 1, 0, 1), 20),
    }
    rows = {line.split(" | ")[0][2:]: line.split(" | ")[-2:] for line in auto.table("t", ways, 40)[4:9]}
    assert rows[PLAIN] == ["0.00", "2.00 |"]
    assert rows["x"] == ["0.50", "2.00 |"]
    assert rows["best of 2 seeds, all made"] == ["1.00", "2.67 |"]
    assert rows["a second seed where the first is wrong"] == ["0.50", "2.00 |"]


def test_a_way_of_auto_can_be_at_other_steps():
    ways = auto.ways(arguments(model="sd3", steps=8, only=None, at_step=[0, 2]))
    assert [way.at_step for way in ways if way.at_step is not None] == [0, 0, 2, 2]


def test_a_way_of_auto_can_read_between_two_steps():
    asked = arguments(model="sd3", steps=8, only=None, at_step=None, after_step=[1])
    (way,) = [way for way in auto.ways(asked) if "between" in way.overrides]
    assert (way.name, way.at_step) == ("Auto without Word boost after step 1", 1)
    assert override(preset(way.method), way.overrides)[0].between == "middle"


def test_the_cost_of_a_way_is_in_images_of_its_own_run():
    one = replace(STUDY, sampling=data.Sampling(8, "euler", "simple", 1.0))
    assert (auto.plain_passes(one), auto.plain_passes(replace(one, sampling=data.Sampling(8)))) == (8, 16)


def test_single_ways_can_be_made_first():
    found = gradient_free.ways(arguments(overrides="", only=[gradient_free.FAST]))
    assert [way.name for way in found] == [PLAIN, gradient_free.FAST]


def test_a_study_survives_its_line():
    study = replace(STUDY, objects=(1, 2), ways=compute_tradeoff.ways(arguments(model="sd3")), timed=4)
    assert Study.from_dict(json.loads(json.dumps(data.asdict(study)))) == study


def test_evaluation_prints_losses_and_both_verdicts(tmp_path, monkeypatch):
    def make(study, task):
        lossy = {"step": 1, "first_loss": 0.8, "last_loss": 0.2} if task[0].method else {}
        return [replace(record, **lossy) for record in made(study, task)]

    monkeypatch.setattr(run, "make", make)
    study = replace(STUDY, name="eval")
    text = "\n".join(evaluate.tables(study, finished(tmp_path / "records.jsonl", study)))
    assert text.count("| objects |") == text.count("| colours |") == 2
    assert (
        text.count("Loss 0.800 -> 0.200") == 2 and "fast (step 1), 12 forward and 12 backward passes" in text
    )


def test_comments_do_not_change_the_code_digest_and_code_does(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "CLONE", tmp_path)
    file = tmp_path / "gsn_ops" / "one.py"
    file.parent.mkdir()
    digests = []
    for text in ('"""A."""\nX = 1\n', '"""B."""\nX = 1  # note\n', "X = 1\n", "X = 2\n"):
        file.write_text(text)
        digests.append(run.code_digest())
    assert digests[0] == digests[1] == digests[2] != digests[3]
