"""Deployments of two sizes."""

from __future__ import annotations

from offline.partitions import Size
from propensity.settings import Settings

SETTINGS = Settings(project="p")
SMALL = Size(users=50_000, events_a_day=100_000, stream_events_a_day=100_000)
LARGE = Size(users=10_000_000, events_a_day=20_000_000, stream_events_a_day=20_000_000)
