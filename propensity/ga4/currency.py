"""The currency of an export whose amounts Google did not convert into dollars."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from propensity import folders
from propensity.statements import statement
from propensity.tables.export_names import VIEW

if TYPE_CHECKING:
    from propensity.gcp.queries import Queries


def undeclared_currency(
    warehouse: Queries, declared: str, *, since: date, ga_events: str = VIEW
) -> str:
    """
    Return the one currency of amounts that are called dollars, and are none.

    Args:
        declared: Of the use case; with another one than dollars it is declared.
        since: The first day whose amounts are looked at. Of the newest one with any the
            export is read.
        ga_events: The export, where it has no view.

    Returns:
        For example GBP. Empty if some amounts are in dollars, if there are none, and if
        the events name several currencies or none.
    """
    if declared not in ("", "USD"):
        return ""
    [row] = warehouse.rows(statement("amounts_without_dollars"), {"since": since})
    if row["day"] is None:
        return ""
    of_day = {"suffix": f"{row['day']:%Y%m%d}"}
    [row] = warehouse.rows(statement("currency_of_day", ga_events=ga_events), of_day)
    return "" if row["currency"] in (None, "USD") else str(row["currency"])


def line_to_write(currency: str, use_case: str) -> str:
    """Say what to write, and into which file, where amounts are called dollars."""
    if use_case in folders.shipped():
        return (
            "create a use case of your own by `propensity usecase new my_shop`, and "
            f'write currency = "{currency}" into usecases/my_shop/usecase.toml'
        )
    file = folders.place(use_case) / folders.FILE
    return f'write currency = "{currency}" into {file}'
