"""Chromium without a window, driven through its DevTools over two pipes: no driver, no port, nothing to install for it.

https://chromedevtools.github.io/devtools-protocol/ describes the messages: JSON, each ended by a zero byte.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["Chromium", "chromium_program"]

_SECONDS = 60.0  # for an answer, or for something to become true
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--remote-debugging-pipe",
    "--disable-background-networking", "--disable-extensions", "--disable-dev-shm-usage", "--window-size=1200,900",
)  # fmt: skip
_KEYS = {"Enter": 13, "Tab": 9, "ArrowLeft": 37, "ArrowRight": 39, "Delete": 46}
_SHIFT = 8
# Chromium reads from descriptor 3 and writes to 4, which may be in use by the pipes themselves.
_LAUNCH = """
import fcntl, os, sys
read, write = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(read, 3)
os.dup2(write, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def chromium_program() -> str | None:
    """Where Chromium is installed; None where it is not."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Chromium:
    """One browser with one page. `problems` are console errors, exceptions and dialogs; `requests` addresses."""

    def __init__(self, folder: Path) -> None:
        program = chromium_program()
        assert program is not None
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.downloads = folder / "downloads"
        self._loaded = False
        self._number, self._rest = 0, b""
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        numbers = [str(to_browser), str(from_browser)]
        self._process = subprocess.Popen(
            [sys.executable, "-ISc", _LAUNCH, *numbers, program, *_FLAGS, f"--user-data-dir={folder / 'profile'}"],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(folder)},
        )
        os.close(to_browser)
        os.close(from_browser)
        self._session: str | None = None
        try:
            self._attach()
        except BaseException:
            self._end()
            raise

    def _attach(self) -> None:
        page = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))

    def __enter__(self) -> Chromium:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        try:
            if self._process.poll() is None:
                self.call("Browser.close")
            self._process.wait(5)
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of one DevTools command; events that come before it are noted."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None and not method.startswith("Browser."):
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return dict(answer["result"])
            self._note(answer)

    def open(self, address: str) -> None:
        """Go there and wait until the page is loaded. A change behind # alone loads nothing."""
        self._loaded = False
        found = self.call("Page.navigate", url=address)
        assert "errorText" not in found, found
        while not self._loaded:
            self._note(self._message())

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript in the page; a promise is waited for."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, (expression, found["exceptionDetails"])
        return found["result"].get("value")

    def wait(self, expression: str) -> Any:
        """The value of the expression as soon as it is true."""
        end = time.monotonic() + _SECONDS
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.02)
        return value

    def text(self, selector: str = "body") -> str:
        """The visible text of the first element that the selector finds."""
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))

    def press(self, key: str, *, shift: bool = False) -> None:
        """A key of the keyboard, down and up."""
        code = _KEYS.get(key, ord(key.upper()) if len(key) == 1 else 0)
        more = {"key": key, "windowsVirtualKeyCode": code, "modifiers": _SHIFT if shift else 0}
        typed = {"text": "\r" if key == "Enter" else key} if len(key) == 1 or key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown" if typed else "rawKeyDown", **typed, **more)
        self.call("Input.dispatchKeyEvent", type="keyUp", **more)

    def type(self, text: str) -> None:
        """Text into the field that has the focus."""
        self.call("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """The mouse pressed and released in the middle of an element."""
        left, top, right, bottom = self._box(selector)
        self._mouse("mousePressed", (left + right) / 2, (top + bottom) / 2)
        self._mouse("mouseReleased", (left + right) / 2, (top + bottom) / 2)

    def drag(self, first: str, last: str) -> None:
        """The mouse from the beginning of one element to the end of another."""
        left, top, _, bottom = self._box(first)
        _, top_, right, bottom_ = self._box(last)
        self._mouse("mousePressed", left + 1, (top + bottom) / 2)
        self._mouse("mouseMoved", right - 1, (top_ + bottom_) / 2)
        self._mouse("mouseReleased", right - 1, (top_ + bottom_) / 2)

    def _mouse(self, kind: str, x: float, y: float) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def _box(self, selector: str) -> tuple[float, float, float, float]:
        element = f"document.querySelector({json.dumps(selector)})"
        self.evaluate(f"{element}.scrollIntoView({{block: 'center'}})")
        box = self.evaluate(
            f"(({{left, top, right, bottom}}) => [left, top, right, bottom])({element}.getBoundingClientRect())"
        )
        return tuple(box)

    def nameless(self) -> list[str]:
        """Roles of those that one can act on and that have no name for a screen reader, by the accessibility tree."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        acting = {"button", "textbox", "searchbox", "combobox", "slider", "link", "checkbox", "progressbar"}
        found = [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node.get("ignored") and node.get("role", {}).get("value") in acting
        ]
        assert found, "there is nothing to act on"
        return [role for role, name in found if not name.strip()]

    def _message(self) -> dict[str, Any]:
        end = time.monotonic() + _SECONDS
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            assert ready, "Chromium does not answer"
            part = os.read(self._read, 1 << 16)
            assert part, "Chromium has ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))

    def _note(self, event: dict[str, Any]) -> None:
        method, given = event.get("method"), event.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            self.requests.append(given["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.problems.append(str(given["exceptionDetails"].get("exception", given)))
        elif method == "Runtime.consoleAPICalled" and given["type"] in ("error", "warning", "assert"):
            self.problems.append(str(given["args"]))
        elif method == "Log.entryAdded" and given["entry"]["level"] in ("error", "warning"):
            self.problems.append(given["entry"]["text"])
        elif method == "Page.javascriptDialogOpening":
            self.problems.append(f"dialog: {given['message']}")
            os.write(
                self._write,
                json.dumps(
                    {
                        "id": 0,
                        "method": "Page.handleJavaScriptDialog",
                        "params": {"accept": True},
                        "sessionId": self._session,
                    }
                ).encode()
                + b"\0",
            )
