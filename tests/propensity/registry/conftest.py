"""The fixtures of this room: registries."""

from __future__ import annotations

from tests.propensity.registry.versions import registry

__all__ = ["registry"]
