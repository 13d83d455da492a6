"""The study of Seed Picker: records that go on after a cut, and tables of them."""

import json

from tools.host_env.paths import CLONE
from tools.study import picked
from tools.study.data import HOW, Sampling


def record(objects, right, seed=1):
    picks = {f"{name}{n}": n - 1 for name in ("max", "focus") for n in picked.COUNTS}
    looks = [[[0.1 * k, 0.5], [0.2, 0.3]] for k in range(8)]
    answers = {str(n - 1): [n in right, False] for n in picked.COUNTS}
    starts = {"looks": looks, "picks": picks, "right": answers}
    return {"objects": objects, "text": "a red circle and a star", "seed": seed, "starts": starts}


def test_passes_are_two_per_model_call_and_one_at_cfg_1():
    assert [picked.passes(n, HOW["sd"], 2) for n in picked.COUNTS] == [40, 44, 52, 68]
    assert [picked.passes(n, HOW["sd3-turbo"], 2) for n in picked.COUNTS] == [8, 10, 14, 22]


def test_the_expected_table_in_the_docs_is_the_one_that_is_made():
    assert picked.expected() in (CLONE / "docs" / "seeds.md").read_text("utf-8")
    rows = [line.split(" | ") for line in picked.expected().strip().splitlines()[2:]]
    assert all(int(row[2].rstrip("%")) == int(row[1].rstrip("%")) for row in rows)  # of one start


def test_a_line_that_was_cut_off_is_made_again(tmp_path):
    file = tmp_path / "records.jsonl"
    (first, *_) = picked.missing(1, "test", [])
    whole = {**record(first[0], {1}), "text": first[1].text, "seed": first[1].seed}
    file.write_text(json.dumps(whole) + "\n" + '{"objects": 3, "te')
    assert picked.read(file) == [whole]
    assert first not in list(picked.missing(1, "test", picked.read(file)))
    assert picked.read(tmp_path / "none.jsonl") == []


def test_the_table_counts_right_images_and_changes():
    records = [record(2, {1, 2, 4, 8}), record(2, {4, 8}), record(2, {8}), record(2, set())]
    text = "\n".join(picked.tables(HOW["sd"], 2, records))
    assert "### 2 objects, n = 4" in text and "### 3 objects" not in text
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][2:]
    assert [row[1] for row in rows] == ["40", "44", "52", "68"]
    assert [row[2].split()[0] for row in rows] == ["25.0", "25.0", "50.0", "75.0"]
    assert [row[3] for row in rows] == ["", "+0.0", "+25.0", "+50.0"]


def test_one_prompt_is_made_and_judged(pack, tmp_path, monkeypatch):
    monkeypatch.setattr(picked, "SEEDS", 2)
    monkeypatch.setattr(picked, "COUNTS", (1, 2))
    file = tmp_path / "records.jsonl"
    picked.run("sd", Sampling(steps=3), 2, 1, "test", file)
    made = picked.read(file)
    assert [r["objects"] for r in made] == [2, 3]
    starts = made[0]["starts"]
    assert len(starts["looks"]) == 2 and set(starts["picks"]) == {"max1", "max2", "focus1", "focus2"}
    assert set(map(int, starts["right"])) == set(starts["picks"].values())
    picked.run("sd", Sampling(steps=3), 2, 1, "test", file)
    assert picked.read(file) == made
