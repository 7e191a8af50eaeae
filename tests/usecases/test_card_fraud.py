"""
Card fraud, specified: which truth counts, and what reaches a training row.

Rows are written as the stream writes them, and the use case's statement is run on them
by the emulator.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from propensity.tables.stream import INFERENCE_LOG, TRUTH_EVENTS
from tests.support.deployment import Deployment
from tests.support.scored_cards import (
    DAY,
    START,
    USE_CASE,
    Row,
    inference,
    store,
    truth,
)

AS_OF = (START + 20 * DAY).date()
MIDNIGHT = START + 20 * DAY
DELAY = 7
SECOND = timedelta(seconds=1)


def add(deployment: Deployment, *rows: Row) -> None:
    """Append rows, each to its table."""
    store(
        deployment.warehouse,
        [row for row in rows if "inference_id" in row],
        [row for row in rows if "truth_time" in row],
    )


def training_rows(deployment: Deployment, **changed: Any) -> dict[str, Row]:
    """Return training rows by event; there must be one an event."""
    parameters = {
        "use_case": USE_CASE.name,
        "as_of": AS_OF,
        "since": AS_OF - timedelta(days=USE_CASE.lookback_days),
        "truth_delay_days": DELAY,
        "maximum_rows": 1_000,
        **changed,
    }
    sql = USE_CASE.statement("event_training_rows")
    events = deployment.warehouse.table(sql, parameters).to_pylist()
    by_event = {row["event_id"]: row for row in events}
    assert len(by_event) == len(events)
    return by_event


@pytest.fixture
def deployment(deployment) -> Deployment:
    """The log of scores and that of truths, without a row."""
    for table in (INFERENCE_LOG, TRUTH_EVENTS):
        deployment.warehouse.create(table)
    return deployment


def found(day: float, label: int, event: str = "a", **changed: Any) -> Row:
    """Return a truth, found so many days after the start."""
    return truth(event, START + day * DAY, label, **changed)


def known(label: int, *, is_conflicting: bool = False) -> Row:
    """Return what a training row says of a truth that counts."""
    return {"label": label, "is_conflicting": is_conflicting, "state": "known"}


UNKNOWN = {"label": None, "is_conflicting": False, "state": "unknown"}
A = inference("a", START)
V1_IS_1 = {"V1": 1.0}
V1_IS_2 = {"V1": 2.0}
FIRST = MIDNIGHT - USE_CASE.lookback_days * DAY
# Rows of both tables, and the events that become training rows, with what these say.
CASES: dict[str, tuple[list[Row], dict[str, Row]]] = {
    # The latest truth counts, in whatever order they arrive; of one moment a fraud
    # counts.
    "the latest": ([A, found(1, 1), found(2, 0)], {"a": known(0, is_conflicting=True)}),
    "of one moment": (
        [A, found(1, 1), found(1, 0)], {"a": known(1, is_conflicting=True)},
    ),
    # An event is unknown only until it is said, and without a truth it is not taken for
    # no: it is pending until the delay is over.
    "late": ([A, found(15, 1)], {"a": known(1)}),
    "never": (
        [inference("old", MIDNIGHT - DELAY * DAY),
         inference("young", MIDNIGHT - DELAY * DAY + SECOND)],
        {"old": UNKNOWN, "young": {"label": None, "state": "pending"}},
    ),
    # A truth is joined by use case and event, and waits for the event.
    "of another use case": (
        [A, inference("b", START), found(1, 1), found(1, 1, "b", use_case="other")],
        {"a": known(1), "b": UNKNOWN},
    ),
    "without its event": ([found(1, 1)], {}),
    # The as-of date's midnight is the first moment that is later.
    "later or before the lookback": (
        [inference("at midnight", MIDNIGHT), inference("b", MIDNIGHT - SECOND),
         inference("c", FIRST), inference("before", FIRST - SECOND)],
        {"b": {}, "c": {}},
    ),
    # A caller of score cannot change what is learned of an event: what the stream or a
    # file says of it counts, though it was asked for before.
    "asked for before": (
        [row for event, source in (("a", "stream"), ("b", "loaded"), ("c", None))
         for row in (
            inference(event, START, V1_IS_1, source="online"),
            inference(event, START, V1_IS_2, source=source, scored_at=START + DAY / 2),
        )],
        dict.fromkeys("abc", {"features": '{"V1": 2.0}'}),
    ),
    # However often an event was scored, by redelivery, by another version, online, it
    # is one row: the first.
    "scored again": (
        [inference("a", START, V1_IS_1), inference("a", START, V1_IS_1),
         inference("a", START, V1_IS_2, scored_at=START + DAY, model_version=1),
         inference("a", START, source="online", scored_at=START + 3 * DAY)],
        {"a": {"features": '{"V1": 1.0}'}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_training_row_is_an_event_with_the_truth_that_counts(deployment, case):
    rows, expected = CASES[case]
    add(deployment, *rows)

    found = training_rows(deployment)
    assert {
        event: {name: row[name] for name in expected.get(event, {})}
        for event, row in found.items()
    } == expected


def test_a_training_row_leaves_out_what_is_found_or_logged_later(deployment):
    """What the day did not know does not count, nor does it make a conflict. What was
    logged on the as-of date itself is in, if it happened before."""
    add(
        deployment,
        inference("a", START, scored_at=MIDNIGHT + DAY - SECOND),
        inference("b", START, scored_at=MIDNIGHT + DAY),
        found(2, 0),
        found(20, 1),
    )
    [row] = training_rows(deployment).values()
    later = training_rows(deployment, as_of=AS_OF + DAY)

    assert {name: row[name] for name in known(0)} == known(0)
    assert {event: row["label"] for event, row in later.items()} == {"a": 1, "b": None}


def test_a_training_row_stands_for_those_left_out(deployment):
    """Beyond the most rows, which they never are, frauds stay while they are less than
    half of them; the others weigh what they stand for."""
    add(deployment, *(inference(f"t{n}", START) for n in range(400)))
    add(deployment, *(truth(f"t{n}", START + DAY, int(n < 20)) for n in range(200)))
    rows = training_rows(deployment, maximum_rows=120)
    frauds = [row for row in rows.values() if row["label"] == 1]
    others = [row for row in rows.values() if row["label"] != 1]

    assert len(frauds) == 20
    assert {row["weight"] for row in frauds} == {1.0}
    assert 95 <= len(others) <= 100
    assert sum(row["weight"] for row in others) == pytest.approx(380)
    assert set(training_rows(deployment, maximum_rows=120)) == set(rows)
