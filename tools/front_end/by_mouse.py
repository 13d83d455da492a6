"""A graph built as a person does it: mouse on the canvas, words in the search. For the canvas renderer."""

from __future__ import annotations

from .page import FrontEnd

Place = tuple[float, float]


class ByMouse:
    """The hands on the page that `front` shows. Nodes are named by their type."""

    def __init__(self, front: FrontEnd):
        self.front, self.mouse = front, front.page.mouse

    def add(self, words: str, title: str, at: Place) -> None:
        """Double-click on the canvas, search, choose the node with this title and put it down at `at`.

        at: in the graph's coordinates, a place without a node.
        """
        x, y = self.front.call("seen", *at)
        number = len(self.front.call("nodes"))
        self.mouse.dblclick(x, y)
        page = self.front.page
        page.get_by_test_id("category-most-relevant").wait_for()
        page.keyboard.type(words)
        page.get_by_test_id("result-item").filter(has_text=title).first.click()
        page.wait_for_function("number => app.graph.nodes.length > number", arg=number)
        self.mouse.move(x, y, steps=5)
        self.mouse.click(x, y)
        page.wait_for_function("() => app.canvas.state.ghostNodeId == null")

    def click_beside(self, x: float, y: float) -> None:
        """Click on a place of the canvas without a node: nothing is selected any more."""
        self.mouse.click(*self.front.call("seen", x, y))

    def delete(self, kind: str) -> None:
        """Click on a node's title and press Delete."""
        number = len(self.front.call("nodes"))
        self.mouse.click(*self.front.call("titleOf", kind, 0))
        self.front.page.keyboard.press("Delete")
        self.front.page.wait_for_function("number => app.graph.nodes.length < number", arg=number)

    def connect(self, source: str, output: str, target: str, name: str, which: int = 0) -> None:
        """Drag from an output to an input. which: of several targets of one type, from the top."""
        links = self.front.call("links")
        self.mouse.move(*self.front.call("slotOf", source, 0, "outputs", output))
        self.mouse.down()
        self.mouse.move(*self.front.call("slotOf", target, which, "inputs", name), steps=8)
        self.mouse.up()
        self.front.page.wait_for_function(
            "before => JSON.stringify(gsnPage.links()) !== JSON.stringify(before)", arg=links
        )

    def write(self, kind: str, text: str, which: int = 0) -> None:
        """Click into a node's text field and type."""
        self.mouse.click(*self.front.call("widgetOf", kind, which, "text"))
        keyboard = self.front.page.keyboard
        keyboard.press("ControlOrMeta+a")
        keyboard.type(text)
        keyboard.press("Escape")

    def choose(self, kind: str, name: str, words: str) -> None:
        """Click on a node's list and choose the line with these words."""
        self.mouse.click(*self.front.call("widgetOf", kind, 0, name))
        self.front.page.locator(".litecontextmenu .litemenu-entry").filter(has_text=words).first.click()
        self._has(kind, name, words)

    def number(self, kind: str, name: str, value: float) -> None:
        """Double-click on a node's number and type another one."""
        self.mouse.dblclick(*self.front.call("widgetOf", kind, 0, name))
        field = self.front.page.locator(".graphdialog input")
        field.fill(f"{value:g}")
        field.press("Enter")
        self._has(kind, name, f"{value:g}")

    def _has(self, kind: str, name: str, words: str) -> None:
        """Wait until the value of a widget has these words in it."""
        self.front.page.wait_for_function(
            "([kind, name, words]) => `${gsnPage.nth(kind, 0).widgets.find(w => w.name === name).value}`"
            ".includes(words)",
            arg=[kind, name, words],
        )
