"""
functions.toml, specified: what Cloud Run and the scheduler are told is what the code
needs.
"""

from __future__ import annotations

import pytest

from deploy import DeploymentError, configuration, functions
from deploy.functions import SUBSCRIPTIONS
from propensity.registry.leases import DURATION
from propensity.settings import DEAD_LETTERS, ENRICHED, EVENTS, Settings
from tests.deploy.conftest import SETTINGS

EVERY = functions.load()
BY_TARGET = {function.target: function for function in EVERY}
ZONES = (
    "Etc/UTC",
    "Pacific/Kiritimati",
    "Etc/GMT+12",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "America/St_Johns",
    "Europe/Berlin",
    "America/New_York",
    "Africa/Casablanca",
)
# Cloud Scheduler waits no longer for an answer.
ATTEMPT_DEADLINE_S = 1800
# https://cloud.google.com/run/docs/configuring/max-instances-limits: a service may not
# have more instances than fit; CpuAllocPerProjectRegion and MemAllocPerProjectRegion.
NEW_PROJECT_CPUS = 20
NEW_PROJECT_GIB = 40
GIB = {"512Mi": 0.5, "1Gi": 1, "2Gi": 2, "4Gi": 4, "8Gi": 8}


@pytest.mark.parametrize("function", EVERY, ids=lambda function: function.target)
def test_every_function_fits_a_new_project(function):
    """Cloud Run refuses more instances than the quota of a region has processors and
    memory for: 20 and 40 GiB in a project that has asked for no more. A push is
    answered before it comes again, and what the scheduler or Pub/Sub calls takes no
    request from outside."""
    instances = int(function.flags["max-instances"])
    is_called = bool(function.schedule or function.subscriptions)

    assert instances * int(function.flags["cpu"]) <= NEW_PROJECT_CPUS
    assert instances * GIB[function.flags["memory"]] <= NEW_PROJECT_GIB
    assert function.is_public == (not is_called)
    for subscription in function.subscriptions:
        assert int(function.flags["timeout"]) <= subscription.acknowledge_s


def patience_s(target: str) -> int:
    """Seconds from the first call of the clock to the last, where each fails at once:
    pauses double up to the longest."""
    flags = BY_TARGET[target].schedule.flags
    least, most = (int(flags[f"{one}-backoff"].rstrip("s")) for one in ("min", "max"))
    retries = int(flags["max-retry-attempts"])
    return sum(min(least * 2**n, most) for n in range(retries))


@pytest.mark.parametrize("function", EVERY, ids=lambda function: function.target)
def test_a_killed_run_begins_again_by_schedule(function):
    """The lease of a dead run has ended by then."""
    if function.schedule:
        pause = int(function.schedule.flags["min-backoff"].rstrip("s"))
        assert pause >= DURATION.total_seconds()


class TestTogether:
    def test_predictions_come_after_evaluation_by_the_clock(self):
        """On one date of UTC, which is their date, waits for the export included; and
        when every attempt of the evaluation is over: each may take as long as the
        scheduler waits."""
        retries = BY_TARGET["model_evaluation"].schedule.flags["max-retry-attempts"]
        longest_s = ATTEMPT_DEADLINE_S * (1 + int(retries))
        # These go from the earliest to the latest, with half and quarter hours.
        for zone in ZONES:
            hours = configuration.of({**SETTINGS, "DEPLOY_TIME_ZONE": zone}).hours
            first = hours["model_evaluation"]
            later = hours["predictions"]

            assert longest_s + patience_s("model_evaluation") <= 3600 * (later - first)
            assert first >= 0
            assert 3600 * later + patience_s("predictions") < 24 * 3600

    def test_calls_by_the_clock_end_before_they_are_of_another_day(self):
        """A call of the evening is repeated after midnight, and still of its day: a run
        believes a schedule of the day before, and of no earlier one."""
        for zone in ZONES:
            hours = configuration.of({**SETTINGS, "DEPLOY_TIME_ZONE": zone}).hours
            for target, hour in hours.items():
                retries = BY_TARGET[target].schedule.flags["max-retry-attempts"]
                longest_s = ATTEMPT_DEADLINE_S * (1 + int(retries))

                assert 3600 * hour + patience_s(target) + longest_s < 48 * 3600

    @pytest.mark.parametrize(
        ("days", "predictions", "evaluation"),
        [("", "MON", "MON"), ("daily", "*", "MON"), ("SAT,WED", "SAT,WED", "WED")],
    )
    def test_predictions_come_on_the_days_of_the_settings(
        self, days, predictions, evaluation
    ):
        """And the overview; and the evaluation once a week, on one of them."""
        of_days = configuration.of({**SETTINGS, "DEPLOY_PREDICTION_DAYS": days}).days

        assert of_days == {
            "predictions": predictions,
            "model_evaluation": evaluation,
            "overview": predictions,
        }
        for name in of_days:
            cron = BY_TARGET[name].schedule.flags["schedule"]
            assert cron.endswith("* * $days")

    def test_the_compaction_comes_every_24_hours(self):
        """A zone's days are of 23 and of 25 hours, and some lack an hour: a run would
        be left out, or an absence told that is none. So no schedule is in one."""
        for function in filter(lambda one: one.schedule, BY_TARGET.values()):
            assert function.schedule.flags["time-zone"] == "Etc/UTC"

    @pytest.mark.parametrize(
        "target", ["model_training", "predictions", "model_evaluation"]
    )
    def test_runs_are_called_again_for_longer_than_they_wait(self, target):
        """For the export's newest day: the last attempt goes on without it."""
        assert patience_s(target) > 60 * Settings(project="p").export_wait_minutes

    def test_retries_outlast_a_training(self):
        """When the scheduler has given up waiting, it asks again until the training is
        over: the lease answers 409 while it runs, and its result then."""
        longest_s = int(BY_TARGET["model_training"].flags["timeout"])

        assert ATTEMPT_DEADLINE_S + patience_s("model_training") > longest_s


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('reads = ["ma_prediction_table"]', "ma_prediction_table"),
        ('publishes = ["event"]', "event"),
    ],
)
def test_rights_on_what_there_is_not_are_refused(tmp_path, line, told):
    file = tmp_path / "functions.toml"
    file.write_text(f'[predictions]\nfolder = "01-Predictions"\n{line}')

    with pytest.raises(DeploymentError, match=told):
        functions.load(file)


def test_no_topic_is_left_unread():
    """What comes in is pushed, what is enriched is scored, and what was given up waits
    to be pulled; each function is there."""
    readers = {one.topic: one.function for one in SUBSCRIPTIONS}

    assert readers == {
        EVENTS: "stream_features", ENRICHED: "score_stream", DEAD_LETTERS: "",
    }  # fmt: skip
    assert {*readers.values()} - {""} <= {one.target for one in EVERY}
