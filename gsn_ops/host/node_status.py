"""Node status messages, and a placeholder for outputs that are not available."""

from __future__ import annotations

import functools
import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from comfy_execution.utils import get_executing_context
from server import PromptServer

from .language import spoken

MOST_LINES = 1000
"""That are remembered, the newest ones."""
_lines: OrderedDict[tuple[str, str], str] = OrderedDict()
"""(graph, node id) -> the last line, in English."""


def queued_prompt() -> str:
    """ComfyUI's id of the prompt that is being executed, "" outside of one."""
    context = get_executing_context()
    return context.prompt_id if context is not None else ""


def status_line(node_id: str | None) -> Callable[[str], None]:
    """`show(text)`: shows one line on the node with this id in every open browser, in the
    language of the person.

    Does nothing without a server.
    """

    def show(text: str) -> None:
        server = getattr(PromptServer, "instance", None)
        if server is None or node_id is None:
            return
        graph = _graph_of(queued_prompt())
        if graph:
            _lines[graph, node_id] = text
            _lines.move_to_end((graph, node_id))
            if len(_lines) > MOST_LINES:
                _lines.popitem(last=False)
        server.send_progress_text(spoken(text), node_id)

    return show


def repeat_line(node_id: str | None) -> None:
    """Show the last line of this node in this very graph again.

    ComfyUI executes nothing of a graph that it has in its cache, so a page that was loaded anew would get
    its pictures again, but no line. A graph with other values has lines of its own: none, before its run.
    """
    server = getattr(PromptServer, "instance", None)
    line = _lines.get((_graph_of(queued_prompt()), str(node_id)))
    if server is not None and line is not None:
        server.send_progress_text(spoken(line), str(node_id))


@functools.lru_cache(maxsize=16)
def _graph_of(prompt_id: str) -> str:
    """What the queued prompt computes, as text: its nodes and values, without those that only show or save.

    "" where nothing is queued.
    """
    queue = getattr(getattr(PromptServer, "instance", None), "prompt_queue", None)
    if queue is None or not prompt_id:
        return ""
    running, _ = queue.get_current_queue_volatile()
    nodes: dict[str, Any] = next((item[2] for item in running if item[1] == prompt_id), {})
    values = [value for node in nodes.values() for value in node["inputs"].values()]
    used = {str(value[0]) for value in values if isinstance(value, list) and value}
    kept = {
        i: (node["class_type"], node["inputs"])
        for i, node in nodes.items()
        if i in used or node["class_type"].startswith("GSN")
    }
    return json.dumps(kept, sort_keys=True, default=str) if kept else ""


def repeating_line(node: Any) -> Any:
    """The node class, whose line is shown again when a graph with it is queued again.

    ComfyUI asks every node of a queued prompt for its fingerprint, whether it will be executed or not.
    """
    own = vars(node).get("fingerprint_inputs")

    def fingerprint_inputs(cls: Any, **values: Any) -> Any:
        repeat_line(cls.hidden.unique_id if cls.hidden else None)
        return "" if own is None else own.__func__(cls, **values)

    node.fingerprint_inputs = classmethod(fingerprint_inputs)
    return node


class Absent:
    """Placeholder for an output that is not available: any use of it raises AttributeError with the reason.

    With None, the next node would fail with a message about something else; ComfyUI's ExecutionBlocker would
    end the prompt as if it had succeeded.
    """

    def __init__(self, reason: str):
        self.reason = reason

    def __getattr__(self, name: str):
        raise AttributeError(spoken(self.__dict__.get("reason", name)))

    def __getitem__(self, key: object):
        raise AttributeError(spoken(self.reason))
