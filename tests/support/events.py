"""
Events as producers send them, and what the stream makes of them: for tests.

A builder states a right event; a test says only what differs. ``NOW`` is when all of
them are received.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from msgspec.structs import replace

from propensity import usecases
from propensity.streaming.events import rows as stream
from propensity.streaming.events.messages import Message
from propensity.streaming.events.postcodes import PostcodeIndex
from propensity.streaming.events.rows import Accepted
from propensity.streaming.events.types import Catalogue
from propensity.suppression import NOBODY, Suppressed
from propensity.tables.stream import STREAM_EVENTS, TRUTH_EVENTS
from propensity.usecases import UseCase
from propensity.usecases.declaration import Stream

NOW = datetime(2026, 3, 2, 6, tzinfo=UTC)
LATENESS = timedelta(days=36_500)
BASE = ("new_registration", "new_purchases", "new_bet", "new_win")


def use_case(
    name: str = "first_day_churn",
    events: Sequence[str] = BASE,
    types: Mapping[str, Mapping[str, str]] | None = None,
) -> UseCase:
    """Return a use case that takes these types, and declares its own."""
    churn = usecases.load("first_day_churn")
    stream = Stream(events=events)
    return replace(churn, name=name, stream=stream, event_types=types or {})


CATALOGUE = Catalogue([use_case()])
# These use cases are deployed together.
DEPLOYED = Catalogue([usecases.load(name) for name in usecases.names()])
FEATURES = tuple(usecases.load("card_fraud").features)
# This is a use case's own type, with a field of most kinds.
SPIN = {
    "spin": {
        "stake": "amount",
        "machine": "text",
        "odds": "number",
        "phone": "personal",
        "born": "birth date",
        "churned": "label",
        "postcode": "text or null",
    }
}
SLOTS = Catalogue([use_case("slots", ["spin"], SPIN)])


def event_of(**usual: Any) -> Callable[..., dict[str, Any]]:
    """Return a builder of events like this; a field that is ``...`` is left out."""

    def build(**fields: Any) -> dict[str, Any]:
        whole = {**usual, **fields}
        return {name: value for name, value in whole.items() if value is not ...}

    return build


bet = event_of(
    event_id="e1",
    use_case="first_day_churn",
    user_id="u1",
    event_type="new_bet",
    event_time="2026-03-01T12:00:00.25Z",
    bet_amount=12.3,
)
# These events are of the type of SLOTS.
spin = event_of(
    **bet(use_case="slots", event_type="spin", bet_amount=...),
    stake=2.5,
    machine="m7",
    odds=-1.25,
    phone="555",
    born="1990-05-04",
    churned=0,
    postcode="M1 1AA",
)
registration = event_of(
    event_id="r1",
    use_case="first_day_churn",
    user_id="u1",
    event_type="new_registration",
    event_time="2026-03-01T12:00:00Z",
    name="Ada Muster",
    date_of_birth="1990-05-04",
    street_address="1 High Street",
    city="Aberdeen",
    country="GB",
    postcode="AB10 1AB",
    affiliate_url="https://example.org/a",
    campaign="spring",
    label=1,
)
# A transaction of a card has these fields at least.
transaction = event_of(
    transaction_id="t1",
    **{name: n / 8 for n, name in enumerate(FEATURES)},
    event_time="2026-03-01T12:00:00Z",
    ingest_ts="2026-03-01T12:00:00.5Z",
)
# A truth names its transaction.
truth = event_of(transaction_id="t1", is_fraud=1, truth_time="2026-03-01T18:00:00Z")


def spoilt(literal: str, field: str = "bet_amount") -> bytes:
    """Return a bet with a field that is written like this."""
    return written(bet(), **{field: literal})


def enriched_card(name: str, **fields: Any) -> dict[str, Any]:
    """Return a card transaction as ``stream_features`` publishes it."""
    return transaction(
        **{
            "transaction_id": name,
            "event_id": name,
            "user_id": name,
            "use_case": "card_fraud",
            "event_type": "card_transaction",
            **fields,
        }
    )


def written(
    event: Mapping[str, Any],
    *,
    separators: tuple[str, str] | None = None,
    **literals: str,
) -> bytes:
    """
    Return an event as JSON.

    Args:
        event: The event.
        separators: As ``json.dumps`` has them.
        literals: Fields as they are to be written, whether or not that is JSON.
    """
    held = {name: f"\0{name}" for name in literals}
    text = json.dumps({**event, **held}, ensure_ascii=False, separators=separators)
    for name, literal in literals.items():
        text = text.replace(json.dumps(held[name]), literal)
    return text.encode()


def message(
    event: Mapping[str, Any] | bytes,
    message_id: str = "m1",
    *,
    published_at: str = "",
    **attributes: str,
) -> Message:
    """Return an event, or any bytes, as a message that was delivered."""
    data = event if isinstance(event, bytes) else written(event)
    return Message(data, message_id, attributes, published_at)


def accept(
    *messages: Message,
    catalogue: Catalogue = CATALOGUE,
    postcodes: PostcodeIndex | None = None,
    suppressed: Suppressed = NOBODY,
) -> Accepted:
    """Return the result of messages that are received at ``NOW``."""
    return stream.accept(
        messages,
        catalogue,
        postcodes,
        received_at=NOW,
        suppressed=suppressed,
    )


def rows(accepted: Accepted, *, lateness: timedelta = LATENESS) -> pa.RecordBatch:
    return stream.stored_rows(
        STREAM_EVENTS, accepted.events, received_at=NOW, lateness=lateness
    )


def truths(accepted: Accepted) -> pa.RecordBatch:
    return stream.stored_rows(
        TRUTH_EVENTS, accepted.truths, received_at=NOW, lateness=LATENESS
    )


def published(accepted: Accepted) -> list[bytes]:
    """Return the enriched event of each row."""
    return [event.published for event in accepted.events]


def places(events: Sequence[Any]) -> list[int]:
    """Return the place of the message of each event."""
    return [event.index for event in events]


def row(
    event: Mapping[str, Any] | bytes, *, lateness: timedelta = LATENESS, **how: Any
) -> dict[str, Any]:
    """Return the row of an event, or of a truth, that must be accepted."""
    accepted = accept(message(event), **how)
    assert not accepted.refused, accepted.refused[0].detail
    is_event = bool(accepted.events)
    stored = rows(accepted, lateness=lateness) if is_event else truths(accepted)
    [only] = stored.to_pylist()
    return dict(only)


def refusal(event: Mapping[str, Any] | bytes, **how: Any) -> tuple[str, str | None]:
    """Return reason and field of an event that must be refused."""
    accepted = accept(message(event), **how)
    assert not [*accepted.events, *accepted.truths], "it was accepted"
    return accepted.refused[0].reason, accepted.refused[0].field


# An event of each of the types that use cases share.
EXAMPLES = {
    "new_registration": registration(),
    "new_purchases": bet(event_type="new_purchases", bet_amount=..., amount=12.3),
    "new_bet": bet(),
    "new_win": bet(event_type="new_win", bet_amount=..., win_amount=12.3),
}
