"""The rules of the house, read from the source: floors, imports, what the pack must never do, how long a file may be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

CLONE = Path(__file__).resolve().parents[2]
PACK_FILES = sorted(
    file
    for pattern in ("__init__.py", "nodes/**/*.py", "gsn_ops/**/*.py")
    for file in CLONE.glob(pattern)
    if "__pycache__" not in file.parts
)
TEXTS = sorted(
    file
    for pattern in ("*.md", "*.toml", ".ci/run", "docs/**/*.md", "web/**/*.md", "web/**/*.js")
    for file in CLONE.glob(pattern)
)
HOST_MODULES = {
    "comfy", "comfy_api", "comfy_execution", "comfy_extras", "nodes", "folder_paths", "server", "execution",
    "latent_preview", "node_helpers", "safetensors",
}  # fmt: skip
MAX_LINES = 300

# Imports run down only. Floor: the places on it, and what from outside the pack may be imported there.
STANDARD = set(sys.stdlib_module_names)
FLOORS = {
    "__init__.py": (6, {"comfy_api"}),
    "nodes": (5, {"comfy_api"}),
    "gsn_ops/host": (4, HOST_MODULES | {"torch", "numpy"}),
    "gsn_ops/pictures": (
        3.5,
        {"torch", "numpy", "PIL"},
    ),  # a side room: imports the ground only, nobody below imports it
    "gsn_ops/optimise": (3, {"torch"}),
    "gsn_ops/objectives": (2, {"torch"}),
    "gsn_ops": (1, {"torch"}),  # the ground: data that passes between floors, and plain functions on it
}
NEVER_IMPORTED = {
    "subprocess", "multiprocessing", "socket", "ssl", "urllib", "http", "ftplib", "smtplib", "asyncio",
    "pickle", "shelve", "marshal", "ctypes",
}  # fmt: skip
NEVER_CALLED = {"print", "eval", "exec", "compile", "__import__", "input", "breakpoint"}


def place_of(file: Path) -> str:
    """The row of FLOORS that a file of the pack belongs to."""
    inside = file.relative_to(CLONE).as_posix()
    if inside == "__init__.py":
        return inside
    return max((place for place in FLOORS if inside.startswith(place + "/")), key=len)


def imports(file: Path) -> list[tuple[int, str, int]]:
    """(line, module, level) of every import in a file; level 0 is absolute, 1 is `from .`, ..."""
    found = []
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, name.name, 0) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [
                (node.lineno, ".".join(filter(None, (node.module, name.name))), node.level)
                for name in node.names
            ]
    return found


def target_of(file: Path, module: str, level: int) -> Path:
    """The file or folder inside the pack that a relative import reaches (the name behind a module is cut off)."""
    path = file.parents[level - 1]
    for part in module.split("."):
        if not ((path / part).is_dir() or (path / f"{part}.py").is_file()):
            break
        path = path / part
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def of_pack(*arguments):
    """One test per file of the pack, the file's path in the test's name."""
    return pytest.mark.parametrize("file", PACK_FILES, ids=lambda file: file.relative_to(CLONE).as_posix())(
        *arguments
    )


@of_pack
def test_imports_run_down(file):
    place = place_of(file)
    floor, outside = FLOORS[place]
    for line, module, level in imports(file):
        if level == 0:
            assert module.split(".")[0] in STANDARD | outside, (
                f"{file}:{line} imports {module}, not allowed in {place}"
            )
            continue
        target = target_of(file, module, level)
        assert target.is_relative_to(CLONE), f"{file}:{line} reaches out of the pack"
        there = place_of(target)
        assert place != "gsn_ops/pictures" or there in (place, "gsn_ops"), (
            f"{file}:{line}: pictures know the ground only"
        )
        assert there == place or FLOORS[there][0] < floor, (
            f"{file}:{line} ({place}) imports {module} from {there}"
        )


@of_pack
def test_the_pack_does_not_print_execute_fetch_or_unpickle(file):
    for line, module, _level in imports(file):
        assert module.split(".")[0] not in NEVER_IMPORTED, f"{file}:{line} imports {module}"
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in NEVER_CALLED, f"{file}:{node.lineno} calls {node.func.id}"


@of_pack
def test_a_file_of_the_pack_begins_with_what_it_is_for(file):
    tree = ast.parse(file.read_text("utf-8"))
    assert not tree.body or ast.get_docstring(tree), f"{file} has no docstring"


@pytest.mark.parametrize("file", PACK_FILES + TEXTS, ids=lambda file: file.relative_to(CLONE).as_posix())
def test_files_are_short(file):
    lines = len(file.read_text("utf-8").splitlines())
    assert lines <= MAX_LINES, f"{file} has {lines} lines"


@pytest.mark.parametrize(
    "file",
    [
        *PACK_FILES,
        *(file for folder in ("tests", "tools") for file in sorted((CLONE / folder).rglob("*.py"))),
    ],
    ids=lambda file: file.relative_to(CLONE).as_posix(),
)
def test_python_files_are_ascii(file):
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        assert line.isascii(), f"{file}:{number} is not ASCII: use an escape (backslash u and four digits)"


def test_every_node_file_is_listed_and_offers_nodes():
    """A file in nodes/ with a NODES list that nodes/__init__.py forgets would be a node that nobody sees."""
    listed = {module for _line, module, _level in imports(CLONE / "nodes" / "__init__.py")}
    for file in (CLONE / "nodes").glob("*.py"):
        if file.stem != "__init__" and "\nNODES = [" in file.read_text("utf-8"):
            assert file.stem in listed, f"nodes/{file.name} has NODES but nodes/__init__.py does not list it"


ALONE = '''
import pkgutil, sys, importlib
clone, allowed = sys.argv[1], {"torch", "numpy", "PIL", "gsn_ops"}
import torch, torch.nn.functional, numpy, PIL.Image, PIL.ImageDraw, PIL.ImageFont  # with all they need themselves

class OnlyThese:
    """An import blocker: from here on nothing but these and the standard library."""
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in allowed | sys.stdlib_module_names:
            raise ImportError(f"{name} is not allowed here")

sys.meta_path.insert(0, OnlyThese())
sys.path.insert(0, clone)
import gsn_ops
seen = []
for module in pkgutil.walk_packages(gsn_ops.__path__, "gsn_ops.", onerror=lambda name: None):
    if not module.name.startswith("gsn_ops.host"):
        importlib.import_module(module.name)
        seen.append(module.name)
assert "gsn_ops.maps" in seen and "gsn_ops.objectives.separation" in seen, seen
try:
    importlib.import_module("gsn_ops.host.sampling.patch")
except ImportError:
    sys.exit(0)
sys.exit("gsn_ops.host.sampling needs the host, and yet it was imported: the blocker blocks nothing")
'''


def test_gsn_ops_outside_host_runs_with_torch_alone(tmp_path):
    result = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, str(CLONE)], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
