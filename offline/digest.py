"""
The digest of the GA4 export after a set-up: what goes out, and what the rest costs,
which is read once a person agrees.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from propensity.clock import SYSTEM
from propensity.errors import MissingTable
from propensity.registry.deployment import connected
from propensity.runs import digest, digest_state
from propensity.settings import Settings
from propensity.usecases.exports import settings_of_exports


def run(
    *,
    is_dry: bool = False,
    is_agreed: bool = False,
    is_again: bool = False,
    announce: Callable[[str], object] = str,
) -> dict[str, Any]:
    """
    Take days out of the digest whose events lack a consent that is asked for by now.

    Args:
        is_agreed: Whether to read all days that the digest lacks, whatever that costs.
        is_again: Whether all days are to be read, since rows of the digest were lost.
        announce: Gets a line before, and one after each statement that reads days.

    Returns:
        By the export's dataset: how many days were ``removed`` and ``read``, and
        ``to_read``, what is left to read of the export and its price, in words.

    Raises:
        RunInProgress: A run is digesting.
    """
    # Nothing is read, and no row of the digest doubted, before somebody agrees.
    is_dry = is_dry or (is_again and not is_agreed)
    settings = Settings.from_environment()
    today = SYSTEM.now().date()
    answer = {}
    with connected(settings) as (artifacts, warehouse):
        for export in settings_of_exports(settings):
            reader = warehouse.for_run(export)
            done = {"removed": 0, "read": 0, "to_read": "the export has no day yet"}
            answer[export.ga4_dataset] = done
            try:
                state = digest_state.read_state(reader, today=today)
            except MissingTable:
                # A new export has no table for a day, and so no view.
                continue
            done["removed"] = len(state.withdrawn)
            if not is_dry and (state.withdrawn or is_agreed):
                # A run may just have read one of these days again.
                with digest.alone(artifacts, export, clock=SYSTEM.now) as lease:
                    if is_again:
                        digest.doubt_days(reader, state.digested)
                    state = digest_state.read_state(reader, today=today)
                    digest.withdraw_days(reader, state)
                    if is_agreed:
                        digest.remove_days(reader, state.gone)
                        tables = state.within_reach(export)
                        done["read"] = len(tables)
                        digest.digest_tables(
                            reader,
                            lease,
                            state,
                            tables,
                            run_id=uuid.uuid4().hex,
                            log=announce,
                        )
                state = digest_state.read_state(reader, today=today)
            if is_again and is_dry:
                state = replace(state, digested={})
            if state.tables:
                left = state.within_reach(export)
                done["to_read"] = digest_state.price_of_days(left, export)
    return {"exports": answer, "is_dry": is_dry}
