"""Checks: of rights, the export, sources, champions, runs, audiences, dead letters."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial
from importlib import resources

from deploy import functions
from offline import dead_letters
from propensity import errors, suppression
from propensity.audience import declared, receivers
from propensity.audience.stopping import listed
from propensity.errors import (
    AccessDenied,
    ArtifactError,
    ExportLate,
    MissingTable,
    PropensityError,
    SchemaError,
    SettingsError,
)
from propensity.ga4.currency import line_to_write, undeclared_currency
from propensity.ga4.shards import Shards
from propensity.gcp import secrets
from propensity.gcp.artifacts import Artifacts, content_of
from propensity.gcp.warehouse import Warehouse
from propensity.learning.model import libraries
from propensity.pages.findings import Meaning, meanings
from propensity.pages.words import plural
from propensity.registry.deployment import Deployment, of_use_case
from propensity.registry.leases import ANY_DATE, LeaseFile
from propensity.registry.records import recorded
from propensity.registry.serving import loaded
from propensity.registry.versions import Registry
from propensity.runs import digest
from propensity.runs.export import check_own_events, days_in_words
from propensity.runs.late import (
    EXPORT_STOPPED_DAYS,
    KINDS,
    days_until_late,
    is_late,
)
from propensity.schema import Table
from propensity.settings import Settings
from propensity.statements import statement
from propensity.tables import every as tables
from propensity.tables.export import DIGEST
from propensity.tables.export_names import VIEW, with_suffix
from propensity.timeframe import DAY, first_shard, midnight
from propensity.usecases import UseCase
from propensity.usecases.exports import by_export

SQL = resources.files(__package__)
SKLEARN = "scikit-learn"
# A day's table of the export is there about noon of the next day, in the property's
# time zone, and a day later at times.
EXPORT_LATE = timedelta(hours=36)
SET_UP = "run deploy/setup.sh again (locally: `make down && make up`)"
LINKS = "look at Admin, BigQuery links in GA4"
# Leases of what the schedule calls, by target.
_LEASE = re.compile(r"runs/([^/]+)/([^/]+)/(\d{4}-\d\d-\d\d)\.json")


@dataclass(frozen=True)
class Finding:
    """
    A fault in plain words.

    Attributes:
        advice: What to do about just this, beside what its ``meaning`` says.
        check: Its word in findings.toml; that of its check by default.
    """

    what: str
    advice: str = ""
    check: str = ""

    @property
    def meaning(self) -> Meaning:
        """What it means for Monday's list, and who does what by when."""
        return meanings()[self.check.replace(" ", "_")]


@dataclass(frozen=True, kw_only=True)
class Examination:
    """
    A deployment, and the moment of the examination.

    Attributes:
        is_local: Whether it is a local state, where nothing runs by schedule.
    """

    settings: Settings
    warehouse: Warehouse
    artifacts: Artifacts
    now: datetime
    use_cases: Sequence[UseCase]
    is_local: bool = False

    def of_exports(self) -> Iterator[Examination]:
        """Yield an examination of each export, with the use cases that read it."""
        for export, use_cases in by_export(self.settings, self.use_cases):
            yield replace(
                self,
                settings=export,
                warehouse=self.warehouse.for_run(export),
                use_cases=use_cases,
            )


def check_rights(exam: Examination) -> Iterator[Finding]:
    """Whether tables are there and the account may read them, by a dry run each."""
    for part in exam.of_exports():
        suffix = part.settings.export_suffix
        yield from _check_tables(part, DIGEST if suffix else tables.TABLES)


def _check_tables(exam: Examination, wanted: Iterable[Table]) -> Iterator[Finding]:
    settings = exam.settings
    existing = exam.warehouse.tables_of(f"{settings.project}.{settings.dataset}")
    missing = []
    reads = []
    for table in wanted:
        name = with_suffix(table.name, settings.export_suffix)
        if name not in existing:
            missing.append(name)
            continue
        sql = statement(
            "readable",
            folder=SQL,
            some_table=table.name,
            some_partition=table.partition,
        )
        reads.append(sql)
    if missing:
        what = f"{settings.dataset} lacks the tables {', '.join(missing)}"
        yield Finding(what, SET_UP)
    try:
        if reads:
            exam.warehouse.dry_run("UNION ALL\n".join(reads))
    except AccessDenied as error:
        yield Finding(error.message, "ask an owner of the project for the role")


def check_export(exam: Examination) -> Iterator[Finding]:
    """Whether GA4 exports go on, are whole, and have the columns that are read."""
    for part in exam.of_exports():
        yield from _check_export(part)


def _check_export(exam: Examination) -> Iterator[Finding]:
    dataset = exam.settings.ga4_dataset
    reading = [use_case.name for use_case in exam.use_cases if use_case.reads_export]
    if not dataset:
        if reading:
            yield Finding(
                f"PROPENSITY_GA4_DATASET is not set, and {', '.join(reading)} reads it",
                "set it to the export's dataset, for example analytics_123456789",
            )
        return
    try:
        existing = exam.warehouse.tables_of(exam.settings.export)
    except (MissingTable, SettingsError, AccessDenied) as error:
        variable = "PROPENSITY_GA4_DATASET"
        if exam.settings.export_suffix:
            variable = f"property.ga4_dataset of {exam.use_cases[0].name}"
        yield Finding(error.message, f"correct {variable}, or its permissions")
        return
    yield from _check_days(exam, Shards.of(existing))
    try:
        exam.warehouse.dry_run(statement("readable_export", folder=SQL))
    except PropensityError as error:
        view = with_suffix(VIEW, exam.settings.export_suffix)
        what = f"the view {view} cannot be read: {error.message}"
        advice = "or move other tables and views named events_ to another dataset"
        yield Finding(what, f"{SET_UP}; {advice}")


def _check_days(exam: Examination, shards: Shards) -> Iterator[Finding]:
    # A table of a later day is of a clock that was wrong.
    today = exam.now.date()
    days = [day for day in shards.days if day <= today]
    if not days:
        yield Finding(
            f"{exam.settings.ga4_dataset} has no daily table, such as events_20260301",
            f"{LINKS}, and switch on the daily export (locally: make demo)",
        )
        return
    begun = min(days)
    newest = max(days)
    # The table of the day that follows has been awaited since that day ended.
    is_late = exam.now - midnight(newest + 2 * DAY) > EXPORT_LATE
    if is_late and not exam.is_local:
        late = (today - newest).days - 1
        yield Finding(
            f"the export {exam.settings.export} ends at {newest}; {late} days are "
            "overdue",
            f"{LINKS}: an export above its daily limit is stopped",
            check="export_stopped" if late > EXPORT_STOPPED_DAYS else "",
        )
    reading = [case.lookback_days for case in exam.use_cases if case.reads_export]
    lookback = max(reading, default=60)
    first = max(begun, first_shard(newest + DAY, days=lookback))
    span = shards.expected(first, newest)
    missing = [day for day in span if day not in shards.days]
    if missing:
        yield Finding(
            f"{len(missing)} days of the export {exam.settings.export} are missing "
            f"within the lookback of {lookback} days: {days_in_words(missing)}",
            "restore tables that were deleted (BigQuery keeps them for 7 days); Google "
            "Analytics does not export a day again",
        )


def check_digest(exam: Examination) -> Iterator[Finding]:
    """Whether suppressed users are in the digest: a forget may have been broken off."""
    suppressed = suppression.read_suppressed(exam.warehouse)
    span = {"first_day": date(1971, 1, 1), "last_day": exam.now.date() + DAY}
    for part in exam.of_exports():
        if suppressed and any(use_case.reads_digest for use_case in part.use_cases):
            users = digest.suppressed_in(part.warehouse, suppressed, span)
            if users:
                yield Finding(
                    f"the digest of {part.settings.export} has "
                    f"{plural(len(users), 'suppressed user')}",
                    "forget the same people again (propensity forget): that was broken "
                    "off, or is older than this release",
                )


def check_currencies(exam: Examination) -> Iterator[Finding]:
    """Whether amounts are of the currency that they are called, and of one."""
    sql = statement("currencies", folder=SQL)
    for part in exam.of_exports():
        for use_case in part.use_cases:
            currency = use_case.currency
            if not use_case.reads_digest:
                continue
            since = exam.now.date() - use_case.lookback_days * DAY
            other = undeclared_currency(part.warehouse, currency, since=since)
            if other:
                yield Finding(
                    f"{use_case.name}: amounts are in {other}, and the export has no "
                    "dollars, as which pages show them",
                    line_to_write(other, use_case.name),
                )
            if currency in ("", "USD"):
                continue
            [row] = part.warehouse.rows(sql, {"since": since})
            if row["days"]:
                yield Finding(
                    f"{use_case.name}: purchases are in several currencies on "
                    f"{plural(row['days'], 'day')}, and are added up as {currency}",
                    'write currency = "USD" into its usecase.toml: amounts are then '
                    "in dollars, as Google converts them",
                )


def check_sources(exam: Examination) -> Iterator[Finding]:
    """Whether all tables of one's own are readable where queries run, by dry runs."""
    today = exam.now.date()
    dates = {"as_ofs": [today], "known_before": today}
    for use_case in exam.use_cases:
        checks: list[Callable[[], object]] = [
            partial(exam.warehouse.dry_run, source.text(), dates)
            for source in use_case.sources.values()
        ]
        if use_case.own_events:
            window = use_case.window(exam.settings, [today])
            days = partial(exam.warehouse.dry_run, use_case.statement("days"), window)
            checks += [partial(check_own_events, exam.warehouse, use_case), days]
        for check in checks:
            try:
                check()
            except PropensityError as why:
                yield Finding(
                    f"{use_case.name}: {why.message}",
                    "correct [sources] or [events] in its usecase.toml, copy the table "
                    "to where queries run, or have its owner grant "
                    "roles/bigquery.dataViewer",
                )
                break


def check_champions(exam: Examination) -> Iterator[Finding]:
    """Whether champions are recorded, unaltered and read by what wrote them."""
    for use_case in exam.use_cases:
        name = use_case.name
        registry = Registry(exam.artifacts, use_case.name)
        repair = (
            f"restore the object's earlier generation, or delete {registry.pointer} "
            f"and run `propensity promote VERSION --use-case {name}`"
        )
        try:
            champion = registry.champion()
            if champion is None:
                advice = f"train one: call 00-ModelTraining with use_case {name}. If a"
                advice += f" version was live before, {repair}"
                yield Finding(f"{name}: no version is live", advice)
                continue
            serving = loaded(
                registry,
                use_case,
                recorded(exam.warehouse, name, champion.version),
                settings=exam.settings,
            )
        except (ArtifactError, SchemaError) as error:
            what = f"{name}: the live version cannot be loaded: {error.message}"
            yield Finding(what, repair)
            continue
        if not serving.is_warm:
            what = f"{name}: the live version has not seen enough events to score"
            yield Finding(what, "train again later")
        written_by = serving.record.card.libraries.get(SKLEARN)
        here = libraries()[SKLEARN]
        if written_by not in (None, here):
            yield Finding(
                f"{name}: the live version was written by {SKLEARN} {written_by}, and "
                f"{here} reads it, which may score otherwise",
                "train; or, if you went back to an older release, `propensity rollback "
                f"--publish --use-case {name}`",
            )


def check_audiences(exam: Examination) -> Iterator[Finding]:
    """Whether audiences can be sent: their files, secrets, users pending or left."""
    secret = secrets.reader(exam.settings)
    for use_case in exam.use_cases:
        deployment = of_use_case(
            use_case,
            exam.settings,
            warehouse=exam.warehouse,
            artifacts=exam.artifacts,
        )
        continued = set[str]()
        destinations = set[str]()
        for name in declared.audience_names(use_case):
            # Of a file that is wrong it is not known whether its audience is over.
            until = None
            try:
                entries = declared.load_audience(use_case, name).declared
                destinations.add(entries.destination)
                until = entries.until
            except PropensityError as why:
                advice = "docs/audiences-reference.md has every entry"
                yield Finding(why.message, advice)
            if until is None or exam.now.date() <= until:
                continued.add(name)
                yield from _check_sent(deployment, name)
        if exam.settings.sends == "yes":
            for name in receivers.secrets_of(use_case, destinations):
                try:
                    secret(name)
                except SettingsError as why:
                    yield Finding(f"{use_case.name}: {why.problem}", why.hint)
        for listing in listed(deployment):
            if listing.audience not in continued:
                yield Finding(
                    f"{use_case.name}: {listing}, and the audience has ended",
                    f"propensity audience end {listing.audience} --use-case "
                    f"{use_case.name}",
                    check="ended",
                )


def _check_sent(deployment: Deployment, audience: str) -> Iterator[Finding]:
    """Yield an audience that was never sent, or has users who are pending."""
    use_case = deployment.use_case.name
    which = f"audience {audience} of {use_case}"
    send = f"propensity audience send {audience} --use-case {use_case}"
    rows = deployment.rows("audience_deliveries", audience=audience)
    if not rows and deployment.settings.sends == "yes":
        yield Finding(
            f"{which} was never sent: a person sends the first date",
            f"look at propensity audience preview {audience}, then {send}",
        )
    # A newer date has all users who are still members.
    newest = [row for row in rows if row["as_of"] == rows[0]["as_of"]]
    pending = sum(row["users"] for row in newest if row["status"] == "pending")
    if pending:
        yield Finding(f"{pending} users of {which} are pending", send)


def check_dead_letters(exam: Examination) -> Iterator[Finding]:
    """Whether messages could not be processed."""
    letters = dead_letters.letters(exam.settings, now=exam.now)
    replay = "propensity dead-letters replay"
    if letters["waiting"]:
        count = f"{letters['waiting']}{' or more' * letters['more']}"
        yield Finding(
            f"{count} messages wait in {dead_letters.SUBSCRIPTION}, because each "
            "delivery failed",
            "read the log of stream_features and score_stream, fix the cause, then run "
            f"`{replay}`",
        )
    refused = letters["refused"]
    if refused:
        reasons = []
        for reason, count in refused.items():
            newest = [wrong for wrong in letters["newest"][reason] if wrong]
            shown = f" (newest: {'; '.join(newest)})" if newest else ""
            reasons.append(f"{reason} {count}{shown}")
        first = (exam.now - dead_letters.KEPT).date()
        end = exam.now.date() + DAY
        count = sum(refused.values())
        yield Finding(
            f"{count} messages of the last seven days became dead letters: "
            f"{', '.join(reasons)}",
            "correct the producer (dead_letters.detail has all reasons), then run "
            f"`{replay} --refused --from {first} --to {end}`",
        )


def check_runs(exam: Examination) -> Iterator[Finding]:
    """Yield runs that did not begin in time, or did not end."""
    newest = newest_runs(exam.artifacts)
    for function in functions.load():
        schedule = function.schedule
        kind = KINDS.get(function.target)
        if schedule is None or kind is None:
            continue
        scopes = ["stream"]
        if schedule.per_use_case:
            scopes = schedule.called_for(exam.use_cases)
        for scope in scopes:
            who = f"{function.target} of {scope}"
            as_of = newest.get((scope, kind))
            if as_of is None:
                # A use case with a shipped model need not be trained.
                if scope == exam.settings.use_case and not exam.is_local:
                    advice = "call it once (deploy/call.sh), and run its scheduler.sh"
                    yield Finding(f"{who} has never run", advice)
                continue
            lease = _lease(exam.artifacts, f"runs/{scope}/{kind}/{as_of}.json")
            # All compactions have one lease, so that its date says nothing.
            if as_of == ANY_DATE:
                began_at = exam.now if lease.began_at is None else lease.began_at
                as_of = began_at.date()
            yield from _check_ended(exam, f"{who} for {as_of}", lease)
            if not exam.is_local:
                yield from _check_overdue(exam, who, as_of, kind, scope)


def _check_ended(exam: Examination, run: str, lease: LeaseFile) -> Iterator[Finding]:
    state = lease.state
    error = lease.error if lease.error else "no reason"
    # A lease has the name of the class, docs/operate.md goes by the code.
    code = getattr(getattr(errors, error, None), "code", "")
    log = f"see the log of {run.partition(' ')[0]} of that run"
    minutes = exam.settings.export_wait_minutes
    is_waiting = False
    # One that failed for another reason may have waited before.
    if code == ExportLate.code and lease.waiting_since is not None:
        is_waiting = lease.waiting_since > exam.now - timedelta(minutes=minutes)
    is_held = lease.expires_at is not None and lease.expires_at >= exam.now
    if state == "running" and not is_held:
        yield Finding(f"{run} is stuck: it began and did not end", log)
    elif state == "failed" and is_waiting:
        yield Finding(
            f"{run} waits for the export, whose newest day is overdue",
            f"call it again, as the schedule does: {minutes} minutes after the first "
            "call it continues without that day",
        )
    elif state == "failed":
        advice = log
        if code:
            advice = f"docs/operate.md#{code} says what to do"
        yield Finding(f"{run} failed: {code if code else error}", advice)
    elif state not in ("running", "done"):
        advice = "delete its object under runs/ in the bucket; until then no run begins"
        yield Finding(f"{run}: its lease is damaged", advice)


def _check_overdue(
    exam: Examination, who: str, as_of: date, kind: str, scope: str
) -> Iterator[Finding]:
    prediction_days = exam.settings.prediction_days
    for use_case in exam.use_cases:
        if use_case.name == scope:
            prediction_days = use_case.chosen_prediction_days(exam.settings)
    if is_late(kind, as_of, exam.now.date(), prediction_days):
        days = days_until_late(kind, prediction_days)
        yield Finding(
            f"{who} is overdue: the last run was for {as_of}, and the next was due "
            f"after {plural(days, 'day')}",
            "look in Cloud Scheduler at its job and at the last answer",
        )


def newest_runs(artifacts: Artifacts) -> dict[tuple[str, str], date]:
    """Return the newest as-of date of each use case and kind of run."""
    newest: dict[tuple[str, str], date] = {}
    for name in sorted(artifacts.names("runs/")):
        match = _LEASE.fullmatch(name)
        if match:
            scope, kind, day = match.groups()
            # Something else than a run wrote other names.
            with contextlib.suppress(ValueError):
                newest[scope, kind] = date.fromisoformat(day)
    return newest


def _lease(artifacts: Artifacts, name: str) -> LeaseFile:
    """Return what a lease says; nothing if it is damaged."""
    try:
        return content_of(artifacts.read(name), LeaseFile, name=name)
    except ArtifactError:
        return LeaseFile()
