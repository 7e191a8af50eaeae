"""
compact_features, specified: over HTTP as it is deployed, and killed at every step.

What the tiles hold is the matter of ``tests/propensity/runs/test_compaction.py``; here
it is that a run can be repeated, die anywhere and exclude others, and what it exports.
"""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from threading import Event
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests

from local.generators.games.features import expected_features
from propensity import tables
from propensity.errors import Unfinished
from propensity.registry.versions import Registry
from propensity.runs.compact import DAYS_AT_ONCE, compact
from propensity.runs.watermark import read_watermark
from tests.events import bet, registration
from tests.functions.streaming import (
    DEADLINE_S,
    Died,
    Instance,
    Life,
    Site,
    changed,
    emptied,
    eventually,
    mortal_run,
    new_site,
    rows_of,
)
from tests.proxy import Asked, Proxy

NOW = datetime(2026, 3, 20, 10, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
# A lease outlives a run that died; the next run may begin then.
LEASE = timedelta(minutes=66)


@pytest.fixture(scope="module")
def shared(emulators) -> Iterator[Site]:
    """Tables and a bucket that are emptied before each test."""
    with new_site(emulators) as made:
        yield made


@pytest.fixture
def site(shared) -> Site:
    """Tables and a bucket with nothing in them."""
    return emptied(shared)


@pytest.fixture(scope="module")
def served(emulators, tmp_path_factory) -> Iterator[tuple[Site, Instance]]:
    """The function as it is deployed, and the site that it works in."""
    home = tmp_path_factory.mktemp("compact_features")
    with (
        new_site(emulators) as made,
        Instance("compact_features", made.environment, home) as instance,
    ):
        yield made, instance


def run(instance: Instance, **body: object) -> dict[str, Any]:
    """Ask for a compaction that must succeed, and return its answer."""
    answer = requests.post(instance.url, json=body, timeout=DEADLINE_S)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def features(events: list[dict[str, Any]]) -> dict[str, tuple[int, Any, Any]]:
    """Return count, sum and variance of each user's bets, as they must be."""
    return {
        user: (row["bet_count"], row["bet_sum"], row["bet_var"])
        for user, row in expected_features(events).items()
    }


def view(site: Site) -> dict[str, tuple[int, Any, Any]]:
    """Return the same as the view has it."""
    return {
        user: (row["bet_count"], row["bet_sum"], row["bet_var"])
        for user, row in site.features().items()
    }


def identities(events: list[dict[str, Any]]) -> dict[str, list[tuple[str, str]]]:
    """Return users and event ids of each day, in order, as its folder has them."""
    found: dict[str, set[tuple[str, str]]] = {}
    for one in events:
        folder = f"date={one['event_time'][:10]}"
        found.setdefault(folder, set()).add((one["user_id"], one["event_id"]))
    return {folder: sorted(each) for folder, each in found.items()}


def exported(site: Site, table: str = "stream_events") -> dict[str, list[Any]]:
    """Return users and event ids that the bucket has of each day."""
    return {
        folder: sorted((row["user_id"], row["event_id"]) for row in rows)
        for folder, rows in site.exported(table).items()
    }


def score(site: Site, user: str, event_id: str, day: str, at: datetime) -> None:
    """Log a score of an event."""
    row = {
        "use_case": "first_day_churn",
        "inference_id": f"{user} {event_id} {day}",
        "event_id": event_id,
        "user_id": user,
        "event_time": datetime.fromisoformat(f"{day}T12:00:00Z"),
        "event_date": date.fromisoformat(day),
        "model_version": 0,
        "probability": 0.5,
        "features": "{}",
        "scored_at": at,
        "scored_on": at.date(),
        "latency_ms": 1.0,
    }
    rows = pa.Table.from_pylist([row], schema=tables.INFERENCE_LOG.arrow_schema())
    site.warehouse.append(tables.INFERENCE_LOG, rows, job_id=f"s{uuid.uuid4().hex}")


class TestServed:
    def test_changes_nothing_the_second_time(self, served):
        """A run over HTTP counts; another one finds nothing to count."""
        site, instance = served
        events = [bet(user_id="served", event_id=f"e{n}") for n in range(3)]
        site.append(rows_of([*events, *events], received_at=datetime.now(UTC)))

        first = run(instance)
        tiles = site.tiles()
        second = run(instance)

        assert first["days"] == ["2026-03-01"]
        assert (first["tiles"], first["repeated"]) == (1, False)
        assert (second["tiles"], second["repeated"]) == (0, False)
        assert site.tiles() == tiles
        assert view(site)["served"] == features(events)["served"]

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

    def test_counts_late_events_of_a_day_that_is_counted(self, served):
        """A day whose events came, and were compacted, takes one that comes later."""
        site, instance = served
        events = [bet(user_id="late", event_id="e1", bet_amount=999_999_999.97)]
        site.append(rows_of(events, received_at=datetime.now(UTC)))
        run(instance)
        events.append(bet(user_id="late", event_id="e2", bet_amount=999_999_999.99))
        site.append(rows_of(events, received_at=datetime.now(UTC)))

        assert run(instance)["tiles"] == 1
        assert view(site)["late"] == features(events)["late"]

    @pytest.mark.parametrize("as_of", [None, "2026-03-01"])
    def test_refuses_to_run_beside_another(self, served, as_of):
        """While one runs another is told so, whatever its as-of date."""
        site, instance = served
        now = datetime.now(UTC)
        lease = Registry(site.artifacts, "stream").begin(
            "compact",
            date(1970, 1, 1),
            run_id="other",
            now=now,
            duration=HOUR,
            again=True,
        )
        try:
            body = {"as_of": as_of} if as_of else {}
            answer = requests.post(instance.url, json=body, timeout=DEADLINE_S)
        finally:
            Registry(site.artifacts, "stream").finish(lease, {}, at=now)

        assert answer.status_code == 409
        assert answer.json()["error"] == "run_in_progress"
        assert answer.json()["retryable"] is True
        assert run(instance)["repeated"] is False

    def test_does_what_is_asked_once_of_several_at_a_time(self, served):
        """Of runs that are asked for at once one runs, or they follow each other."""
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

    def test_takes_posts_only(self, served):
        """Anything but a POST is told what is taken."""
        answer = requests.get(served[1].url, timeout=DEADLINE_S)

        assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")

    @pytest.mark.parametrize(
        ("body", "field"),
        [(b"{", "body"), (b'{"days": 3}', "days"), (b'{"force": 1}', "force")],
    )
    def test_refuses_what_it_does_not_know(self, served, body, field):
        """A request that cannot be understood names its field."""
        answer = requests.post(served[1].url, data=body, timeout=DEADLINE_S)

        assert (answer.status_code, answer.json()["field"]) == (400, field)

    def test_says_in_one_line_what_it_did(self, served):
        """A run is one line of the log, which names no user."""
        site, instance = served
        site.append(rows_of([bet(user_id="logged")], received_at=datetime.now(UTC)))

        run(instance)

        line = eventually(instance.lines, "a line is written")[-1]
        assert (line["function"], line["outcome"]) == ("compactFeatures", "ok")
        assert line["rows_out"] == 1
        assert "logged" not in instance.log()


class TestExports:
    def test_hold_each_event_of_a_closed_day_once(self, site):
        """Every day that is over is a folder of Parquet with its events, each once."""
        events = [
            bet(user_id=f"u{n % 2}", event_id=f"e{n}", event_time=f"{day}T12:00:00Z")
            for n in range(3)
            for day in ("2026-02-28", "2026-03-01")
        ]
        site.append(rows_of([*events, *events[::-1]], received_at=NOW))

        answer = site.compact(NOW)

        assert answer["exported_days"]["stream_events"] == 2
        assert exported(site) == identities(events)

    def test_hold_once_what_was_delivered_twice(self, site):
        """Unlike the archive, which holds an event as often as it came."""
        event = bet(event_time="2026-03-01T08:00:00Z")
        for received in (NOW, NOW + DAY):
            site.append(rows_of([event, event], received_at=received))
            site.compact(received + HOUR)

        assert exported(site) == identities([event])

    def test_hold_no_personal_field(self, site):
        """Name, street and date of birth are in no file; the age is."""
        site.append(rows_of([registration()], received_at=NOW))
        site.compact(NOW)

        [[row]] = site.exported("stream_events").values()
        assert row["age"] == 35
        assert (row["name"], row["street_address"], row["date_of_birth"]) == (None,) * 3
        for name in site.artifacts.names("exports/"):
            data = pq.read_table(io.BytesIO(site.artifacts.read(name).data))
            assert "Muster" not in str(data.to_pylist())

    def test_hold_amounts_as_they_are(self, site):
        """Money is exact in the files, and moments are moments."""
        site.append(rows_of([bet(bet_amount=999_999_999.97)], received_at=NOW))
        site.compact(NOW)

        [[row]] = site.exported("stream_events").values()
        assert str(row["amount"]).rstrip("0") == "999999999.97"
        assert row["event_time"] == datetime(2026, 3, 1, 12, 0, 0, 250_000, UTC)

    def test_leave_out_the_day_that_is_not_over(self, site):
        """Today's events are exported tomorrow."""
        events = [
            bet(event_time=f"{day}T08:00:00Z") for day in ("2026-03-19", "2026-03-20")
        ]
        site.append(rows_of(events, received_at=NOW))

        site.compact(NOW)

        assert list(exported(site)) == ["date=2026-03-19"]

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
        """A day's files are replaced as a whole; other days' stay as they are."""
        events = [
            bet(event_time=f"{day}T08:00:00Z") for day in ("2026-03-01", "2026-03-02")
        ]
        site.append(rows_of(events, received_at=NOW))
        site.compact(NOW + HOUR)
        names = site.artifacts.names("exports/")
        late = bet(event_id="late", event_time="2026-03-01T09:00:00Z")

        site.append(rows_of([late], received_at=NOW + DAY))
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
        with changed(site, PROPENSITY_MAXIMUM_LATENESS_DAYS="30") as made:
            yield made

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


class Hours:
    """A clock that is an hour later each time that a run asks how much has passed."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        self.seconds += 3_600.0
        return self.seconds


class TestCutOff:
    """More to do than a run has time for."""

    @staticmethod
    def events(days: int) -> list[dict[str, Any]]:
        """Return an event of each of so many days."""
        return [
            bet(
                user_id=f"u{n % 7}",
                event_id=f"e{n}",
                event_time=f"{date(2025, 2, 10) + n * DAY}T12:00:00Z",
            )
            for n in range(days)
        ]

    def fill(self, site: Site, days: int) -> list[dict[str, Any]]:
        """Store them as they came in over forty days, and a score; return them."""
        events = self.events(days)
        for part in range(4):
            rows = rows_of(events[part::4], received_at=NOW + 10 * part * DAY)
            site.append(rows)
        score(site, "u1", "e1", "2025-02-11", NOW)
        return events

    def state(self, site: Site) -> Any:
        """Return all that runs have led to, but for when."""
        watermark = read_watermark(site.artifacts)
        return (
            site.tiles(when=False),
            site.users(),
            site.features(),
            exported(site),
            exported(site, "inference_log"),
            (watermark.moment, watermark.open_days, watermark.steps),
        )

    @pytest.mark.timeout(600)
    @pytest.mark.parametrize(
        ("days", "force"),
        [
            pytest.param(8, True, marks=pytest.mark.long),
            pytest.param(120, False, marks=pytest.mark.long),
        ],
    )
    def test_runs_come_to_what_one_run_does(self, emulators, days, force):
        """
        8 or 120 days are touched, and every run has time for one step.

        Each gets further, says what it has left, and the next goes on there; whoever
        asks by force again does not begin anew.
        """
        with new_site(emulators) as one:
            self.fill(one, days)
            one.compact(NOW + 41 * DAY)
            whole = self.state(one)
        with new_site(emulators) as site:
            self.fill(site, days)
            if force:
                site.compact(NOW + 41 * DAY)
            left = [*self.cut_off(site, force=force)]

            assert self.state(site) == whole
        assert len(left) > days // DAYS_AT_ONCE
        assert left == sorted(set(left), reverse=True)

    @staticmethod
    def cut_off(site: Site, **changed: Any) -> Iterator[tuple[int, int]]:
        """Run until all is done, and yield what each run has left."""
        while True:
            try:
                site.compact(NOW + 41 * DAY, clock=Hours(), **changed)
            except Unfinished as error:
                detail: Any = error.detail
                yield detail["steps_left"], sum(detail["days_left"].values())
            else:
                return

    @pytest.mark.long
    def test_moves_the_watermark_while_it_counts(self, site):
        """What is counted is not read again, and the view is exact all the while."""
        events = self.fill(site, 40)
        moments = []
        for _ in self.cut_off(site, as_of=date(1971, 1, 1)):
            moments.append(read_watermark(site.artifacts).moment)
            assert view(site) == features(events)

        assert moments == sorted(moments)
        assert len(set(moments)) > 3

    def test_counts_what_comes_between(self, site):
        """Events that come after a run was cut off are counted, and exported, once."""
        events = self.fill(site, 20)
        with pytest.raises(Unfinished):
            site.compact(NOW + 41 * DAY, clock=Hours())
        events += [
            bet(user_id="new", event_time="2026-04-29T12:00:00Z"),
            bet(user_id="u1", event_id="new", event_time="2025-02-10T12:00:00Z"),
        ]
        site.append(rows_of(events[-2:], received_at=NOW + 41 * DAY + HOUR))
        between = view(site)

        site.compact(NOW + 42 * DAY)

        assert between == view(site) == features(events)
        assert exported(site) == identities(events)

    @pytest.mark.long
    def test_run_answers_what_is_left(self, emulators, tmp_path):
        """503, to be tried again; the log has the same."""
        settings = {"PROPENSITY_QUERY_TIMEOUT_S": "1800"}
        with new_site(emulators, **settings) as made:
            self.fill(made, 20)
            with Instance("compact_features", made.environment, tmp_path) as instance:
                answer = requests.post(instance.url, timeout=DEADLINE_S)
                line = eventually(instance.lines, "a line is written")[-1]

        assert answer.status_code == 503
        body = answer.json()
        assert (body["error"], body["retryable"]) == ("unfinished", True)
        assert body["detail"]["days_left"] == {"stream_events": 20, "inference_log": 1}
        assert body["detail"]["steps_left"] == 4
        assert (line["outcome"], line["status"]) == ("unfinished", 503)


@pytest.mark.long
class TestKilled:
    @pytest.mark.timeout(900)
    def test_at_any_step_a_run_is_completed_by_the_next(self, site):
        """
        A run that dies before any of its steps, then a whole one.

        The view is exact when it has died, and afterwards all is as if it had not:
        tiles, and exports of each event once.
        """
        events: list[dict[str, Any]] = []
        clock = NOW
        for step in range(1, 100):
            clock += LEASE
            # For a tile that there is, for one that is new, and a score.
            events += [
                bet(user_id="always", event_id=f"e{step}"),
                bet(user_id=f"u{step}"),
            ]
            site.append(rows_of(events[-4:], received_at=clock))
            score(site, "always", f"e{step}", "2026-03-01", clock)
            life = Life(step)
            try:
                compact(mortal_run(site, clock, life))
                is_dead = False
            except Died:
                is_dead = True
            assert view(site) == features(events), f"died at step {step}"

            clock += LEASE
            if is_dead:
                site.compact(clock)
                assert view(site) == features(events), f"after dying at step {step}"
            counted = {row["user_id"]: row["bet_count"] for row in site.tiles()}
            assert counted == {
                user: count for user, (count, *_) in features(events).items()
            }
            assert exported(site) == identities(events), f"after dying at step {step}"
            [scored] = exported(site, "inference_log").values()
            assert sorted(scored) == identities(events[::2])["date=2026-03-01"]
            if not is_dead:
                break

        assert not is_dead
        assert life.asked > 15

    def test_for_real_while_bigquery_is_at_work(self, emulators, tmp_path):
        """The process is killed with a statement under way; the next run completes."""
        reached, go_on = Event(), Event()

        def rule(asked: Asked) -> None:
            if b"EXPORT DATA" in asked.body and not reached.is_set():
                reached.set()
                assert go_on.wait(DEADLINE_S)

        with (
            new_site(emulators) as site,
            Proxy(emulators.url("bigquery"), rule) as proxy,
        ):
            events = [bet(user_id=f"u{n}", event_id="e") for n in range(3)]
            site.append(rows_of(events, received_at=datetime.now(UTC)))
            environment = {**site.environment, "BIGQUERY_EMULATOR_HOST": proxy.url}
            instance = Instance("compact_features", environment, tmp_path)
            with instance, ThreadPoolExecutor(1) as pool:
                answer = pool.submit(requests.post, instance.url, timeout=DEADLINE_S)
                assert reached.wait(DEADLINE_S)
                instance.kill()
                with pytest.raises(requests.ConnectionError):
                    answer.result()
                between = view(site)
                go_on.set()
                instance.start()
                refused = requests.post(instance.url, timeout=DEADLINE_S)
                pass_time(site)
                completed = run(instance)

            assert between == features(events)
            assert (refused.status_code, refused.json()["error"]) == (
                409,
                "run_in_progress",
            )
            assert completed["exported_days"]["stream_events"] == 1
            assert view(site) == features(events)
            assert exported(site) == identities(events)
            assert [row["bet_count"] for row in site.tiles()] == [1, 1, 1]


def pass_time(site: Site) -> None:
    """Let the leases of runs that died expire."""
    for name in site.artifacts.names("runs/stream/compact/"):
        found = site.artifacts.read(name)
        note = json.loads(found.data)
        note["expires_at"] = "2026-01-01T00:00:00.000000+00:00"
        data = json.dumps(note).encode()
        site.artifacts.replace(name, data, generation=found.generation)
