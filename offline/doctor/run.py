"""Run every check, one after the other, and report."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from google.api_core import exceptions as api
from google.auth import exceptions as auth

from offline.doctor.checks import (
    check_champions,
    check_dead_letters,
    check_export,
    check_rights,
    check_settings,
    check_sources,
)
from offline.doctor.report import ERROR, Examination, Finding, Report
from offline.doctor.runs import check_runs, moment_of_play
from propensity import usecases
from propensity.errors import (
    ArtifactError,
    PropensityError,
    RequestError,
    SettingsError,
)
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.registry.loading import find_promoted
from propensity.registry.versions import Registry
from propensity.settings import Settings
from propensity.timeframe import midnight
from propensity.usecases import UseCase

DAY = timedelta(days=1)
# The longest wait for an answer of a service.
PATIENCE_S = 10

CHECKS: Mapping[str, Callable[[Examination], None]] = {
    "settings": check_settings,
    "rights": check_rights,
    "export": check_export,
    "sources": check_sources,
    "champions": check_champions,
    "runs": check_runs,
    "dead letters": check_dead_letters,
}


def examine(
    exam: Examination, *, tell: Callable[[str], None] = lambda _: None
) -> Report:
    """
    Run every check, also after one that failed.

    Args:
        tell: Called with the name of each check, before it runs.
    """
    report = exam.report
    report.place = f"{exam.settings.project}.{exam.settings.dataset}"
    report.as_of = _minute(exam.now)
    for name, check in CHECKS.items():
        tell(name)
        exam.check = name
        report.checks.append(name)
        try:
            check(exam)
        except RequestError:
            raise
        except PropensityError as error:
            report.failed[name] = error.message
        except Exception as error:
            # The only place that catches everything: an unexpected error in one check
            # must not hide the findings of the others.
            report.failed[name] = f"{type(error).__name__}: {error}".partition("\n")[0]
    return report


def run(
    *,
    use_cases: Sequence[str] = (),
    as_of: date | None = None,
    zone: ZoneInfo,
    function: str = "",
    addresses: Mapping[str, str] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Report:
    """
    Examine what the environment names.

    Args:
        use_cases: Names of those to look at; by default the setting's and all with a
            champion or a promoted version.
        as_of: Look as if that day had just ended; now by default.
        function: Target of the function whose tables have to be readable.
        addresses: Addresses of a local run's functions, by target.

    Raises:
        RequestError: There is no such use case or function.
    """
    now = midnight(as_of + DAY) if as_of else datetime.now(UTC)
    try:
        chosen = Settings.from_environment()
        chosen.required("bucket")
    except SettingsError as error:
        finding = Finding(
            check="settings",
            severity=ERROR,
            what=error.message,
            advice="docs/settings.md has every setting, its default and its bounds",
        )
        return Report(
            place="the settings of this environment",
            as_of=_minute(now),
            checks=["settings"],
            findings=[finding],
        )
    settings = replace(chosen, deadline_s=min(PATIENCE_S, chosen.deadline_s))
    named = [usecases.load(name) for name in dict.fromkeys(use_cases)]
    with (
        contextlib.closing(Warehouse.open(settings)) as warehouse,
        contextlib.closing(Artifacts.open(settings)) as artifacts,
    ):
        if addresses and not as_of:
            with contextlib.suppress(PropensityError):
                now = moment_of_play(artifacts, settings.use_case, now)
        exam = Examination(
            settings=settings,
            warehouse=warehouse,
            artifacts=artifacts,
            now=now,
            use_cases=named or [*_serving(settings, warehouse, artifacts)],
            zone=zone,
            function=function,
            addresses=addresses or {},
        )
        return examine(exam, tell=tell)


def _serving(
    settings: Settings, warehouse: Warehouse, artifacts: Artifacts
) -> Iterator[UseCase]:
    """Yield the setting's use case and those that serve, or should."""
    for name in usecases.names():
        is_there = name == settings.use_case
        # What does not answer is said by the checks.
        with contextlib.suppress(
            PropensityError, api.GoogleAPIError, auth.GoogleAuthError
        ):
            try:
                is_there |= Registry(artifacts, name).find_champion() is not None
            except ArtifactError:
                is_there = True  # a damaged pointer
            is_there = is_there or find_promoted(warehouse, name) is not None
        if is_there:
            yield usecases.load(name)


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
