"""The fixtures of this room: registries, and places where their versions serve."""

from __future__ import annotations

from tests.propensity.registry.serving import hasty, place, shared
from tests.propensity.registry.versions import registry

__all__ = ["hasty", "place", "registry", "shared"]
