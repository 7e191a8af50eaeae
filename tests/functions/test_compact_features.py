"""
compact_features, specified: over HTTP as it is deployed, and killed at every step.

What the tiles hold is the matter of ``tests/test_compaction.py``; here it is that a run
can be repeated, die anywhere and exclude others, and what it exports.
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

from local.synthesize_games import expected_features
from propensity import tables
from propensity.artifacts import Artifacts
from propensity.compaction import compact
from propensity.registry import Registry
from propensity.warehouse import Warehouse
from tests.events import bet, registration
from tests.functions.streaming import (
    DEADLINE_S,
    Instance,
    Site,
    eventually,
    new_site,
    rows_of,
)
from tests.proxy import Asked, Proxy

NOW = datetime(2026, 3, 20, 10, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
# A lease outlives a run that died; the next run may begin then.
LEASE = timedelta(minutes=66)


@pytest.fixture
def site(emulators) -> Iterator[Site]:
    """Tables and a bucket for one test alone."""
    with new_site(emulators) as made:
        yield made


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


class Died(BaseException):
    """The process has ended; nothing it does after that happens."""


class Life:
    """Counts what a process asks of others, until it dies before one of them."""

    def __init__(self, ends_at: int) -> None:
        self.ends_at = ends_at
        self.asked = 0

    def step(self) -> None:
        """Go on, or die; who is dead stays so."""
        self.asked += 1
        if self.asked >= self.ends_at:
            raise Died


class MortalWarehouse(Warehouse):
    """BigQuery, for a process that may die."""

    life: Life

    def rows(self, *arguments: Any) -> Any:
        self.life.step()
        return super().rows(*arguments)

    def execute(self, *arguments: Any) -> int:
        self.life.step()
        return super().execute(*arguments)

    def replace_view(self, name: str, sql: str) -> None:
        self.life.step()
        super().replace_view(name, sql)


class MortalArtifacts(Artifacts):
    """Cloud Storage, for a process that may die."""

    life: Life

    def find(self, name: str) -> Any:
        self.life.step()
        return super().find(name)

    def _write(self, *arguments: Any, **named: Any) -> int:
        self.life.step()
        return super()._write(*arguments, **named)

    def names(self, prefix: str) -> list[str]:
        self.life.step()
        return super().names(prefix)

    def delete(self, name: str) -> None:
        self.life.step()
        super().delete(name)


def mortal_run(site: Site, began_at: datetime, life: Life) -> Any:
    """Return a run that ends when its life does."""
    warehouse = MortalWarehouse(site.settings, client=site.warehouse.client)
    with site.workplace.storage.client() as client:
        bucket = client.bucket(site.workplace.bucket)
        artifacts = MortalArtifacts(bucket, deadline_s=30.0)
    warehouse.life = artifacts.life = life
    registry = Registry(artifacts, "stream")
    return site.run(began_at, warehouse=warehouse, registry=registry)


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
