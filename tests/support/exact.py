"""The stream's features by the textbook: what the code of the stream has to give."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from statistics import mean, variance
from typing import Any

from local.generators.games import AMOUNT_FIELDS, REGISTRATION

# Of a user's first registration.
REGISTERED = (
    "age", "city", "country", "affiliate_url", "campaign", "socioeconomic_idx"
)  # fmt: skip
MEASURES = {"new_purchases": "purchase", "new_bet": "bet", "new_win": "win"}


def expected_features(
    events: Iterable[Mapping[str, Any]], *, cut_off: timedelta | None = None
) -> dict[str, dict[str, Any]]:
    """
    Compute the stream's twelve features of every user, in rational numbers.

    With nothing of the stream's code: amounts are read as the decimals that they are
    written as; mean and variance are the standard library's, which are exact for
    fractions. Only then, once, is a result rounded: half away from zero, to nine
    decimals.

    Args:
        events: In any order, as ``Games.events`` yields them or as JSON decodes them.
            Those with the same use case, user, UTC day and event id count once. An
            amount is a Decimal, int, str or float; a float is the decimal it prints as.
        cut_off: None: all events. Else those before a user's first registration plus
            this; a user without a registration has no row then.

    Returns:
        For each user id ``purchase_count`` (int), ``purchase_sum`` (Decimal, exact),
        ``purchase_mean`` (None without events) and ``purchase_var`` (None below two),
        and the same of ``bet`` and ``win``.
    """
    counted: dict[tuple[Any, ...], tuple[Mapping[str, Any], datetime]] = {}
    registered: dict[str, datetime] = {}
    for event in events:
        user = event["user_id"]
        time = _instant(event["event_time"])
        key = (event.get("use_case"), user, time.date(), event["event_id"])
        counted.setdefault(key, (event, time))
        if event["event_type"] == REGISTRATION:
            registered[user] = min(time, registered.get(user, time))
    amounts: dict[str, dict[str, list[Fraction]]] = defaultdict(
        lambda: {measure: [] for measure in MEASURES.values()}
    )
    for event, time in counted.values():
        user = event["user_id"]
        event_type = event["event_type"]
        if cut_off is not None and (
            user not in registered or time >= registered[user] + cut_off
        ):
            continue
        mine = amounts[user]
        if event_type in MEASURES:
            amount = Fraction(str(event[AMOUNT_FIELDS[event_type]]))
            mine[MEASURES[event_type]].append(amount)
    return {user: _statistics(mine) for user, mine in amounts.items()}


def _instant(time: str | datetime) -> datetime:
    """Return a time in UTC; one without an offset is in UTC."""
    moment = datetime.fromisoformat(time) if isinstance(time, str) else time
    return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)


def _statistics(amounts: Mapping[str, Sequence[Fraction]]) -> dict[str, Any]:
    """Return count, sum, mean and sample variance, each under its feature's name."""
    found: dict[str, Any] = {}
    for measure, mine in amounts.items():
        found[f"{measure}_count"] = len(mine)
        found[f"{measure}_sum"] = _rounded(sum(mine, Fraction()), decimals=2)
        found[f"{measure}_mean"] = _rounded(mean(mine)) if mine else None
        found[f"{measure}_var"] = _rounded(variance(mine)) if len(mine) > 1 else None
    return found


def _rounded(exact: Fraction, *, decimals: int = 9) -> Decimal:
    """Round half away from zero, whatever the context's precision is."""
    units = math.floor(abs(exact) * 10**decimals + Fraction(1, 2))
    digits = tuple(int(digit) for digit in str(units))
    return Decimal((int(exact < 0), digits, -decimals))


def expected(events: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the rows of the view, by the textbook."""
    features = expected_features(events)
    for user, row in features.items():
        row.update(
            use_case="first_day_churn",
            user_id=user,
            **dict.fromkeys(("registration_time", *REGISTERED)),
        )
    registrations = [
        event for event in events if event["event_type"] == "new_registration"
    ]
    for event in sorted(registrations, key=_text, reverse=True):
        moment = datetime.fromisoformat(event["event_time"])
        row = features[event["user_id"]]
        if row["registration_time"] is None or moment <= row["registration_time"]:
            row["registration_time"] = moment
            row.update({name: event.get(name) for name in REGISTERED})
    return features


def _text(event: Mapping[str, Any]) -> str:
    """Return what tells which of two registrations at one moment is taken."""
    fields = {name: event.get(name) for name in REGISTERED}
    return json.dumps(fields, separators=(",", ":"))
