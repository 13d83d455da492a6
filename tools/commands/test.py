"""All checks: ruff, then pytest in the host's environment."""

import argparse
import subprocess

from tools.host_env import paths
from tools.host_env.launch import pass_everything_on, run_in_host
from tools.host_env.prepare import prepare_host

HELP = "run ruff and the tests (what follows goes to pytest, e.g. tests/unit -k words)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass_everything_on(parser, "for pytest")


def run(args: argparse.Namespace) -> int:
    paths.use_few_threads()
    host = prepare_host()
    ruff = [str(paths.venv_python(paths.HOST_DIR / "tools")), "-m", "ruff", "check", "."]
    lint = subprocess.run(ruff, cwd=paths.CLONE, env=paths.environment()).returncode
    tests = run_in_host(host, "-m", "pytest", *args.arguments)
    if lint:
        print("ruff found problems: see above the tests.")
    return tests or lint
