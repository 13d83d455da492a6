"""`python3 tools/dev.py worth`: tools.worth in the host's environment."""

import argparse

from tools.host_env import paths
from tools.host_env.launch import pass_everything_on, run_in_host
from tools.host_env.prepare import prepare_host

HELP = "success per unit of compute, against rerolls (not part of the tests)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass_everything_on(parser, "for tools.worth")


def run(args: argparse.Namespace) -> int:
    paths.use_few_threads()
    return run_in_host(prepare_host(tools=False), "-m", "tools.worth", *args.arguments)
