"""ComfyUI in process: what every other test in this folder stands on."""

import asyncio
import sys
from pathlib import Path

import pytest

from tools.host_env import inprocess
from tools.host_env.paths import HOST_DIR, HostError


def test_nodes_is_the_hosts_module(host, comfy_root):
    assert Path(host.__file__) == comfy_root / "nodes.py"
    assert "KSampler" in host.NODE_CLASS_MAPPINGS


def test_the_host_runs_on_the_cpu_and_writes_into_the_clone(host):
    import comfy.model_management
    import folder_paths

    assert comfy.model_management.get_torch_device().type == "cpu"
    for folder in (
        folder_paths.get_output_directory(),
        folder_paths.get_temp_directory(),
        folder_paths.base_path,
    ):
        assert Path(folder).is_relative_to(HOST_DIR)


def test_the_pack_offers_its_nodes_through_the_v3_entry_point_only(pack, host):
    assert not hasattr(pack, "NODE_CLASS_MAPPINGS")
    offered = asyncio.run(asyncio.run(pack.comfy_entrypoint()).get_node_list())
    assert [node.GET_SCHEMA().node_id for node in offered] == [
        node.GET_SCHEMA().node_id for node in pack.NODES
    ]
    for node in offered:
        assert host.NODE_CLASS_MAPPINGS[node.GET_SCHEMA().node_id] is node


def test_pack_module_is_the_loaded_packs_not_a_second_copy(pack, pack_module):
    assert pack_module("nodes").NODES is pack.NODES
    assert pack_module("gsn_ops").__name__ == f"{pack.__name__}.gsn_ops"


def test_a_pack_that_fails_to_load_is_an_error_with_the_traceback(host, tmp_path, monkeypatch):
    (tmp_path / "__init__.py").write_text("import a_module_that_is_not_there\n")
    monkeypatch.setattr(inprocess, "PACK_LINK", tmp_path)
    monkeypatch.setattr(inprocess, "link_pack", lambda: None)
    with pytest.raises(HostError, match=r"Traceback[\s\S]+__init__.py[\s\S]+a_module_that_is_not_there"):
        inprocess.load_pack()
    assert str(tmp_path) not in sys.modules
