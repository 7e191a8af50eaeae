"""Online scores beside the traffic, and what was counted."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import requests

PAUSE_S = 0.05
# How `score` answers while no version serves.
NOTHING_SERVES = "409"


@dataclass
class Online:
    """
    Asks the function ``score`` for one transaction after the other until it is stopped.

    ``statuses`` counts its answers, ``too_early`` those before anything served,
    ``versions`` has the versions that answered, in their order, ``took_ms`` how long
    each answer took.
    """

    url: str
    payloads: Sequence[Mapping[str, Any]]
    statuses: Counter[str] = field(default_factory=Counter)
    versions: list[int] = field(default_factory=list)
    took_ms: list[float] = field(default_factory=list)
    too_early: int = 0

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def _ask(self) -> None:
        with requests.Session() as session:
            for payload in itertools.cycle(self.payloads):
                if self._stopping.wait(PAUSE_S):
                    return
                began = time.perf_counter()
                try:
                    answer = session.post(self.url, json=payload, timeout=30)
                except requests.RequestException as error:
                    self.statuses[type(error).__name__] += 1
                    continue
                self.statuses[str(answer.status_code)] += 1
                if str(answer.status_code) == NOTHING_SERVES and not self.versions:
                    self.too_early += 1
                if answer.status_code == requests.codes.ok:
                    self.took_ms.append(1e3 * (time.perf_counter() - began))
                    version = answer.json()["model_version"]
                    if self.versions[-1:] != [version]:
                        self.versions.append(version)

    def stop(self) -> None:
        """Stop asking, and wait until the last answer is there."""
        self._stopping.set()
        self._thread.join()

    @property
    def summary(self) -> str:
        """A line on the requests and their answers."""
        statuses = Counter(self.statuses)
        answered = statuses.pop("200", 0)
        early = self.too_early
        statuses.subtract({NOTHING_SERVES: early})
        failed = {status: count for status, count in statuses.items() if count}
        versions = ", then ".join(map(str, self.versions)) or "none"
        median = f"{np.median(self.took_ms):.0f} ms" if self.took_ms else "-"
        before = f", {early} before anything served" if early else ""
        why = f" {failed}" if failed else ""
        return (
            f"{answered + early + sum(failed.values()):,} requests to `score`{before}; "
            f"{sum(failed.values())} failed{why}; {answered:,} answered by version "
            f"{versions}, {median} at the median"
        )
