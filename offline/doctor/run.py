"""Run every check, one after the other, and report."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from google.auth import exceptions as auth

from offline.doctor.champions import check_champions
from offline.doctor.examination import (
    DAY,
    PATIENCE_S,
    Check,
    Examination,
    reaching,
)
from offline.doctor.export import check_export
from offline.doctor.layout import check_tables, check_views
from offline.doctor.leases import moment_of_play
from offline.doctor.report import ERROR, Finding, Report, Unknown, moment_text
from offline.doctor.rights import check_permissions, check_settings
from offline.doctor.schedule import check_runs
from offline.doctor.stream import check_stream, check_topics
from propensity import usecases
from propensity.errors import ArtifactError, PropensityError, SettingsError
from propensity.registry.loading import find_promoted
from propensity.registry.versions import Registry
from propensity.settings import Settings
from propensity.timeframe import midnight
from propensity.usecases import UseCase

CHECKS: Mapping[str, Check] = {
    "settings": check_settings,
    "permissions": check_permissions,
    "tables": check_tables,
    "views": check_views,
    "export": check_export,
    "champions": check_champions,
    "runs": check_runs,
    "topics": check_topics,
    "stream": check_stream,
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
    settings = exam.settings
    report.place = f"{settings.project}.{settings.dataset}"
    report.as_of = moment_text(exam.now)
    for name, check in CHECKS.items():
        tell(name)
        exam.check = name
        report.checks.append(name)
        try:
            check(exam)
        except PropensityError as error:
            report.failed.append(Unknown(check=name, why=error.message))
        except Exception as error:
            # The only place that catches everything: an unexpected error in one check
            # must not hide the findings of the others.
            why = f"{type(error).__name__}: {error}".partition("\n")[0]
            report.failed.append(Unknown(check=name, why=why))
    return report


def use_cases_of(exam: Examination, named: Sequence[str] = ()) -> list[UseCase]:
    """
    Return the use cases to look at: those named; or the setting's, and all of which a
    version serves or was promoted.

    Raises:
        RequestError: There is no such use case.
    """
    if named:
        return [usecases.load(name) for name in dict.fromkeys(named)]
    serving = set()
    # Where the bucket does not answer, the checks say so.
    with contextlib.suppress(PropensityError, auth.GoogleAuthError):
        for name in usecases.names():
            try:
                champion = Registry(exam.artifacts, name).find_champion()
            except ArtifactError:
                # A use case with a damaged pointer should serve as well.
                serving.add(name)
                continue
            if champion is not None or _was_promoted(exam, name):
                serving.add(name)
    return [usecases.load(name) for name in sorted({exam.settings.use_case, *serving})]


def _was_promoted(exam: Examination, use_case: str) -> bool:
    """Tell whether training has let a version serve; unknown without the table."""
    try:
        return find_promoted(exam.warehouse, use_case) is not None
    except PropensityError:
        return False


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
        use_cases: Names of those to look at; the setting's and all that serve where
            there are none.
        as_of: Look as if that day had just ended; now by default.
        function: Target of the function whose rights are needed; all by default.
        addresses: Addresses of a local run's functions, by target.

    Raises:
        RequestError: There is no such use case.
        PropensityError: The use cases could not be found out.
    """
    now = midnight(as_of + DAY) if as_of else datetime.now(UTC)
    try:
        chosen = Settings.from_environment()
    except SettingsError as error:
        return _refused(error, now)
    settings = replace(
        chosen,
        deadline_s=min(PATIENCE_S, chosen.deadline_s),
    )
    exam = Examination(
        settings=settings,
        now=now,
        use_cases=[usecases.load(settings.use_case)],
        zone=zone,
        function=function,
        is_named=bool(use_cases),
        addresses=addresses or {},
    )
    with contextlib.closing(exam):
        if settings.bucket:
            with reaching("Google Cloud"):
                exam.use_cases = use_cases_of(exam, use_cases)
            if addresses and not as_of:
                # The check that reads it reports the error.
                with contextlib.suppress(PropensityError):
                    exam.now = moment_of_play(exam)
        return examine(exam, tell=tell)


def _refused(error: SettingsError, now: datetime) -> Report:
    """Return the report of an environment whose settings are wrong."""
    advice = "docs/settings.md has every setting, its default and its bounds"
    finding = Finding(
        check="settings", severity=ERROR, what=error.message, advice=advice
    )
    return Report(
        place="the settings of this environment",
        as_of=moment_text(now),
        checks=["settings"],
        findings=[finding],
    )
