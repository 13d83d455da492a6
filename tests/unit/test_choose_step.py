"""Choosing the step by validation: the paper's score, its file, its picture, and what is refused."""

import numpy as np
import pytest

from gsn_ops.chosen_moments import ChosenMoment, read_moments
from tools.study import __main__ as command
from tools.study import steps
from tools.study.choose_step import best_step, check_candidates, keep, paper_candidates, scores
from tools.study.curve import Series, curve_picture
from tools.study.data import PLAIN, Record, Study, Way
from tools.study.store import Store

CHOSEN = ChosenMoment(0.1, images=600)


def test_the_score_is_the_sum_of_shares_scaled_within_each_set():
    rates = {"two": {0: 0.5, 2: 0.7, 4: 0.6}, "three": {0: 0.10, 2: 0.12, 4: 0.20}}
    assert scores(rates) == pytest.approx({0: 0.0, 2: 1.2, 4: 1.5})
    assert best_step(rates) == 4


def test_a_flat_set_adds_nothing_and_of_equal_scores_the_earliest_is_taken():
    assert scores({"flat": {0: 0.3, 2: 0.3}, "set": {0: 0.1, 2: 0.2}}) == {0: 0.0, 2: 1.0}
    assert best_step({"flat": {4: 0.3, 2: 0.3, 8: 0.3}}) == 2


@pytest.mark.parametrize("rates", ({}, {"a": {}}, {"a": {0: 0.1}, "b": {2: 0.1}}))
def test_sets_need_the_same_candidates(rates):
    with pytest.raises(ValueError, match="same candidate steps"):
        scores(rates)


def test_candidates_are_the_papers_in_this_number_of_steps():
    assert paper_candidates(50) == tuple(range(0, 26, 2))
    assert paper_candidates(25) == tuple(range(13))
    assert paper_candidates(4) == (0, 1, 2)


def test_bad_candidates_are_one_sentence():
    assert check_candidates([4, 0, 4], 5) == (0, 4)
    for wrong, said in (
        ([0, 20], "Step 20 is outside of a run of 20 steps"),
        ([-1, 2], "Step -1"),
        ([3], "two"),
    ):
        with pytest.raises(SystemExit, match=said):
            check_candidates(wrong, 20)


def test_a_choice_is_kept_beside_the_others(tmp_path):
    file = tmp_path / "new" / "gsn" / "moments.json"
    assert str(file) in keep(file, "abc", "A", CHOSEN)
    keep(file, "def", "A", ChosenMoment(0.2))
    assert read_moments(file.read_text()) == {"abc": {"A": CHOSEN}, "def": {"A": ChosenMoment(0.2)}}
    assert [found.name for found in file.parent.iterdir()] == ["moments.json"]


def entry_in(said: str) -> dict:
    return read_moments(said[said.index("{") :])


@pytest.mark.parametrize("old", ("{", '{"gsn_moments": 9}', "[]"))
def test_a_file_of_another_kind_is_left_alone_and_the_choice_is_shown(tmp_path, old):
    file = tmp_path / "moments.json"
    file.write_text(old)
    said = keep(file, "abc", "A", CHOSEN)
    assert said.startswith("The chosen step could not be written into") and file.read_text() == old
    assert entry_in(said) == {"abc": {"A": CHOSEN}}


def test_an_unwritable_user_folder_loses_nothing(tmp_path):
    (tmp_path / "user").write_text("a file where the folder should be")
    said = keep(tmp_path / "user" / "gsn" / "moments.json", "abc", "A", CHOSEN)
    assert "could not be written" in said and entry_in(said) == {"abc": {"A": CHOSEN}}


def test_the_picture_shows_every_set():
    sets = [Series("2 objects", {0: 3, 2: 8, 4: 5}, 4, 10), Series("3 objects", {0: 0, 2: 10, 4: 1}, 0, 10)]
    one, both = (np.asarray(curve_picture(s, 2, "title")) for s in (sets[:1], sets))
    assert both.shape[0] > one.shape[0] and both.shape[1] == one.shape[1]
    assert len(np.unique(both.reshape(-1, 3), axis=0)) > len(np.unique(one.reshape(-1, 3), axis=0))
    assert not np.array_equal(np.asarray(curve_picture(sets, 4, "title")), both)


WAYS = (Way(), *(Way(f"step {k}", "Latent Refine (Grimal et al. 2025)", at_step=k) for k in (0, 2, 5)))
STUDY = Study(
    "steps",
    WAYS,
    objects=(2, 3),
    pairs=4,
    split="validation",
    batch=2,
    colours=(False, True),
    facts={"pack": "0"},
)


def made(study: Study, way: Way, batch) -> list[Record]:
    """Images that are right more often at step 2."""
    hits = {None: 1, 0: 1, 2: 3, 5: 2}[way.at_step]
    return [
        Record(
            study.name, study.model, p.text, way.seed(p), way.name, study.config(way, batch), "0",
            objects=p.seed % 4 < hits, colours=p.seed % 4 < hits - 1, batch=len(batch), seconds=1.0,
            step=way.at_step, percent=None if way.at_step is None else way.at_step / 20,
        )
        for p in batch
    ]  # fmt: skip


def filled(path) -> Store:
    store = Store(path)
    store.add_study(STUDY)
    for way, batch in STUDY.batches():
        store.add(made(STUDY, way, batch))
    return store


def test_the_table_has_every_set_and_the_choice(tmp_path):
    filled(tmp_path / "records.jsonl")
    store = Store(tmp_path / "records.jsonl")  # read again, as `study tables` does
    assert store.studies == [STUDY]
    text = "\n".join(steps.tables(STUDY, store))
    assert "### Chosen: step 2, n = 4 per set" in text
    assert "| step | of the schedule | 2 objects (95 %) | 2 coloured objects (95 %) | 3 objects" in text
    rows = [
        line.split(" | ") for line in text.splitlines() if line.startswith(("| plain", "| 0", "| 2", "| 5"))
    ]
    assert [row[1].strip() for row in rows] == ["", "0.0 %", "10.0 %", "25.0 %"]
    assert [row[2].split()[0] for row in rows] == ["25.0", "25.0", "75.0", "50.0"]
    assert [row[3].split()[0] for row in rows] == ["0.0", "0.0", "50.0", "25.0"]
    assert rows[2][-1].startswith("**4.00**")
    assert "* 2 objects: +50.0 points over plain" in text and "against step 5, the next best" in text


def test_an_unfinished_study_says_so(tmp_path):
    store = Store(tmp_path / "records.jsonl")
    assert "No batch is finished yet." in steps.tables(STUDY, store)
    for way, batch in list(STUDY.batches())[: 4 * len(WAYS)]:
        store.add(made(STUDY, way, batch))
    assert "n = 2 per set (unfinished: 2 of 4)" in "\n".join(steps.tables(STUDY, store))


def test_without_a_name_the_study_is_that_of_steps():
    args = command.parser().parse_args(["steps", "--model", "demo", "--quick"])
    args.model = command.MODELS[args.model]
    steps.settle(args)
    found = steps.ways(args)
    assert (args.model, args.pairs, args.split) == ("sd", 100, "validation")
    assert (
        [way.at_step for way in found] == [None, 0, 1, 2, 3, 4, 6]
        and args.steps == 10
        and found[0].name == PLAIN
    )
