"""What other packs and nodes have put on a model, by name."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MethodType
from typing import Any

import comfy.model_management
import torch

import nodes  # ComfyUI's module; ours of that name is inside the pack

PACKAGE = __name__.partition(".gsn_ops")[0]
TORCH = Path(torch.__file__).parent
HOST = Path(comfy.model_management.__file__).parent  # the base directory may be another one
CORE_NODES = HOST.parent / "comfy_extras"
OF_EVERY_PART = frozenset(vars(torch.nn.Module()))
CACHE = "cache"  # in the name of a node or file whose work is to leave out parts of the network


def implementation(patch: Any) -> Any:
    """The function or class behind a patch: of partials, bound methods and decorated functions what they
    call.
    """
    while True:
        if isinstance(patch, functools.partial):
            patch = patch.func
        elif hasattr(patch, "__wrapped__"):
            patch = patch.__wrapped__
        elif isinstance(patch, MethodType):
            patch = patch.__func__
        else:
            break
    return patch if hasattr(patch, "__qualname__") else type(patch)


def source_file(patch: Any) -> Path | None:
    """The file that defines a patch, or None for what has none."""
    made_by = implementation(patch)
    code = getattr(made_by, "__code__", None)
    if code is not None:
        return Path(code.co_filename)
    file = getattr(sys.modules.get(made_by.__module__), "__file__", None)
    return Path(file) if file else None


def is_foreign(patch: Any) -> bool:
    """Is it neither ComfyUI's own engine, nor torch's, nor ours? Nodes that come with ComfyUI are foreign."""
    module = getattr(implementation(patch), "__module__", None) or ""
    if module == PACKAGE or module.startswith(f"{PACKAGE}.gsn_ops."):
        return False
    file = source_file(patch)
    return file is not None and HOST not in file.parents and TORCH not in file.parents


def is_of_a_pack(patch: Any) -> bool:
    """Is it foreign and not of a node that comes with ComfyUI?"""
    file = source_file(patch)
    return is_foreign(patch) and file is not None and CORE_NODES not in file.parents


def is_cache(patch: Any) -> bool:
    """Does a patch leave out parts of the network where they would change little? Told by its name."""
    file = source_file(patch)
    names = f"{implementation(patch).__qualname__} {file and file.stem}"
    return CACHE in names.casefold() or CACHE in name_of(patch).casefold()


def name_of(patch: Any) -> str:
    """The node that made a patch, as the menu calls it, and its pack; or the pack; or the outer function."""
    made_by, file = implementation(patch), source_file(patch)
    first = made_by.__qualname__.partition(".")[0]
    titles: Mapping[str, str] = nodes.NODE_DISPLAY_NAME_MAPPINGS  # type: ignore[attr-defined]
    classes: Mapping[str, type] = nodes.NODE_CLASS_MAPPINGS  # type: ignore[attr-defined]
    node = next((key for key, c in classes.items() if c.__name__ == first and _file_of(c) == file), None)
    pack = _pack_of(file)
    title = titles.get(node, node) if node is not None else None
    if title and pack:
        return f"{title} ({pack})"
    return title or pack or first


def _file_of(node_class: type) -> Path | None:
    file = getattr(sys.modules.get(node_class.__module__), "__file__", None)
    return Path(file) if file else None


def _pack_of(file: Path | None) -> str:
    """The folder of a pack that a file is in, "" if it is in none."""
    parts = file.parts if file else ()
    at = parts.index("custom_nodes") + 1 if "custom_nodes" in parts else len(parts)
    return parts[at] if at < len(parts) else ""


def patches_of(model_options: Mapping[str, Any]) -> Iterator[Any]:
    """Every function that nodes have put into a model's options."""
    transformer = model_options.get("transformer_options", {})
    yield from _callables(model_options.get("model_function_wrapper"))
    yield from _callables(transformer.get("optimized_attention_override"))
    for table in ("patches_replace", "patches", "wrappers"):
        yield from _callables(transformer.get(table, {}))


def _callables(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from _callables(one)
    elif callable(value):
        yield value


def replaced_forwards(network: torch.nn.Module) -> list[tuple[torch.nn.Module, str, Callable]]:
    """(module, attribute, function) of every method of a part of the network that a pack has replaced."""
    return [
        (part, name, value)
        for part in _parts(network)
        for name, value in vars(part).items()
        if name not in OF_EVERY_PART
        if callable(value) and not isinstance(value, torch.nn.Module) and hasattr(type(part), name)
        if is_foreign(value)
    ]


def own_network(network: torch.nn.Module) -> str:
    """The class and pack of a network that is not ComfyUI's, "" of one that is."""
    made_by = type(network)
    if not is_foreign(made_by):
        return ""
    pack = _pack_of(source_file(made_by))
    return f"{made_by.__qualname__} ({pack})" if pack else made_by.__qualname__


def _parts(network: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """What `network.modules()` gives, in a third of its time: this is asked in every pass."""
    waiting, seen = [network], set()
    while waiting:
        part = waiting.pop()
        if id(part) not in seen:
            seen.add(id(part))
            yield part
            waiting += [child for child in part._modules.values() if child is not None]


def names_on(model_options: Mapping[str, Any], network: torch.nn.Module) -> tuple[str, ...]:
    """The nodes and packs that have put something on this model, each once."""
    found = [patch for patch in patches_of(model_options) if is_foreign(patch)]
    found += [function for _, _, function in replaced_forwards(network)]
    return tuple(dict.fromkeys(map(name_of, found)))
