"""`python3 tools/dev.py demo`: tools/demo in the host's environment."""

import argparse

from tools.host_env.launch import pass_everything_on, run_in_host
from tools.host_env.prepare import prepare_host

HELP = "show what the pack does: plain beside refined pictures from the real server"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass_everything_on(parser, "for tools.demo")


def run(args: argparse.Namespace) -> int:
    return run_in_host(prepare_host(tools=False), "-m", "tools.demo", *args.arguments)
