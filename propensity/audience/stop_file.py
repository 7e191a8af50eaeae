"""
Audiences that a person has stopped: an object of the bucket names them.

Nothing of a stopped audience is sent until a person lets it go on, by
``offline.stopping``.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from propensity.gcp.artifacts import Artifacts, content_of

FILE = "audiences/stopped.json"
# In the place of an audience: all of the deployment.
ALL = "*"


class StopFile(Struct, frozen=True):
    """Stopped audiences, each as ``use_case/name``; ALL is among them for all."""

    audiences: Sequence[str] = ()

    def covers(self, use_case: str, audience: str) -> bool:
        """Return whether an audience is stopped, alone or with all others."""
        return ALL in self.audiences or f"{use_case}/{audience}" in self.audiences


def read(artifacts: Artifacts) -> StopFile:
    stored = artifacts.find(FILE)
    return content_of(stored, StopFile, name=FILE) if stored else StopFile()
