"""A headless Chromium, spoken to through a pipe: its development protocol, without any package."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.waiting import until

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """One page in one browser. A context manager.

    Attributes:
        events: What the page reported: console messages, exceptions, requests.
    """

    def __init__(self, profile: Path) -> None:
        child_in, self._out = os.pipe()
        self._in, child_out = os.pipe()
        flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--remote-debugging-pipe",
        ]
        # Without these, Chromium asks its maker for news of its own.
        flags += ["--disable-background-networking", "--disable-component-update", "--no-first-run"]
        command = [str(PROGRAM), *flags, f"--user-data-dir={profile}", "about:blank"]
        # Chromium reads from descriptor 3 and writes to 4.
        script = f'exec "$@" 3<&{child_in} 4>&{child_out}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", *command],
            pass_fds=(child_in, child_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(child_in)
        os.close(child_out)
        self.events: list[dict[str, Any]] = []
        self._buffer = b""
        self._count = 0
        self._session = ""
        self._attach()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._session = ""
            self.call("Browser.close")
        except (OSError, EOFError):
            pass
        os.close(self._out)
        os.close(self._in)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result; events that come meanwhile are kept."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._count:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])
            self.events.append(answer)

    def open(self, url: str) -> None:
        """Go to an address."""
        self.call("Page.navigate", url=url)

    def value(self, expression: str) -> Any:
        """Return what a JavaScript expression gives."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, expression: str) -> None:
        """Wait until a JavaScript expression is true; before the page is there, it may raise."""
        guarded = f"(() => {{ try {{ return !!({expression}) }} catch {{ return false }} }})()"
        until(lambda: self.value(guarded), expression)

    def text(self, selector: str) -> str:
        """Return the text of the first element that a selector finds."""
        return str(self.value(f"document.querySelector({json.dumps(selector)})?.innerText"))

    def look(self, width: int, height: int, dark: bool = True, mobile: bool = False) -> None:
        """Choose the size of the window, and dark or light."""
        scale = 2 if mobile else 1
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile
        )
        self.call("Emulation.setScrollbarsHidden", hidden=True)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """Write what is seen, or the whole page, as PNG."""
        answer = self.call(
            "Page.captureScreenshot", captureBeyondViewport=whole, **({"clip": self._all()} if whole else {})
        )
        path.write_bytes(base64.b64decode(answer["data"]))

    def requests(self) -> list[str]:
        """Return the addresses that the page asked for."""
        return [event["params"]["request"]["url"] for event in self._named("Network.requestWillBeSent")]

    def complaints(self) -> list[str]:
        """Return what stands in the console as an error or a warning, and exceptions that nothing caught."""
        entries = [event["params"]["entry"] for event in self._named("Log.entryAdded")]
        texts = [
            f"{entry['text']} {entry.get('url', '')}" for entry in entries if entry["level"] in ("error", "warning")
        ]
        texts += [json.dumps(event["params"]) for event in self._named("Runtime.exceptionThrown")]
        calls = self._named("Runtime.consoleAPICalled")
        return texts + [
            json.dumps(event["params"]) for event in calls if event["params"]["type"] in ("error", "warning")
        ]

    def _named(self, method: str) -> list[dict[str, Any]]:
        self.value("0")
        return [event for event in self.events if event.get("method") == method]

    def _all(self) -> dict[str, Any]:
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}

    def _attach(self) -> None:
        def pages() -> list[dict[str, Any]]:
            targets = self.call("Target.getTargets")["targetInfos"]
            return [target for target in targets if target["type"] == "page"]

        until(pages, "Chromium")
        answer = self.call("Target.attachToTarget", targetId=pages()[0]["targetId"], flatten=True)
        self._session = answer["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._in, 1 << 16)
            if not part:
                raise EOFError("Chromium ended")
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))
