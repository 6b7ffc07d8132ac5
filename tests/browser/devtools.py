"""A headless Chromium, driven as a person would: real clicks and keys (https://chromedevtools.github.io/devtools-protocol/)."""

import base64
import itertools
import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import websocket

from airavata_runbook.local.browser import QUIET, find_browser

PICTURES = Path(__file__).parents[2] / "outputs" / "browser"
SCRIPTS = (Path(__file__).parent / "look.js").read_text()  # what the tests ask of a page
KEYS = {"Enter": 13, "Escape": 27, "Tab": 9, " ": 32, "ArrowUp": 38}
SHIFT = 8
POLL = 0.1  # seconds


class Page:
    """A page of the browser."""

    def __init__(self, address: str):
        self.socket = websocket.create_connection(address, suppress_origin=True, timeout=60)
        self.numbers = itertools.count(1)
        self.call("Page.enable")
        self.call("Page.addScriptToEvaluateOnNewDocument", source=SCRIPTS)

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """The result of a method of the protocol."""
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("method") == "Page.javascriptDialogOpening":  # whether to leave a notebook that is not saved
                answer = {"id": next(self.numbers), "method": "Page.handleJavaScriptDialog", "params": {"accept": True}}
                self.socket.send(json.dumps(answer))
            if message.get("id") == number:
                assert "error" not in message, (method, message["error"])
                return message["result"]

    def js(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, (expression, answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait(self, expression: str, timeout: float = 30) -> Any:
        """The value of the expression, as soon as it is true."""
        end = time.monotonic() + timeout
        while not (value := self.js(expression)):
            if time.monotonic() > end:
                self.picture(PICTURES / "failed.png")
                raise AssertionError(f"not within {timeout} s: {expression}")
            time.sleep(POLL)
        return value

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def show(self, width: int, height: int, scheme: str = "light") -> None:
        """The size of the window, in pixels, and what the system prefers, light or dark."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def click(self, element: str) -> None:
        """Click into the middle of an element, given as a JavaScript expression, once nothing moves or covers it."""
        x, y = self.wait(f"look.target({element})")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str, modifiers: int = 0) -> None:
        text = {"Enter": "\r", " ": " "}.get(key, "")
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code="Space" if key == " " else key,
                windowsVirtualKeyCode=KEYS[key],
                modifiers=modifiers,
                **({"text": text} if text and kind == "keyDown" else {}),
            )

    def tab_to(self, element: str) -> None:
        """Go on with the Tab key until an element, given as a JavaScript expression, has the focus."""
        passed: list[str] = []
        while not self.js(f"document.activeElement === {element}"):
            assert len(passed) < 12, passed
            self.press("Tab")
            passed.append(self.js("document.activeElement.outerHTML.slice(0, 120)"))

    def write(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def picture(self, path: Path) -> None:
        """A screenshot of what can be seen."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def unnamed(self, element: str) -> list[str]:
        """The HTML of the controls and pictures within an element that have no name for whoever cannot see them."""
        found = self.call("Runtime.evaluate", expression=element)["result"]
        assert "objectId" in found, f"no such element: {element}"
        nodes = self.call("Accessibility.queryAXTree", objectId=found["objectId"])["nodes"]
        return [
            self.call("DOM.describeNode", backendNodeId=node["backendDOMNodeId"])["node"]["nodeName"] + f" ({role})"
            for node in nodes
            if not node.get("ignored")
            and (role := node.get("role", {}).get("value", "")) in NAMED
            and not node.get("name", {}).get("value", "").strip()
        ]


NAMED = {
    "button",
    "checkbox",
    "combobox",
    "image",
    "img",
    "link",
    "listbox",
    "progressbar",
    "radio",
    "switch",
    "tab",
    "textbox",
    "DisclosureTriangle",
}


@contextmanager
def browser(folder: Path, width: int = 1280, height: int = 900) -> Iterator[Page]:
    """A page of a browser that ends with the block. folder: an empty one, for its profile."""
    profile = folder / "profile"
    quiet = [option for option in QUIET if "virtual-time" not in option]
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's sandbox does not work for root
    command = [find_browser(), *quiet, *sandbox, f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"]
    with (folder / "browser.log").open("wb") as log:
        environment = {**os.environ, "HOME": str(folder)}
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        port = _port(profile / "DevToolsActivePort", process)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
            (address,) = [page["webSocketDebuggerUrl"] for page in json.load(answer) if page["type"] == "page"]
        page = Page(address)
        page.show(width, height)
        yield page
        page.socket.close()
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # Debian's program is a shell script around the browser
        process.wait()


def _port(file: Path, process: subprocess.Popen) -> int:
    end = time.monotonic() + 30
    while not (file.is_file() and file.read_text().count("\n")):
        assert process.poll() is None and time.monotonic() < end, "the browser did not start"
        time.sleep(POLL)
    return int(file.read_text().split()[0])
