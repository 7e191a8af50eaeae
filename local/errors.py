"""Errors of local mode."""

from __future__ import annotations

from propensity.cli.errors import CommandError


class LocalError(CommandError):
    """Local mode cannot go on."""
