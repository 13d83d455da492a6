"""Two workers share the test files; the tests of one file, and all that share the server, stay together."""

from pathlib import Path

import pytest


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test the group that one worker runs: its file, or the server that all its tests share."""
    for item in items:
        together = "server" if item.path.parent.name == "server" else Path(item.path).stem
        item.add_marker(pytest.mark.xdist_group(together))
