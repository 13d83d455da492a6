"""Run a script or module in the host's environment, from the clone's root."""

import argparse

from tools.host_env.launch import pass_everything_on, run_in_host
from tools.host_env.paths import HostError
from tools.host_env.prepare import prepare_host

HELP = "run SCRIPT or -m MODULE in the host's environment, from the clone's root"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass_everything_on(parser, "what to run and its arguments")


def run(args: argparse.Namespace) -> int:
    host = prepare_host()
    if args.arguments in ([], ["-m"]):
        raise HostError("What shall be run? tools/dev.py run SCRIPT ARGS, or tools/dev.py run -m MODULE ARGS")
    return run_in_host(host, *args.arguments)
