"""ComfyUI's graph editor in a headless Chromium, used as a person uses it: files are dropped, text is typed, Run is pressed.

What the editor remembers between visits (settings, the tutorial seen) lies on the server; here it is answered in the
browser, so that each :class:`Editor` is a first-time user and leaves nothing behind.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from playwright.sync_api import Browser, Page, Request, Route, sync_playwright

WIDTH, HEIGHT = 1920, 1080
TIMEOUT_MS = 60_000
"""For every wait: a busy machine with two cores takes its time."""
JOB_TIMEOUT_MS = 600_000
"""For a job."""

_ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-default-apps", "--disable-dev-shm-usage",
)  # fmt: skip

_READY = "() => !!(window.app?.vueAppReady && window.app.graph && window.app.canvas)"
# Everything that happens to a job and every graph that is loaded, kept for whoever asks later.
_LISTEN = """() => {
  const app = window.app
  window.seen = {events: [], loaded: 0}
  for (const kind of ['execution_start', 'executing', 'progress', 'executed', 'b_preview_with_metadata',
                      'execution_success', 'execution_error', 'execution_interrupted'])
    app.api.addEventListener(kind, (event) => {
      const detail = event.detail?.blob ? {node: event.detail.nodeId ?? event.detail.displayNodeId} : event.detail
      window.seen.events.push({kind, detail, at: performance.now()})
    })
  const load = app.loadGraphData
  app.loadGraphData = async function () {
    const result = await load.apply(this, arguments)
    window.seen.loaded++
    return result
  }
}"""
_ON_CANVAS = "() => document.elementFromPoint(innerWidth / 2, innerHeight / 2)?.id === 'graph-canvas'"


@contextmanager
def launched(executable: str) -> Iterator[Browser]:
    """A headless Chromium with a profile of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, headless=True, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


class Editor:
    """One visit of a first-time user. ``page`` is playwright's page."""

    def __init__(self, browser: Browser, url: str, settings: Mapping[str, Any] | None = None) -> None:
        self.settings: dict[str, Any] = dict(settings or {})
        self.errors: list[str] = []
        """Uncaught errors of the page's scripts."""
        self.submitted: list[dict[str, Any]] = []
        """Bodies of POST /api/prompt, in order."""
        self._context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, base_url=url)
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(TIMEOUT_MS)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._remember)
        self.page.route("https://**", lambda route: route.abort())
        self.page.route("**/api/settings**", self._answer_settings)
        self.page.goto(url)
        self.page.wait_for_function(_READY)
        self.page.evaluate(_LISTEN)
        # A first visit opens the templates over the canvas: left as a person would, with Escape.
        self.page.wait_for_function(f"() => !({_ON_CANVAS})()")
        self.leave_dialog()

    def close(self) -> None:
        self._context.close()

    # --- what a person does ------------------------------------------------------------------------------------

    def leave_dialog(self) -> None:
        """Press Escape until nothing is above the canvas."""
        for _ in range(20):
            self.page.keyboard.press("Escape")
            try:
                self.page.wait_for_function(_ON_CANVAS, timeout=1000)
                break
            except Exception:  # the dialog was not ready for it
                continue
        self.page.wait_for_function(_ON_CANVAS)

    def drop(self, path: Path) -> None:
        """Drop a file from the desktop onto the empty canvas and wait until its graph is shown."""
        loaded = self.page.evaluate("() => window.seen.loaded")
        x, y = self._empty_place()
        session = self._context.new_cdp_session(self.page)
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "dragOver", "drop"):
            session.send("Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": data})
        session.detach()
        self.page.wait_for_function("(before) => window.seen.loaded > before", arg=loaded)
        self.page.wait_for_function("() => !document.querySelector('.p-progressspinner')")
        self.page.wait_for_timeout(1000)  # warnings come up to 0.7 s later

    def upload(self, path: Path) -> None:
        """Give a file to Load Image + Recall's upload button and wait until the picture is on the node."""
        before = self.widget("DistilleryLoadImage", "image")
        scale, x, y = self.page.evaluate("() => [window.app.canvas.ds.scale, ...window.app.canvas.ds.offset]")
        with self.page.expect_file_chooser() as chooser:
            self._press_upload("DistilleryLoadImage")
        chooser.value.set_files(path)
        self.look(scale, -x, -y)
        self.page.wait_for_function(
            """(before) => {
              const node = window.app.graph.nodes.find(n => n.type === 'DistilleryLoadImage')
              return node.widgets.find(w => w.name === 'image').value !== before && node.imgs?.[0]?.naturalWidth > 0
            }""",
            arg=before,
        )

    def type_command(self, text: str) -> None:
        """Type into the command of Upscale Parameters, in place of what is there."""
        area = self.page.locator("textarea[placeholder^='--power']").first
        area.fill(text)
        area.blur()

    def set_widget(self, kind: str, name: str, value: Any, which: int = 0) -> None:
        """Choose a value of a widget of a node of a class, by default of the first."""
        self.page.evaluate(
            """([kind, name, value, which]) => {
              const node = window.app.graph.nodes.filter(n => n.type === kind)[which]
              const widget = node.widgets.find(w => w.name === name)
              widget.value = value
              widget.callback?.(value)
            }""",
            [kind, name, value, which],
        )

    def run(self) -> str:
        """Press Run; returns the id of the job."""

        def posted(response: Any) -> bool:
            return urlsplit(response.url).path == "/api/prompt" and response.request.method == "POST"

        with self.page.expect_response(posted) as response:
            self.page.locator("[data-testid=queue-button]").first.click()
        return str(response.value.json().get("prompt_id", ""))

    def finished(self, job: str) -> dict[str, Any]:
        """Wait for the end of a job: the event that told of it, ``{"kind", "detail", "at"}``."""
        ends = ["execution_success", "execution_error", "execution_interrupted"]
        handle = self.page.wait_for_function(
            "([job, ends]) => window.seen.events.find(e => ends.includes(e.kind) && e.detail.prompt_id === job)",
            arg=[job, ends],
            timeout=JOB_TIMEOUT_MS,
        )
        return dict(handle.json_value())

    # --- what a person sees ------------------------------------------------------------------------------------

    def events(self, kind: str) -> list[dict[str, Any]]:
        """What the server has told of one kind since the page was opened."""
        return list(self.page.evaluate("(kind) => window.seen.events.filter(e => e.kind === kind)", kind))

    def widget(self, kind: str, name: str) -> Any:
        """Value of a widget of the first node of a class."""
        return self.page.evaluate(
            """([kind, name]) => window.app.graph.nodes.find(n => n.type === kind).widgets
                                   .find(w => w.name === name).value""",
            [kind, name],
        )

    def graph(self) -> dict[str, Any]:
        """The graph in the editor's format, as it would be saved."""
        return dict(self.page.evaluate("async () => (await window.app.graphToPrompt()).workflow"))

    def submission(self) -> dict[str, Any]:
        """The graph in the API's format, as Run would send it."""
        return dict(self.page.evaluate("async () => (await window.app.graphToPrompt()).output"))

    def unknown_nodes(self) -> list[str]:
        """Classes of the graph's nodes that the editor does not know."""
        return list(
            self.page.evaluate(
                "() => window.app.graph.nodes.map(n => n.type).filter(t => !(t in LiteGraph.registered_node_types))"
            )
        )

    def boxes(self) -> dict[int, tuple[float, float, float, float]]:
        """Node id to x, y, width and height as drawn, title included."""
        found = self.page.evaluate("() => window.app.graph.nodes.map(n => [n.id, ...n.getBounding()])")
        return {int(i): (x, y, w, h) for i, x, y, w, h in found}

    def look(self, scale: float, x: float, y: float) -> None:
        """Show the graph from a place on, which comes to the upper left corner of the canvas."""
        self.page.evaluate(
            """([scale, x, y]) => {
              const canvas = window.app.canvas
              canvas.ds.scale = scale
              canvas.ds.offset = [-x, -y]
              canvas.draw(true, true)
            }""",
            [scale, x, y],
        )
        self.page.wait_for_timeout(300)

    # --- within ------------------------------------------------------------------------------------------------

    def _remember(self, request: Request) -> None:
        if request.method == "POST" and urlsplit(request.url).path == "/api/prompt":
            self.submitted.append(json.loads(request.post_data or "{}"))

    def _answer_settings(self, route: Route) -> None:
        name = unquote(urlsplit(route.request.url).path.partition("/api/settings")[2].strip("/"))
        if route.request.method == "POST":
            body = json.loads(route.request.post_data or "null")
            self.settings.update({name: body} if name else body)
            route.fulfill(json={})
        else:
            route.fulfill(json=self.settings.get(name) if name else self.settings)

    def _press_upload(self, kind: str) -> None:
        """Press a node's upload button: in Nodes 2.0 an element of the page, else a place on the canvas."""
        left, top = self.page.evaluate("(kind) => [...window.app.graph.nodes.find(n => n.type === kind).pos]", kind)
        self.look(1, left - 400, top - 200)
        node, x, y = self.page.evaluate(
            """(kind) => {
              const canvas = window.app.canvas, node = window.app.graph.nodes.find(n => n.type === kind)
              const widget = node.widgets.find(w => w.name === 'upload'), box = canvas.canvas.getBoundingClientRect()
              const [x, y] = canvas.ds.convertOffsetToCanvas([node.pos[0] + node.size[0] / 2, node.pos[1] + widget.y + 10])
              return [String(node.id), x + box.left, y + box.top]
            }""",
            kind,
        )
        if self.settings.get("Comfy.VueNodes.Enabled"):
            self.page.locator(f"[data-node-id='{node}'] input[type=file]").first.evaluate("e => e.click()")
        else:
            self.page.mouse.click(x, y)

    def _empty_place(self) -> tuple[int, int]:
        """A point on the canvas without a node beneath, and nothing of the page above."""
        handle = self.page.wait_for_function(
            """() => {
              const canvas = window.app.canvas
              for (let y = 980; y > 120; y -= 40) for (let x = 300; x < 1700; x += 50) {
                if (document.elementFromPoint(x, y)?.id !== 'graph-canvas') continue
                const [gx, gy] = canvas.convertEventToCanvasOffset({clientX: x, clientY: y})
                if (!window.app.graph.getNodeOnPos(gx, gy)) return [x, y]
              }
              return null
            }"""
        )
        x, y = handle.json_value()
        return int(x), int(y)
