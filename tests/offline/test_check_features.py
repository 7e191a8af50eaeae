"""
check_features, specified: it finds users whose features are not those of their events.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from commands.cli import main
from offline import check_features
from tests.events import bet, registration
from tests.functions.conftest import entered
from tests.functions.streaming import Site, new_site, rows_of

USERS = ("ana", "ben", "cem")


@contextlib.contextmanager
def streamed(emulators) -> Iterator[Site]:
    """A stream of three users, half of it compacted."""
    with new_site(emulators) as made:
        now = datetime.now(UTC)
        events = [
            event
            for user in USERS
            for event in (
                registration(user_id=user),
                bet(user_id=user, event_id="b1", bet_amount=0.1),
                bet(user_id=user, event_id="b2", bet_amount=999_999_999.99),
            )
        ]
        made.append(rows_of(events, received_at=now - timedelta(hours=2)))
        made.compact(now - timedelta(hours=1))
        late = [bet(user_id=user, event_id="b3") for user in USERS[:2]]
        made.append(rows_of(late, received_at=now))
        yield made


@pytest.fixture(scope="module")
def site(emulators) -> Iterator[Site]:
    """What tests leave as it is."""
    with streamed(emulators) as made:
        yield made


@pytest.fixture
def own(emulators) -> Iterator[Site]:
    """What a test may change."""
    with streamed(emulators) as made:
        yield made


@pytest.fixture
def check(site, capsys) -> Any:
    """Run the command, and return its status and what it prints."""

    def run(*arguments: str, of: Site = site) -> tuple[int, str, str]:
        with entered(of.environment):
            status = main(["check-features", *arguments])
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


def damage(site: Site, by: str) -> None:
    """Make a user's row say what the events do not."""
    change = "UPDATE stream_users SET bet_sum = bet_sum + CAST(@by AS NUMERIC)"
    site.warehouse.execute(f"{change} WHERE user_id = 'cem'", {"by": by})


@pytest.fixture
def damaged(site) -> Iterator[str]:
    """A user whose row is wrong."""
    damage(site, "0.01")
    yield "cem"
    damage(site, "-0.01")


class TestCheck:
    def test_finds_nothing_where_all_is_exact(self, check):
        """Tiles, and what came since, are what one computation makes of all events."""
        status, out, _ = check()

        assert status == 0
        assert out == "first_day_churn: 3 users, 0 differ\n"

    def test_finds_a_cent(self, check, damaged):
        """A user who differs in the last digit is shown by features, not by name."""
        status, out, _ = check()

        assert status == 1
        [first, shown] = out.splitlines()
        assert first == "first_day_churn: 3 users, 1 differ"
        assert re.search(
            r"bet_sum 1000000000\.10\d* in the view, 1000000000\.09\d* anew", shown
        )
        assert "bet_mean" in shown
        assert "bet_count" not in shown
        assert damaged not in out

    def test_finds_a_user_who_is_lost(self, check, own):
        """Events that came are missing; a forced compaction counts them again."""
        for table in ("stream_users", "stream_features_daily"):
            own.warehouse.execute(f"DELETE FROM {table} WHERE user_id = 'ben'")

        found = check_features.compare(
            own.warehouse, "first_day_churn", now=datetime.now(UTC)
        )
        own.compact(datetime.now(UTC), force=True)

        assert found.users == 3
        assert found.differing["ben"]["bet_count"] == (1, 3)
        assert found.differing["ben"]["city"] == (None, "Aberdeen")
        assert check(of=own)[0] == 0

    def test_tells_late_events_from_faults(self, own, check):
        """What the next compaction counts is told, and is no difference."""
        damage(own, "0.01")
        now = datetime.now(UTC)
        old = bet(user_id="ana", event_id="old", event_time="1999-01-01T12:00:00Z")
        lateness = timedelta(days=30)
        own.append(rows_of([old], received_at=now, lateness=lateness))

        before = check(of=own)
        own.compact(now + timedelta(minutes=1))
        after = check("--show", "0", of=own)

        assert before[0] == 1
        assert before[1].splitlines()[:2] == [
            "first_day_churn: 3 users, 1 differ",
            "  1 more wait for the next compaction, by late events",
        ]
        assert after[:2] == (1, "first_day_churn: 3 users, 1 differ\n")

    def test_says_what_is_missing(self, check, own):
        """Without its tables it says so, and that is not a difference."""
        own.warehouse.drop("stream_events")
        status, out, err = check(of=own)

        assert (status, out) == (2, "")
        assert "does not find a table" in err

    def test_refuses_a_use_case_that_there_is_not(self, check):
        """A name that no folder has is told apart from a use case without users."""
        status, _, err = check("--use-case", "no_such_case")

        assert status == 2
        assert "no_such_case" in err

    def test_refuses_a_use_case_without_streamed_features(self, check):
        """That nobody of no users differs says nothing."""
        status, out, err = check("--use-case", "ga4_purchase")

        assert (status, out) == (2, "")
        assert "ga4_purchase takes no events of the stream" in err
