"""
Card fraud, specified: which truth counts, and what reaches a training row.

Rows are written as the stream writes them, and the use case's statement is run on them
by the emulator.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from propensity import usecases
from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings
from propensity.tables import every as tables
from tests.conftest import new_workplace
from tests.scored_cards import DAY, START, Row, inference, store, truth

USE_CASE = usecases.load("card_fraud")
AS_OF = (START + 20 * DAY).date()
MIDNIGHT = START + 20 * DAY
DELAY = 7
SECOND = timedelta(seconds=1)


class Log:
    """The two tables, and the training rows that are made of them."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse

    def add(self, *rows: Row) -> None:
        """Append rows, each to its table, in the order given."""
        store(
            self.warehouse,
            [row for row in rows if "inference_id" in row],
            [row for row in rows if "truth_time" in row],
        )

    def clear(self) -> None:
        for table in (tables.INFERENCE_LOG, tables.TRUTH_EVENTS):
            self.warehouse.execute(f"DELETE FROM {table.name} WHERE TRUE")

    def rows(self, **changed: Any) -> dict[str, Row]:
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
        events = self.warehouse.table(sql, parameters).to_pylist()
        by_event = {row["event_id"]: row for row in events}
        assert len(by_event) == len(events)
        return by_event

    def label(self, *truths: Row) -> tuple[Any, bool, str]:
        """Return label, conflict and state of event "a" that these are told of."""
        self.add(inference("a", START), *truths)
        row = self.rows()["a"]
        return row["label"], row["is_conflicting"], row["state"]


@pytest.fixture(scope="module")
def opened(emulators) -> Iterator[Warehouse]:
    place = new_workplace(emulators)
    warehouse = Warehouse.open(Settings.from_environment(place.environment))
    warehouse.create(tables.INFERENCE_LOG)
    warehouse.create(tables.TRUTH_EVENTS)
    yield warehouse
    warehouse.close()


@pytest.fixture
def log(opened) -> Log:
    opened_log = Log(opened)
    opened_log.clear()
    return opened_log


def truth_of_a(label: int, day: float, **changed: Any) -> Row:
    """Return a truth about event "a", found so many days after the start."""
    return truth("a", START + day * DAY, label, **changed)


class TestTruth:
    @pytest.mark.parametrize(
        ("truths", "expected"),
        [
            pytest.param([(1, 1), (0, 2)], (0, True, "known"), id="the latest"),
            pytest.param([(0, 2), (1, 1)], (0, True, "known"), id="in any order"),
            pytest.param([(1, 1), (0, 1)], (1, True, "known"), id="of one moment"),
            pytest.param([(1, 1), (1, 1), (1, 3)], (1, False, "known"), id="repeated"),
            pytest.param([(1, 15)], (1, False, "known"), id="late"),
        ],
    )
    def test_a_truth_that_is_the_latest_counts(self, log, truths, expected):
        """In whatever order they arrive; of one moment a fraud counts. The same said
        twice is no conflict, and an event is unknown only until it is said."""
        assert log.label(*(truth_of_a(*finding) for finding in truths)) == expected

    def test_a_truth_is_joined_by_use_case_and_event(self, log):
        log.add(inference("b", START))

        assert log.label(truth_of_a(1, 1, use_case="other")) == (None, False, "unknown")
        log.add(truth_of_a(1, 1))
        assert (log.rows()["a"]["label"], log.rows()["b"]["label"]) == (1, None)

    def test_a_truth_that_never_comes_is_not_taken_for_no(self, log):
        """After the delay the event is unknown; before it, it is pending."""
        delay = DELAY * DAY
        log.add(
            inference("old", MIDNIGHT - delay),
            inference("young", MIDNIGHT - delay + SECOND),
        )
        rows = log.rows()

        assert {key: (row["state"], row["label"]) for key, row in rows.items()} == {
            "old": ("unknown", None),
            "young": ("pending", None),
        }

    def test_a_truth_may_be_found_before_its_event_is_logged(self, log):
        log.add(truth_of_a(1, 1))
        assert log.rows() == {}

        assert log.label() == (1, False, "known")


class TestPointInTime:
    def test_a_training_row_leaves_out_what_happens_later_or_before_the_lookback(
        self, log
    ):
        """The as-of date's midnight is the first moment that is later."""
        first = MIDNIGHT - USE_CASE.lookback_days * DAY
        log.add(
            inference("at midnight", MIDNIGHT),
            inference("b", MIDNIGHT - SECOND),
            inference("c", first),
            inference("before", first - SECOND),
        )

        assert set(log.rows()) == {"b", "c"}

    def test_a_training_row_leaves_out_what_is_found_later(self, log):
        """Of truths likewise: what the day did not know does not count, nor does it
        make a conflict."""
        assert log.label(truth_of_a(0, 2), truth_of_a(1, 20)) == (0, False, "known")
        assert log.rows(as_of=AS_OF + DAY)["a"]["label"] == 1

    def test_a_training_row_leaves_out_what_is_logged_later(self, log):
        """What came on the as-of date itself is in, if it happened before."""
        log.add(
            inference("a", START, scored_at=MIDNIGHT + DAY - SECOND),
            inference("b", START, scored_at=MIDNIGHT + DAY),
        )

        assert set(log.rows()) == {"a"}
        assert set(log.rows(as_of=AS_OF + DAY)) == {"a", "b"}


def test_a_caller_of_score_cannot_change_what_is_learned_of_an_event(log):
    """What the stream or a file says of it counts, though it was asked for before."""
    for event, source in (("a", "stream"), ("b", "loaded"), ("c", None)):
        log.add(
            inference(event, START, {"V1": 1.0}, source="online"),
            inference(
                event, START, {"V1": 2.0}, source=source, scored_at=START + DAY / 2
            ),
        )

    assert {row["features"] for row in log.rows().values()} == {'{"V1": 2.0}'}


class TestRow:
    def test_a_row_is_one_however_often_an_event_was_scored(self, log):
        """By redelivery, by another version, online: the first counts."""
        again = inference("a", START, {"V1": 1.0})
        log.add(
            again,
            again,
            inference("a", START, {"V1": 2.0}, scored_at=START + DAY, model_version=1),
            inference("a", START, source="online", scored_at=START + 3 * DAY),
        )  # fmt: skip
        [row] = log.rows().values()

        assert row["features"] == '{"V1": 1.0}'

    def test_a_row_is_of_loaded_and_online_events_too(self, log):
        """Where an event came from does not matter to what can be learned of it."""
        sources = ("stream", "online", "loaded")
        log.add(*(inference(source, START, source=source) for source in sources))

        assert set(log.rows()) == set(sources)

    def test_a_row_stands_for_those_left_out(self, log):
        """Beyond the most rows, which they never are, frauds stay while they are less
        than half of them; the others weigh what they stand for."""
        log.add(*(inference(f"t{n}", START) for n in range(400)))
        log.add(*(truth(f"t{n}", START + DAY, int(n < 20)) for n in range(200)))
        rows = log.rows(maximum_rows=120).values()
        frauds = [row for row in rows if row["label"] == 1]
        others = [row for row in rows if row["label"] != 1]

        assert len(frauds) == 20
        assert {row["weight"] for row in frauds} == {1.0}
        assert 95 <= len(others) <= 100
        assert sum(row["weight"] for row in others) == pytest.approx(380)
        assert set(log.rows(maximum_rows=120)) == {row["event_id"] for row in rows}
