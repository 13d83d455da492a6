"""Prepare a real ComfyUI that loads this clone, and say where it is."""

import argparse

from tools.host_env.prepare import prepare_host

HELP = "prepare a real ComfyUI in .host/ (or use the one named by COMFYUI_PATH)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Nothing to choose."""


def run(args: argparse.Namespace) -> int:
    host = prepare_host()
    print(f"ComfyUI: {host.root}\nPython:  {host.python}")
    return 0
