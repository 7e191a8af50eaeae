"""Errors of local mode."""

from __future__ import annotations

from propensity.cli.errors import CommandError


class LocalError(CommandError):
    """Local mode cannot go on."""


class UnusableData(LocalError):
    """The data cannot be used for a demo; nothing that was made for them is kept."""
