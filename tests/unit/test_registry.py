"""What the registry gets: comfy-cli's own checks are green, offline, and the package holds what it should."""

import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from tools.host_env import paths

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

CLONE = Path(__file__).resolve().parents[2]
NO_NETWORK = "http://127.0.0.1:9"  # nothing listens there


def git(*arguments: str, folder: Path = CLONE) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def comfy(*arguments: str, folder: Path, home: Path) -> subprocess.CompletedProcess:
    """comfy-cli with a home folder of its own and no way out to the network."""
    python = paths.venv_python(paths.HOST_DIR / "tools")
    assert python.is_file(), "comfy-cli is not there: run `python3 tools/dev.py host`"
    environment = {
        **paths.environment(),
        "HOME": str(home),
        "HTTP_PROXY": NO_NETWORK,
        "HTTPS_PROXY": NO_NETWORK,
    }
    command = [str(python), "-m", "comfy_cli", "--skip-prompt", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files that git would commit, in a repository of their own."""
    folder = tmp_path / "pack"
    for name in git("ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0"):
        if name and (CLONE / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CLONE / name, folder / name)
    git("init", "-q", ".", folder=folder)
    git("add", "-A", folder=folder)
    return folder


def test_comfy_node_validate_is_green_offline(copy, tmp_path):
    result = comfy("node", "validate", folder=copy, home=tmp_path)
    said = result.stdout + result.stderr
    assert result.returncode == 0, said
    assert "All validation checks passed" in said and "Warning" not in said and "rror" not in said


def test_the_package_holds_the_pack_and_nothing_of_its_development(copy, tmp_path):
    assert comfy("node", "pack", folder=copy, home=tmp_path).returncode == 0
    names = set(zipfile.ZipFile(copy / "node.zip").namelist())
    assert {"__init__.py", "pyproject.toml", "LICENSE", "README.md", "CHANGELOG.md"} <= names
    folders = (
        "nodes",
        "gsn_ops",
        "models",
        "web",
        "locales",
        "example_workflows",
        "docs",
    )  # what runs, and what people read
    assert {name for name in listed(copy) if name.split("/")[0] in folders} <= names
    for name in names:
        assert name.split("/")[0] not in ("tests", "tools", ".ci", ".host"), name


def listed(folder: Path) -> list[str]:
    return [name for name in git("ls-files", "-z", folder=folder).split("\0") if name]


def test_no_link_in_the_readme_and_the_docs_leads_nowhere(copy):
    pages = [name for name in listed(copy) if name.endswith(".md")]
    assert "README.md" in pages
    for page in pages:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", (copy / page).read_text("utf-8")):
            assert (copy / page).parent.joinpath(target).is_file(), (page, target)


def test_the_metadata_is_what_the_registry_and_the_readme_say():
    data = tomllib.loads((CLONE / "pyproject.toml").read_text("utf-8"))
    project, registry = data["project"], data["tool"]["comfy"]
    assert project["name"] == "semantic-nursing" and project["dependencies"] == []
    assert (
        project["license"] == "GPL-3.0-or-later"
        and "GNU GENERAL PUBLIC LICENSE" in (CLONE / "LICENSE").read_text()
    )
    assert registry["DisplayName"] == "Semantic Nursing (GSN)" and registry["requires-comfyui"] == ">=0.30.0"


def test_ci_runs_the_readmes_test_command_and_nothing_else():
    script = (CLONE / ".ci" / "run").read_text("utf-8")
    assert script.strip().splitlines()[1:] == ['cd "$(dirname "$0")/.." && exec python3 tools/dev.py test']
    assert os.access(CLONE / ".ci" / "run", os.X_OK)
    assert "python3 tools/dev.py test" in (CLONE / "README.md").read_text("utf-8")
