"""Run every check, one after the other, and report."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any

from offline.doctor import checks
from offline.doctor.examination import ERROR, Examination, Finding
from offline.doctor.runs import check_runs, moment_of_play
from propensity import usecases
from propensity.errors import PropensityError, RequestError, SettingsError
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.registry.versions import Registry
from propensity.settings import Settings
from propensity.timeframe import DAY, midnight
from propensity.usecases import UseCase

# The longest wait for an answer of a service.
PATIENCE_S = 10

CHECKS: Mapping[str, Callable[[Examination], None]] = {
    "settings": checks.check_settings,
    "rights": checks.check_rights,
    "export": checks.check_export,
    "sources": checks.check_sources,
    "champions": checks.check_champions,
    "runs": check_runs,
    "dead letters": checks.check_dead_letters,
}


@dataclass
class Report:
    """Findings; ``failed`` has checks that could not be made, with the reason."""

    place: str = ""
    as_of: str = ""
    checks: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """The exit status."""
        return 1 if self.findings else 2 if self.failed else 0

    def fields(self) -> dict[str, Any]:
        """Return the report for a program."""
        return {"status": self.status, **asdict(self)}

    def __str__(self) -> str:
        parts = [f"{self.place}, {self.as_of}"]
        for one in sorted(self.findings, key=lambda finding: finding.severity):
            what = f"{one.severity.upper():8}{one.check}: {one.what}"
            parts.append(f"{what}\n        What to do: {one.advice}")
        for check, why in self.failed.items():
            parts.append(f"{check} could not be examined: {why}")
        wrong = sum(one.severity == ERROR for one in self.findings)
        summary = f"errors: {wrong}, warnings: {len(self.findings) - wrong}"
        if not self.findings:
            summary = "nothing wrong was found" if self.failed else "nothing is wrong"
        return "\n\n".join([*parts, f"{', '.join(self.checks)}: {summary}."])


def examine(exam: Examination) -> Report:
    """Run every check, also after one that failed."""
    place = f"{exam.settings.project}.{exam.settings.dataset}"
    report = Report(place, f"{exam.now:%Y-%m-%d %H:%M} UTC", findings=exam.findings)
    for name, check in CHECKS.items():
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
    as_of: date | None = None,
    function: str = "",
    is_local: bool = False,
    ended: Sequence[str] = (),
) -> Report:
    """
    Examine what the environment names: its use case, and all with a champion.

    Args:
        as_of: Look as if that day had just ended; now by default.
        function: Target of the function whose tables have to be readable.
        is_local: Whether it is a local state, where nothing runs by schedule.
        ended: Processes of that state which have ended by themselves.

    Raises:
        RequestError: There is no such function.
    """
    now = midnight(as_of + DAY) if as_of else datetime.now(UTC)
    try:
        chosen = Settings.from_environment()
        chosen.required("bucket")
    except SettingsError as error:
        advice = "docs/settings.md has every setting, its default and its bounds"
        finding = Finding("settings", ERROR, error.message, advice)
        place = "the settings of this environment"
        return Report(place, str(now.date()), ["settings"], [finding])
    settings = replace(chosen, deadline_s=min(PATIENCE_S, chosen.deadline_s))
    with (
        contextlib.closing(Warehouse.open(settings)) as warehouse,
        contextlib.closing(Artifacts.open(settings)) as artifacts,
    ):
        if is_local and not as_of:
            with contextlib.suppress(PropensityError):
                now = moment_of_play(artifacts, settings.use_case, now)
        exam = Examination(
            settings=settings,
            warehouse=warehouse,
            artifacts=artifacts,
            now=now,
            use_cases=[*_serving(settings, artifacts)],
            function=function,
            is_local=is_local,
        )
        report = examine(exam)
    if is_local:
        report.checks.append("processes")
    for process in ended:
        what, advice = f"{process} has ended", "make down, then make up"
        report.findings.append(Finding("processes", ERROR, what, advice))
    return report


def _serving(settings: Settings, artifacts: Artifacts) -> Iterator[UseCase]:
    """Yield the setting's use case and those with a pointer."""
    for name in usecases.names():
        is_there = name == settings.use_case
        # What does not answer is said by the checks.
        with contextlib.suppress(PropensityError):
            pointer = artifacts.find(Registry(artifacts, name).pointer)
            is_there = is_there or pointer is not None
        if is_there:
            yield usecases.load(name)
