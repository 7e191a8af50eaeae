"""Messages of every sort, right and wrong, as strategies; and what becomes of each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from hypothesis import strategies as st

from propensity import usecases
from propensity.events.catalogue import Catalogue
from propensity.events.enrichment import PostcodeIndex
from propensity.events.messages import Message
from propensity.events.values import MAXIMUM_AMOUNT, Refused
from tests.events import (
    FEATURES,
    accept,
    bet,
    places,
    published,
    registration,
    transaction,
    truth,
    use_case,
    written,
)

POSTCODES = PostcodeIndex(
    np.array([b"AB101AB", b"AB10", b"M11AA"]), np.array([3.25, 2.5, 7.0])
)
# What changes an event's row no more than it must: use cases with types of their own.
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
BOTH = Catalogue(
    [
        use_case(),
        use_case("slots", ["spin", "new_win"], SPIN),
        usecases.load("card_fraud"),
    ]
)

# Without a zone, as the strategies want them.
FIRST_YEAR, LAST_YEAR = (
    datetime(year, 1, 2, tzinfo=UTC).replace(tzinfo=None) for year in (1971, 2026)
)


def spin(**fields: Any) -> dict[str, Any]:
    """Return an event of a use case's own type, with a field of every kind."""
    own = {
        "use_case": "slots",
        "event_type": "spin",
        "bet_amount": ...,
        "stake": 2.5,
        "machine": "m7",
        "odds": -1.25,
        "phone": "555",
        "born": "1990-05-04",
        "churned": 0,
        "postcode": "M1 1AA",
    }
    return bet(**{**own, **fields})


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
AMOUNTS = st.one_of(
    st.decimals(0, MAXIMUM_AMOUNT, places=2).map(str),
    st.integers(0, MAXIMUM_AMOUNT).map(str),
    st.sampled_from(["-0", "1e2", "1.10", "100E-2", "0e5", "1000000000.00"]),
)
NO_AMOUNTS = st.sampled_from(
    [
        *("-1", "0.001", "1e400", "1000000000.01", "1e-999999999"),
        *('"1"', "null", "true", "[1]", "NaN", "00"),
    ]
)
TIMES = st.one_of(
    st.datetimes(FIRST_YEAR, LAST_YEAR).map(datetime.isoformat),
    st.datetimes(FIRST_YEAR, LAST_YEAR, timezones=st.timezones()).map(
        lambda one: one.isoformat(timespec="milliseconds")
    ),
    st.sampled_from(
        [
            "2026-03-01T12:00:00Z",
            "2026-03-01T12:00:00.123456Z",
            "2026-03-01T12:00:00.123456789Z",
            "2026-03-01",
            "2026-03-02T06:10:00Z",
        ]
    ),
)
NO_TIMES = st.sampled_from(
    [
        "2026-03-02T06:10:00.000001Z",
        "2999-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59-14:00",
        "yesterday",
        "",
    ]
)
NOTES = [1.5, {"age": 1}, 'a "socioeconomic_idx": b', "\\", "\u00e9", None]


def varied(
    base: dict[str, st.SearchStrategy[Any]], **fields: Sequence[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    """Fields of an event: these, and some of those that may differ."""
    optional = {name: st.sampled_from(values) for name, values in fields.items()}
    return st.fixed_dictionaries(base, optional=optional)


WHO = {"user_id": st.sampled_from(["u1", "u2", "é"]), "event_time": TIMES}
PLAYS = st.sampled_from(
    [("new_bet", "bet_amount"), ("new_win", "win_amount"), ("new_purchases", "amount")]
)


def play(kind: tuple[str, str], fields: dict[str, Any], amount: str) -> bytes:
    event = bet(event_type=kind[0], bet_amount=..., **fields)
    return written(event, **{kind[1]: amount})


EVENTS = st.one_of(
    st.builds(
        play,
        PLAYS,
        varied(WHO, event_id=[..., None, "e2"], use_case=[..., None], note=NOTES),
        AMOUNTS,
    ),
    varied(
        WHO,
        event_id=[..., None, "e2"],
        date_of_birth=["1950-02-28"],
        age=[41],
        postcode=["ab10 1ab", "AB10 9ZZ", "?", ""],
        socioeconomic_idx=[1.5, None],
        label=[..., None, 0, True],
        campaign=[None, "é"],
        note=NOTES,
    ).map(lambda fields: written(registration(**fields))),
    varied(
        {"age": st.integers(0, 150)},
        date_of_birth=[...],
        name=[...],
        street_address=[...],
    ).map(lambda fields: written(registration(**fields))),
    varied(
        WHO,
        use_case=[..., None],
        churned=[..., 1],
        odds=[1, 1e300, -0.0],
        postcode=[None, "?"],
        note=NOTES,
    ).map(lambda fields: written(spin(**fields))),
)
CARDS = st.one_of(
    varied(
        {"transaction_id": st.sampled_from(["t1", "é", 7]), "event_time": TIMES},
        event_type=[None, "card_transaction"],
        use_case=[None, "card_fraud"],
        event_id=["e2"],
        user_id=[None, "u1"],
        V3=["1e5", -0.0, 7],
        ingest_ts=[None, 1, "soon", 1_772_366_400, "1772366400000", "2026-03-01"],
        note=NOTES,
    ).map(lambda fields: written(transaction(**fields))),
    varied(
        {"transaction_id": st.sampled_from(["t1", 7]), "truth_time": TIMES},
        event_type=[None, "card_truth"],
        is_fraud=[0, "1", False],
        event_time=["soon", 5],
        note=NOTES,
    ).map(lambda fields: written(truth(**fields))),
)
NO_CARDS = st.one_of(
    st.sampled_from(FEATURES).map(lambda name: written(transaction(**{name: ...}))),
    st.sampled_from(['"x"', "null", "NaN", '"inf"', "1e400", "[1]"]).map(
        lambda literal: written(transaction(), V9=literal)
    ),
    st.sampled_from(["2", '"x"', "null", "NaN"]).map(
        lambda literal: written(truth(), is_fraud=literal)
    ),
    NO_TIMES.map(lambda text: written(truth(truth_time=text))),
    NO_TIMES.map(lambda text: written(transaction(event_time=text))),
    st.just(written({**transaction(), **truth()})),
)
NO_EVENTS = st.one_of(
    st.binary(max_size=20),
    st.builds(play, PLAYS, st.fixed_dictionaries(WHO), NO_AMOUNTS),
    st.builds(
        play, PLAYS, st.fixed_dictionaries({**WHO, "event_time": NO_TIMES}), AMOUNTS
    ),
    st.builds(
        lambda who, when: written(registration(**{**who, "event_time": when})),
        st.fixed_dictionaries(WHO),
        NO_TIMES,
    ),
    st.builds(
        lambda who, wrong: written(registration(**who, **wrong)),
        st.fixed_dictionaries(WHO),
        st.sampled_from(
            [
                *({"date_of_birth": one} for one in ("2999-01-01", 5, ...)),
                *({"age": one} for one in (-1, None)),
                *({"label": 7}, {"postcode": 5}, {"socioeconomic_idx": "high"}),
                *({"use_case": "no_such_case"}, {"use_case": ""}, {"name": ...}),
                *({"event_id": ""}, {"event_id": "x" * 257}),
            ]
        ),
    ),
    st.sampled_from([{"born": "2999-01-01"}, {"churned": 2}, {"odds": "5"}]).map(
        lambda wrong: written(spin(**wrong))
    ),
    st.sampled_from(
        [
            written(bet())[:-1],
            written(bet()).replace(b"u1", b"\xff"),
            b"[" * 1_500,
            written(bet(), note="[" * 300 + "]" * 300),
            written(bet(event_type="new_deposit")),
            written(bet(note="x" * 2_000)),
        ]
    ),
)
PUBLISHED = st.sampled_from(
    [
        "",
        "2026-03-02T05:59:59.123Z",
        "2026-03-02T05:59:59.123456789Z",
        "2026-03-02T05:59:59",
        "9999-12-31T00:00:00Z",
        "soon",
        "é",
    ]
)
IDS = st.sampled_from(["m1", "m2", "m3"])
ATTRIBUTES = st.fixed_dictionaries(
    {},
    optional={
        "event_id": st.sampled_from(["", "a1"]),
        "use_case": st.sampled_from(["", "slots", "first_day_churn"]),
        "other": TEXT,
    },
)
MESSAGES = st.one_of(
    st.builds(Message, CARDS | NO_CARDS, IDS, ATTRIBUTES, PUBLISHED),
    st.builds(Message, CARDS, IDS),
    st.builds(Message, EVENTS, IDS, ATTRIBUTES, PUBLISHED),
    st.builds(Message, EVENTS, IDS, ATTRIBUTES, PUBLISHED),
    st.builds(Message, EVENTS | NO_EVENTS, IDS, ATTRIBUTES, PUBLISHED),
    st.builds(Message, NO_EVENTS, IDS, ATTRIBUTES, PUBLISHED),
    st.builds(
        Message,
        EVENTS | st.binary(max_size=20),
        IDS,
        problem=st.just(Refused("wrong_encoding", "the payload is not base64")),
    ),
)
BATCHES = st.lists(MESSAGES, max_size=8)

Fate = tuple[dict[str, Any], bytes] | tuple[str, str, str | None]


def fates(messages: Sequence[Message], **how: Any) -> list[Fate]:
    """Return what becomes of each message: row and enriched event, or the refusal."""
    how = {"catalogue": BOTH, "postcodes": POSTCODES, "maximum_bytes": 2_000, **how}
    accepted = accept(*messages, **how)
    by_place: dict[int, Fate] = {
        place: (one.reason, one.detail, one.field)
        for place, one in accepted.refused.items()
    }
    rows = accepted.rows.to_pylist()
    taken = zip(places(accepted.events), rows, published(accepted), strict=True)
    by_place |= {place: (one, enriched) for place, one, enriched in taken}
    truths = zip(
        places(accepted.truth_events), accepted.truths.to_pylist(), strict=True
    )
    by_place |= {place: (one, b"") for place, one in truths}
    return [by_place[place] for place in range(len(messages))]
