"""
Made-up events of the GA4 export and rows of sources, around an as-of date.

Every kind of event comes before the date, in its horizon and after it, with values that
tell them apart; so a statement that reads what it must not gives other rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from propensity import statements
from propensity.schema import MOMENTS
from propensity.streaming.events.values import microseconds_of
from propensity.timeframe import DAY, midnight
from propensity.usecases import UseCase
from propensity.usecases.declaration import Events, OwnSource

USERS = [f"user.{number:02}" for number in range(24)]
TICK = timedelta(microseconds=1)
DAYS = 8

# Names that shops send, in addition to the names in a use case's statements.
NAMES = (
    "session_start",
    "page_view",
    "view_item",
    "add_to_cart",
    "begin_checkout",
    "purchase",
    "refund",
    "sign_up",
)
_LITERAL = re.compile(r"'([A-Za-z][A-Za-z0-9_]{0,39})'")


def events(use_case: UseCase, as_of: date) -> list[dict[str, Any]]:
    """Return events of all kinds that the statements of a use case name."""
    folder = use_case.folder
    files = [file.name for file in folder.iterdir() if file.name.endswith(".sql")]
    texts = (statements.read_text(folder, file) for file in files)
    named = set(_LITERAL.findall("".join(texts)))
    named.update(map(str, use_case.parameters.values()))
    names = list(NAMES) + sorted(named.difference(NAMES))
    start = midnight(as_of)
    end = midnight(as_of) + DAY * use_case.horizon_days
    lookback = use_case.lookback_days
    generator = np.random.default_rng(7)
    # A table a day takes its time: all users have events of the same few days.
    days_before = generator.uniform(0, min(lookback, 30), DAYS)
    rows = []
    for user in USERS:
        for name in names:
            # The last moment before each boundary and the first behind it, and others.
            times = [start - TICK, start, end - TICK, end, start - lookback * DAY]
            before = generator.choice(days_before, 3)
            after = generator.uniform(0, use_case.horizon_days + 2, 2)
            times += [start - DAY * days for days in before]
            times += [start + DAY * days for days in after]
            for time in times:
                # Some users do some things.
                if generator.random() < 0.5:
                    size = int(generator.integers(1, 1000))
                    rows.append(_event(user, time, name, size, use_case.export_values))
    return rows


def _event(
    user: str, time: datetime, name: str, size: int, values: Any
) -> dict[str, Any]:
    microseconds = microseconds_of(time)
    records: dict[str, dict[str, Any]] = {
        "event_params": {
            "ga_session_id": {"int_value": microseconds // 86_400_000_000},
            "ga_session_number": {"int_value": size},
            "engagement_time_msec": {"int_value": size * 1000},
            "value": {"double_value": float(size)},
            "currency": {"string_value": "USD"},
        },
        "user_properties": {},
    }
    sent_as = {
        "STRING": {"string_value": f"v{size % 3}"},
        "INT64": {"int_value": size},
        "NUMERIC": {"double_value": float(size)},
    }
    for value in values:
        records[value.record][value.key] = sent_as[value.type]
    amounts = ("purchase_revenue", "refund_value")
    return {
        "event_date": f"{time:%Y%m%d}",
        "event_timestamp": microseconds,
        "event_name": name,
        **{
            record: [{"key": key, "value": value} for key, value in sent.items()]
            for record, sent in records.items()
        },
        "user_pseudo_id": user,
        "user_id": user,
        "user_first_touch_timestamp": microseconds - 86_400_000_000,
        "event_value_in_usd": float(size),
        "geo": {"country": ("Norway", "Chile", "Kenya")[size % 3]},
        "device": {"category": "mobile", "operating_system": "Android"},
        "traffic_source": {"source": "google", "medium": "cpc"},
        "ecommerce": {
            **{name + end: float(size) for name in amounts for end in ("", "_in_usd")},
            "transaction_id": f"T{microseconds}.{user}",
        },
        "items": [{"item_id": "mug", "quantity": size}],
    }


def own_events(table: Events, made: Iterable[Mapping[str, Any]]) -> Iterator[Any]:
    """Yield made-up events of the export as rows of a table of one's own."""
    epoch = datetime.fromtimestamp(0, UTC)
    for row in made:
        yield {
            table.user_id: row["user_id"],
            table.time: epoch + timedelta(microseconds=row["event_timestamp"]),
            table.name: row["event_name"],
            table.amount: Decimal(row["event_value_in_usd"]),
        }


def source_rows(
    source: OwnSource, as_of: date, *, is_leaking: bool
) -> Iterator[Mapping[str, Any]]:
    """
    Yield rows of a source.

    Args:
        is_leaking: With rows from the as-of date on; and rows of before in which
            times that are filled in later are filled.
    """
    start = midnight(as_of)
    times = [start - 40 * DAY, start - 5 * DAY]
    filled_in = None
    if is_leaking:
        times += [start, start + TICK, start + 30 * DAY / 24]
        filled_in = start + DAY
    is_number = source.types[source.user_id] == "INT64"
    for number, user in enumerate(USERS):
        for step, time in enumerate(times):
            size = 1 + (number + step) % 7
            if time >= start:
                # A row of later has numbers that no other has.
                size += 1_000_000
            row = {}
            for name, kind in source.types.items():
                moment = filled_in if number % 2 else time - DAY
                if name == source.valid_from or name in source.plans:
                    moment = time
                row[name] = _of_type(kind, size, moment)
            row[source.user_id] = number if is_number else user
            yield row


def _of_type(kind: str, size: int, moment: datetime | None) -> Any:
    """Return a value of a type, made of a number or a moment."""
    if kind in MOMENTS:
        return moment.date() if moment and kind == "DATE" else moment
    if kind == "BOOL":
        return bool(size % 2)
    constructors = {"STRING": str, "FLOAT64": float, "NUMERIC": Decimal, "INT64": int}
    return constructors[kind](size)
