"""The real server, started once for the session, as a person's browser meets it."""

from collections.abc import Iterator

import pytest

from tools.host_env.client import Client
from tools.host_env.server import Server, running_server

from ..support.node_packs import write_packs
from ..support.stand_ins import write_loras, write_pictures


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[Server]:
    """A running ComfyUI with this pack: `.url`, `.log`, `.process`."""
    user = str(tmp_path_factory.mktemp("user"))  # without a step that a study chose on this machine
    with running_server(cpu=True, arguments=["--user-directory", user]) as running:
        yield running


@pytest.fixture(scope="session")
def server_with_packs(tmp_path_factory) -> Iterator[Server]:
    """Another one, with other people's packs beside ours (tests/support/node_packs.py)."""
    folder = tmp_path_factory.mktemp("packs")
    write_packs(folder / "nodes")
    write_loras(folder / "loras")
    write_pictures(folder / "input" / "my_dog")
    paths = folder / "paths.yaml"
    paths.write_text(f"test:\n    custom_nodes: {folder / 'nodes'}\n    loras: {folder / 'loras'}\n")
    arguments = ["--extra-model-paths-config", str(paths), "--input-directory", str(folder / "input")]
    with running_server(cpu=True, arguments=arguments) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Client:
    """A listener of its own at that server."""
    return Client(server.url)
