"""The records of all studies in one file of JSON lines, appended batch by batch: a killed run can go on."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from tools.tiny.prompts import Prompt

from .data import Record, Study, Way
from .json_lines import JsonLines, not_a_record


class Store:
    """Records by what identifies them, and the studies they belong to. Only one program may write to a file.

    A line is {"study": ...} with a study's plan, or {"record": ...} with one image. Later lines replace
    earlier ones of the same key. See `JsonLines` for a run that was killed. Raises ValueError for a line that
    cannot be read.
    """

    def __init__(self, path: Path):
        self.lines = JsonLines(path)
        self.records: dict[tuple, Record] = {}
        self.studies: list[Study] = []
        for number, line in enumerate(self.lines.read, 1):
            try:
                self._take(line)
            except (ValueError, TypeError, KeyError) as error:
                raise not_a_record(path, number, error) from None

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
        self.lines.append(lines)
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
