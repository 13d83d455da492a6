#!/usr/bin/env python3
"""The one command for people who work on the pack: python3 tools/dev.py COMMAND

Needs the standard library only. This file must stay readable by old Pythons: they are told what is wrong.
"""

import argparse
import os
import sys
from collections import namedtuple

CLONE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def show_host(arguments):
    """Prepare ComfyUI and say where it is."""
    from tools.host_env.prepare import prepare_host

    host = prepare_host()
    print("ComfyUI: %s\nPython:  %s" % (host.root, host.python))
    return 0


def serve(arguments):
    """Start the real server with this pack loaded, for the browser."""
    from tools.host_env.prepare import prepare_host
    from tools.host_env.server import running_server

    parser = argparse.ArgumentParser(prog="tools/dev.py serve", description=COMMANDS["serve"].help)
    parser.add_argument(
        "--port", type=int, default=0, metavar="N", help="port to listen on (default: a free one)"
    )
    parser.add_argument("--cpu", action="store_true", help="do not use the GPU")
    parser.add_argument("arguments", nargs="*", help="after --: more of ComfyUI's own arguments")
    args = parser.parse_args(arguments)
    prepare_host(tools=False)
    print("ComfyUI is starting ...", flush=True)
    with running_server(args.port, cpu=args.cpu or None, arguments=args.arguments) as server:
        print("ComfyUI with this pack: %s   (log: %s; Ctrl-C ends it)" % (server.url, server.log), flush=True)
        return server.process.wait()


def test(arguments):
    """Run all checks."""
    from tools import checks
    from tools.host_env.prepare import prepare_host

    return checks.run(prepare_host(), arguments)


def run(arguments):
    """Run a script or module in ComfyUI's environment, with the development tools in reach."""
    from tools.host_env.launch import run_in_host
    from tools.host_env.paths import HostError
    from tools.host_env.prepare import prepare_host

    if arguments in ([], ["-m"]):
        raise HostError(
            "Nothing to run. Name it: tools/dev.py run SCRIPT ARGS, or tools/dev.py run -m MODULE ARGS"
        )
    return run_in_host(prepare_host(), *arguments, tools=True)


def lock(arguments):
    """Write tools/requirements-*.txt anew from the *.in files and ComfyUI's own requirements."""
    from tools.host_env.environments import compile_requirements
    from tools.host_env.prepare import prepare_host

    compile_requirements(prepare_host().root)
    return 0


# What a command does is a function above, or a module that runs in ComfyUI's environment (tools: with the
# development tools in reach). To add one, add a line.
Command = namedtuple("Command", "help does tools few_threads")
Command.__new__.__defaults__ = (False, False)
COMMANDS = {
    "host": Command("prepare a real ComfyUI in .host/ (or use the one named by COMFYUI_PATH)", show_host),
    "serve": Command("start ComfyUI with this pack and print its address (Ctrl-C ends it)", serve),
    "demo": Command("plain beside refined images from the real server", "tools.demo"),
    "test": Command(
        "all checks: lint, format, types, tests ([--coverage], pytest's arguments)", test, few_threads=True
    ),
    "run": Command("run SCRIPT or -m MODULE in ComfyUI's environment, from the clone's root", run),
    "models": Command("the table of supported models: --write docs/models.md", "tools.models_table"),
    "methods": Command("the table of methods: --write docs/methods.md", "tools.methods_table"),
    "study": Command(
        "choose a method's step for a model, measure methods, print stored tables",
        "tools.study",
        few_threads=True,
    ),
    "subjects": Command(
        "precision and recall of the subjects found in prompts of people", "tools.study.subjects"
    ),
    "tagger": Command(
        "train the part-of-speech tagger on a treebank in a folder of yours", "tools.tagger.train"
    ),
    "bench": Command(
        "cost of one update step, beside a plain step and the published way", "tools.bench", few_threads=True
    ),
    "gpu": Command(
        "prove and measure everything that only a CUDA device can show", "tools.gpu", few_threads=True
    ),
    "workflows": Command(
        "example workflows as a browser saves them, from their API form", "tools.workflows", tools=True
    ),
    "lock": Command("write tools/requirements-*.txt anew from their .in files", lock),
}


def main():
    """Carry out one command; what follows its name belongs to it. A HostError becomes text and status 1."""
    if sys.version_info < (3, 10):
        sys.exit(
            "tools/dev.py needs Python 3.10 or newer; %s is %s.\n"
            "Install a newer one and name it: python3.11 tools/dev.py ..."
            % (sys.executable, sys.version.split()[0])
        )
    sys.path[0] = CLONE
    from tools.host_env import paths
    from tools.host_env.launch import run_in_host
    from tools.host_env.prepare import prepare_host

    parser = argparse.ArgumentParser(
        prog="tools/dev.py",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Work on the Semantic Nursing pack.",
        epilog="commands:\n" + "\n".join("  %-10s %s" % (name, row.help) for name, row in COMMANDS.items()),
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="for the command (-h: its own help)")
    args = parser.parse_args()
    command = COMMANDS[args.command]
    if command.few_threads:
        paths.use_few_threads()
    try:
        if callable(command.does):
            return command.does(args.arguments)
        host = prepare_host(tools=command.tools)
        return run_in_host(host, "-m", command.does, *args.arguments, tools=command.tools)
    except paths.HostError as error:
        sys.exit("\n%s" % error)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
