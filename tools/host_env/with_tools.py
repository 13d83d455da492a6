"""Run a script or module in the host's Python with the development tools in reach: SCRIPT ARGS | -m MODULE
ARGS

The tools' packages come last on the path, so the host's own always win; the host's environment is not written
to. Started by path (not with -m), in the host's Python, from the clone's root.
"""

import runpy
import sys
from pathlib import Path

CLONE = Path(__file__).resolve().parents[2]


def main() -> None:
    sys.path[0] = str(CLONE)  # instead of this file's folder
    tools = CLONE / ".host" / "tools"
    sys.path += [
        str(folder) for folder in (*tools.glob("lib/python*/site-packages"), tools / "Lib" / "site-packages")
    ]
    if sys.argv[1] == "-m":
        del sys.argv[:2]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        del sys.argv[:1]
        runpy.run_path(sys.argv[0], run_name="__main__")


if (
    __name__ == "__main__"
):  # not in the processes that the script starts (multiprocessing imports this file again)
    main()
