"""The ways to break a message, and the reason that its dead letter must have."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from local.generators.messages import Event, Fault, encode

PLAYS = ("new_purchases", "new_bet", "new_win")
# The field of an event that has its money.
AMOUNT_FIELDS = dict(zip(PLAYS, ("amount", "bet_amount", "win_amount"), strict=True))


def _cut_short(event: Event) -> bytes:
    return encode(event)[:-12]


def _given(**fields: Any) -> Callable[[Event], bytes]:
    return lambda event: encode(event | fields)


def _without(name: str) -> Callable[[Event], bytes]:
    return lambda event: encode({k: v for k, v in event.items() if k != name})


def _amount(amount: Any) -> Callable[[Event], bytes]:
    return lambda event: encode(event | {AMOUNT_FIELDS[event["event_type"]]: amount})


def _without_amount(event: Event) -> bytes:
    return _without(AMOUNT_FIELDS[event["event_type"]])(event)


def _name(name: bytes) -> Callable[[Event], bytes]:
    """Write a name that is not UTF-8, in JSON that is otherwise whole."""
    return lambda event: encode(event | {"name": "NAME"}).replace(b"NAME", name)


def _unknown(field: str, value: str) -> Fault:
    """Return the fault of a field and an attribute with a value that nobody knows."""
    changed = {field: value}
    return Fault(f"unknown_{field}", _given(**changed), attributes=changed)


FAULTS = (
    Fault("malformed_json", _cut_short),
    Fault("malformed_json", lambda event: encode(event)[:-1] + b",}"),
    Fault("malformed_json", lambda _: b""),
    Fault("wrong_encoding", _name(b"Zo\xc3"), True),
    Fault("wrong_encoding", _name("Zoë".encode("latin-1")), True),
    Fault("too_large", _given(street_address="x" * 256 * 1024), True),
    _unknown("use_case", "no_such_case"),
    _unknown("event_type", "new_deposit"),
    Fault("missing_field", _without_amount),
    Fault("missing_field", _without("user_id")),
    Fault("missing_field", _without("event_time")),
    Fault("missing_field", _without("postcode"), True),
    Fault("wrong_type", _amount("12.30")),
    Fault("wrong_type", _amount(True)),
    Fault("wrong_type", _given(user_id=123)),
    Fault("wrong_type", _given(city=["Dunmere"]), True),
    Fault("bad_amount", _amount(Decimal("-0.01"))),
    Fault("bad_amount", _amount(Decimal("1000000000.01"))),
    Fault("bad_amount", _amount(Decimal("12.345"))),
    Fault("not_finite", _amount(Decimal("NaN"))),
    Fault("not_finite", _amount(Decimal("Infinity"))),
    Fault("bad_time", _given(event_time="2999-12-31T23:59:59.000Z")),
    Fault("bad_time", _given(event_time="yesterday")),
    Fault("bad_value", _given(user_id="")),
    Fault("bad_value", _given(label=7), True),
    Fault("bad_value", _given(date_of_birth="1790-01-01"), True),
)
CARD_FAULTS = (
    Fault("malformed_json", _cut_short),
    Fault("malformed_json", lambda _: b" "),
    Fault("missing_field", _without("V14")),
    Fault("missing_field", _without("Amount")),
    Fault("missing_field", _without("event_time")),
    Fault("wrong_type", _given(V3="high")),
    Fault("wrong_type", _given(V7=[1.0])),
    Fault("not_finite", _given(V1=float("nan"))),
    Fault("not_finite", _given(Amount=float("inf"))),
    Fault("bad_time", _given(event_time="2999-12-31T23:59:59.000Z")),
    Fault("bad_value", _given(transaction_id="")),
)
TRUTH_FAULTS = (
    Fault("missing_field", _without("is_fraud")),
    Fault("missing_field", _without("truth_time")),
    Fault("bad_value", _given(is_fraud="perhaps")),
    Fault("bad_value", _given(is_fraud=7)),
    Fault("malformed_json", _cut_short),
    Fault("bad_time", _given(truth_time="yesterday")),
)
