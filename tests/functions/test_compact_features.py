"""
compact_features, specified: over HTTP as it is deployed.

What the tiles hold is the matter of ``tests/propensity/runs/test_compact.py``; here
it is that a run can be repeated and excludes others, and what it exports. Runs that die
are in ``test_compact_features_killed.py``.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pyarrow.parquet as pq
import pytest
import requests

from propensity.registry.versions import Registry
from tests.events import bet, registration
from tests.functions.compacted_site import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    exported,
    features,
    identities,
    run,
    score,
    shared,
    site,
    view,
)
from tests.functions.instances import Instance
from tests.functions.streaming import (
    DEADLINE_S,
    Site,
    changed,
    eventually,
    new_site,
    rows_of,
)

pytestmark = pytest.mark.runs

# Fixtures.
__all__ = ["shared", "site"]


@pytest.fixture(scope="module")
def served(emulators, tmp_path_factory) -> Iterator[tuple[Site, Instance]]:
    """The function as it is deployed, and the site that it works in."""
    home = tmp_path_factory.mktemp("compact_features")
    with (
        new_site(emulators) as site,
        Instance("compact_features", site.environment, home) as instance,
    ):
        yield site, instance


class TestServed:
    def test_changes_nothing_the_second_time(self, served):
        """A run over HTTP counts; another one comes to the same. Each is one line of
        the log, which names no user."""
        site, instance = served
        user = "somebody"
        events = [bet(user_id=user, event_id=f"e{n}") for n in range(3)]
        site.append(rows_of([*events, *events], received_at=datetime.now(UTC)))

        first = run(instance)
        line = eventually(instance.lines, "a line is written")[-1]
        tiles = site.tiles(when=False)
        second = run(instance)

        assert (line["function"], line["outcome"]) == ("compactFeatures", "ok")
        assert line["rows_out"] == 1
        assert user not in instance.log()
        assert first["days"] == ["2026-03-01"]
        assert (first["tiles"], first["repeated"]) == (1, False)
        assert (second["tiles"], second["repeated"]) == (1, False)
        assert site.tiles(when=False) == tiles
        assert view(site)[user] == features(events)[user]

    def test_logs_how_old_what_is_published_is(self, served):
        """A line for each use case that ever ran, beside the run's own."""
        site, instance = served
        registry = Registry(site.artifacts, "first_day_churn")
        now = datetime.now(UTC)
        lease = registry.begin(
            "predict",
            now.date() - 9 * DAY,
            run_id="r",
            now=now,
            duration=HOUR,
            again=True,
        )
        registry.finish(lease, {}, at=now)

        run(instance)
        lines = [line for line in instance.lines() if "publication_age_days" in line]

        assert lines[-1] == {
            "severity": "INFO",
            "message": "ages of first_day_churn",
            "function": "compactFeatures",
            "use_case": "first_day_churn",
            "publication_age_days": 9,
        }

    def test_does_what_is_asked_once_of_several_at_a_time(self, served):
        """Of several requests at once one runs, or they run one after another."""
        site, instance = served
        events = [bet(user_id="racing", event_id=f"e{n}") for n in range(5)]
        site.append(rows_of(events, received_at=datetime.now(UTC)))
        bodies = [{}, {}, {"as_of": "2026-03-01"}, {"force": True}]

        with ThreadPoolExecutor(len(bodies)) as pool:
            answers = list(
                pool.map(
                    lambda body: requests.post(
                        instance.url, json=body, timeout=DEADLINE_S
                    ),
                    bodies,
                )
            )

        statuses = {answer.status_code for answer in answers}
        assert 200 in statuses
        assert statuses <= {200, 409}
        run(instance)
        assert [
            row["bet_count"] for row in site.tiles() if row["user_id"] == "racing"
        ] == [5]
        assert view(site)["racing"] == features(events)["racing"]


class TestExports:
    def test_hold_each_event_of_a_closed_day_once(self, site):
        """
        Every day that is over is a folder of Parquet with its events, each once.

        Money is exact in the files, and moments are moments. Name, street and date of
        birth are in none; the age is. Today's events are exported tomorrow.
        """
        events = [
            bet(user_id=f"u{n % 2}", event_id=f"e{n}", event_time=f"{day}T12:00:00Z")
            for n in range(3)
            for day in ("2026-02-28", "2026-03-01")
        ]
        exact = bet(user_id="exact", bet_amount=999_999_999.97)
        closed = [*events, exact, registration(user_id="new")]
        today = bet(user_id="today", event_time="2026-03-20T08:00:00Z")
        site.append(rows_of([*closed, today, *closed[::-1]], received_at=NOW))

        answer = site.compact(NOW)

        assert answer["exported_days"]["stream_events"] == len(exported(site))
        assert exported(site) == identities(closed)
        days = site.exported("stream_events").values()
        rows = {row["user_id"]: row for day in days for row in day}
        assert str(rows["exact"]["amount"]).rstrip("0") == "999999999.97"
        assert rows["exact"]["event_time"] == datetime(
            2026, 3, 1, 12, 0, 0, 250_000, UTC
        )
        assert rows["new"]["age"] == 35
        for name in site.artifacts.names("exports/"):
            data = pq.read_table(io.BytesIO(site.artifacts.read(name).data))
            assert "Muster" not in str(data.to_pylist())

    def test_come_once_a_day_is_over_though_nothing_came_since(self, site):
        """A day that was open when it was last looked at is exported later."""
        event = bet(event_time="2026-03-20T08:00:00Z")
        site.append(rows_of([event], received_at=NOW))
        score(site, "u1", "e1", "2026-03-20", NOW)
        site.compact(NOW + HOUR)
        before = exported(site)

        site.compact(NOW + DAY)

        assert before == {}
        assert exported(site) == identities([event])
        assert list(exported(site, "inference_log")) == ["date=2026-03-20"]
        assert site.compact(NOW + 2 * DAY)["exported_days"]["stream_events"] == 0

    def test_come_of_days_after_an_as_of_date_in_the_past(self, site):
        """A run of an earlier as-of date leaves later days to the next run."""
        events = [bet(event_time=f"2026-03-{day}T08:00:00Z") for day in (10, 11, 12)]
        site.append(rows_of(events, received_at=NOW))

        site.compact(NOW, as_of=date(2026, 3, 11))
        first = exported(site)
        site.compact(NOW + DAY)

        assert list(first) == ["date=2026-03-10"]
        assert exported(site) == identities(events)

    def test_are_made_anew_of_a_day_that_late_events_come_to(self, site):
        """A day's files are replaced as a whole; other days' stay as they are.
        They hold an event once, whenever it is delivered again."""
        events = [
            bet(event_time=f"{day}T08:00:00Z") for day in ("2026-03-01", "2026-03-02")
        ]
        site.append(rows_of(events, received_at=NOW))
        site.compact(NOW + HOUR)
        names = site.artifacts.names("exports/")
        late = bet(event_id="late", event_time="2026-03-01T09:00:00Z")

        site.append(rows_of([late, events[0]], received_at=NOW + DAY))
        site.compact(NOW + DAY)

        assert exported(site) == identities([*events, late])
        kept = set(names) & set(site.artifacts.names("exports/"))
        assert [name for name in names if "date=2026-03-02" in name] == sorted(kept)

    @pytest.mark.long
    def test_are_made_anew_of_every_day_when_forced(self, site):
        """A forced run exports all closed days again, and leaves none doubled."""
        events = [
            bet(event_time=f"{day}T08:00:00Z") for day in ("2026-03-01", "2026-03-02")
        ]
        site.append(rows_of(events, received_at=NOW))
        site.compact(NOW)
        names = site.artifacts.names("exports/")

        answer = site.compact(NOW + DAY, force=True)

        assert answer["exported_days"]["stream_events"] == 2
        assert exported(site) == identities(events)
        assert not set(names) & set(site.artifacts.names("exports/"))

    def test_hold_each_score_once(self, site):
        """A score that was logged twice is exported once, as it was given first."""
        score(site, "u1", "e1", "2026-03-01", NOW)
        score(site, "u1", "e1", "2026-03-01", NOW + MINUTE)
        score(site, "u2", "e1", "2026-03-01", NOW)

        answer = site.compact(NOW + HOUR)

        assert answer["exported_days"] == {"stream_events": 0, "inference_log": 1}
        [rows] = site.exported("inference_log").values()
        assert sorted((row["user_id"], row["scored_at"]) for row in rows) == [
            ("u1", NOW),
            ("u2", NOW),
        ]


class TestLate:
    BOUND = timedelta(days=30)

    @pytest.fixture
    def strict(self, site) -> Iterator[Site]:
        """Tables where an event may be thirty days late."""
        with changed(site, PROPENSITY_MAXIMUM_LATENESS_DAYS="30") as twin:
            yield twin

    def test_events_are_left_out_of_the_exports(self, strict):
        """Those within the bound are exported by day; a bad clock exports nothing."""
        days = ("1971-05-06", "2026-02-17", "2026-02-18", "2026-03-19")
        events = [bet(event_time=f"{day}T08:00:00Z") for day in days]
        strict.append(rows_of(events, received_at=NOW, lateness=self.BOUND))
        for day in days:
            score(strict, "u1", "e1", day, NOW)

        answer = strict.compact(NOW + HOUR)

        assert [str(day) for day in answer["days"]] == list(days)
        assert answer["exported_days"] == {"stream_events": 2, "inference_log": 2}
        for table in ("stream_events", "inference_log"):
            assert [*exported(strict, table)] == [f"date={day}" for day in days[2:]]
        assert strict.features()["u1"]["bet_count"] == 4
        assert strict.compact(NOW + DAY)["exported_days"] == {
            "stream_events": 0,
            "inference_log": 0,
        }

    @pytest.mark.long
    def test_copies_take_nothing_out_of_an_export(self, strict):
        """An event that comes again when it is late stays where it was."""
        first = bet(event_id="first", event_time="2026-03-01T08:00:00Z")
        second = {**first, "event_id": "second"}
        strict.append(rows_of([first], received_at=NOW, lateness=self.BOUND))
        strict.compact(NOW + HOUR)
        later = NOW + 60 * DAY
        strict.append(rows_of([first, second], received_at=later, lateness=self.BOUND))
        strict.compact(later + HOUR)
        between = exported(strict)

        strict.compact(later + DAY, force=True)

        assert between == exported(strict) == identities([first])
        assert strict.features()["u1"]["bet_count"] == 2

    def test_events_are_marked_in_the_table_and_not_in_the_files(self, strict):
        """An export has the columns that it had; the mark would be the same in all."""
        events = [bet(), bet(event_id="e2", event_time="1971-05-06T08:00:00Z")]
        strict.append(rows_of(events, received_at=NOW, lateness=self.BOUND))
        strict.compact(NOW)

        marks = strict.rows("SELECT event_id, is_late FROM stream_events")
        assert {row["event_id"]: row["is_late"] for row in marks} == {
            "e1": False,
            "e2": True,
        }
        [[row]] = strict.exported("stream_events").values()
        assert "is_late" not in row
