"""A file of JSON lines that is only ever appended to, so that a run that was killed at any byte can go on."""

import json
from collections.abc import Sequence
from pathlib import Path


class JsonLines:
    """The lines of a file, and more behind them. Only one program may write to a file.

    A last line without its line break was cut off by a kill: it is ignored, and removed before the next one
    is written. Raises ValueError, with the line's number, for any other line that is no JSON object, and for
    a file that cannot be read or written.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            whole = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise not_usable(path, error) from None
        self._end = whole.rfind(b"\n") + 1  # where the last complete line ends
        self.read: list[dict] = []
        for number, line in enumerate(whole[: self._end].splitlines(), 1):
            try:
                found = json.loads(line)
            except ValueError as error:
                raise not_a_record(path, number, error) from None
            if not isinstance(found, dict):
                raise not_a_record(path, number, "it is no JSON object")
            self.read.append(found)

    def append(self, lines: Sequence[dict]) -> None:
        """Writes further lines."""
        data = "".join(json.dumps(line) + "\n" for line in lines).encode()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "r+b" if self.path.exists() else "w+b") as file:
                file.truncate(self._end)
                file.seek(self._end)
                file.write(data)
        except OSError as error:
            raise not_usable(self.path, error) from None
        self._end += len(data)


def not_usable(path: Path, error: OSError) -> ValueError:
    """What to do about a file that the system refuses."""
    why = error.strerror or type(error).__name__
    return ValueError(f"{path} cannot be used for records ({why}): name another file (--records).")


def not_a_record(path: Path, number: int, why: object) -> ValueError:
    """What to do about a line that cannot be read."""
    return ValueError(f"{path}, line {number} is not a record ({why}): remove it, or name another file.")
