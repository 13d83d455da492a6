"""`python3 tools/dev.py models`: tools/models_table in the host's environment."""

import argparse

from tools.host_env.launch import pass_everything_on, run_in_host
from tools.host_env.prepare import prepare_host

HELP = "the table of supported models: --write docs/models.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass_everything_on(parser, "for tools.models_table")


def run(args: argparse.Namespace) -> int:
    return run_in_host(prepare_host(tools=False), "-m", "tools.models_table", *args.arguments)
