"""The real server, started once for the session, as a person's browser meets it."""

from collections.abc import Iterator

import pytest

from tools.host_env.client import Client
from tools.host_env.server import Server, running_server


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[Server]:
    """A running ComfyUI with this pack: `.url`, `.log`, `.process`."""
    user = str(tmp_path_factory.mktemp("user"))  # without a step that a study chose on this machine
    with running_server(cpu=True, arguments=["--user-directory", user]) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Client:
    """A listener of its own at that server."""
    return Client(server.url)
