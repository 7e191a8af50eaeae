"""The list of suppressed users in an instance that answers: read again in time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from propensity.concurrency import Refreshed
from propensity.gcp.log import log

if TYPE_CHECKING:
    from propensity.settings import Settings
    from propensity.suppression import Suppressed


def suppressed_users(
    settings: Settings,
    read: Callable[[], Suppressed],
    *,
    function: str,
    clock: Callable[[], float],
) -> Refreshed[Suppressed]:
    """Return the list that ``read`` reads, on first use and again once it is old."""
    return Refreshed(
        read,
        ttl_s=settings.refresh_s,
        grace_s=4 * settings.refresh_s,
        clock=clock,
        on_error=lambda error: log(
            "WARNING", f"suppressed users not read: {error}", function=function
        ),
    )
