"""compact_features that is cut off or killed, specified: the next run completes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from threading import Event
from typing import Any

import pytest
import requests

from propensity.errors import Unfinished
from propensity.runs.compact import DAYS_AT_ONCE, compact
from propensity.runs.watermark import read_watermark
from tests.events import bet
from tests.functions.compacted_site import (
    DAY,
    HOUR,
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
    Died,
    Life,
    Site,
    mortal_run,
    new_site,
    rows_of,
)
from tests.proxy import Asked, Proxy

pytestmark = pytest.mark.runs

# Fixtures.
__all__ = ["shared", "site"]

# A lease outlives a run that died; the next run may begin then.
LEASE = timedelta(minutes=66)


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
        Events of 8 or 120 days, and every run has time for one step.

        Each run goes on where the last one stopped, and answers what is left; a second
        forced run does not begin anew.
        """
        with new_site(emulators) as other:
            self.fill(other, days)
            other.compact(NOW + 41 * DAY)
            whole = self.state(other)
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
        stored = site.artifacts.read(name)
        note = json.loads(stored.data)
        note["expires_at"] = "2026-01-01T00:00:00.000000+00:00"
        data = json.dumps(note).encode()
        site.artifacts.replace(name, data, generation=stored.generation)
