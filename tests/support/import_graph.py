"""The imports of the pack, read from its source: by statement and by `importlib`."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

CLONE = Path(__file__).resolve().parents[2]
PACK_FILES = sorted(
    file
    for pattern in ("__init__.py", "nodes/**/*.py", "gsn_ops/**/*.py")
    for file in CLONE.glob(pattern)
    if "__pycache__" not in file.parts
)
IMPORT_CALLS = {"import_module", "__import__"}


@functools.cache
def tree_of(file: Path) -> ast.Module:
    """A Python file, parsed."""
    return ast.parse(file.read_text("utf-8"))


@functools.cache
def imports(file: Path) -> list[tuple[int, str, int]]:
    """(line, module, level) of every import in a file; level 0 is absolute, 1 is `from .`, ...

    An `importlib.import_module` with a name that is not a literal counts as the module "?".
    """
    found = []
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, name.name, 0) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [
                (node.lineno, ".".join(filter(None, (node.module, name.name))), node.level)
                for name in node.names
            ]
        elif isinstance(node, ast.Call) and _called(node) in IMPORT_CALLS:
            found.append((node.lineno, *_named(node)))
    return found


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _named(call: ast.Call) -> tuple[str, int]:
    """(module, level) of a call of import_module."""
    name = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else "?"
    module = name.lstrip(".")
    return module, len(name) - len(module)


def target_of(file: Path, module: str, level: int) -> Path:
    """The file that a relative import reaches (the name behind a module is cut off)."""
    path = file.parents[level - 1]
    for part in module.split("."):
        if not ((path / part).is_dir() or (path / f"{part}.py").is_file()):
            break
        path = path / part
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@functools.cache
def inside_the_pack(file: Path) -> list[tuple[int, Path]]:
    """(line, file) of what a file of the pack imports from the pack."""
    return [
        (line, target_of(file, module, level)) for line, module, level in imports(file) if level and module
    ]


def circles(arrows: dict[str, set[str]]) -> list[str]:
    """The nodes that lie on a circle of a graph {node: nodes it imports}."""

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        todo = list(arrows.get(start, ()))
        while todo:
            node = todo.pop()
            if node not in seen:
                seen.add(node)
                todo += arrows.get(node, ())
        return seen

    return [node for node in arrows if node in reachable(node)]
