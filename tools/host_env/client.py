"""A small client of a ComfyUI server: queue a prompt, wait for it, watch it, look at its pictures."""

import asyncio
import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Sequence
from typing import Any

FINAL_MESSAGES = ("execution_success", "execution_error", "execution_interrupted")


class PromptFailed(Exception):
    """A prompt that was refused, failed or was interrupted: what a person would read in the browser.

    `kind` is "refused", "error" or "interrupted"; `details` is what the server said.
    """

    def __init__(self, kind: str, text: str, details: dict):
        super().__init__(text)
        self.kind = kind
        self.details = details


class Client:
    """Talks to the server at `url`. One client is one listener: `messages` shows only its own prompts."""

    def __init__(self, url: str):
        self.url = url
        self.client_id = uuid.uuid4().hex

    def queue(self, prompt: dict) -> str:
        """Queue a prompt (API format) and return its id. Raises PromptFailed("refused") with every reason."""
        try:
            return self._json("/prompt", {"prompt": prompt, "client_id": self.client_id})["prompt_id"]
        except urllib.error.HTTPError as error:
            body = error.read().decode("utf-8", errors="replace")
            try:
                details = json.loads(body)
            except ValueError:
                details = {"error": {"message": f"HTTP {error.code}", "details": body}}
            raise PromptFailed("refused", _reasons(details), details) from error

    def history(self, prompt_id: str) -> dict | None:
        """The finished prompt's entry (`outputs`, `status`, ...), or None while it waits or runs."""
        return self._json(f"/history/{prompt_id}").get(prompt_id)

    def last(self) -> dict:
        """The entry of the newest finished prompt."""
        return list(self._json("/history").values())[-1]

    def wait(self, prompt_id: str, timeout: float = 600) -> dict:
        """The prompt's history entry, once it is finished.

        Raises PromptFailed if it failed, TimeoutError if it is late.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            entry = self.history(prompt_id)
            if entry is not None:
                _raise_if_failed(entry)
                return entry
            time.sleep(0.1)
        raise TimeoutError(f"prompt {prompt_id} did not finish within {timeout:.0f} s")

    def run(self, prompt: dict, timeout: float = 600) -> dict:
        """Queue a prompt and wait for it: its history entry."""
        return self.wait(self.queue(prompt), timeout)

    def messages(
        self, prompt: dict, on_message: Callable[[dict], Any] | None = None, timeout: float = 600
    ) -> list[dict]:
        """Queue a prompt and return all that the websocket says about it, up to its end, good or bad.

        A message is {"type": ..., "data": {...}}; a preview picture is {"type": "binary", "data": its bytes}.
        `on_message` sees each as it arrives (and may call `interrupt`).
        """
        return asyncio.run(asyncio.wait_for(self._listen(prompt, on_message), timeout))

    async def _listen(self, prompt: dict, on_message: Callable[[dict], Any] | None) -> list[dict]:
        import aiohttp  # the host's: not needed by those who only queue and wait

        said: list[dict] = []
        async with aiohttp.ClientSession() as session:
            address = f"{self.url}/ws?clientId={self.client_id}"
            async with session.ws_connect(address, max_msg_size=0) as socket:
                await socket.receive()  # the server's greeting: from here on nothing is missed
                prompt_id = await asyncio.to_thread(self.queue, prompt)
                async for frame in socket:
                    text = frame.type == aiohttp.WSMsgType.TEXT
                    message = json.loads(frame.data) if text else {"type": "binary", "data": frame.data}
                    said.append(message)
                    if on_message is not None:
                        await asyncio.to_thread(on_message, message)
                    if message["type"] in FINAL_MESSAGES and message["data"]["prompt_id"] == prompt_id:
                        return said
        raise ConnectionError("the server closed the websocket before the prompt was finished")

    def interrupt(self) -> None:
        """Interrupt the running prompt, as the browser's button does."""
        self._request("/interrupt", {})

    def object_info(self, node_id: str = "") -> dict:
        """The description of every node type, or of one: {node_id: {...}}."""
        return self._json("/object_info" + (f"/{urllib.parse.quote(node_id)}" if node_id else ""))

    def image(self, item: dict) -> bytes:
        """The file behind an output item {"filename", "subfolder", "type"}."""
        wanted = {key: item[key] for key in ("filename", "subfolder", "type")}
        return self._request("/view?" + urllib.parse.urlencode(wanted))

    def images(self, entry: dict, node: str | None = None) -> list[bytes]:
        """The pictures of a history entry, of one node or of all, in order."""
        outputs = entry["outputs"] if node is None else {node: entry["outputs"].get(node, {})}
        return [self.image(item) for output in outputs.values() for item in output.get("images", [])]

    def _json(self, path: str, body: dict | None = None) -> dict:
        return json.loads(self._request(path, body))

    def _request(self, path: str, body: dict | None = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()


def _reasons(details: dict) -> str:
    """Why a prompt was refused, node by node, in lines."""
    general = details.get("error", {})
    lines = [f"{general.get('message', 'refused')} {general.get('details', '')}".strip()]
    for node, wrong in details.get("node_errors", {}).items():
        for error in wrong.get("errors", []):
            lines.append(
                f"node {node} ({wrong.get('class_type')}): {error['message']}: {error.get('details', '')}"
            )
    return "\n".join(lines)


def _raise_if_failed(entry: dict) -> None:
    """Raise PromptFailed with the text of the exception, if the entry is of a prompt that did not succeed."""
    status: dict = entry["status"]
    if status["status_str"] == "success":
        return
    messages: Sequence = status["messages"]
    for kind, data in messages:
        if kind == "execution_error":
            where = f"node {data['node_id']} ({data['node_type']})"
            said = f"{data['exception_type']}: {data['exception_message']}"
            raise PromptFailed("error", f"{where}: {said}\n{''.join(data['traceback'])}", data)
        if kind == "execution_interrupted":
            raise PromptFailed(
                "interrupted", f"interrupted in node {data['node_id']} ({data['node_type']})", data
            )
    raise PromptFailed("error", f"the prompt failed without saying why: {messages}", dict(status))
