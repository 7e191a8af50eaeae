"""
The digest of the GA4 export after a set-up: what goes out, and what the rest costs.
"""

from __future__ import annotations

from typing import Any

from offline import costs
from propensity import usecases
from propensity.clock import SYSTEM
from propensity.errors import MissingTable
from propensity.registry.deployment import connected
from propensity.runs import digest
from propensity.settings import Settings


def run(*, is_dry: bool = False) -> dict[str, Any]:
    """
    Take days out of the digest whose events lack a consent that is asked for by now.

    Returns:
        By the export's dataset: days that were ``removed``, and ``to_read``, what the
        next runs read of the export and its price, in words.

    Raises:
        RunInProgress: A run is digesting.
    """
    settings = Settings.from_environment()
    answer = {}
    with connected(settings) as (artifacts, warehouse):
        for export in usecases.exports(settings):
            reader = warehouse.for_run(export)
            try:
                state = digest.state_of(reader)
            except MissingTable:
                # A new export has no table for a day, and so no view.
                answer[export.ga4_dataset] = {"removed": 0, "to_read": costs.NO_DAY}
                continue
            if state.withdrawn and not is_dry:
                # A run may just have read one of these days again.
                with digest.alone(artifacts, export, clock=SYSTEM.now):
                    state = digest.state_of(reader)
                    digest.remove_days(reader, state.withdrawn)
            answer[export.ga4_dataset] = {
                "removed": len(state.withdrawn),
                "to_read": costs.first_reading(state, export),
            }
    return {"exports": answer, "is_dry": is_dry}
