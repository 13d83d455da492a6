"""`python3 tools/dev.py gpu`: tools/gpu in ComfyUI's environment."""

import argparse

from tools.host_env import paths
from tools.host_env.launch import pass_everything_on, run_in_host
from tools.host_env.prepare import prepare_host

HELP = "prove and measure everything that only a CUDA device can show"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass_everything_on(parser, "for tools.gpu")


def run(args: argparse.Namespace) -> int:
    paths.use_few_threads()
    return run_in_host(prepare_host(tools=False), "-m", "tools.gpu", *args.arguments)
