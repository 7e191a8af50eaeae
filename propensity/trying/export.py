"""
Try an export of GA4 with read rights: nothing is deployed, created or written.

A session of temporary tables holds what a deployment would keep of the export; on it
run the statements, the training and the gate of a deployment, as of the day after the
export's last table. An export of fewer days than a deployment waits for is tried with a
shorter lookback and fewer weeks, which the answer says.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from math import ceil, sqrt
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from msgspec import structs

from propensity import usecases
from propensity.cli.answers import say
from propensity.cli.progress import announced, watched
from propensity.errors import (
    AccessDenied,
    MissingTable,
    NoData,
    NotEnoughData,
    PropensityError,
    RequestError,
)
from propensity.ga4.currency import undeclared_currency
from propensity.ga4.shards import KINDS, Shards, check_days, kinds_of
from propensity.ga4.view import LATER_COLUMNS, consent_of, events_view, with_refusals
from propensity.gcp.session import Session
from propensity.gcp.warehouse import Warehouse
from propensity.learning import gate, value
from propensity.learning.card import Origin, UserCard, user_card
from propensity.learning.report import version_page
from propensity.learning.split import split_users
from propensity.learning.trained import Trained
from propensity.learning.users import UserTraining
from propensity.measures.intervals import lift_interval
from propensity.pages.words import plural
from propensity.runs import digest_state
from propensity.runs.digest_state import ExportTable
from propensity.runs.export import days_without, missing_label_days
from propensity.runs.snapshots import user_rows
from propensity.settings import GIB, Settings
from propensity.statements import statement
from propensity.suggestions import nearest
from propensity.suppression import NOBODY
from propensity.table_files.column import Feature
from propensity.timeframe import FEWEST_SNAPSHOTS, Timeframe
from propensity.trying.duel import (
    Duel,
    TodaysList,
    compare_lists,
    read_todays_list,
)
from propensity.trying.first_look.scores import best_first
from propensity.trying.first_look.who import Trait, who_of_test, who_they_are
from propensity.trying.sentences import did_of
from propensity.usecases import UseCase
from propensity.usecases.prices import TIB, price_of
from propensity.usecases.use_case import limits_of

# Fewer days say nothing of a week that was not learned from.
FEWEST_DAYS = 60
# Where days are few, features read no fewer than these before more weeks are tested.
SHORTEST_LOOKBACK = 28
SHORT_WEEKS = 6
# Where nobody has the event that is predicted, the events of these days are named.
NAMED_DAYS = 7
# Of half a year.
USUAL_WEEKS = 26
MIB = 1024**2
# BigQuery ends a statement after PROPENSITY_QUERY_TIMEOUT_S. By then it has read about
# so much; more would be billed and lost.
MOST_TRIED = 10 * TIB
# A query is billed at least so much.
LEAST_BYTES = 10 * MIB


@dataclass(frozen=True, kw_only=True)
class Export:
    """
    An export, as it is found.

    Attributes:
        name: ``project.dataset``.
        tables: The table of each day, the oldest first.
        view: The text that stands for the view ``ga_events`` of a deployment, also
            with events of a No.
    """

    name: str
    location: str
    tables: Mapping[date, ExportTable]
    view: str

    @property
    def shards(self) -> Shards:
        return Shards.of(table.name for table in self.tables.values())


@dataclass(frozen=True, kw_only=True)
class ExportTrial:
    """
    A trial of an export: the use case and its spans, and the session that reads.

    Attributes:
        as_of: The day after the last complete day of the export.
        missing_days: Days that are read and have no table.
        full: The spans that a deployment has.
        first_day: The first day to read; None for that of a training.
        weeks: Weeks of outcomes that the days allow; None for as many as a deployment
            has.
        notes: What was noticed meanwhile.
    """

    settings: Settings
    use_case: UseCase
    warehouse: Session
    export: Export
    as_of: date
    missing_days: Sequence[date]
    full: Timeframe
    weeks: int | None
    began_at: datetime
    first_day: date | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def timeframe(self) -> Timeframe:
        """The spans of the trial, which may be shorter than those of a deployment."""
        return self.use_case.timeframe(self.settings)

    def log(self, severity: str, message: str, **_: object) -> None:
        """Keep what a run of a deployment would log."""
        self.notes.append(message)

    @property
    def oldest(self) -> date:
        """The oldest date of a training."""
        return self.timeframe.oldest_matured(
            today=self.as_of, at_most=self.settings.training_snapshots
        )

    @property
    def days(self) -> list[date]:
        """The days of the export that are read: those of a training and its history."""
        first = self.first_day
        if first is None:
            first = self.use_case.first_day(self.oldest)
        return [day for day in self.export.tables if first <= day <= self.as_of]

    @property
    def parameters(self) -> dict[str, object]:
        """The parameters of the statement that reads the export."""
        days = self.days
        names = digest_state.event_names([self.use_case], self.settings)
        return {
            "first_suffix": f"{days[0]:%Y%m%d}",
            "last_suffix": f"{days[-1]:%Y%m%d}",
            "event_names": sorted(names),
        }

    @property
    def names_parameters(self) -> dict[str, object]:
        """The parameters of the statement that names events: it reads a week."""
        first_day = self.days[-NAMED_DAYS:][0]
        return self.parameters | {"first_suffix": f"{first_day:%Y%m%d}"}


@dataclass(frozen=True, kw_only=True)
class TriedExport:
    """
    What an export can predict.

    Attributes:
        people: Users as of the trial's date with their probabilities, the best first.
        features: Of these, in the same order.
        bytes_read: Of the export; ``bytes_billed`` also counts the temporary tables.
        duel: Its list beside today's, if there is one.
    """

    trial: ExportTrial
    card: UserCard
    trained: Trained
    people: pd.DataFrame
    features: pa.Table
    bytes_read: int
    bytes_billed: int
    duel: Duel | None

    @property
    def sentences(self) -> list[str]:
        """What was tried, and how far it can be relied on."""
        trial = self.trial
        days = list(trial.export.tables)
        consent = trial.settings.require_consent
        told = [
            f"{trial.export.name} has {plural(len(days), 'day')}, {days[0]} to "
            f"{days[-1]}; this is as of {trial.as_of}"
        ]
        told += self._shortened()
        rule = "events of all users were read, also of those who gave no consent"
        if consent != "false":
            rule = "events without that consent were left out"
        told.append(f"PROPENSITY_REQUIRE_CONSENT was {consent}: {rule}")
        told.append(
            "Whoever was forgotten in a deployment is in its export until Analytics "
            "deletes them, and so may be in this list"
        )
        told.append(
            f"{size_text(self.bytes_read)} of the export were read, each column once, "
            f"and {size_text(self.bytes_billed)} billed with the temporary tables, "
            "which are gone"
        )
        told += trial.notes
        return told

    def _shortened(self) -> list[str]:
        trial = self.trial
        if trial.weeks is None:
            return []
        lookback = trial.use_case.lookback_days
        # An interval narrows with the root of what is measured.
        wider = sqrt(USUAL_WEEKS / trial.weeks)
        return [
            "That is fewer than a deployment waits for: features read "
            f"{lookback} days instead of {trial.full.lookback_days}, and "
            f"{plural(trial.weeks, 'week')} of outcomes were learned from and tested. "
            f"With {USUAL_WEEKS} weeks, intervals would be about {wider:.1f} times "
            "narrower"
        ]

    def who(self, listed: pd.Series | None = None) -> list[Trait]:
        """
        Return what tells the users of a list from all others who were scored.

        Args:
            listed: Ids; None for the best tenth of the test set.
        """
        tellings = self.trial.use_case.tellings
        if listed is None:
            return who_of_test(self.trained, tellings)
        chosen = self.people["user_id"].isin(listed).to_numpy()
        return who_they_are(self.features, chosen, tellings)

    def page(self, who: Sequence[Trait] = ()) -> str:
        """Return the report, as one HTML file."""
        return version_page(
            self.card,
            template="export.html",
            name="trial of an export",
            sentences=self.sentences,
            duel=self.duel,
            who=who,
        )


def try_export(
    target: str,
    *,
    jobs_in: str | None,
    label_event: str | None = None,
    against: str | None = None,
    agrees: Callable[[str], bool],
    now: datetime,
) -> TriedExport:
    """
    Try an export, and change nothing.

    Args:
        target: ``project.dataset``.
        jobs_in: The project whose jobs read it; None for GOOGLE_CLOUD_PROJECT, or that
            of the export.
        label_event: The event to predict; None for the setting's, or a purchase.
        against: The list that somebody makes today, as ``read_todays_list`` takes it.
        agrees: Is asked whether to read more than BigQuery's free month, for the price
            in the text.
        now: Says which streamed tables are complete.
    """
    with open_trial(target, label_event, jobs_in=jobs_in, now=now) as trial:
        todays = None if against is None else _todays_list(trial, against)
        return train_here(trial, todays, agrees=agrees)


def read_agreed(
    trial: ExportTrial, agrees: Callable[[str], bool]
) -> tuple[ExportTrial, int]:
    """
    Read the days of a trial for a price that is said and, above the free month, agreed.

    Temporary tables have what a deployment keeps of the export.

    Returns:
        The trial, no statement of which bills more, and the bytes that were read.
    """
    size = trial_bytes(trial)
    text = price_text(trial, size)
    say(text)
    if size > MOST_TRIED:
        raise RequestError(
            f"{text}. That is more than BigQuery reads before a statement has to "
            "end, and nothing was read",
            hint="Deploy, which reads some days at a time: docs/deploy.md",
        )
    if size > TIB and not agrees(text):
        raise RequestError(
            f"{text}. That is above the free 1 TiB a month, and nothing was read",
            hint="To read it for this price, add --yes",
        )
    limit = max(size + size // 20, LEAST_BYTES)
    settings = replace(trial.settings, maximum_bytes_billed=limit)
    session = trial.warehouse
    session.settings = settings
    before = session.bytes_billed
    with announced(f"reading {plural(len(trial.days), 'day')} of {trial.export.name}"):
        events = statement("trial_events", ga_events=trial.export.view)
        session.execute(events, trial.parameters)
        bytes_read = session.bytes_billed - before
        session.execute(statement("trial_digest"), {"days": trial.days})
    return replace(trial, settings=settings), bytes_read


@contextlib.contextmanager
def open_trial(
    target: str, label_event: str | None, *, jobs_in: str | None, now: datetime
) -> Iterator[ExportTrial]:
    """Open a trial of an export, with a session of its own; as ``try_export``."""
    project, _, dataset = target.rpartition(".")
    environment = {"GOOGLE_CLOUD_PROJECT": project, **os.environ}
    if jobs_in:
        environment["GOOGLE_CLOUD_PROJECT"] = jobs_in
    environment["PROPENSITY_GA4_DATASET"] = target
    if label_event:
        environment["PROPENSITY_LABEL_EVENT"] = label_event
    settings = Settings.from_environment(environment)
    use_case = usecases.load(settings.use_case)
    if not use_case.reads_digest:
        raise RequestError(
            f"{use_case.name} (PROPENSITY_USE_CASE) does not read an export of GA4",
            hint="Unset it, or name a use case that does, such as ga4_purchase",
            field="PROPENSITY_USE_CASE",
        )
    with contextlib.closing(Warehouse.open(settings)) as warehouse:
        location = _location(warehouse, project, dataset)
    settings = replace(settings, location=location)
    with contextlib.closing(Session.open(settings)) as session:
        with _denied_jobs(settings):
            export = _found(session, location)
        yield _trial(session, use_case, export, now=now)


def _location(warehouse: Warehouse, project: str, dataset: str) -> str:
    try:
        return warehouse.location_of(f"{project}.{dataset}")
    except MissingTable as error:
        near = nearest(dataset, warehouse.datasets_of(project))
        hint = "Check both names. A table is project.dataset.table"
        if near:
            hint = f"Did you mean {project}.{near}?"
        problem = f"there is no dataset {dataset} in {project}"
        raise RequestError(problem, hint=hint, field="target") from error


@contextlib.contextmanager
def _denied_jobs(settings: Settings) -> Iterator[None]:
    """Have the first job that is denied say that any project of one's own will do."""
    try:
        yield
    except PropensityError as error:
        is_denied = isinstance(error, AccessDenied) and "jobs.create" in error.problem
        if not is_denied and "illing has not been enabled" not in error.problem:
            raise
        raise RequestError(
            f"no job can run in {settings.project}: {error.problem}",
            hint="Name a project of yours in which you may create jobs by --jobs-in "
            "PROJECT. The export may be in another one",
            field="jobs_in",
        ) from error


def _found(session: Session, location: str) -> Export:
    name = session.settings.export
    tables = digest_state.read_export_tables(session, "")
    if not tables:
        raise NoData(
            f"{name} has no table of a day, events_YYYYMMDD",
            hint="Check in Google Analytics, Admin, BigQuery links, that the export is "
            "linked to this dataset",
        )
    newest = {}
    for table in tables.values():
        [kind] = kinds_of([table.name])
        newest[kind] = table.name
    kinds = [kind for kind in KINDS if kind in newest]
    project, _, dataset = name.rpartition(".")
    lacking = {}
    for kind in kinds:
        has = session.types_of((project, dataset, newest[kind]))
        lacking[kind] = [column for column in LATER_COLUMNS if column not in has]
    view = events_view(
        name,
        require=session.settings.require_consent,
        kinds=kinds,
        values=(),
        lacking=lacking,
    )
    source = with_refusals(view)
    if not consent_of(view):
        source = f"(\n{view})"
    return Export(name=name, location=location, tables=tables, view=source)


def _trial(
    session: Session, use_case: UseCase, export: Export, *, now: datetime
) -> ExportTrial:
    """Choose date and spans by the days that there are."""
    settings = session.settings
    offset = settings.property_utc_offset_hours
    shards = export.shards
    began = min(shards.days)
    ended = max(shards.days) + timedelta(days=1)
    state = check_days(shards, began, ended, now=now, utc_offset_hours=offset)
    as_of = state.data_until
    n_days = (as_of - began).days
    full = use_case.timeframe(settings)
    needed = days_needed(full)
    if n_days < needed:
        raise NotEnoughData(
            f"{export.name} has {plural(n_days, 'day')}, {began} to "
            f"{as_of - timedelta(days=1)}, and a trial needs {needed} for outcomes of "
            f"{plural(full.horizon_days, 'day')}",
            hint=f"Try it in {plural(needed - n_days, 'day')}",
        )
    use_case = use_case.with_label_event(settings)
    weeks = weeks_of(full, n_days)
    if weeks is not None:
        lookback = n_days - _after(full) - (weeks - 1) * full.stride.days
        shorter = min(lookback, full.lookback_days)
        use_case = structs.replace(use_case, lookback_days=shorter)
    trial = ExportTrial(
        settings=settings,
        use_case=use_case,
        warehouse=session,
        export=export,
        as_of=as_of,
        missing_days=(),
        full=full,
        weeks=weeks,
        began_at=now,
    )
    # As a run of a deployment waits for the days of a training.
    timeframe = trial.timeframe
    since = trial.oldest - timedelta(days=timeframe.lookback_days)
    until = timeframe.newest_matured(today=as_of) + timeframe.horizon
    read = check_days(shards, since, until, now=now, utc_offset_hours=offset)
    missing = days_without(shards, read, since, until, utc_offset_hours=offset)
    return replace(trial, missing_days=missing)


def days_needed(full: Timeframe) -> int:
    """Return the days of which a trial can train, choose and test."""
    weeks = _fewest_weeks(full) - 1
    return max(FEWEST_DAYS, _shortest(full) + _after(full) + weeks * full.stride.days)


def weeks_of(full: Timeframe, n_days: int) -> int | None:
    """
    Return how many dates of a training so many days allow; None for a deployment's.

    A deployment trains from ``SHORT_WEEKS`` dates on with a whole lookback. Fewer days
    shorten the lookback first, and then the dates.
    """
    weeks = max(SHORT_WEEKS, _fewest_weeks(full))
    needed = full.lookback_days + _after(full) + (weeks - 1) * full.stride.days
    # Of a lookback a tenth may be missing.
    if n_days >= needed - full.lookback_days // 10:
        return None
    allowed = (n_days - _after(full) - _shortest(full)) // full.stride.days
    return min(weeks, 1 + allowed)


def _fewest_weeks(full: Timeframe) -> int:
    """Return the dates that a training takes: one is chosen by once one is known."""
    return max(FEWEST_SNAPSHOTS, 2 + ceil(full.horizon / full.stride))


def _shortest(full: Timeframe) -> int:
    return min(SHORTEST_LOOKBACK, full.lookback_days)


def _after(timeframe: Timeframe) -> int:
    """Return the days after a date until its outcomes are known."""
    return timeframe.horizon_days + timeframe.settle_days


def trial_bytes(trial: ExportTrial) -> int:
    """Return the bytes of the export that a trial may read, by dry runs."""
    sql = statement("user_days_of_export", ga_events=trial.export.view)
    names = statement("trial_event_names", ga_events=trial.export.view)
    size = trial.warehouse.dry_run(sql, trial.parameters)
    return size + trial.warehouse.dry_run(names, trial.names_parameters)


def price_text(trial: ExportTrial, size: int) -> str:
    """Say what a trial reads, and for how much."""
    price = size / TIB * price_of(trial.export.location)
    days = plural(len(trial.days), "day")
    return (
        f"{days} of {trial.export.name} to read: {size_text(size)}, {price:,.2f} USD "
        "on demand beyond the free 1 TiB a month"
    )


def size_text(size: int) -> str:
    """Write a number of bytes."""
    return f"{size / GIB:,.1f} GiB" if size >= GIB else f"{size / MIB:,.1f} MiB"


def paid_by_date(
    trial: ExportTrial, as_ofs: Sequence[date]
) -> dict[date, dict[str, float | None]]:
    """Return by date what each buyer of its horizon paid; None where nobody knows."""
    use_case = trial.use_case
    window = use_case.window(trial.settings, as_ofs, today=trial.as_of)
    bought = trial.warehouse.table(use_case.statement("converter_amounts"), window)
    paid: dict[date, dict[str, float | None]] = {as_of: {} for as_of in as_ofs}
    for buyer in bought.to_pylist():
        amount = buyer["amount"]
        if amount is not None:
            amount = float(amount)
        paid[buyer["as_of"]][buyer["user_id"]] = amount
    return paid


def outcome_days_without(trial: ExportTrial, as_of: date) -> list[date]:
    """Return the days of a date's outcomes that the export lacks, or has no more."""
    shards = trial.export.shards
    offset = trial.settings.property_utc_offset_hours
    read = check_days(
        shards, as_of, trial.as_of, now=trial.began_at, utc_offset_hours=offset
    )
    missing = days_without(shards, read, as_of, trial.as_of, utc_offset_hours=offset)
    return missing_label_days(trial, as_of, missing)


def currency_of(trial: ExportTrial) -> str:
    """Return the currency of what users paid, as the events of the export name it."""
    declared = trial.use_case.currency
    named = undeclared_currency(
        trial.warehouse,
        declared,
        since=trial.days[0],
        ga_events=trial.export.view,
    )
    return named if named else declared


def event_of(trial: ExportTrial) -> str:
    """Return the event that is predicted; of one without, the use case's name."""
    parameters = trial.use_case.statement_parameters(trial.settings)
    return str(parameters.get("label_event", trial.use_case.name))


def _check_conversions(trial: ExportTrial) -> None:
    """Raise NotEnoughData where nobody has the event that is predicted."""
    event = trial.use_case.statement_parameters(trial.settings).get("label_event")
    sql = statement("trial_conversions")
    [counted] = trial.warehouse.rows(sql, {"label_event": event})
    if counted["events"]:
        return
    events = trial.warehouse.rows(
        statement("trial_event_names", ga_events=trial.export.view),
        trial.names_parameters,
    )
    names = [f"{row['event_name']} ({row['users']:,} users)" for row in events]
    raise NotEnoughData(
        f"{trial.export.name} has no event {event}. It has {', '.join(names)} in its "
        f"last {plural(NAMED_DAYS, 'day')}",
        hint="Predict one of them by --label-event NAME",
    )


def train_here(
    trial: ExportTrial,
    todays: TodaysList | None = None,
    *,
    agrees: Callable[[str], bool],
) -> TriedExport:
    """Read the export of a trial that is open, train, and score; as ``try_export``."""
    trial, bytes_read = read_agreed(trial, agrees)
    _check_conversions(trial)
    settings = trial.settings
    use_case = trial.use_case
    task = use_case.task(settings)
    limits = limits_of(settings)
    with announced("computing features and outcomes"):
        rows = user_rows(trial, NOBODY)
    with announced(f"training on {len(rows):,} rows"):
        parts = split_users(
            rows,
            task,
            trial.timeframe,
            limits=limits,
            advice=_advice(trial, rows),
        )
        training = UserTraining(parts=parts, task=task, limits=limits, watched=watched)
        trained = training.run()
        verdict = gate.compare(trained, None)
        valued = value.train_value(trained, task.features, seed=settings.seed)
    duel = None if todays is None else _duel(trial, trained, todays)
    with announced(f"scoring users as of {trial.as_of}"):
        people, features = scored(trial, trained)
    origin = Origin(
        rows=rows,
        as_of=trial.as_of,
        trained_at=trial.began_at,
        data_until=trial.as_of,
        settle_days=trial.timeframe.settle_days,
        statement_parameters=use_case.statement_parameters(settings),
        bytes_billed=trial.warehouse.bytes_billed,
    )
    return TriedExport(
        trial=trial,
        card=user_card(task, trained, verdict, origin, valued=valued),
        trained=trained,
        people=people,
        features=features,
        bytes_read=bytes_read,
        bytes_billed=trial.warehouse.bytes_billed,
        duel=duel,
    )


def _todays_list(trial: ExportTrial, against: str) -> TodaysList:
    features = {}
    for name, kind in trial.use_case.features.items():
        features[name] = Feature(kind=kind)
    names = {name: name for name in features}
    return read_todays_list(against, features, names, user="user_id", time="as_of")


def _duel(trial: ExportTrial, trained: Trained, todays: TodaysList) -> Duel:
    rows, score, _ = trained.judged_forward()
    dates = rows.rows["as_of"].to_pylist()
    paid = paid_by_date(trial, sorted(set(dates)))
    amounts = []
    for as_of, user in zip(dates, rows.rows["user_id"].to_pylist(), strict=True):
        amounts.append(paid[as_of].get(user, 0.0))
    return compare_lists(
        rows,
        score,
        todays,
        outcome=did_of(event_of(trial)),
        amounts=None if None in amounts else np.array(amounts),
    )


def _advice(trial: ExportTrial, rows: pa.Table) -> str:
    """Say how many days more would have enough buyers, by those of these weeks."""
    dates = len(set(rows["as_of"].to_pylist()))
    conversions = int(np.sum(rows["label"].to_numpy()))
    minimum = trial.settings.minimum_conversions
    if not conversions:
        return "Wait for more weeks of events"
    # Up to a quarter of the dates is the test set, which needs the minimum alone.
    needed = 4 * ceil(minimum * dates / conversions)
    more = max(needed - dates, 1) * trial.timeframe.stride.days
    return (
        f"At {conversions / dates:.1f} a week it needs about {plural(more, 'day')} more"
    )


def scored(trial: ExportTrial, trained: Trained) -> tuple[pd.DataFrame, pa.Table]:
    """Return all users as of a trial's date, the likeliest first, with features."""
    use_case = trial.use_case
    window = use_case.window(trial.settings, [trial.as_of])
    rows = trial.warehouse.table(use_case.statement("features"), window)
    users = rows["user_id"].to_pandas().astype("str").rename("user_id")
    people = best_first(users, trained.live.scores(rows, use_case.features))
    features = rows.select(list(use_case.features)).take(pa.array(people.index))
    return people.reset_index(drop=True), features


def told(tried: TriedExport) -> dict[str, Any]:
    """Return the answer of a trial, for programs."""
    card = tried.card.plain()
    trial = tried.trial
    return {
        "claim": claim_of_export(tried),
        "export": trial.export.name,
        "as_of": trial.as_of,
        "lookback_days": trial.use_case.lookback_days,
        "metrics": card["metrics"],
        "baseline": card["baseline"],
        "would_go_live": card["verdict"]["promoted"],
        "verdict": card["verdict"]["reason"],
        "users": len(tried.people),
        "bytes_read": tried.bytes_read,
        "bytes_billed": tried.bytes_billed,
        "notes": tried.sentences,
    }


def claim_of_export(tried: TriedExport) -> str:
    """Say in one sentence how well buyers can be told apart."""
    card = tried.card
    best = card.metrics.lift[0]
    share = best.conversions / best.users
    assert card.metrics.base_rate
    lift = lift_interval(best.conversions, best.users, card.metrics.base_rate)
    words = gate.beside_baseline(tried.trained, card.baseline.name)
    return (
        f"Of the top 10% of users, {100 * share:.1f}% {card.outcome} within "
        f"{card.horizon_days} days, {lift.format('.1f')} times the average; "
        f"{words}"
    )
