"""What local mode refuses, and why."""

from __future__ import annotations


class LocalError(Exception):
    """Local mode cannot do what was asked; the message says why and what to do."""


class UnusableData(LocalError):
    """The data that were named cannot be played; nothing is to be left of them."""
