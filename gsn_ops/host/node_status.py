"""What a node says on itself, and how an output says why it is empty."""

from __future__ import annotations

from collections.abc import Callable

from server import PromptServer


def status_line(node_id: str | None) -> Callable[[str], None]:
    """`say(text)`: shows one line on the node with this id in every open browser. Silent where there is no server."""

    def say(text: str) -> None:
        server = getattr(PromptServer, "instance", None)
        if server is not None and node_id is not None:
            server.send_progress_text(text, node_id)

    return say


class Absent:
    """Stands for an output that cannot be given: whoever uses it gets an AttributeError with the reason.

    None would make the next node guess at the cause; the host's ExecutionBlocker ends a prompt as if it had succeeded.
    """

    def __init__(self, reason: str):
        self.reason = reason

    def __getattr__(self, name: str):
        raise AttributeError(self.__dict__.get("reason", name))
