"""compact_features that fails or is killed, specified: the next run completes it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import pytest
import requests

from propensity.errors import Unavailable
from propensity.gcp.warehouse import Warehouse
from propensity.runs.compact import compact
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


class TestFailed:
    def test_what_comes_between_counts_with_the_rest(self, site):
        """A run that fails in its exports has counted nothing; the next one does all of
        it, each event once."""
        events = [bet(user_id=f"u{n}", event_id="e") for n in range(3)]
        site.append(rows_of(events, received_at=NOW))

        class Broken(Warehouse):
            def execute(self, sql: str, parameters: Any = None) -> int:
                raise Unavailable("BigQuery is busy")

        broken = Broken(site.settings, client=site.warehouse.client)
        with pytest.raises(Unavailable, match="busy"):
            site.compact(NOW + HOUR, warehouse=broken)
        events += [bet(user_id="new"), bet(user_id="u1", event_id="new")]
        site.append(rows_of(events[-2:], received_at=NOW + 2 * HOUR))
        between = view(site)

        site.compact(NOW + DAY)

        assert between == view(site) == features(events)
        assert exported(site) == identities(events)
        assert len(site.tiles()) == 4


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
        assert life.asked > 10

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
