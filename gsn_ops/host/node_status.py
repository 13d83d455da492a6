"""Node status messages, and a placeholder for outputs that are not available."""

from __future__ import annotations

from collections.abc import Callable

from server import PromptServer

from .language import spoken


def status_line(node_id: str | None) -> Callable[[str], None]:
    """`show(text)`: shows one line on the node with this id in every open browser, in the
    language of the person.

    Does nothing without a server.
    """

    def show(text: str) -> None:
        server = getattr(PromptServer, "instance", None)
        if server is not None and node_id is not None:
            server.send_progress_text(spoken(text), node_id)

    return show


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
