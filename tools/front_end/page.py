"""ComfyUI's page in a browser: settings, workflows, runs, and what is seen on the nodes."""

from __future__ import annotations

import base64
import json
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import ConsoleMessage, Page

FOLDER = Path(__file__).resolve().parents[2] / "example_workflows"
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Workflow.ShowMissingModelsWarning": False,
    "Comfy.RightSidePanel.IsOpen": False,
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,
    "Comfy.Workflow.Persist": False,
}
READY = (
    "() => window.app?.canvas && window.LiteGraph?.registered_node_types.GSNReport && app.graph && "
    "!document.querySelector('.p-blockui-mask')"
)
FUNCTIONS = Path(__file__).with_name("page.js").read_text("utf-8")
TIMEOUT = 120_000
"""Milliseconds; a machine that runs other tests beside these is slow."""


class FrontEnd:
    """One page, which is loaded again for another language or renderer only."""

    def __init__(self, page: Page, url: str):
        self.page, self.url = page, url
        self.console: list[str] = []
        page.set_default_timeout(TIMEOUT)
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.console.append(str(error)))

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.console.append(f"{message.text} ({message.location.get('url', '')})")

    def open(self, language: str = "en", nodes2: bool = False) -> None:
        """Load the page in this language, with the canvas renderer or Nodes 2.0."""
        settings = {**SETTINGS, "Comfy.Locale": language, "Comfy.VueNodes.Enabled": nodes2}
        data = json.dumps(settings).encode()
        request = urllib.request.Request(
            f"{self.url}/api/settings", data, {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=60).close()
        self.page.goto(self.url)
        self.page.wait_for_function(READY)
        self.page.evaluate(FUNCTIONS)

    def call(self, name: str, *values: Any) -> Any:
        """A function of page.js in the page."""
        return self.page.evaluate("([name, values]) => gsnPage[name](...values)", [name, list(values)])

    def drop(self, file: Path | str, data: bytes | None = None) -> None:
        """Drop a file on the canvas."""
        path = Path(file)
        content = path.read_bytes() if data is None else data
        self.call("drop", path.name, base64.b64encode(content).decode())
        self.page.wait_for_function("() => !document.querySelector('.p-blockui-mask')")

    def open_template(self, name: str) -> None:
        """Drop one of the shipped workflows."""
        self.drop(FOLDER / f"{name}.json")

    def prompt(self) -> dict[str, Any]:
        """What would be queued."""
        return self.call("prompt")

    def run(self) -> dict[str, Any]:
        """Queue the graph and wait for its end: {"end", "lines": {node id: last line}, "error", "cached"}."""
        return self.call("run")

    def run_by_button(self) -> dict[str, Any]:
        """Click on Run and wait for the end: as `run`."""
        self.call("listen")
        self.page.get_by_test_id("queue-button").click()
        return self.call("heard")

    def default_workflow(self) -> None:
        """Open what ComfyUI opens for somebody new."""
        self.command("Comfy.LoadDefaultWorkflow")
        self.page.wait_for_function(
            "() => gsnPage.nth('KSampler', 0) && !document.querySelector('.p-blockui-mask')"
        )
        self.call("atRest")

    def lines(self) -> dict[str, str]:
        """The status lines that are on nodes, by node id."""
        return self.call("lines")

    def to_another_tab_and_back(self) -> None:
        """Show the workflow of the tab before this one, then this one again."""
        own = self.call("tab")
        self.command("Workspace.PreviousOpenedWorkflow")
        self.page.wait_for_function("own => gsnPage.tab() !== own", arg=own)
        self.call("atRest")
        self.command("Workspace.NextOpenedWorkflow")
        self.page.wait_for_function("own => gsnPage.tab() === own", arg=own)

    def open_subgraph(self) -> None:
        """Show the inside of the graph's first subgraph."""
        self.page.evaluate(
            "() => { const node = app.graph.nodes.find(n => n.isSubgraphNode?.()); "
            "app.canvas.openSubgraph(node.subgraph, node); }"
        )

    def wait_for_lines(self, lines: dict[str, str]) -> None:
        """Until the nodes have these lines."""
        self.page.wait_for_function(
            "wanted => JSON.stringify(gsnPage.lines()) === JSON.stringify(wanted)", arg=lines
        )

    def cancelled_after_first_line(self) -> dict[str, Any]:
        """Queue the graph, cancel by the X button once the updates have begun: as `run`."""
        self.call("begin")
        self.page.get_by_label("Cancel current run").first.click()
        return self.call("finished")

    def error_panel(self) -> str:
        """What stands in the panel that View details opens."""
        self.page.get_by_test_id("error-overlay-see-errors").click()
        panel = self.page.get_by_test_id("properties-panel")
        panel.wait_for()
        self.page.wait_for_timeout(500)
        return panel.inner_text()

    def search(self, words: str, close: bool = True) -> list[str]:
        """Titles of the nodes that the search finds, best first. close: the search, after it."""
        self.command("Workspace.SearchBox.Toggle")
        self.page.get_by_test_id("category-most-relevant").wait_for()
        self.page.keyboard.type(words)
        items = self.page.get_by_test_id("result-item")
        self.page.wait_for_timeout(700)
        found = [text.split("\n")[0] for text in items.all_inner_texts()]
        if close:
            self.page.keyboard.press("Escape")
        return found

    def command(self, name: str) -> None:
        """A command of the front end."""
        self.page.evaluate("name => void app.extensionManager.command.execute(name)", name)

    def help_of(self, kind: str) -> str:
        """The text of the help page in the info panel."""
        self.page.evaluate("kind => app.canvas.selectNode(app.graph.nodes.find(n => n.type === kind))", kind)
        self.page.get_by_test_id("info-button").click()
        article = self.page.locator(".node-help-content")
        article.wait_for()
        self.page.wait_for_timeout(500)
        return article.inner_text()

    def show_templates(self) -> None:
        """Open the list of templates at this pack's."""
        self.command("Comfy.BrowseTemplates")
        own = self.page.get_by_role("dialog").get_by_text("semantic-nursing", exact=True).last
        own.evaluate("element => element.click()")  # it is below the fold of a list that scrolls

    def template_cards(self, number: int) -> list[tuple[str, bool]]:
        """(title, whether its picture is loaded) of this pack's first cards in the list of templates."""
        self.show_templates()
        cards = self.call("cards", number)
        self.page.keyboard.press("Escape")
        return cards

    def settled_nodes(self) -> list[dict[str, Any]]:
        """The nodes once Nodes 2.0 has drawn them all and their sizes do not change any more."""
        return self.call("settled")
