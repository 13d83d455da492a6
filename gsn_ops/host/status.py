"""What a node says on itself, and how an output says why it is empty."""
from __future__ import annotations

from collections.abc import Callable

from comfy_execution.graph_utils import ExecutionBlocker
from server import PromptServer


def status_line(node_id: str | None) -> Callable[[str], None]:
    """`say(text)`: shows one line on the node with this id in every open browser. Silent where there is no server."""
    def say(text: str) -> None:
        server = getattr(PromptServer, "instance", None)
        if server is not None and node_id is not None:
            server.send_progress_text(text, node_id)
    return say


def blocked(message: str) -> ExecutionBlocker:
    """An output that stops whoever uses it, with this message (an output that nobody uses stops nothing)."""
    return ExecutionBlocker(message)
