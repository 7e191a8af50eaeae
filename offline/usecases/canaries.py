"""
Made-up events of the GA4 export, and canaries among them.

A canary is an event outside of the window that a statement may read: if it changes a
row, the statement leaks. Others are in the window, and in a daily table outside of it,
or of other users. Each kind of event comes for old users and new ones,
with values above and below all others, at the first moment outside of the window and
later, and in daily tables as they lie in time zones behind and ahead of UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from propensity.events.values import microseconds_of
from propensity.timeframe import midnight
from propensity.usecases import Value

Row = dict[str, Any]

USERS = 24
# A user who has done more than all others, and the prefix of those with one event each.
STRANGER, ALONE = "canary.stranger", "canary.alone."
# A user whose events have only what each event has.
BARE = f"user.{USERS}"
_OF_EACH = (
    "event_date", "event_timestamp", "event_name", "user_pseudo_id", "user_id",
)  # fmt: skip
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)

# What shops send, and what statements of a use case may look for besides.
NAMES = (
    "session_start", "page_view", "view_item", "add_to_cart", "begin_checkout",
    "purchase", "refund", "sign_up",
)  # fmt: skip

_COUNTRIES = ("Norway", "Chile", "Kenya")
_DEVICES = ("mobile", "desktop", "tablet")
# Hours that a property's own time is ahead of UTC: its day is its daily table.
_ZONES = (0, -8, 9)
# So many days one user is there every day; others have a few.
_STRANGERS_DAYS = 12
# Above and below all that events have otherwise; texts sort last and first.
_EXTREMES = ((1e6, "zz canary"), (-1e6, "  canary"))


@dataclass(frozen=True)
class Maker:
    """Makes events of the names and with the values that a use case reads."""

    names: Sequence[str]
    values: Sequence[Value]

    def history(self, as_of: date, *, lookback: int, horizon: int) -> Iterator[Row]:
        """Yield what happened in the lookback of a date, and in its horizon."""
        first, last = midnight(as_of) - lookback * DAY, midnight(as_of) + horizon * DAY
        for number in range(USERS):
            user = f"user.{number:02}"
            # The oldest moment that counts, the newest, and some between.
            times = [first, midnight(as_of) - TICK] if number % 4 == 0 else []
            times += [
                midnight(as_of) - days * DAY + (5 + number) * HOUR / 2
                for days in self._days(lookback)[number % 2 :: 1 + number % 2]
            ]
            # In each horizon some users do nothing, as those of label 0 do.
            if number % 2:
                times.append(midnight(as_of) + (number % 2) * horizon * DAY / 2)
            for step, time in enumerate(sorted(times)):
                if not first <= time < last:
                    continue
                for name in self._some(number, step, is_later=time >= midnight(as_of)):
                    yield self.event(user, time, name, size=1.0 + number % 5)
        # Where consent mode withholds the user, an event has none.
        for time in (midnight(as_of) - DAY, midnight(as_of)):
            for name in self.names:
                event = self.event("", time, name, size=1.0)
                yield event | {"user_pseudo_id": None, "user_id": None}
        # A server sends events without a session, a device and all else.
        for time in (midnight(as_of) - DAY, midnight(as_of)):
            for name in self.names:
                event = self.event(BARE, time, name, size=1.0)
                yield {key: event[key] for key in _OF_EACH}

    def _days(self, lookback: int) -> Sequence[int]:
        """Return how many days before a date something happened: few, of the span."""
        return [*{1, 2, min(6, lookback), min(9, lookback), 1 + lookback // 2}]

    def _some(self, number: int, step: int, *, is_later: bool) -> Iterable[str]:
        # Of those with outcomes half have all of them, the others some: statements that
        # look for different events give different users.
        if is_later and number % 4 == 1:
            return self.names
        return {
            self.names[(number + step * 3 + more) % len(self.names)]
            for more in range(3)
        }

    def later(self, as_of: date, *, horizon: int) -> Iterator[Row]:
        """Yield canaries at a date and after it."""
        start = midnight(as_of)
        times = (start, start + TICK, start + 30 * HOUR, start + horizon * DAY - TICK)
        yield from self._canaries(times)

    def beyond(self, end: date) -> Iterator[Row]:
        """Yield canaries at the end of a horizon and after it."""
        yield from self._canaries(
            (midnight(end), midnight(end) + TICK, midnight(end) + HOUR)
        )

    def older(self, first: date) -> Iterator[Row]:
        """Yield canaries before the first day of a lookback."""
        start = midnight(first)
        yield from self._canaries((start - TICK, start - HOUR))

    def elsewhere(
        self, as_of: date, *, inside: Iterable[str], horizon: Iterable[str]
    ) -> Iterator[Row]:
        """
        Yield events of the windows of a date, in daily tables that hold none of them.

        Args:
            inside: Tables, by suffix, of events just before the date.
            horizon: Those of events just after it.
        """
        for offset, suffixes in ((-HOUR, inside), (HOUR, horizon)):
            for suffix in suffixes:
                for event in self._canaries([midnight(as_of) + offset]):
                    yield event | {"event_date": suffix}

    def others(self, as_of: date, *, lookback: int) -> Iterator[Row]:
        """
        Yield events of other users in the lookback of a date: of one who has done more
        than all others, and later; of one who left first; and of one user for each kind
        of event.
        """
        start = midnight(as_of) - lookback * DAY
        for name in self.names:
            yield self.event(f"{STRANGER}.gone", start, name, size=1.0)
        last = midnight(as_of) - TICK
        days = min(lookback, _STRANGERS_DAYS)
        for time in (*(last - day * DAY for day in range(days)), last - HOUR):
            for name in self.names:
                for size, text in _EXTREMES:
                    yield self.event(STRANGER, time, name, size=size, text=text)
        for name in self.names:
            yield self.event(f"{ALONE}{name}", last - HOUR, name, size=1.0)

    def _canaries(self, times: Iterable[datetime]) -> Iterator[Row]:
        for place, time in enumerate(times):
            for zone in _ZONES:
                for turn, (size, text) in enumerate(_EXTREMES):
                    for number in range(turn, USERS, 2):
                        for name in self.names:
                            yield self.event(
                                f"user.{number:02}",
                                time,
                                name,
                                size=size,
                                text=text,
                                zone=zone,
                            )
                    for name in self.names:
                        user = f"canary.{place}.{zone}.{turn}"
                        yield self.event(
                            user, time, name, size=size, text=text, zone=zone
                        )

    def event(
        self,
        user: str,
        time: datetime,
        name: str,
        *,
        size: float,
        text: str = "",
        zone: int = 0,
    ) -> Row:
        """
        Return one event.

        Args:
            user: ``user_pseudo_id``; ``user_id`` has it as well.
            size: What its numbers are made of.
            text: What its texts are; by default one of few.
            zone: Hours that the property's own time is ahead of UTC.
        """
        number = sum(user.encode())
        microseconds = microseconds_of(time)
        parameters: dict[str, Row] = {
            "ga_session_id": {"int_value": microseconds // 86_400_000_000},
            "ga_session_number": {"int_value": int(abs(size))},
            "engagement_time_msec": {"int_value": int(abs(size) * 1000)},
            "value": {"double_value": size},
            "currency": {"string_value": "USD"},
        }
        properties: dict[str, Row] = {}
        for value in self.values:
            record = parameters if value.record == "event_params" else properties
            record[value.key] = _sent(value.type, size, text or f"v{number % 3}")
        row: Row = {
            "event_date": f"{time + zone * HOUR:%Y%m%d}",
            "event_timestamp": microseconds,
            "event_name": name,
            "event_params": _listed(parameters),
            "user_properties": _listed(properties),
            "user_pseudo_id": user,
            "user_id": user,
            "user_first_touch_timestamp": microseconds - 86_400_000_000 * (number % 9),
            "event_value_in_usd": size,
            "geo": {"country": text or _COUNTRIES[number % 3]},
            "device": {
                "category": text or _DEVICES[number % 3],
                "operating_system": text or "Android",
            },
            "traffic_source": {"source": text or "google", "medium": text or "cpc"},
        }
        if name in ("purchase", "refund"):
            money = "purchase_revenue" if name == "purchase" else "refund_value"
            row["ecommerce"] = {
                money: size,
                f"{money}_in_usd": size,
                "transaction_id": f"T{microseconds}.{user}",
            }
            row["items"] = [{"item_id": text or "mug", "quantity": int(abs(size))}]
        return row


def _sent(kind: str, size: float, text: str) -> Row:
    if kind == "STRING":
        return {"string_value": text}
    return {"int_value": int(size)} if kind == "INT64" else {"double_value": size}


def _listed(values: dict[str, Row]) -> list[Row]:
    return [{"key": key, "value": value} for key, value in values.items()]
