"""The fixtures of this room: streams that are compacted, exports that are summed up."""

from __future__ import annotations

from tests.propensity.runs.compacted import empty, shared, story
from tests.propensity.runs.summed import make_site, site, strict

__all__ = ["empty", "make_site", "shared", "site", "story", "strict"]
