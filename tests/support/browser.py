"""A real browser, driven over WebDriver, with the few commands that the tests of pages need.

Its logs can be read as well, so that a test can show that a page causes no error and sends requests to no other host.
"""

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

needs_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="needs chromium and chromedriver (Debian: chromium, chromium-driver)",
    ),
]
"""Marks of a module whose tests need a browser."""

FLAGS = (
    *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"),
    *("disable-component-update", "disable-sync", "disable-dev-shm-usage", "disable-default-apps"),
)
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key of a reference to an element (https://www.w3.org/TR/webdriver2/)."""


class Browser:
    """A browser with one window."""

    def __init__(self, port: int, profile: Path) -> None:
        self._base = f"http://127.0.0.1:{port}/session"
        options = {"args": [*(f"--{flag}" for flag in FLAGS), f"--user-data-dir={profile}"]}
        logs = {"browser": "ALL", "performance": "ALL"}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": logs}
        created = self._ask("POST", "", {"capabilities": {"alwaysMatch": wanted}})
        self._base += f"/{created['sessionId']}"

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()[:500]) from None

    def open(self, url: str) -> None:
        """Load a page."""
        self._ask("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: object) -> Any:
        """Run a script on the page and return its value."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def type(self, identifier: str, text: str) -> None:
        """Type into the element with an id."""
        self.press(f"#{identifier}", text)

    def text(self, identifier: str) -> str:
        """Return the visible text of the element with an id."""
        return self.run("return document.getElementById(arguments[0]).innerText", identifier)

    def wait(self, script: str) -> Any:
        """Return the value of a script as soon as it is true; fail after a minute, which a busy machine can need."""
        started, num_tries = time.monotonic(), 0
        while not (value := self.run(script)):
            num_tries += 1
            seconds = time.monotonic() - started
            assert seconds < 60, f"not true in {num_tries} tries and {seconds:.0f} s: {script}"
            time.sleep(0.05)
        return value

    def emulate(self, command: str, **values: object) -> None:
        """Run a command of the DevTools protocol's domain Emulation."""
        self._ask("POST", "/goog/cdp/execute", {"cmd": f"Emulation.{command}", "params": values})

    def console(self) -> list[str]:
        """Return the messages on the console since the last call."""
        return [one["message"] for one in self._ask("POST", "/se/log", {"type": "browser"})]

    def hosts(self) -> set[str]:
        """Return the hosts to which the browser has sent requests since the last call."""
        events = [
            json.loads(one["message"])["message"] for one in self._ask("POST", "/se/log", {"type": "performance"})
        ]
        urls = [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]
        return {urlsplit(url).netloc for url in urls if urlsplit(url).scheme in ("http", "https", "ws", "wss")}

    def press(self, selector: str, keys: str) -> None:
        """Press keys in the element that a CSS selector finds."""
        found = self._ask("POST", "/element", {"using": "css selector", "value": selector})
        self._ask("POST", f"/element/{found[ELEMENT]}/value", {"text": keys})

    def picture(self) -> bytes:
        """Return a screenshot of the window as PNG."""
        return base64.b64decode(self._ask("GET", "/screenshot"))

    def quit(self) -> None:
        """Close the browser."""
        self._ask("DELETE", "")


@contextmanager
def open_browser(profile: Path) -> Iterator[Browser]:
    """Yield a browser with an empty profile, and close it at the end."""
    driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
    assert driver.stdout
    try:
        port = next(int(found[1]) for line in driver.stdout if (found := re.search(r"on port (\d+)\.", line)))
        browser = Browser(port, profile)
        yield browser
        browser.quit()
    finally:
        driver.terminate()
        driver.communicate()
