"""The Chromium that tests and tools drive, wherever it is installed."""

import os
import shutil
from pathlib import Path

from . import paths
from .paths import HostError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
HOW = (
    "Install one (Debian, Ubuntu: sudo apt-get install chromium; or, without root, python3 tools/dev.py run "
    "-m playwright install chromium), or name its program in CHROMIUM_PATH."
)
REQUIRED = "GSN_BROWSER"
"""Set to "required", tests run in a browser, and fail where there is none."""
NOT_ASKED = "The browser tests (tests/browser) did not run: GSN_BROWSER=required runs them (two minutes)."


def find_chromium() -> Path | None:
    """The program: CHROMIUM_PATH, else one on the path, else playwright's own in `.host/`; None without any.

    Raises HostError if CHROMIUM_PATH names something else.
    """
    named = os.environ.get("CHROMIUM_PATH")
    if named:
        if not Path(named).is_file():
            raise HostError(f"CHROMIUM_PATH={named} is not a file.\nName Chromium's program, or unset it.")
        return Path(named)
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is not None:
        return Path(found)
    own = Path(paths.environment()["XDG_CACHE_HOME"], "ms-playwright")
    return next(iter(sorted(own.glob("chromium-*/chrome-*/chrome*"), reverse=True)), None)


def missing_browser() -> str:
    """One line for the end of a test run, "" where tests run in a browser."""
    if os.environ.get(REQUIRED) != "required":
        return NOT_ASKED
    if find_chromium() is not None:
        return ""
    return f"The browser tests (tests/browser) cannot run: there is no Chromium. {HOW}"
