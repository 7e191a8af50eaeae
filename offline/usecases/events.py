"""
Made-up events of the GA4 export, before an as-of date, in its horizon and after it.

Every kind of event comes in each of the three, of every user, with values that tell
them apart; so a statement that reads what it must not gives other rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np

from propensity.events.values import microseconds_of
from propensity.timeframe import midnight
from propensity.usecases import Value

USERS = 24
DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)

# What shops send, and what statements of a use case may look for besides.
NAMES = (
    *("session_start", "page_view", "view_item", "add_to_cart", "begin_checkout"),
    *("purchase", "refund", "sign_up"),
)


def events(
    as_of: date, *, lookback: int, horizon: int, names: Sequence[str], values: Any
) -> Iterator[dict[str, Any]]:
    """
    Yield events around an as-of date.

    Args:
        lookback, horizon: Days.
        names: Of the events.
        values: Parameters and properties that statements read.
    """
    generator = np.random.default_rng(7)
    start = midnight(as_of)
    for number in range(USERS):
        for name in names:
            # The last moment before each boundary and the first behind it, and others.
            times = [start - TICK, start, start + horizon * DAY - TICK]
            times += [start + horizon * DAY, start - lookback * DAY]
            times += [
                start - float(days) * DAY
                for days in generator.uniform(0, min(lookback, 30), 3)
            ]
            times += [
                start + float(days) * DAY
                for days in generator.uniform(0, horizon + 2, 2)
            ]
            for time in times:
                # Some users do some things.
                if generator.random() < 0.5:
                    size = float(generator.integers(1, 1000))
                    yield _event(f"user.{number:02}", time, name, size, values)


def _event(
    user: str, time: datetime, name: str, size: float, values: Sequence[Value]
) -> dict[str, Any]:
    microseconds = microseconds_of(time)
    parameters: dict[str, Any] = {
        "ga_session_id": {"int_value": microseconds // 86_400_000_000},
        "ga_session_number": {"int_value": int(size)},
        "engagement_time_msec": {"int_value": int(size * 1000)},
        "value": {"double_value": size},
        "currency": {"string_value": "USD"},
    }
    properties: dict[str, Any] = {}
    for value in values:
        sent: dict[str, Any] = {"double_value": size}
        if value.type == "STRING":
            sent = {"string_value": f"v{int(size) % 3}"}
        elif value.type == "INT64":
            sent = {"int_value": int(size)}
        record = parameters if value.record == "event_params" else properties
        record[value.key] = sent
    row: dict[str, Any] = {
        "event_date": f"{time:%Y%m%d}",
        "event_timestamp": microseconds,
        "event_name": name,
        "event_params": [{"key": k, "value": v} for k, v in parameters.items()],
        "user_properties": [{"key": k, "value": v} for k, v in properties.items()],
        "user_pseudo_id": user,
        "user_id": user,
        "user_first_touch_timestamp": microseconds - 86_400_000_000,
        "event_value_in_usd": size,
        "geo": {"country": ("Norway", "Chile", "Kenya")[int(size) % 3]},
        "device": {"category": "mobile", "operating_system": "Android"},
        "traffic_source": {"source": "google", "medium": "cpc"},
    }
    if name in ("purchase", "refund"):
        money = "purchase_revenue" if name == "purchase" else "refund_value"
        row["ecommerce"] = {
            money: size,
            f"{money}_in_usd": size,
            "transaction_id": f"T{microseconds}.{user}",
        }
        row["items"] = [{"item_id": "mug", "quantity": int(size)}]
    return row
