"""`python3 tools/dev.py bench`: tools/bench in the host's environment."""

import argparse

from tools.host_env import paths
from tools.host_env.launch import pass_everything_on, run_in_host
from tools.host_env.prepare import prepare_host

HELP = "measure what one shift costs, beside a plain step, the published way and its arithmetic"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass_everything_on(parser, "for tools.bench")


def run(args: argparse.Namespace) -> int:
    paths.use_few_threads()
    return run_in_host(prepare_host(tools=False), "-m", "tools.bench", *args.arguments)
