"""The ways to break a message, and the reason that its dead letter must have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from local.generators.messages import (
    Event,
    Fault,
    cut_short,
    encode,
    with_fields,
    without,
)

PLAYS = ("new_purchases", "new_bet", "new_win")
# The field of an event that has its money.
AMOUNT_FIELDS = dict(zip(PLAYS, ("amount", "bet_amount", "win_amount"), strict=True))


def _amount(amount: Any) -> Callable[[Event], bytes]:
    return lambda event: encode(event | {AMOUNT_FIELDS[event["event_type"]]: amount})


def _without_amount(event: Event) -> bytes:
    return without(AMOUNT_FIELDS[event["event_type"]])(event)


def _name(name: bytes) -> Callable[[Event], bytes]:
    """Write a name that is not UTF-8, in JSON that is otherwise whole."""
    return lambda event: encode(event | {"name": "NAME"}).replace(b"NAME", name)


def _is(field: str, value: str) -> Fault:
    """Return the fault of a field and an attribute with a value that nobody knows."""
    changed = {field: value}
    return Fault(f"unknown_{field}", with_fields(**changed), attributes=changed)


FAULTS: Mapping[str, Fault] = {
    "cut short": Fault("malformed_json", cut_short),
    "trailing comma": Fault("malformed_json", lambda event: encode(event)[:-1] + b",}"),
    "empty": Fault("malformed_json", lambda _: b""),
    "truncated UTF-8": Fault("wrong_encoding", _name(b"Zo\xc3"), True),
    "Latin-1": Fault("wrong_encoding", _name("Zoë".encode("latin-1")), True),
    "huge": Fault("too_large", with_fields(street_address="x" * 256 * 1024), True),
    "unknown use case": _is("use_case", "no_such_case"),
    "unknown type": _is("event_type", "new_deposit"),
    "no amount": Fault("missing_field", _without_amount),
    "no user": Fault("missing_field", without("user_id")),
    "no time": Fault("missing_field", without("event_time")),
    "no postcode": Fault("missing_field", without("postcode"), True),
    "amount as text": Fault("wrong_type", _amount("12.30")),
    "amount as flag": Fault("wrong_type", _amount(True)),
    "user as number": Fault("wrong_type", with_fields(user_id=123)),
    "city as list": Fault("wrong_type", with_fields(city=["Dunmere"]), True),
    "negative": Fault("bad_amount", _amount(Decimal("-0.01"))),
    "too much": Fault("bad_amount", _amount(Decimal("1000000000.01"))),
    "three decimals": Fault("bad_amount", _amount(Decimal("12.345"))),
    "not a number": Fault("not_finite", _amount(Decimal("NaN"))),
    "infinite": Fault("not_finite", _amount(Decimal("Infinity"))),
    "far future": Fault("bad_time", with_fields(event_time="2999-12-31T23:59:59.000Z")),
    "time in words": Fault("bad_time", with_fields(event_time="yesterday")),
    "nobody": Fault("bad_value", with_fields(user_id="")),
    "label 7": Fault("bad_value", with_fields(label=7), True),
    "born too early": Fault("bad_value", with_fields(date_of_birth="1790-01-01"), True),
}

CARD_FAULTS: Mapping[str, Fault] = {
    "cut short": Fault("malformed_json", cut_short),
    "blank": Fault("malformed_json", lambda _: b" "),
    "no V14": Fault("missing_field", without("V14")),
    "no amount": Fault("missing_field", without("Amount")),
    "no time": Fault("missing_field", without("event_time")),
    "V3 in words": Fault("wrong_type", with_fields(V3="high")),
    "V7 as list": Fault("wrong_type", with_fields(V7=[1.0])),
    "V1 not a number": Fault("not_finite", with_fields(V1=float("nan"))),
    "amount infinite": Fault("not_finite", with_fields(Amount=float("inf"))),
    "far future": Fault("bad_time", with_fields(event_time="2999-12-31T23:59:59.000Z")),
    "nobody's": Fault("bad_value", with_fields(transaction_id="")),
}
TRUTH_FAULTS: Mapping[str, Fault] = {
    "no verdict": Fault("missing_field", without("is_fraud")),
    "no time": Fault("missing_field", without("truth_time")),
    "perhaps": Fault("bad_value", with_fields(is_fraud="perhaps")),
    "verdict 7": Fault("bad_value", with_fields(is_fraud=7)),
    "cut short": Fault("malformed_json", cut_short),
    "time in words": Fault("bad_time", with_fields(truth_time="yesterday")),
}
