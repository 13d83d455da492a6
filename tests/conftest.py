"""The order of the files: those with slow tests first; the many short ones fill both workers to the end.

All files that talk to a server go to one worker, which starts it once.
"""

from collections import Counter

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the files by slow tests, then those that wait for a server, then by their number of tests."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (-slow[item.path], item.path.parent.name != "server", -tests[item.path]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """Files to workers, as `--dist loadfile` does, with tests/server as one file."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class OneServer(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "server" if nodeid.startswith("tests/server/") else super()._split_scope(nodeid)

    return OneServer(config, log)
