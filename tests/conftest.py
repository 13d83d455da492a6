"""The order of the files: those with slow tests first; the many short ones fill both workers to the end."""

from collections import Counter

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the files by slow tests, then those that wait for a server, then by their number of tests."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (-slow[item.path], item.path.parent.name != "server", -tests[item.path]))
