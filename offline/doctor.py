"""
The doctor: what is wrong with a deployment or a local run, and what to do about it.

It changes nothing and names no user. A check that fails does not hide the findings of
the others.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from google.api_core import exceptions as api
from google.auth import exceptions as auth

from deploy import functions
from offline import dead_letters
from propensity import errors, tables, usecases
from propensity.edges.artifacts import Artifacts
from propensity.edges.warehouse import Warehouse
from propensity.errors import (
    ArtifactError,
    ExportLate,
    MissingTable,
    PropensityError,
    RequestError,
    SchemaError,
    SettingsError,
)
from propensity.freshness import Shards, is_expected
from propensity.privacy import consent
from propensity.registry.loading import find_promoted, find_recorded, loaded
from propensity.registry.versions import Registry
from propensity.runs.export import listed
from propensity.runs.sources import described
from propensity.settings import Settings
from propensity.timeframe import first_shard, midnight
from propensity.usecases import UseCase
from propensity.usecases import export as exported
from propensity.usecases.sources import HISTORY

ERROR, WARNING, INFORMATION = "error", "warning", "info"
DAY = timedelta(days=1)
# The longest wait for an answer of a service.
PATIENCE_S = 10
READERS = 8
# A day's table of the export is there about noon of the next day, in the property's
# time zone, and a day later at times.
EXPORT_LATE = timedelta(hours=36)
# A champion that is older knows little of today's users; as the alert champion_age.
CHAMPION_OLD = timedelta(days=45)
# A scheduled run may take this long with all its attempts, and be in another time zone.
RUN_LATE = timedelta(hours=6)
# Leases of what the schedule calls, by target.
KINDS = {
    "model_training": "train",
    "predictions": "predict",
    "model_evaluation": "evaluate",
    "compact_features": "compact",
}
_LEASE = re.compile(r"runs/([^/]+)/([^/]+)/(\d{4}-\d\d-\d\d)\.json")
SET_UP = "run deploy/setup.sh again (locally: `make down && make up`)"
DATA = "make demo, or make demo DATA=FILE for your own rows of the export"
RESTORE = "restore the object's earlier generation"
# By the name of its class, as a lease has it: the word that docs/operate.md goes by.
CODES = {
    name: error.code
    for name, error in vars(errors).items()
    if isinstance(error, type) and issubclass(error, PropensityError)
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A fault in plain words, and what to do about it."""

    check: str
    severity: str
    what: str
    advice: str


@dataclass
class Report:
    """Findings; ``failed`` has checks that could not be made, with the reason."""

    place: str = ""
    as_of: str = ""
    checks: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    information: list[Finding] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """The exit status."""
        if self.findings:
            return 1
        return 2 if self.failed else 0

    def fields(self) -> dict[str, Any]:
        """Return the report for a program."""
        return {"status": self.status, **asdict(self)}

    def __str__(self) -> str:
        lines = [f"{self.place}, {self.as_of}"]
        order = (ERROR, WARNING, INFORMATION)
        for finding in sorted(
            (*self.findings, *self.information), key=lambda f: order.index(f.severity)
        ):
            lines += [
                "",
                f"{finding.severity.upper():8}{finding.check}: {finding.what}",
                f"        What to do: {finding.advice}",
            ]
        if self.failed:
            lines += ["", "Could not be examined:"]
            lines += [f"  {check}: {why}" for check, why in self.failed.items()]
        wrong = sum(finding.severity == ERROR for finding in self.findings)
        summary = f"errors: {wrong}, warnings: {len(self.findings) - wrong}"
        if not self.findings:
            summary = "nothing wrong was found" if self.failed else "nothing is wrong"
        return "\n".join([*lines, "", f"{', '.join(self.checks)}: {summary}."])


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The lease of a run: its date, its state, and why it failed."""

    as_of: date
    state: str
    expires_at: str = ""
    error: str = ""


@dataclass(kw_only=True)
class Examination:
    """
    A deployment, the moment of the examination, and the findings so far.

    Attributes:
        function: Target of the function whose rights are needed; empty for all tables.
        addresses: Addresses of a local run's functions, by target; empty for a
            deployment.
    """

    settings: Settings
    warehouse: Warehouse
    artifacts: Artifacts
    now: datetime
    use_cases: Sequence[UseCase]
    zone: ZoneInfo
    function: str = ""
    addresses: Mapping[str, str] = field(default_factory=dict)
    report: Report = field(default_factory=Report)
    check: str = ""

    def error(self, what: str, advice: str) -> None:
        """Report something that does not work."""
        self._add(ERROR, what, advice)

    def warn(self, what: str, advice: str) -> None:
        """Report something that works badly, or not for long."""
        self._add(WARNING, what, advice)

    def lack(self, what: str, advice: str, *, locally: str) -> None:
        """
        Report something that does not exist yet.

        In a deployment a schedule should have made it. Locally there is no schedule,
        and it is only information.
        """
        self._add(
            INFORMATION if self.addresses else ERROR,
            what,
            locally if self.addresses else advice,
        )

    def call(self, target: str, use_case: UseCase | None = None) -> str:
        """Return the command that calls a function locally; nothing elsewhere."""
        command = f"curl -X POST {self.addresses.get(target, '')}"
        if use_case is None:
            return command
        body = {"use_case": use_case.name, "as_of": self.now.date().isoformat()}
        return f"{command} -H 'Content-Type: application/json' -d '{json.dumps(body)}'"

    def _add(self, severity: str, what: str, advice: str) -> None:
        finding = Finding(check=self.check, severity=severity, what=what, advice=advice)
        is_information = severity == INFORMATION
        report = self.report
        (report.information if is_information else report.findings).append(finding)


def check_settings(exam: Examination) -> None:
    """Whether settings fit together, beyond the checks of every function."""
    reading = [use_case.name for use_case in exam.use_cases if use_case.reads_export]
    if reading and not exam.settings.ga4_dataset:
        exam.error(
            f"PROPENSITY_GA4_DATASET is not set, and {', '.join(reading)} reads it",
            "set it to the dataset of the GA4 export, such as analytics_123456789",
        )


def check_rights(exam: Examination) -> None:
    """Whether tables are there and the account may read them, by one dry run."""
    settings = exam.settings
    needed = list(tables.TABLES)
    if exam.function:
        targets = {function.target: function for function in functions.load()}
        if exam.function not in targets:
            raise RequestError(
                f"there is no function {exam.function}; there are {', '.join(targets)}"
            )
        needed = [t for t in needed if t.name in targets[exam.function].reads]
    listed_tables = exam.warehouse.table_list(f"{settings.project}.{settings.dataset}")
    there = {row["tableReference"]["tableId"] for row in listed_tables}
    if missing := [table.name for table in needed if table.name not in there]:
        exam.error(f"missing in {settings.dataset}: {', '.join(missing)}", SET_UP)
    # Names are those of ``tables``; a dry run reads nothing.
    reads = " UNION ALL ".join(
        f"SELECT 1 FROM {table.name} WHERE "
        + (f"{table.partition} IS NULL" if table.partition else "FALSE")
        for table in needed
        if table.name in there
    )
    try:
        exam.warehouse.dry_run(reads)
    except errors.AccessDenied as error:
        exam.error(
            error.message, "ask an owner of the project for the role that has it"
        )


def check_sources(exam: Examination) -> None:
    """Whether every source is there, readable, and where queries run."""
    for use_case in exam.use_cases:
        for source in use_case.sources:
            if not source.valid_from:
                what = f"its source {source.name} has no history"
                exam.warn(f"{use_case.name} cannot be trained: {what}", HISTORY)
            try:
                described(exam.warehouse, source)
            except (
                MissingTable,
                SettingsError,
                SchemaError,
                errors.AccessDenied,
            ) as why:
                exam.error(
                    f"{use_case.name}: {why.message}",
                    "correct [sources] in its usecase.toml, copy the table to where "
                    "queries run, or have its owner grant roles/bigquery.dataViewer",
                )


def check_export(exam: Examination) -> None:
    """Whether the GA4 export goes on, is whole, and has the columns that are read."""
    settings = exam.settings
    if not settings.ga4_dataset:
        return
    try:
        exam.warehouse.check_location(settings.export)
        there = exam.warehouse.table_list(settings.export)
    except (MissingTable, SettingsError, errors.AccessDenied) as error:
        exam.error(error.message, "correct PROPENSITY_GA4_DATASET or its rights")
        return
    shards = Shards.of(one["tableReference"]["tableId"] for one in there)
    obstacles = [*exported.obstacles(there)]
    for what in obstacles:
        exam.error(
            f"in {settings.ga4_dataset}, {what}",
            "move it to another dataset: it begins as the days of the export do, and "
            "BigQuery's wildcards take all of one kind or fail",
        )
    if not shards.days:
        exam.lack(
            f"{settings.ga4_dataset} has no table events_YYYYMMDD",
            "switch on the daily export in GA4 (Admin, BigQuery links), or streaming "
            "for a property of over a million events a day",
            locally=DATA,
        )
        return
    begun, newest = shards.first_and_last
    # The table of the day that follows has been awaited since that day ended.
    if exam.now - midnight(newest + 2 * DAY) > EXPORT_LATE:
        days = (exam.now.date() - newest).days - 1
        exam.error(
            f"the newest day of the export is {newest}: {days} days are late",
            "see in GA4 (Admin, BigQuery links) whether the export was stopped, as it "
            "is above its daily limit; predictions go on with what is there",
        )
    reading = [one for one in exam.use_cases if one.reads_export] or exam.use_cases
    lookback = max((use_case.lookback_days for use_case in reading), default=60)
    first = max(begun, first_shard(exam.now.date(), days=lookback))
    span = [first + n * DAY for n in range((newest - first).days + 1)]
    missing = [
        day for day in span if day not in shards.days and is_expected(day, shards)
    ]
    if missing:
        exam.error(
            f"days of the export are missing: {len(missing)} within the lookback of "
            f"{lookback} days: {listed(missing)}",
            "GA4 fills no gap by itself: see whether the tables were deleted, and "
            "restore them (BigQuery keeps deleted tables for 7 days)",
        )
    _check_shards(exam, shards, [day for day in span if day in shards.days])
    if obstacles:
        return
    try:
        exam.warehouse.dry_run(f"SELECT * FROM {consent.VIEW} WHERE table_suffix = ''")
    except (MissingTable, errors.SchemaError) as error:
        exam.error(
            f"the view {consent.VIEW} cannot be read: {error.message}",
            f"{SET_UP}; if GA4 has renamed a column change ga_events.sql",
        )


def _check_shards(exam: Examination, shards: Shards, days: Sequence[date]) -> None:
    """Look for days without rows."""

    def is_empty(day: date) -> bool:
        kind = "" if day in shards.daily else "intraday_"
        name = f"events_{kind}{day:%Y%m%d}"
        return not exam.warehouse.row_count(exam.settings.export, name)

    with ThreadPoolExecutor(READERS) as pool:
        empty = [
            day for day, yes in zip(days, pool.map(is_empty, days), strict=True) if yes
        ]
    if empty:
        exam.warn(
            f"tables of the export are empty: {listed(empty)}",
            "see whether the site sent events on these days, and consent mode and "
            "filters in GA4",
        )


def check_champions(exam: Examination) -> None:
    """Whether champions are recorded, unaltered, loadable here, and not too old."""
    for use_case in exam.use_cases:
        registry = Registry(exam.artifacts, use_case.name)
        promote = f"propensity promote N --use-case {use_case.name}"
        try:
            champion = registry.find_champion()
        except ArtifactError as error:
            exam.error(
                f"{use_case.name}: the pointer {registry.pointer} is damaged: "
                f"{error.message}",
                f"{RESTORE}, or delete it and {promote}",
            )
            continue
        if champion is None:
            version = find_promoted(exam.warehouse, use_case.name)
            if version is not None:
                exam.error(
                    f"{use_case.name}: no model serves: version {version} was "
                    f"promoted, and since then {registry.pointer} was deleted",
                    f"{RESTORE}, or {promote}",
                )
                continue
            exam.lack(
                f"{use_case.name}: no model serves",
                f"run 00-ModelTraining with use_case {use_case.name}; where a version "
                "was trained, propensity versions says why it was not promoted",
                locally=exam.call("model_training", use_case),
            )
            continue
        name = f"{use_case.name}: the champion, version {champion.version},"
        recorded = find_recorded(exam.warehouse, use_case, champion.version)
        if recorded is None:
            exam.error(
                f"{name} is not recorded in {tables.TRAINING_METADATA.name}: no "
                "function loads it",
                f"{promote}, with N of propensity versions, or train",
            )
            continue
        try:
            chosen = use_case.chosen(exam.settings)
            serving = loaded(registry, use_case, recorded, chosen=chosen)
        except PropensityError as error:
            exam.error(
                f"{name} cannot be loaded: {error.message}",
                f"{RESTORE}, promote another version, or train again",
            )
            continue
        if not serving.is_warm:
            exam.warn(
                f"{name} has not seen enough to score",
                "train again once more events have come",
            )
        age = exam.now - datetime.fromisoformat(champion.promoted_at)
        if age > CHAMPION_OLD and not champion.pinned and not exam.addresses:
            exam.warn(
                f"{use_case.name}: version {champion.version} has served for "
                f"{age.days} days",
                "see in propensity versions why newer ones were not promoted, or "
                "whether training still runs",
            )


def check_runs(exam: Examination) -> None:
    """Whether the last scheduled run of each kind came when it was due, and ended."""
    leases = newest_leases(exam.artifacts)
    for function in functions.load():
        schedule, kind = function.schedule, KINDS.get(function.target)
        if schedule is None or kind is None:
            continue
        if not schedule.per_use_case:
            # Without a stream nothing is compacted.
            if lease := leases.get(("stream", kind)):
                call = exam.call(function.target)
                _check_run(exam, function.target, schedule.cron, lease, call)
            continue
        for use_case in exam.use_cases:
            if schedule.skips and getattr(use_case, schedule.skips):
                continue
            who = f"{function.target} of {use_case.name}"
            call = exam.call(function.target, use_case)
            lease = leases.get((use_case.name, kind))
            if lease is not None:
                _check_run(exam, who, schedule.cron, lease, call)
            # A use case with a shipped model need not be trained.
            elif use_case.name == exam.settings.use_case:
                advice = "call it once, and run scheduler.sh"
                exam.lack(f"{who} has never run", advice, locally=call)


def _check_run(exam: Examination, who: str, cron: str, lease: Lease, call: str) -> None:
    if lease.state == "running" and lease.expires_at < exam.now.isoformat():
        exam.error(
            f"{who} for {lease.as_of} is stuck: it never ended, and its lease did at "
            f"{lease.expires_at[:16]}",
            "the function was cut short: see its log for memory and timeout; the next "
            "run takes over",
        )
    elif lease.state == "failed" and CODES.get(lease.error) == ExportLate.code:
        exam.warn(
            f"{who} for {lease.as_of} waits for the newest day of the export",
            "Cloud Scheduler calls it again; after a while it goes on without that day",
        )
    elif lease.state == "failed":
        code = CODES.get(lease.error)
        exam.error(
            f"{who} for {lease.as_of} failed: {code or lease.error or 'no reason'}",
            f"docs/operate.md says what to do about {code}; its log has the message"
            if code
            else f"see the log of {who.partition(' ')[0]} of that run",
        )
    elif lease.state not in ("running", "done"):
        exam.error(
            f"{who}: the lease of {lease.as_of} is damaged",
            "delete its object under runs/ in the bucket: no run begins before",
        )
    due = last_due(cron, exam.now - RUN_LATE, exam.zone)
    if lease.as_of < due.astimezone(UTC).date() and lease.as_of != date(1970, 1, 1):
        exam.lack(
            f"{who} was missed: it was due on {due:%Y-%m-%d %H:%M}, and the last run "
            f"is that of {lease.as_of}",
            "see in Cloud Scheduler whether its job is there, not paused, and what it "
            "was answered; then call the function",
            locally=call,
        )


def check_dead_letters(exam: Examination) -> None:
    """Whether messages could not be processed."""
    try:
        letters = dead_letters.letters(exam.settings, now=exam.now)
    except MissingTable as error:
        exam.error(error.message, SET_UP)
        return
    if letters.waiting:
        exam.error(
            f"{letters.waiting} messages wait in {dead_letters.SUBSCRIPTION}: every "
            "delivery of them failed",
            "see the log of stream_features and score_stream for why, then bring them "
            "back: propensity dead-letters replay",
        )
    if letters.refused:
        reasons = ", ".join(f"{r['reason']} {r['messages']}" for r in letters.refused)
        total = sum(row["messages"] for row in letters.refused)
        exam.warn(
            f"{total} messages of the last seven days became dead letters: {reasons}",
            "see detail and field in dead_letters, correct the producer, and replay "
            "what can be: propensity dead-letters replay --refused",
        )


CHECKS: Mapping[str, Callable[[Examination], None]] = {
    "settings": check_settings,
    "rights": check_rights,
    "export": check_export,
    "sources": check_sources,
    "champions": check_champions,
    "runs": check_runs,
    "dead letters": check_dead_letters,
}


def newest_leases(artifacts: Artifacts) -> dict[tuple[str, str], Lease]:
    """Return the newest lease of each use case and kind of run."""
    newest: dict[tuple[str, str], str] = {}
    for name in artifacts.names("runs/"):
        if match := _LEASE.fullmatch(name):
            scope, kind, day = match.groups()
            newest[scope, kind] = max(newest.get((scope, kind), ""), day)
    leases = {}
    for (scope, kind), day in newest.items():
        try:
            note = json.loads(artifacts.read(f"runs/{scope}/{kind}/{day}.json").data)
            state = str(note["state"])
        except (ArtifactError, ValueError, KeyError, TypeError):
            note, state = {}, "damaged"
        leases[scope, kind] = Lease(
            as_of=date.fromisoformat(day),
            state=state,
            expires_at=str(note.get("expires_at", "")),
            error=str(note.get("error", "")),
        )
    return leases


def last_due(cron: str, now: datetime, zone: ZoneInfo) -> datetime:
    """
    Return the last moment at which a schedule came due.

    Args:
        cron: Minute, hour, day of month, any month, day of week; each a number or *,
            minute and hour a number.
    """
    minute, hour, day, _, weekday = cron.split()
    local = now.astimezone(zone)
    for back in range(400):
        on = local.date() - back * DAY
        moment = datetime(
            on.year, on.month, on.day, int(hour), int(minute), tzinfo=zone
        )
        is_day = day in ("*", str(on.day))
        is_weekday = weekday == "*" or int(weekday) % 7 == on.isoweekday() % 7
        if is_day and is_weekday and moment <= local:
            return moment
    raise ValueError(f"{cron!r} never comes due")


def moment_of_play(artifacts: Artifacts, use_case: str, now: datetime) -> datetime:
    """
    Return the moment that a local run has come to.

    Data may be of another year: it is the day of the last run, and now where that was
    today.
    """
    leases = newest_leases(artifacts).items()
    days = [lease.as_of for (scope, _), lease in leases if scope == use_case]
    newest = max(days, default=now.date())
    return midnight(newest) if newest < now.date() else now


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
