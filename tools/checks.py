"""All checks of `python3 tools/dev.py test`: ruff, its formatter, the type checker, pytest.

What follows goes to pytest. `--coverage` as the first word measures and prints which lines of gsn_ops/ and
nodes/ the tests reach.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tools.host_env import paths
from tools.host_env.browser import missing_browser
from tools.host_env.launch import run_in_host
from tools.host_env.paths import CLONE, HOST_DIR, TYPES_LINK, Host, venv_python

CONCISE = ("--output-format", "concise")
# Two workers, whatever the machine; tests/conftest.py orders the files.
SIDE_BY_SIDE = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
COVERAGE = ("--cov", "--cov-config=pyproject.toml", "--cov-report=term-missing:skip-covered")


def run(host: Host, arguments: Sequence[str]) -> int:
    """Run every check, also after one that failed; returns 0, or the status of the first that failed."""
    failed = {
        "ruff check": tool("ruff", "check", *CONCISE, "."),
        "ruff format": tool("ruff", "format", "--check", *CONCISE, "."),
        "ty check": types(host),
        "pytest": tests(host, arguments),
    }
    for name, status in failed.items():
        if status:
            print(f"failed: {name} (what it found stands above)")
    if missing_browser():
        print(missing_browser())
    return next((status for status in failed.values() if status), 0)


def tool(name: str, *arguments: str | Path) -> int:
    """Run one of the development tools on the clone; returns its exit status."""
    program = venv_python(HOST_DIR / "tools").with_name(name)
    return subprocess.run([program, *arguments], cwd=CLONE, env=paths.environment()).returncode


def types(host: Host) -> int:
    """Run the type checker over the pack, with ComfyUI's own packages and source in view.

    The pack's folder may have any name; the checker follows its relative imports under that of the link.
    """
    return tool(
        "ty", "check", "--python", host.python, "--extra-search-path", host.root, *CONCISE,
        "--error-on-warning", TYPES_LINK / "nodes", TYPES_LINK / "gsn_ops",
    )  # fmt: skip


def tests(host: Host, arguments: Sequence[str]) -> int:
    """Run pytest in ComfyUI's environment; `-n 0` among the arguments runs all in one process."""
    if arguments[:1] == ["--coverage"]:
        arguments = [*COVERAGE, *arguments[1:]]
    return run_in_host(host, "-m", "pytest", *SIDE_BY_SIDE, *arguments, tools=True)
