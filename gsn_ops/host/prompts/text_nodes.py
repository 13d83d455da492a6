"""Names of the nodes that made a conditioning, for remarks: read from the workflow that is running."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context

import nodes  # ComfyUI's module; ours of that name is inside the pack

CARRIES_PROMPTS = ("CONDITIONING", "GUIDER", "PIPE")
"""Types of links, or parts of their names, through which a sampler gets its prompts."""

NEGATIVE = "neg"


def unread_text_nodes(read: Collection[str]) -> list[str]:
    """The nodes that made the running node's positive prompts, but for those with the ids in `read`.

    Each as "'Name' (node 12)"; [] outside of a workflow.
    """
    context, state = get_executing_context(), get_progress_state()
    if context is None:
        return []
    graph = state.dynprompt
    sources = dict.fromkeys(_sources(graph, str(context.node_id), set()))
    return [_shown(graph, node) for node in sources if node not in read]


def _sources(graph: Any, node: str, seen: set[str]) -> Iterator[str]:
    """The nodes from which prompts come to this one, first to last input."""
    seen.add(node)
    if not graph.has_node(node):
        return
    before = [source for name, source in _links(graph, node) if not name.lower().startswith(NEGATIVE)]
    if not before and len(seen) > 1:
        yield node
    for source in before:
        if source not in seen:
            yield from _sources(graph, source, seen)


def _links(graph: Any, node: str) -> Iterator[tuple[str, str]]:
    """(name, source) of the inputs that carry prompts."""
    for name, value in graph.get_node(node)["inputs"].items():
        if not (isinstance(value, list) and len(value) == 2 and graph.has_node(str(value[0]))):
            continue
        types = getattr(_class(graph, str(value[0])), "RETURN_TYPES", ())
        if isinstance(value[1], int) and value[1] < len(types) and _carries_prompts(types[value[1]]):
            yield name, str(value[0])


def _carries_prompts(kind: Any) -> bool:
    return any(part in str(kind) for part in CARRIES_PROMPTS)


def _class(graph: Any, node: str) -> Any:
    # The type checker takes our own package `nodes` for it.
    return nodes.NODE_CLASS_MAPPINGS.get(graph.get_node(node)["class_type"])  # type: ignore[attr-defined]


def _shown(graph: Any, node: str) -> str:
    kind = graph.get_node(node)["class_type"]
    name = nodes.NODE_DISPLAY_NAME_MAPPINGS.get(kind, kind)  # type: ignore[attr-defined]
    return f"'{name}' (node {node})"
