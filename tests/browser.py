"""
A real browser without a screen, driven by the WebDriver protocol over HTTP.

Debian's packages ``chromium`` and ``chromium-driver``; a test that needs them is
skipped where they are not installed.

Source: https://www.w3.org/TR/webdriver2/; what emulates media and devices is
https://chromedevtools.github.io/devtools-protocol/.
"""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import requests

from local.processes import HOST, free_ports

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="chromium and chromedriver are not installed "
    "(Debian: apt-get install chromium chromium-driver)",
)

ARGUMENTS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking", "--hide-scrollbars"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)
# Width and height in pixels of a screen.
WIDE, PHONE = (1280, 900), (360, 740)
READY_S = 60


@dataclass
class Browser:
    """A session of a browser; its profile is new and goes with it."""

    session: str

    def _post(self, path: str, **body: Any) -> Any:
        answer = requests.post(f"{self.session}/{path}", json=body, timeout=120)
        value = answer.json()["value"]
        assert answer.ok, value
        return value

    def command(self, name: str, **parameters: Any) -> Any:
        """Run a command of the DevTools protocol."""
        return self._post("goog/cdp/execute", cmd=name, params=parameters)

    def show(
        self,
        url: str,
        *,
        size: tuple[int, int] = WIDE,
        scheme: str = "light",
        media: str = "",
    ) -> None:
        """Open a page on a screen of a size, in a colour scheme, for a medium."""
        width, height = size
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.command(
            "Emulation.setEmulatedMedia",
            media=media,
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        self._post("url", url=url)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run the body of a function in the page, and return what it returns."""
        return self._post("execute/sync", script=script, args=list(arguments))

    def press(self, key: str) -> None:
        """Press a key and let it go, by its code point."""
        # Chromium drops keys that come before the page is painted.
        self._post(
            "execute/async",
            script="const done = arguments[0];"
            "requestAnimationFrame(() => requestAnimationFrame(() => done()));",
            args=[],
        )
        keys = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        self._post("actions", actions=[{"type": "key", "id": "k", "actions": keys}])

    def violations(self) -> list[str]:
        """Return what axe finds against the page: the rule and where, one each."""
        axe = resources.files("axe_playwright_python") / "axe.min.js"
        self.run(axe.read_text("utf-8"))
        rules = self._post(
            "execute/async",
            script="const done = arguments[0];"
            "axe.run().then(r => done(r.violations), e => done([{id: String(e)}]));",
            args=[],
        )
        return [
            f"{rule['id']}: {node['target']} {node.get('failureSummary', '')}"
            for rule in rules
            for node in rule.get("nodes") or [{"target": "the page"}]
        ]

    def requested(self) -> list[str]:
        """Return the addresses requested since the last call."""
        entries = self._post("se/log", type="performance")
        events = [json.loads(entry["message"])["message"] for entry in entries]
        return [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def errors(self) -> list[str]:
        """Return what the console has as errors since the last call."""
        entries = self._post("se/log", type="browser")
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def faults(self, url: str) -> list[str]:
        """
        Return what is wrong with a page, in light and dark, wide and on a phone.

        That is what axe finds, what is asked for from outside, an error in the console,
        and a page that scrolls sideways. Colours do not depend on the screen: it is
        light where it is wide, and dark on a phone.
        """
        faults: list[str] = []
        for scheme, size in (("light", WIDE), ("dark", PHONE)):
            self.show(url, size=size, scheme=scheme)
            urls, errors = self.requested(), self.errors()
            wide = self.run("return document.documentElement.scrollWidth")
            outside = [url for url in urls if not url.startswith(("file:", "data:"))]
            sideways = [f"{wide} pixels wide"] if wide > size[0] else []
            page_faults = [*outside, *errors, *sideways, *self.violations()]
            faults += [f"{scheme}, {size[0]} px: {fault}" for fault in page_faults]
        return faults

    def picture(self, file: Path) -> None:
        """Save what the whole page looks like."""
        shot = self.command("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))

    def printed(self) -> bytes:
        """Return the page on paper, as PDF."""
        return base64.b64decode(self._post("print"))


@contextlib.contextmanager
def browsing(folder: Path) -> Iterator[Browser]:
    """Start a browser with its profile in a folder, and stop it."""
    assert CHROMIUM
    assert DRIVER
    (port,) = free_ports(1)
    driver = subprocess.Popen(
        [DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://{HOST}:{port}"
    options = {
        "binary": CHROMIUM,
        "args": [*ARGUMENTS, f"--user-data-dir={folder / 'profile'}"],
    }
    capabilities = {
        "browserName": "chrome",
        "goog:chromeOptions": options,
        "goog:loggingPrefs": {"performance": "ALL", "browser": "ALL"},
        "timeouts": {"script": 100_000, "pageLoad": 100_000},
    }
    try:
        _wait_for(address, driver)
        answer = requests.post(
            f"{address}/session",
            json={"capabilities": {"alwaysMatch": capabilities}},
            timeout=READY_S,
        )
        value = answer.json()["value"]
        assert answer.ok, value
        session = f"{address}/session/{value['sessionId']}"
        browser = Browser(session)
        try:
            # Away from the browser's own first page, which asks for a lot.
            browser.show("about:blank")
            browser.requested()
            yield browser
        finally:
            requests.delete(session, timeout=READY_S)
    finally:
        driver.terminate()
        driver.wait(READY_S)


def _wait_for(address: str, driver: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        assert driver.poll() is None, "chromedriver ended as it started"
        with contextlib.suppress(requests.ConnectionError):
            requests.get(f"{address}/status", timeout=READY_S)
            return
        time.sleep(0.05)
    raise AssertionError("chromedriver does not answer")
