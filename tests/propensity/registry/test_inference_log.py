"""Which scores are one inference, and what a row of the log holds of each."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

from msgspec import structs

from propensity import usecases
from propensity.registry.inference_log import ONLINE, STREAM, Events, inference_id

CARDS = usecases.load("card_fraud")
PLAYERS = usecases.load("first_day_churn")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = date(2026, 3, 1)


def event(source: str, **changes: object) -> Events:
    """One event, as it is scored on the stream or online."""
    of_one = Events(
        source=source,
        event_ids=["e"],
        user_ids=["u"],
        times=[NOON],
        features=["{}"],
        latencies_ms=[None],
    )
    return structs.replace(of_one, **changes)  # type: ignore[arg-type]


class TestInferenceId:
    def test_is_one_for_a_use_case_event_and_version(self):
        """Another of any is another."""
        ids = {
            inference_id(replace(CARDS, name=name), event_id, version)
            for name in ("a", "ab")
            for event_id in ("b", "bb")
            for version in (0, 1)
        }

        assert len(ids) == 8

    def test_is_what_was_logged_before(self):
        """A transaction's is the one that its scores by HTTP always had."""
        assert inference_id(CARDS, "c0ffee01", 3) == (
            "2f797b1d8bfec65d12c8ba0585e18174d16fad5bd2533f277f6473ab94196f35"
        )

    def test_of_a_scored_event_knows_no_user_and_no_day(self):
        """A transaction's id is unique in its use case, whoever names whom and when."""
        names = {
            inference_id(CARDS, "e", 1),
            inference_id(CARDS, "e", 1, user_id="u", day=DAY),
            inference_id(CARDS, "e", 1, user_id="v", day=date(2026, 3, 2)),
        }

        assert len(names) == 1

    def test_of_a_user_s_event_knows_user_and_day(self):
        """An id names one event of one user on one day: others are others."""
        names = {
            inference_id(PLAYERS, "e", 1, user_id=user, day=day)
            for user in ("u", "v")
            for day in (DAY, date(2026, 3, 2))
        }

        assert len(names) == 4
        assert inference_id(PLAYERS, "e", 1) not in names


class TestEvents:
    def test_have_one_identity_by_stream_and_by_http(self):
        """The same transaction, or the same event of a user, is the same inference."""
        by_itself = event(
            ONLINE, user_ids=["e"], times=[datetime.now(UTC)], has_users=False
        )

        assert event(STREAM).inference_ids(CARDS, 1) == by_itself.inference_ids(
            CARDS, 1
        )
        assert event(STREAM).inference_ids(PLAYERS, 1) == event(ONLINE).inference_ids(
            PLAYERS, 1
        )
