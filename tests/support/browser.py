"""Chromium, as a person has it, without a network beyond this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--remote-debugging-pipe",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)
SECONDS = 60


class Browser:
    """
    A page, which is opened and asked by the DevTools protocol, through a pipe.

    Attributes:
        asked: The addresses that pages have asked for.
    """

    def __init__(self, profile: Path) -> None:
        """Start it; AssertionError if there is none on this machine."""
        found = [path for path in map(shutil.which, NAMES) if path is not None]
        assert found, "install Chromium, such as by its package"
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # Chromium reads descriptor 3 and writes 4.
        wired = 'exec 3<&"$0" 4>&"$1"; shift; exec "$@"'
        words = ["bash", "-c", wired, str(theirs_in), str(theirs_out), found[0]]
        self._process = subprocess.Popen(
            [*words, *FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(theirs_in, theirs_out),
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._answers = os.fdopen(self._in, "rb")
        self._number = 0
        self._session: str | None = None
        self.asked: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self._call("Network.enable")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._answers.close()
        os.close(self._out)

    def open(self, url: str) -> None:
        self._call("Page.navigate", url=url)
        self.until("document.readyState == 'complete'")

    def value(self, script: str) -> Any:
        """Return what a script of the page comes to."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, script: str) -> Any:
        """Return what a script comes to as soon as it is true."""
        end = time.monotonic() + SECONDS
        while not (value := self.value(script)):
            assert time.monotonic() < end, f"never true: {script}"
            time.sleep(0.05)
        return value

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        call = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            call["sessionId"] = self._session
        os.write(self._out, json.dumps(call).encode() + b"\0")
        while True:
            message = json.loads(self._read())
            if message.get("method") == "Network.requestWillBeSent":
                self.asked.append(message["params"]["request"]["url"])
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]

    def _read(self) -> bytes:
        parts = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            assert byte, "the browser has ended"
            parts += byte
        return bytes(parts)
