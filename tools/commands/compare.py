"""`python3 tools/dev.py compare`: tools/compare in the host's environment."""

import argparse

from tools.host_env import paths
from tools.host_env.launch import pass_everything_on, run_in_host
from tools.host_env.prepare import prepare_host

HELP = "compare all published methods on the embedded model (not part of the tests)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass_everything_on(parser, "for tools.compare")


def run(args: argparse.Namespace) -> int:
    paths.use_few_threads()
    return run_in_host(prepare_host(tools=False), "-m", "tools.compare", *args.arguments)
