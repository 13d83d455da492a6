"""ComfyUI in this process as its `main.py` starts it: on a CPU, on CUDA, with dynamic VRAM, with
--lowvram.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from tools.host_env import inprocess, paths
from tools.host_env.paths import HostError

MODES = {
    "cpu": ("--cpu",),
    "static": ("--disable-dynamic-vram",),
    "dynamic": (),
    "lowvram": ("--lowvram", "--disable-dynamic-vram"),
}
"""Name of a way to start ComfyUI -> its command line."""

UNUSED = ("av", "scipy", "torchaudio", "torchvision", "kornia", "spandrel")
"""Packages that ComfyUI imports for video, sound and upscalers: an empty module does for what is run here."""


def boot(mode: str) -> Path:
    """Make `comfy` importable, started in this mode. Returns ComfyUI's root. Call it before anything imports
    torch.

    Raises HostError for dynamic VRAM that did not start.
    """
    add_packages()
    import tests.support  # noqa: F401  before ComfyUI's own tests/ is found first

    host = paths.locate()
    for folder in ("custom_nodes", "input", "output", "temp", "user"):
        (paths.HOST_DIR / folder).mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(host.root))
    arguments, sys.argv = sys.argv, ["ComfyUI", *MODES[mode], *paths.directory_arguments(host)]
    try:
        import comfy.options

        comfy.options.enable_args_parsing()
        import comfy.cli_args  # parses sys.argv now, once
    finally:
        sys.argv = arguments
    if mode != "cpu":
        import cuda_malloc  # noqa: F401  chooses torch's allocator, as main.py does
    if mode == "dynamic":
        _start_dynamic_vram()
    import nodes  # noqa: F401

    return host.root


def _start_dynamic_vram() -> None:
    """As in main.py: before torch touches the device, and once more when it has."""
    import comfy_aimdo.control

    comfy_aimdo.control.init(simple_vram_headroom=None, nvml_pressure=True)
    import comfy.memory_management
    import comfy.model_management
    import comfy.model_patcher

    devices = comfy.model_management.get_all_torch_devices()
    headroom = int(comfy.cli_args.args.vram_headroom * 1024**3)
    if not comfy_aimdo.control.init_devices((device.index, headroom) for device in devices):
        raise HostError("comfy-aimdo did not start on this device, so there is no dynamic VRAM to look at.")
    comfy_aimdo.control.set_log_warning()
    comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
    comfy.memory_management.aimdo_enabled = True


def add_packages() -> None:
    """Packages that came with a bundle and that this Python has not; empty modules for those that nothing
    here uses.
    """
    folder = os.environ.get("GSN_GPU_PACKAGES")
    if folder and folder not in sys.path:
        sys.path.append(folder)
    missing = {name for name in UNUSED if importlib.util.find_spec(name) is None}
    if missing:
        sys.meta_path.append(_Empty(missing))


class _Empty(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Makes modules, and modules inside them, whose every attribute is a class without anything in it."""

    def __init__(self, names: set[str]):
        self.names = names

    def find_spec(self, fullname: str, path=None, target=None) -> importlib.machinery.ModuleSpec | None:
        if fullname.split(".")[0] not in self.names:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = ModuleType(spec.name)
        module.__getattr__ = _nothing
        return module

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to execute."""


def _nothing(name: str) -> type:
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {})


def pack(name: str) -> ModuleType:
    """A module of the pack as ComfyUI loaded it."""
    return inprocess.pack_module(f"gsn_ops.{name}" if name else "gsn_ops")
