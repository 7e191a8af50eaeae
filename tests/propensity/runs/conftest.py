"""The fixtures of this room: streams that are compacted."""

from __future__ import annotations

from tests.propensity.runs.compacted import empty, shared

__all__ = ["empty", "shared"]
