"""Events as messages, and the ways in which one can be spoilt."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from local.generators.delivery import (
    Event,
    Fault,
    Spoil,
    cut_short,
    encode,
    with_fields,
    without,
)

USE_CASE = "first_day_churn"
REGISTRATION = "new_registration"
PLAYS = ("new_purchases", "new_bet", "new_win")
# Which field of an event holds its money, and which feature it counts towards.
AMOUNT_FIELDS = {
    "new_purchases": "amount",
    "new_bet": "bet_amount",
    "new_win": "win_amount",
}
MEASURES = {"new_purchases": "purchase", "new_bet": "bet", "new_win": "win"}
# Share of messages that have id and use case as fields only, as attributes only.
IN_FIELDS_ONLY = 0.02
IN_ATTRIBUTES_ONLY = 0.02
# More than a message may have, and how many messages do.
HUGE_BYTES = 256 * 1024
HUGE_TURNS = 3


def instant(time: str | datetime) -> datetime:
    """Return a time in UTC; one without an offset is in UTC."""
    moment = datetime.fromisoformat(time) if isinstance(time, str) else time
    return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)


def attributes_of(event: Mapping[str, Any]) -> dict[str, str]:
    """Return the attributes that a message with this event has."""
    return {name: event[name] for name in ("event_id", "use_case", "event_type")}


def message_of(event: Event, style: float) -> tuple[bytes, dict[str, str]]:
    """Write id and use case as fields and attributes, or as one of them only."""
    if style < IN_FIELDS_ONLY:
        return encode(event), {}
    if style < IN_FIELDS_ONLY + IN_ATTRIBUTES_ONLY:
        bare = {k: v for k, v in event.items() if k not in {"event_id", "use_case"}}
        return encode(bare), attributes_of(event)
    return encode(event), attributes_of(event)


def _with_amount(amount: Any) -> Spoil:
    return lambda event: encode(event | {AMOUNT_FIELDS[event["event_type"]]: amount})


def _without_amount(event: Event) -> bytes:
    return without(AMOUNT_FIELDS[event["event_type"]])(event)


def _with_name(name: bytes) -> Spoil:
    """Write a name that is not UTF-8, in JSON that is otherwise whole."""
    return lambda event: encode(event | {"name": "NAME"}).replace(b"NAME", name)


FAULTS: Mapping[str, Fault] = {
    "cut short": Fault("malformed_json", cut_short),
    "trailing comma": Fault("malformed_json", lambda event: encode(event)[:-1] + b",}"),
    "Python's quotes": Fault(
        "malformed_json", lambda event: encode(event).replace(b'"', b"'")
    ),
    "empty": Fault("malformed_json", lambda _: b""),
    "truncated UTF-8": Fault(
        "wrong_encoding", _with_name(b"Zo\xc3"), of_registration=True
    ),
    "Latin-1": Fault(
        "wrong_encoding", _with_name("Zoë".encode("latin-1")), of_registration=True
    ),
    "huge": Fault(
        "too_large", with_fields(street_address="x" * HUGE_BYTES), of_registration=True
    ),
    "unknown use case": Fault(
        "unknown_use_case",
        with_fields(use_case="no_such_case"),
        attributes={"use_case": "no_such_case"},
    ),
    "unknown type": Fault(
        "unknown_event_type",
        with_fields(event_type="new_deposit"),
        attributes={"event_type": "new_deposit"},
    ),
    "no amount": Fault("missing_field", _without_amount),
    "no user": Fault("missing_field", without("user_id")),
    "no time": Fault("missing_field", without("event_time")),
    "no postcode": Fault("missing_field", without("postcode"), of_registration=True),
    "amount as text": Fault("wrong_type", _with_amount("12.30")),
    "amount as flag": Fault("wrong_type", _with_amount(True)),
    "user as number": Fault("wrong_type", with_fields(user_id=123)),
    "city as list": Fault(
        "wrong_type", with_fields(city=["Dunmere"]), of_registration=True
    ),
    "negative": Fault("bad_amount", _with_amount(Decimal("-0.01"))),
    "too much": Fault("bad_amount", _with_amount(Decimal("1000000000.01"))),
    "three decimals": Fault("bad_amount", _with_amount(Decimal("12.345"))),
    "not a number": Fault("not_finite", _with_amount(Decimal("NaN"))),
    "infinite": Fault("not_finite", _with_amount(Decimal("Infinity"))),
    "far future": Fault("bad_time", with_fields(event_time="2999-12-31T23:59:59.000Z")),
    "time in words": Fault("bad_time", with_fields(event_time="yesterday")),
    "no such day": Fault(
        "bad_time", with_fields(event_time="2026-02-30T12:00:00.000Z")
    ),
    "nobody": Fault("bad_value", with_fields(user_id="")),
    "label 7": Fault("bad_value", with_fields(label=7), of_registration=True),
    "born too early": Fault(
        "bad_value", with_fields(date_of_birth="1790-01-01"), of_registration=True
    ),
}
