"""Deployments of two sizes, and what a statement reads at one."""

from __future__ import annotations

from offline.partitions import Size
from offline.volumes import Reading, readings
from propensity.settings import Settings

SETTINGS = Settings(project="p")
SMALL = Size(users=50_000, events_a_day=100_000, stream_events_a_day=100_000)
LARGE = Size(users=10_000_000, events_a_day=20_000_000, stream_events_a_day=20_000_000)


def reading_of(
    name: str, size: Size, function: str = "", *, settings: Settings = SETTINGS
) -> Reading:
    """Return what a statement reads, of a function where several run it."""
    return next(
        reading
        for reading in readings(size, settings)
        if reading.statement.name == name
        and function in ("", reading.function)
        and reading.statement.use_case in ("", "ga4_purchase", "first_day_churn")
    )
