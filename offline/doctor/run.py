"""Run every check, one after the other, and report."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime

from offline.doctor import checks
from offline.doctor.checks import Examination, Finding
from offline.doctor.costs import cost_of, days_of
from propensity import usecases
from propensity.errors import PropensityError, SettingsError
from propensity.pages.findings import PAGE
from propensity.pages.words import plural
from propensity.registry.deployment import connected
from propensity.registry.versions import Registry
from propensity.settings import Settings
from propensity.timeframe import DAY, midnight

# The longest wait for an answer of a service, and of an emulator on a busy machine.
PATIENCE_S = 10
LOCAL_PATIENCE_S = 60

CHECKS: Mapping[str, Callable[[Examination], Iterator[Finding]]] = {
    "rights": checks.check_rights,
    "export": checks.check_export,
    "digest": checks.check_digest,
    "currencies": checks.check_currencies,
    "sources": checks.check_sources,
    "champions": checks.check_champions,
    "runs": checks.check_runs,
    "audiences": checks.check_audiences,
    "dead letters": checks.check_dead_letters,
}


@dataclass
class Report:
    """
    What was found.

    Attributes:
        failed: Checks that could not be made, with the reason.
        costs: What a month of runs bills at BigQuery, by use case.
    """

    place: str
    as_of: str
    checks: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    costs: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        if self.findings:
            return 1
        return 4 if self.failed else 0

    def __str__(self) -> str:
        parts = []
        for finding in self.findings:
            lines = [f"{title_of(finding.check)}: {finding.what}"]
            if finding.advice:
                lines.append(f"  What to do: {finding.advice}")
            lines.append(f"  {finding.meaning}")
            parts.append("\n".join(lines))
        for check, why in self.failed.items():
            parts.append(f"{title_of(check)} could not be examined: {why}")
        parts += [f"cost of {name}: {text}" for name, text in self.costs.items()]
        result = "Nothing is wrong."
        if self.findings:
            result = f"{plural(len(self.findings), 'finding')}, as above; {PAGE} says "
            result += "whose they are."
        elif self.failed:
            result = "Nothing else is wrong."
        checks = ", ".join(map(title_of, self.checks))
        parts.append(f"{result} Looked at {checks} of {self.place}, {self.as_of}.")
        return "\n\n".join(parts)


def title_of(check: str) -> str:
    """Return the name of a check in the glossary's words."""
    titles = {
        "rights": "permissions",
        "champions": "live versions",
        "export_stopped": "export",
        "ended": "audiences",
    }
    return titles.get(check, check)


def examine(exam: Examination) -> Report:
    """Run every check, also after one that failed."""
    place = f"{exam.settings.project}.{exam.settings.dataset}"
    report = Report(place, f"{exam.now:%Y-%m-%d %H:%M} UTC", ["settings"])
    for name, check in CHECKS.items():
        report.checks.append(name)
        try:
            for finding in check(exam):
                word = name
                if finding.check:
                    word = finding.check
                report.findings.append(replace(finding, check=word))
        except PropensityError as error:
            report.failed[name] = error.message
    # The emulator bills nothing.
    if not exam.is_local and "export" not in report.failed:
        report.costs = _costs(exam)
    return report


def _costs(exam: Examination) -> dict[str, str]:
    """
    Return what a month bills of the exports that are there, by dry runs.

    Also of use cases that nobody has trained yet: so their price is known before.
    """
    texts = {}
    today = exam.now.date()
    use_cases, _ = usecases.load_all()
    for part in replace(exam, use_cases=list(use_cases.values())).of_exports():
        weekdays = days_of(part.use_cases, part.settings)
        for use_case in part.use_cases:
            # A use case that cannot run, and so bills nothing, has no price.
            with contextlib.suppress(PropensityError):
                if use_case.reads_export:
                    texts[use_case.name] = cost_of(
                        use_case,
                        part.settings,
                        part.warehouse,
                        today=today,
                        weekdays=weekdays,
                    )
    return texts


def run(
    *, as_of: date | None = None, is_local: bool = False, ended: Sequence[str] = ()
) -> Report:
    """
    Examine what the environment names: its use case, and all with a champion.

    Args:
        as_of: Look as if that day had just ended; now by default.
        is_local: Whether it is a local state, where nothing runs by schedule.
        ended: Processes of that state which have ended by themselves. Nothing is asked
            then: each check would wait for the same ones.
    """
    now = midnight(as_of + DAY) if as_of else datetime.now(UTC)
    if ended:
        what = f"ended by themselves: {', '.join(ended)}. Nothing else was examined"
        finding = Finding(what, check="processes")
        return Report("this machine", str(now.date()), ["processes"], [finding])
    try:
        chosen = Settings.from_environment()
        chosen.required("bucket")
    except SettingsError as error:
        finding = Finding(error.problem, error.hint, check="settings")
        place = "this environment"
        return Report(place, str(now.date()), ["settings"], [finding])
    patience_s = min(PATIENCE_S, chosen.deadline_s)
    if is_local:
        patience_s = LOCAL_PATIENCE_S
    settings = replace(chosen, deadline_s=patience_s)
    with connected(settings) as (artifacts, warehouse):
        serving = {settings.use_case}
        # The checks report a service that does not answer.
        with contextlib.suppress(PropensityError):
            objects = frozenset(artifacts.names("models/"))
            for name in usecases.names():
                if Registry(artifacts, name).pointer in objects:
                    serving.add(name)
        use_cases, wrong = usecases.load_all(sorted(serving))
        report = examine(
            Examination(
                settings=settings,
                warehouse=warehouse,
                artifacts=artifacts,
                now=now,
                use_cases=list(use_cases.values()),
                is_local=is_local,
            )
        )
    report.findings[:0] = [Finding(error.message, check="use cases") for error in wrong]
    return report
