#!/usr/bin/env python3
"""The one command for people who work on the pack: python3 tools/dev.py COMMAND

Each command is a file in tools/commands/ with `HELP`, `add_arguments(parser)` and `run(args) -> exit status`;
adding one is adding a file. Needs the standard library only. This file must stay readable by old Pythons, so
that they can be told what is wrong.
"""

import argparse
import importlib
import os
import sys

CLONE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def main():
    """Find the commands, parse the line, run one. A HostError becomes its text and status 1."""
    if sys.version_info < (3, 10):
        sys.exit(
            "tools/dev.py needs Python 3.10 or newer; %s is %s.\n"
            "Install a newer one and name it: python3.11 tools/dev.py ..."
            % (sys.executable, sys.version.split()[0])
        )
    sys.path[0] = CLONE
    from tools.host_env.paths import HostError

    parser = argparse.ArgumentParser(prog="tools/dev.py", description="Work on the Semantic Nursing pack.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    folder = os.path.join(CLONE, "tools", "commands")
    for name in sorted(file[:-3] for file in os.listdir(folder) if file.endswith(".py") and file[0] != "_"):
        command = importlib.import_module("tools.commands." + name)
        subparser = commands.add_parser(name, help=command.HELP, description=command.HELP)
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    args = parser.parse_args()
    try:
        return args.run(args)
    except HostError as error:
        sys.exit("\n%s" % error)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
