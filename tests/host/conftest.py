"""ComfyUI inside the test process, booted once, and the pack as ComfyUI itself loads it.

Tests reach the pack's modules through `pack_module`: a plain `import gsn_ops` would be a second copy of them.
"""

import gc
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from tools.host_env import inprocess

from ..support.demo_model import Tiny

TINY = pytest.StashKey[Tiny]()


@pytest.fixture(scope="session")
def comfy_root(tmp_path_factory) -> Path:
    """ComfyUI's folder; from here on `import comfy` and `import nodes` are ComfyUI's.

    Its user folder is a new one: a step that a study chose on this machine does not change what tests see.
    """
    root = inprocess.boot()
    import folder_paths
    import psutil

    folder_paths.set_user_directory(str(tmp_path_factory.mktemp("user")))
    # ComfyUI asks for the free memory in each call of its attention; here all tests get one answer.
    memory = psutil.virtual_memory()
    psutil.virtual_memory = lambda: memory
    return root


@pytest.fixture(scope="session")
def host(comfy_root: Path) -> ModuleType:
    """ComfyUI's module `nodes` (its core node classes), with `comfy` ready."""
    import nodes

    return nodes


@pytest.fixture(scope="session")
def pack(host: ModuleType) -> ModuleType:
    """This clone as ComfyUI's loader made it: the pack's root module."""
    made = inprocess.load_pack()
    gc.collect()
    gc.freeze()  # a million objects of torch and ComfyUI that no later collection has to look at
    return made


@pytest.fixture(scope="session")
def pack_module(pack: ModuleType) -> Callable[[str], ModuleType]:
    """A function: `pack_module("gsn_ops.host.sampling.patch")` is that module of the loaded pack."""
    return inprocess.pack_module


@pytest.fixture(scope="session")
def tiny(request: pytest.FixtureRequest, host: ModuleType, pack_module: Callable[[str], ModuleType]) -> Tiny:
    """The embedded model and short ways to run it."""
    made = request.session.stash[TINY] = Tiny(host, pack_module)
    return made


@pytest.fixture(scope="module", autouse=True)
def encoded_anew(request: pytest.FixtureRequest) -> None:
    """Each file encodes its prompts anew: the pack remembers a limited number, of whatever file."""
    if TINY in request.session.stash:
        request.session.stash[TINY].encode.cache_clear()


@pytest.fixture(scope="session")
def subjects(pack_module: Callable[[str], ModuleType]) -> SimpleNamespace:
    """The pack's functions from typed phrases to columns: parse_subjects, resolve, choose_subjects."""
    syntax, resolve = pack_module("gsn_ops.subjects.syntax"), pack_module("gsn_ops.subjects.resolve")
    return SimpleNamespace(
        parse_subjects=syntax.parse_subjects, resolve=resolve.resolve, choose_subjects=resolve.choose_subjects
    )
