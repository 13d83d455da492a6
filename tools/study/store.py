"""The records of all studies in one file of JSON lines, appended batch by batch: a killed run can go on."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from tools.tiny.prompts import Prompt

from .data import Record, Study, Way


class Store:
    """Records by what identifies them, and the studies they belong to. Only one program may write to a file.

    A line is {"study": ...} with a study's plan, or {"record": ...} with one image. Later lines replace
    earlier ones of the same key. A last line without its line break was cut off by a kill: it is ignored, and
    removed before the next one is written. Raises ValueError for any other line that cannot be read.
    """

    def __init__(self, path: Path):
        self.path = path
        self.records: dict[tuple, Record] = {}
        self.studies: list[Study] = []
        whole = path.read_bytes() if path.exists() else b""
        self._end = whole.rfind(b"\n") + 1  # where the last complete line ends
        for number, line in enumerate(whole[: self._end].splitlines(), 1):
            try:
                self._take(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(
                    f"{path}, line {number} is not a record ({error}): remove it, or name another file."
                ) from None

    def _take(self, line: dict) -> None:
        if "record" in line:
            record = Record(**line["record"])
            self.records[record.key] = record
            return
        study = Study.from_dict(line["study"])
        self.studies = [one for one in self.studies if not same_plan(one, study)] + [study]

    def add_study(self, study: Study) -> None:
        """Notes the plan, unless the file has it."""
        if study not in self.studies:
            self._append([{"study": asdict(study)}])

    def add(self, records: Sequence[Record]) -> None:
        """Appends the images of a batch."""
        self._append([{"record": asdict(record)} for record in records])

    def _append(self, lines: Sequence[dict]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        data = "".join(json.dumps(line) + "\n" for line in lines).encode()
        with open(self.path, "r+b" if self.path.exists() else "w+b") as file:
            file.truncate(self._end)
            file.seek(self._end)
            file.write(data)
        self._end += len(data)
        for line in lines:
            self._take(line)

    def batch(self, study: Study, way: Way, batch: Sequence[Prompt]) -> list[Record] | None:
        """The records of a batch, or None if they are not all there."""
        config = study.config(way, batch)
        keys = [(study.name, study.model, p.text, way.seed(p), way.name, config) for p in batch]
        found = [self.records[key] for key in keys if key in self.records]
        return found if len(found) == len(batch) else None

    def images(self, study: Study, objects: int, coloured: bool = True) -> dict[str, list[Record]]:
        """Way -> its images, for the batches of this number of objects that every way has made."""
        wanted = study.prompts(objects, coloured)
        found: dict[str, list[Record]] = {way.name: [] for way in study.ways}
        for start in range(0, len(wanted), study.batch):
            batch = wanted[start : start + study.batch]
            made = {way.name: self.batch(study, way, batch) for way in study.ways}
            if all(made.values()):
                for name, records in made.items():
                    found[name] += records
        return found


def same_plan(a: Study, b: Study) -> bool:
    """Do two studies differ in size alone? The later one is the one to print."""
    sized = replace(a, objects=b.objects, pairs=b.pairs, timed=b.timed, command=b.command, facts=b.facts)
    return sized == b and a.versions == b.versions
