"""
Rows of the GA4 export, as tests write them: only what the test is about.

``event`` and ``purchase`` make one row each, ``shards`` the daily tables that hold
them, ``load`` puts these into the emulator. ``weekly`` is a small shop whose users come
once a week and buy by habit, for tests that need a model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from local.exports import ga4_export
from local.ground.sandbox import by_day as shards

Row = dict[str, Any]

DAY = timedelta(days=1)
WEEK = timedelta(days=7)


def microseconds(when: date | datetime) -> int:
    """Return microseconds since 1970 of a moment in UTC; of a date, its midnight."""
    if not isinstance(when, datetime):
        when = datetime(when.year, when.month, when.day)  # noqa: DTZ001
    when = when.replace(tzinfo=UTC)
    return (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def parameters(values: Mapping[str, Any]) -> list[Row]:
    """Return event parameters, each in the field of its value's type."""
    fields = {int: "int_value", float: "double_value", str: "string_value"}
    return [
        {
            "key": key,
            "value": value if isinstance(value, dict) else {fields[type(value)]: value},
        }
        for key, value in values.items()
    ]


def event(
    user: str | None,
    when: date | datetime | int,
    name: str = "page_view",
    *,
    params: Mapping[str, Any] | None = None,
    zone: float = 0,
    **fields: Any,
) -> Row:
    """
    Return one event.

    Args:
        user: ``user_pseudo_id``.
        when: UTC; a number is in microseconds since 1970.
        name: Of the event.
        params: Values by key; a dict is the parameter's ``value`` as it is.
        zone: Hours that the property's local time is ahead of UTC.
        fields: Other columns of the export.
    """
    time = when if isinstance(when, int) else microseconds(when)
    local = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time, hours=zone)
    return {
        "event_date": f"{local:%Y%m%d}",
        "event_timestamp": time,
        "event_name": name,
        "event_params": parameters({"ga_session_id": 1} if params is None else params),
        "user_pseudo_id": user,
        **fields,
    }


def purchase(
    user: str | None,
    when: date | datetime | int,
    revenue: float | None = 10.0,
    *,
    transaction: str | None = None,
    items: Iterable[tuple[str, int]] = (("mug", 1),),
    **fields: Any,
) -> Row:
    """Return a purchase; ``items`` are (item_id, quantity)."""
    return event(
        user,
        when,
        "purchase",
        **{
            "ecommerce": {"purchase_revenue": revenue, "transaction_id": transaction},
            "items": [
                {"item_id": item, "quantity": quantity} for item, quantity in items
            ],
            **fields,
        },
    )


# Dollars for one of a currency; the export gives none for the last.
RATES = {"USD": 1.0, "EUR": 1.25, "GBP": 1.5, "XXX": None}


def paid(
    user: str | None,
    when: date | datetime | int,
    amount: float,
    currency: str,
    *,
    rate: float | None = None,
    **fields: Any,
) -> Row:
    """Return a purchase in a currency, with its dollars as the export has them."""
    rate = RATES[currency] if rate is None else rate
    row = purchase(user, when, amount, **fields)
    row["event_params"] += parameters({"currency": currency, "value": amount})
    if rate is not None:
        row["ecommerce"]["purchase_revenue_in_usd"] = amount * rate
        row["event_value_in_usd"] = amount * rate
    return row


def load(deployment: Any, rows: Iterable[Row]) -> None:
    """Load rows into the GA4 dataset of a deployment, each day replacing its shard."""
    load_shards(deployment, shards(rows))


def load_shards(deployment: Any, tables: Mapping[str, pa.Table]) -> None:
    """Load tables into the GA4 dataset of a deployment."""
    ga4_export.load_tables(deployment.warehouse.client, deployment.ga4_dataset, tables)


def weekly(first: date, weeks: int) -> list[Row]:
    """
    Return events of a shop whose users look in once a week, all on one weekday.

    Every fourth user buys in seven weeks of ten, the others in one of twenty.
    """
    generator = np.random.default_rng(7)
    users = 160
    rows = []
    for week in range(weeks):
        day = first + week * WEEK
        bought = generator.random(users)
        minute = generator.integers(0, 24 * 60 - 1, users)
        for number in range(users):
            user = f"user.{number:03}"
            when = microseconds(day) + int(minute[number]) * 60_000_000
            session = {"ga_session_id": week + 1}
            geo = {"country": "Norway" if number % 3 else "Chile"}
            visit = {**session, "engagement_time_msec": 900}
            rows.append(event(user, when, params=visit, geo=geo))
            if bought[number] < (0.7 if number % 4 == 0 else 0.05):
                rows.append(
                    purchase(
                        user,
                        when + 30_000_000,
                        5.0 + number % 7,
                        transaction=f"T{week}.{number}",
                        params=session,
                    )
                )
    return rows
