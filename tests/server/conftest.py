"""The real server, started once for the session, as a person's browser meets it."""

from collections.abc import Iterator

import pytest

from tools.host_env.client import Client
from tools.host_env.server import Server, running_server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A running ComfyUI with this pack: `.url`, `.log`, `.process`."""
    with running_server(cpu=True) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Client:
    """A listener of its own at that server."""
    return Client(server.url)
