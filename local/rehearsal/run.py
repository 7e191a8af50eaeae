"""Rehearse: ask every probe, take everything away, and say what it cost."""

from __future__ import annotations

import contextlib
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from deploy import functions
from local.processes import deferred_signals, ending_on_signals
from local.progress import announced, say
from local.rehearsal.ground import Ground
from local.rehearsal.probes import Finding, Rehearsal, answered
from local.rehearsal.questions import LEAST_BYTES, QUESTIONS
from local.rehearsal.report import Bill, Result
from local.rehearsal.steps import DAYS, STEPS, warehouse_of
from offline import costs
from propensity.errors import PropensityError
from propensity.gcp.clients import RAISED
from propensity.gcp.queries import LABELS, count_of
from propensity.settings import is_setting

PROBES = STEPS + QUESTIONS
# What a build of a function takes, about.
BUILD_MINUTES = 3
# What is expected: statements that read the export, and seconds of runs.
STATEMENTS = 20
RUNS_S = 600


@contextlib.contextmanager
def entered(environment: Mapping[str, str]) -> Iterator[None]:
    """Have these settings in the block, and no others."""
    before = dict(os.environ)
    for name in before:
        if is_setting(name) or name.endswith("_EMULATOR_HOST"):
            del os.environ[name]
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def rehearse(ground: Ground) -> Result:
    """
    Ask every probe, and take everything away, also if it is broken off.

    Raises:
        LocalError: The ground has a deployment, or something could not be taken away.
    """
    rehearsal = Rehearsal(ground=ground, began=datetime.now(UTC))
    findings = list[Finding]()
    with ending_on_signals(), entered(ground.environment):
        ground.begin()
        try:
            for probe in PROBES:
                with announced(probe.name):
                    findings.append(answered(probe, rehearsal))
            bill = billed(rehearsal)
        finally:
            with deferred_signals(), announced("taking everything away"):
                ground.take_away()
    minutes = (datetime.now(UTC) - rehearsal.began).total_seconds() / 60
    say(f"Everything was taken away after {minutes:.0f} minutes")
    return Result(
        ground=ground,
        began=rehearsal.began,
        minutes=minutes,
        findings=findings,
        bill=bill,
        user=rehearsal.user,
    )


def billed(rehearsal: Rehearsal) -> Bill:
    """Return what a rehearsal cost: BigQuery's own statistics, and times of runs."""
    if not rehearsal.ground.is_google:
        return Bill()
    bytes_billed = 0
    # A bill that cannot be read spoils no answer.
    with (
        contextlib.suppress(PropensityError, *RAISED),
        warehouse_of(rehearsal.ground) as warehouse,
    ):
        jobs = warehouse.client.list_jobs(
            all_users=True, min_creation_time=rehearsal.began
        )
        for job in jobs:
            if LABELS.items() <= job.labels.items():
                bytes_billed += count_of(getattr(job, "total_bytes_billed", None))
    seconds = Counter[str]()
    for call in rehearsal.calls:
        seconds[call.target] += math.ceil(call.seconds)
    return priced(bytes_billed, seconds, rehearsal.ground.settings.location)


def priced(bytes_billed: int, seconds: Mapping[str, int], location: str) -> Bill:
    """Return the price of bytes, of seconds by function, and of building all."""
    run_usd = 0.0
    for function in functions.load():
        cpus = float(function.flags["cpu"])
        gib = float(function.flags["memory"].removesuffix("Gi"))
        a_second = cpus * costs.RUN_CPU_S + gib * costs.RUN_GIB_S
        run_usd += seconds.get(function.target, 0) * a_second
    builds = BUILD_MINUTES * len(functions.load())
    return Bill(
        bytes_billed=bytes_billed,
        bigquery_usd=costs.price_of(location) * bytes_billed / costs.TIB,
        run_usd=run_usd,
        build_usd=builds * costs.BUILD_MINUTE,
    )


def planned(
    *, commands: Sequence[str], settings: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """
    Return what a rehearsal would do: settings, questions, permissions, commands, cost.

    Args:
        settings: Of the scratch deployment; None on this machine, which is free.
    """
    bill = Bill()
    if settings is not None:
        size = STATEMENTS * DAYS * LEAST_BYTES
        location = settings["PROPENSITY_LOCATION"]
        bill = priced(size, {"model_training": RUNS_S}, location)
    return {
        "settings": settings,
        "probes": [
            {"probe": probe.name, "about": probe.about, "page": probe.page}
            for probe in PROBES
        ],
        "permissions": permissions(),
        "commands": list(commands),
        "usd": round(bill.usd, 2),
    }


def permissions() -> dict[str, str]:
    """Return what each function may touch."""
    texts = {}
    for function in functions.load():
        parts = {
            "reads": function.reads,
            "appends to": function.appends,
            "writes": function.writes,
            "publishes": function.publishes,
        }
        texts[function.target] = "; ".join(
            f"{verb} {', '.join(names)}" for verb, names in parts.items() if names
        )
    return texts
