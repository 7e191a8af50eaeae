"""Run every check, one after the other, and report."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime

from offline.deployment import opened
from offline.doctor import checks
from offline.doctor.checks import Examination, Finding
from offline.doctor.runs import check_runs
from propensity import usecases
from propensity.errors import PropensityError, SettingsError
from propensity.registry.versions import Registry
from propensity.settings import Settings
from propensity.timeframe import DAY, midnight

# The longest wait for an answer of a service.
PATIENCE_S = 10

CHECKS: Mapping[str, Callable[[Examination], Iterator[Finding]]] = {
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

    place: str
    as_of: str
    checks: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """The exit status."""
        return 1 if self.findings else 2 if self.failed else 0

    def __str__(self) -> str:
        parts = [f"{self.place}, {self.as_of}: {', '.join(self.checks)}"]
        for one in self.findings:
            parts.append(f"{one.check}: {one.what}\n  What to do: {one.advice}")
        for check, why in self.failed.items():
            parts.append(f"{check} could not be examined: {why}")
        if len(parts) == 1:
            parts.append("Nothing is wrong.")
        return "\n\n".join(parts)


def examine(exam: Examination) -> Report:
    """Run every check, also after one that failed."""
    place = f"{exam.settings.project}.{exam.settings.dataset}"
    report = Report(place, f"{exam.now:%Y-%m-%d %H:%M} UTC", ["settings"])
    for name, check in CHECKS.items():
        report.checks.append(name)
        try:
            for finding in check(exam):
                report.findings.append(replace(finding, check=name))
        except PropensityError as error:
            report.failed[name] = error.message
    return report


def run(
    *, as_of: date | None = None, is_local: bool = False, ended: Sequence[str] = ()
) -> Report:
    """
    Examine what the environment names: its use case, and all with a champion.

    Args:
        as_of: Look as if that day had just ended; now by default.
        is_local: Whether it is a local state, where nothing runs by schedule.
        ended: Processes of that state which have ended by themselves.
    """
    now = midnight(as_of + DAY) if as_of else datetime.now(UTC)
    try:
        chosen = Settings.from_environment()
        chosen.required("bucket")
    except SettingsError as error:
        advice = "docs/settings.md has every setting, its default and its bounds"
        finding = Finding(error.message, advice, check="settings")
        place = "the settings of this environment"
        return Report(place, str(now.date()), ["settings"], [finding])
    settings = replace(chosen, deadline_s=min(PATIENCE_S, chosen.deadline_s))
    with opened(settings=settings) as deployment:
        artifacts = deployment.artifacts
        serving = {settings.use_case}
        # What does not answer is said by the checks.
        with contextlib.suppress(PropensityError):
            objects = frozenset(artifacts.names("models/"))
            for name in usecases.names():
                if Registry(artifacts, name).pointer in objects:
                    serving.add(name)
        report = examine(
            Examination(
                settings=settings,
                warehouse=deployment.warehouse,
                artifacts=artifacts,
                now=now,
                use_cases=[usecases.load(name) for name in sorted(serving)],
                is_local=is_local,
            )
        )
    for process in ended:
        what, advice = f"{process} has ended", "make down, then make up"
        report.findings.append(Finding(what, advice, check="processes"))
    return report
