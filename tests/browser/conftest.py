"""One server, one browser and one page for all tests; skipped unless GSN_BROWSER is "required"."""

from collections.abc import Iterator

import pytest

from tools.host_env.browser import NOT_ASKED, find_chromium, missing_browser
from tools.host_env.client import Client
from tools.host_env.server import running_server

VIEW = {"width": 1600, "height": 1000}


@pytest.fixture(scope="session")
def chromium() -> str:
    """Its program."""
    reason = missing_browser()
    if reason and reason != NOT_ASKED:
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    return str(find_chromium())


@pytest.fixture(scope="session")
def server(chromium, tmp_path_factory) -> Iterator:
    """A server whose settings are these tests' own."""
    user = str(tmp_path_factory.mktemp("user"))
    with running_server(cpu=True, arguments=["--user-directory", user]) as running:
        yield running


@pytest.fixture(scope="session")
def front(chromium, server) -> Iterator:
    """The page, open in English in the canvas renderer."""
    from playwright.sync_api import sync_playwright

    from tools.front_end.page import FrontEnd

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=VIEW)
        page.set_default_timeout(120_000)
        found = FrontEnd(page, server.url)
        found.open()
        yield found
        browser.close()


@pytest.fixture
def client(server) -> Client:
    """A listener of its own at that server."""
    return Client(server.url)
