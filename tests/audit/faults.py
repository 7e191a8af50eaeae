"""What befalls a process between any two steps: it is killed, or BigQuery is away."""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from propensity.errors import Unavailable
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse

KILLED = "killed"
# A write is not made; or it is, and the answer is lost.
AWAY, UNSURE = "away", "away after a write"


class Killed(BaseException):
    """As by SIGKILL: nothing catches it, and what was in memory is lost."""


@dataclass
class Faults:
    """
    Faults of the call that is under way, in the thread of the test.

    Attributes:
        kind: Of the next fault.
        left: Steps until it, those of the receiver, the warehouse and the bucket; a
            warehouse that is away counts its writes alone.
    """

    url: str
    kind: str = ""
    left: int = 0
    armed: bool = False
    call: Any = None

    def clear(self) -> None:
        """Let nothing befall anybody."""
        self.kind, self.left, self.armed = "", 0, False

    def next(self, kind: str, steps: int) -> None:
        """Let something befall the next call, after so many steps."""
        self.kind, self.left = kind, steps

    @contextlib.contextmanager
    def during(self, call: Any) -> Iterator[None]:
        """Count the steps of a call; one that another call is within counts alone."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self.armed = bool(self.kind)
        self.call = call
        try:
            yield
        finally:
            self.clear()

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Count every public method of the warehouse and the bucket, and requests."""
        for owner in (Warehouse, Artifacts):
            for name, method in inspect.getmembers(owner, inspect.isfunction):
                if not name.startswith("_") and name not in (
                    "close",
                    "for_run",
                    "empty",
                    "names",
                ):
                    patch.setattr(owner, name, self._counted(method, name))
        request = requests.Session.request

        def sent(session: Any, method: str, url: str, **more: Any) -> Any:
            if not str(url).startswith(self.url):
                return request(session, method, url, **more)
            return self._counted(request, "request")(session, method, url, **more)

        patch.setattr(requests.Session, "request", sent)

    def _counted(self, method: Any, name: str) -> Any:
        @functools.wraps(method)
        def called(*given: Any, **more: Any) -> Any:
            self._step(name, (KILLED, AWAY))
            result = method(*given, **more)
            try:
                self._step(name, (KILLED, UNSURE))
            except BaseException:
                if isinstance(result, requests.Response):
                    result.close()
                raise
            return result

        return called

    def _step(self, name: str, kinds: Sequence[str]) -> None:
        is_main = threading.current_thread() is threading.main_thread()
        if not self.armed or not is_main or self.kind not in kinds:
            return
        # Members are written by a statement.
        if self.kind != KILLED and name not in ("append", "write", "execute"):
            return
        self.left -= 1
        if self.left > 0:
            return
        self.call.fault = self.kind
        if self.kind == KILLED:
            raise Killed
        self.armed = False
        raise Unavailable("BigQuery is away")
