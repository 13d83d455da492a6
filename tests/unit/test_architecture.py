"""The architecture, read from every import: floors, no arrow back up, ComfyUI in `host/` alone, torch alone
below it.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from ..support.import_graph import CLONE, PACK_FILES, circles, imports, inside_the_pack, tree_of

COMFYUI = {
    "comfy", "comfy_api", "comfy_execution", "comfy_extras", "nodes", "folder_paths", "server", "execution",
    "latent_preview", "node_helpers", "safetensors",
}  # fmt: skip
STANDARD = set(sys.stdlib_module_names)
PICTURES = {"torch", "numpy", "PIL"}

# Imports run down only. Place: its floor, and what from outside the pack may be imported there.
FLOORS = {
    "__init__.py": (9, {"comfy_api"}),
    "nodes": (8, {"comfy_api"}),
    "gsn_ops/host": (7, COMFYUI | {"torch", "numpy"}),
    "gsn_ops/optimise": (6, {"torch"}),
    "gsn_ops/objectives": (5, {"torch"}),
    "gsn_ops/report": (4, PICTURES),
    "gsn_ops/modulate": (4, {"torch"}),
    "gsn_ops/layout": (4, {"torch"}),
    "gsn_ops/editing": (4, {"torch"}),
    "gsn_ops/judge": (4, {"torch", "numpy"}),
    "gsn_ops/subjects": (4, {"torch", "numpy", "spacy"}),
    "gsn_ops": (3, {"torch"}),  # data that passes between floors, and plain functions on it
    "gsn_ops/torch_ops": (2, {"torch"}),
}


def place_of(file: Path) -> str:
    """The row of FLOORS that a file of the pack belongs to."""
    inside = file.relative_to(CLONE).as_posix()
    if inside == "__init__.py":
        return inside
    return max((place for place in FLOORS if inside.startswith(place + "/")), key=len)


def outside_the_rules(file: Path) -> list[str]:
    """The imports of a file that its floor does not allow."""
    place = place_of(file)
    floor, outside = FLOORS[place]
    faults = [
        f"{file}:{line} imports {module} in {place}"
        for line, module, level in imports(file)
        if level == 0 and module.split(".")[0] not in STANDARD | outside
    ]
    for line, target in inside_the_pack(file):
        if not target.is_relative_to(CLONE):
            faults.append(f"{file}:{line} reaches out of the pack")
        elif place_of(target) != place and FLOORS[place_of(target)][0] >= floor:
            faults.append(f"{file}:{line} imports {target} from above")
    return faults


def test_imports_run_down():
    faults = [fault for file in PACK_FILES for fault in outside_the_rules(file)]
    assert not faults, "\n".join(faults)


def package_arrows(folder: Path) -> dict[str, set[str]]:
    """{part of a folder: parts it imports}; a part is a file or a folder inside; faces (`__init__`) are left
    out.
    """
    arrows: dict[str, set[str]] = {}
    for file in PACK_FILES:
        if not file.is_relative_to(folder) or file == folder / "__init__.py":
            continue
        part = file.relative_to(folder).parts[0]
        reached = {
            target.relative_to(folder).parts[0]
            for _line, target in inside_the_pack(file)
            if target.is_relative_to(folder) and target != folder / "__init__.py"
        }
        arrows.setdefault(part, set()).update(reached - {part})
    return arrows


FOLDERS = sorted({parent for file in PACK_FILES for parent in file.parents if parent.is_relative_to(CLONE)})


def test_no_arrow_runs_back_up_between_the_parts_of_a_folder():
    found = {folder: circles(package_arrows(folder)) for folder in FOLDERS}
    assert {folder: parts for folder, parts in found.items() if parts} == {}


def test_no_module_imports_its_own_package():
    """A package's `__init__` imports its children: what a child needs of its siblings it takes from them."""
    for file in PACK_FILES:
        for line, target in inside_the_pack(file):
            own = target.name == "__init__.py" and file.is_relative_to(target.parent) and file != target
            only_version = target == CLONE / "gsn_ops" / "__init__.py"
            assert not own or only_version, f"{file}:{line} imports its own package {target.parent}"


def test_every_module_of_host_depends_on_comfyui():
    """What does not could lie on a lower floor, where it is tested without ComfyUI."""
    host = CLONE / "gsn_ops" / "host"
    files = [file for file in PACK_FILES if file.is_relative_to(host) and _defines(file)]
    arrows = {file: {target for _line, target in inside_the_pack(file)} for file in files}
    depends = {
        file for file in files if any(_is_comfyui(module, level) for _, module, level in imports(file))
    }
    while True:
        more = {file for file in files if file not in depends and arrows[file] & depends}
        if not more:
            break
        depends |= more
    assert sorted(set(files) - depends) == []


def _is_comfyui(module: str, level: int) -> bool:
    return level == 0 and module.split(".")[0] in COMFYUI - {"safetensors"}


def _defines(file: Path) -> bool:
    """Has a file more than a docstring and imports?"""
    return any(not isinstance(node, (ast.Expr, ast.Import, ast.ImportFrom)) for node in tree_of(file).body)


ALONE = '''
import pkgutil, sys, importlib
clone, allowed = sys.argv[1], {"torch", "numpy", "PIL", "gsn_ops"}
# With all they need themselves.
import torch, torch.nn.functional, numpy, PIL.Image, PIL.ImageDraw, PIL.ImageFont

class OnlyThese:
    """An import blocker: from here on nothing but these and the standard library."""
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in allowed | sys.stdlib_module_names:
            raise ImportError(f"{name} is not allowed here")

sys.meta_path.insert(0, OnlyThese())
sys.path.insert(0, clone)
import gsn_ops
seen = set()
for module in pkgutil.walk_packages(gsn_ops.__path__, "gsn_ops.", onerror=lambda name: None):
    if not module.name.startswith("gsn_ops.host"):
        importlib.import_module(module.name)
        seen.add(".".join(module.name.split(".")[:2]))
parts = ("torch_ops", "modulate", "judge", "subjects", "report", "objectives", "optimise")
assert {"gsn_ops." + part for part in parts} <= seen, seen
try:
    importlib.import_module("gsn_ops.host.sampling.patch")
except ImportError:
    sys.exit(0)
sys.exit("gsn_ops.host.sampling.patch needs ComfyUI, and yet it was imported: the blocker blocks nothing")
'''


def test_gsn_ops_outside_host_runs_with_torch_numpy_and_pillow_alone(tmp_path):
    result = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, str(CLONE)], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


def test_the_graph_sees_a_circle():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c"]
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []
