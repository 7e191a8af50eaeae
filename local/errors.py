"""Errors of local mode."""

from __future__ import annotations

from propensity.cli.errors import CommandError


class LocalError(CommandError):
    """Local mode cannot go on."""


class NotTried(Exception):
    """A rehearsal can't tell what holds here; the message says why."""
