"""The words of the example workflows (notes.toml), and the model files that they need (models.toml)."""

import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # in the prepared environment on Python 3.10

HERE = Path(__file__).parent
FILE_LINE = re.compile(r"^(\w+)/(\S+\.safetensors)", re.MULTILINE)


def read() -> dict[str, dict]:
    """Name of a workflow -> its "note" in Markdown, and where they are chosen by hand its "columns": title ->
    ids of the nodes.

    A line folder/file becomes a link to the file.
    """
    stored = tomllib.loads((HERE / "notes.toml").read_text(encoding="utf-8"))
    shared, files = stored.pop("shared"), models()
    return {
        name: texts
        | {
            "note": FILE_LINE.sub(
                lambda line: f"- [{line[2]}]({files[line[2]]['url']}) in {line[1]}",
                texts["note"].format_map(shared),
            )
        }
        for name, texts in stored.items()
    }


def models() -> dict[str, dict[str, str]]:
    """Name of a model file -> name, url and directory, as the front end takes them from a loader."""
    stored = tomllib.loads((HERE / "models.toml").read_text(encoding="utf-8"))
    return {name: {"name": name, **where} for name, where in stored.items()}


def with_models(graph: dict) -> dict:
    """The browser's form of a workflow, each loader with the files it needs: so ComfyUI offers them for
    download.
    """
    files = models()
    for node in graph["nodes"]:
        values = node.get("widgets_values") or []
        needed = [files[v] for v in values if isinstance(v, str) and v in files]
        if needed:
            node["properties"] = {**node["properties"], "models": needed}
    return graph
