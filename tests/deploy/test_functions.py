"""
functions.toml, specified: what Cloud Run and the scheduler are told is what the code
needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy import DeploymentError, configuration, functions
from propensity import usecases
from propensity.errors import UseCaseError
from propensity.registry.leases import DURATION
from propensity.settings import Settings
from tests.deploy.conftest import SETTINGS
from tests.support import own_use_cases

EVERY = functions.load()
BY_TARGET = {function.target: function for function in EVERY}
# Cloud Scheduler waits no longer for an answer.
ATTEMPT_DEADLINE_S = 1800
# https://cloud.google.com/run/docs/configuring/max-instances-limits: a service may not
# have more instances than fit; CpuAllocPerProjectRegion and MemAllocPerProjectRegion.
NEW_PROJECT_CPUS = 20
NEW_PROJECT_GIB = 40


@pytest.mark.parametrize("function", EVERY, ids=lambda function: function.target)
def test_every_function_fits_a_new_project(function):
    """Cloud Run refuses more instances than the quota of a region has processors and
    memory for: 20 and 40 GiB in a project that has asked for no more. A push is
    answered before it comes again, and what the scheduler or Pub/Sub calls takes no
    request from outside."""
    instances = int(function.flags["max-instances"])
    is_called = bool(function.schedule or function.subscriptions)

    assert instances * int(function.flags["cpu"]) <= NEW_PROJECT_CPUS
    memory_gib = int(function.flags["memory"].removesuffix("Gi"))
    assert instances * memory_gib <= NEW_PROJECT_GIB
    assert function.is_public == (not is_called)
    for subscription in function.subscriptions:
        assert int(function.flags["timeout"]) <= subscription.acknowledge_s


def pauses_s(target: str) -> list[int]:
    """Seconds before each further call of the clock: they double up to the longest."""
    flags = BY_TARGET[target].schedule.flags
    least = int(flags["min-backoff"].rstrip("s"))
    most = int(flags["max-backoff"].rstrip("s"))
    retries = int(flags["max-retry-attempts"])
    return [min(least * 2**n, most) for n in range(retries)]


@pytest.mark.parametrize(
    ("zone", "begins"),
    [
        ("Pacific/Kiritimati", 5),
        ("Etc/GMT+12", 21),
        ("Asia/Kathmandu", 12),
        ("Europe/Berlin", 16),
    ],
)
def test_runs_are_called_in_the_order_of_what_they_read(zone, begins):
    """On one date of UTC, which is their date: predictions when every attempt of the
    evaluation is over, each as long as the scheduler waits. A call of the evening is
    repeated after midnight, and a run believes a schedule of the day before, and of no
    earlier one."""
    hours = configuration.of({**SETTINGS, "DEPLOY_TIME_ZONE": zone}).hours
    ends_s = {}
    for target, hour in hours.items():
        pauses = pauses_s(target)
        ends_s[target] = 3600 * hour + sum(pauses)
        ends_s[target] += ATTEMPT_DEADLINE_S * (1 + len(pauses))

    # As near to 17:00 of the winter as a day of UTC allows, in summer, too.
    assert hours["predictions"] == begins
    assert hours["model_evaluation"] >= 0
    assert ends_s["model_evaluation"] <= 3600 * hours["predictions"]
    assert 3600 * hours["predictions"] + sum(pauses_s("predictions")) < 24 * 3600
    assert max(ends_s.values()) < 48 * 3600


@contextmanager
def quarter(folder: Path, entry: str) -> Iterator[None]:
    """Have a use case whose outcomes last a quarter, with one more entry."""
    file = folder / "quarter" / "usecase.toml"
    file.parent.mkdir()
    file.write_text(f'like = "ga4_value"\n{entry}\n')
    with own_use_cases.in_folder(folder):
        yield


@pytest.mark.parametrize(
    ("days", "value", "crons"),
    [
        ("daily", "", ("*", "MON", "MON", "MON", "*")),
        ("SAT,WED", "", ("SAT,WED", "WED", "WED", "WED", "SAT,WED")),
        # A use case says its own.
        ("MON", 'prediction_days = "daily"', ("MON", "MON", "*", "MON", "*")),
        ("MON", 'prediction_days = "THU,TUE"', ("MON",) * 2 + ("THU,TUE", "TUE", None)),
    ],
)
def test_each_use_case_has_days_of_its_own(tmp_path, days, value, crons):
    """A quarter is predicted weekly, on the first of the days, unless it says so. The
    overview comes on all of the days, and an evaluation once a week, on one of them;
    a training on the first of the month."""
    written = []
    names = ("ga4_purchase", "quarter")
    chosen = {"DEPLOY_PREDICTION_DAYS": days, "DEPLOY_USE_CASES": " ".join(names)}
    with quarter(tmp_path, value):
        d = configuration.of(SETTINGS | chosen)
        for name in names:
            for target in ("predictions", "model_evaluation"):
                written.append(d.cron(BY_TARGET[target], name))
        written.append(d.cron(BY_TARGET["overview"]))
        training = d.cron(BY_TARGET["model_training"], "quarter")

    assert training.endswith(" 1 * *")
    for cron, expected in zip(written, crons, strict=True):
        assert expected is None or cron.endswith(f" * * {expected}")


@pytest.mark.parametrize("days", ["", "weekly", "MON,", "MON TUE"])
def test_a_use_case_without_days_is_refused(tmp_path, days):
    """It would never be predicted."""
    with (
        quarter(tmp_path, f'prediction_days = "{days}"'),
        pytest.raises(UseCaseError, match=r'prediction_days .*use "daily", or days'),
    ):
        usecases.load("quarter")


@pytest.mark.parametrize("function", [one for one in EVERY if one.schedule])
def test_a_run_is_called_again_once_it_can_succeed(function):
    """The lease of a dead run has ended by then, and no zone's day of 25 hours leaves
    one out. Runs are called for longer than they wait for the export's newest day, and
    than a training takes."""
    target = function.target
    pauses = pauses_s(target)

    assert pauses[0] >= DURATION.total_seconds()
    assert function.schedule.flags["time-zone"] == "Etc/UTC"
    if target in ("model_training", "predictions", "model_evaluation"):
        assert sum(pauses) > 60 * Settings(project="p").export_wait_minutes
    if target == "model_training":
        assert ATTEMPT_DEADLINE_S + sum(pauses) > int(function.flags["timeout"])


def test_memory_that_one_processor_cannot_have_is_refused(tmp_path):
    """Cloud Run would say so at the end of a deploy."""
    text = functions.FILE.read_text()
    file = tmp_path / "functions.toml"
    file.write_text(text.replace('memory = "1Gi"', 'memory = "8Gi"', 1))
    with pytest.raises(DeploymentError, match="get_proba has memory = 8Gi .* cpu = 2"):
        functions.load(file)

    file.write_text(text.replace('memory = "1Gi"', 'memory = "8Gi"\ncpu = 2', 1))
    assert functions.load(file)
