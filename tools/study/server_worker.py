"""A worker of a study: one ComfyUI server, started by it or running already, and the verdicts it gives."""

from __future__ import annotations

import json
import time
import urllib.error
from contextlib import ExitStack

from tools.host_env.client import Client, PromptFailed
from tools.host_env.paths import HostError

from .cells import JUDGE_JSON, REPORT_JSON, SCORES_JSON, Cell, Task
from .pools import WorkerLost

TIMEOUT = 3600
"""Seconds for one image."""


class ServerWorker:
    """Makes cells on a server of its own, or on the one at url."""

    def __init__(self, url: str):
        self.stack = ExitStack()
        if not url:
            from tools.host_env.server import running_server

            url = self.stack.enter_context(running_server()).url
        self.client = Client(url)

    def __call__(self, task: Task) -> dict:
        """The verdict of a cell. Raises ValueError with what the server said, WorkerLost if it is gone."""
        begun = time.monotonic()
        try:
            entry = self.client.run(task.workflow, TIMEOUT)
        except PromptFailed as error:
            raise ValueError(first_sentences(error)) from None
        except (urllib.error.URLError, ConnectionError, TimeoutError, HostError) as error:
            raise WorkerLost(str(error)) from None
        try:
            return result_of(entry, task.cell, time.monotonic() - begun)
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(
                f"the server's verdict lacks {error}: is this pack of the same version there?"
            ) from None

    def close(self) -> None:
        """Ends a server that this worker has started."""
        self.stack.close()


def first_sentences(error: PromptFailed) -> str:
    """What a person would read, without the traceback."""
    return str(error).split("\nTraceback")[0].split("\n  File")[0].strip()


def result_of(entry: dict, cell: Cell, seconds: float) -> dict:
    """The verdict in a history entry, and where the method acted. Raises ValueError if it did not."""
    judged = json.loads(text_of(entry, JUDGE_JSON))
    if judged["not_judged"]:
        names, asked = ", ".join(judged["not_judged"]), " and ".join(judged["sources"])
        raise ValueError(
            f"{asked} cannot find '{names}' of '{cell.prompt}': connect SAM 3 as second_detector, or "
            "take the prompt out."
        )
    result = {"right": judged["all_present"], "score": judged["score"], "seconds": round(seconds, 2)}
    if SCORES_JSON in entry["outputs"]:
        result["similarities"] = json.loads(text_of(entry, SCORES_JSON))["mean"]
    if not cell.method:
        return result
    run = json.loads(text_of(entry, REPORT_JSON))
    recipe = next((one for one in run["recipes"] if one["step"] is not None), None)
    if recipe is None:
        raise ValueError(f"the method did not act on '{cell.prompt}' ({run['recipes'][0]['status']})")
    where = {name: recipe.get(name) for name in ("step", "sigma", "percent")}
    return result | where | {"weights": run.get("weights", "")}


def text_of(entry: dict, node: str) -> str:
    """What a PreviewAny node showed. Raises ValueError if it showed nothing."""
    shown = entry["outputs"].get(node, {}).get("text") or [""]
    if not shown[0]:
        raise ValueError("the server showed no verdict: is this pack of the same version there?")
    return shown[0]
