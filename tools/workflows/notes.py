"""The words of the example workflows, from notes.toml."""

import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # in the prepared environment on Python 3.10

FILE = Path(__file__).with_name("notes.toml")


def read() -> dict[str, dict[str, str]]:
    """Name of a workflow -> its "note" and, for some, a "title" on its picture."""
    stored = tomllib.loads(FILE.read_text(encoding="utf-8"))
    shared = stored.pop("shared")
    return {
        name: {key: text.format_map(shared) for key, text in texts.items()} for name, texts in stored.items()
    }
