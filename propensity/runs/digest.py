"""
The digest of the GA4 export: each of its days is read once, and kept as rows of users.

Statements read ``ga_user_days`` and ``ga_conversions`` in the place of the export: its
nested parameters are most of what BigQuery would bill.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

from propensity.statements import statement

if TYPE_CHECKING:
    from propensity.gcp.warehouse import Warehouse


@dataclass(frozen=True, kw_only=True)
class ExportTable:
    """The table of a day of the export: the one that the view reads."""

    day: date
    modified: datetime
    size_bytes: int


def replace_days(
    warehouse: Warehouse,
    tables: Sequence[ExportTable],
    *,
    digest: str,
    consent: str,
    event_names: Sequence[str],
    run_id: str,
) -> None:
    """
    Digest days anew, all of them or none.

    Args:
        tables: Of all days that the export has from the first one to the last.
        digest: SHA-256 of the statement.
        consent: That the view's events have.
        event_names: Of the events that are conversions.
    """
    days = [table.day for table in tables]
    parameters = {
        "first_suffix": f"{days[0]:%Y%m%d}",
        "last_suffix": f"{days[-1]:%Y%m%d}",
        "event_names": list(event_names),
        "first_day": days[0],
        "last_day": days[-1],
        "days": days,
        "modified": [table.modified for table in tables],
        "sizes": [table.size_bytes for table in tables],
        "statement": digest,
        "consent": consent,
        "run_id": run_id,
    }
    warehouse.execute(statement("digest_days"), parameters)
