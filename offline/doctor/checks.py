"""Checks of settings, rights, the export, sources, champions and dead letters."""

from __future__ import annotations

from datetime import datetime, timedelta

from deploy import functions
from offline import dead_letters
from offline.doctor.examination import Examination
from propensity.errors import (
    AccessDenied,
    ArtifactError,
    MissingTable,
    PropensityError,
    RequestError,
    SchemaError,
    SettingsError,
)
from propensity.freshness import Shards
from propensity.privacy import consent
from propensity.registry.loading import find_promoted, find_recorded, loaded
from propensity.registry.versions import Registry
from propensity.runs.export import listed
from propensity.runs.sources import described
from propensity.tables import every as tables
from propensity.timeframe import DAY, first_and_last, first_shard, midnight
from propensity.usecases import UseCase
from propensity.usecases import export as exported
from propensity.usecases.sources import HISTORY

# A day's table of the export is there about noon of the next day, in the property's
# time zone, and a day later at times.
EXPORT_LATE = timedelta(hours=36)
# A champion that is older knows little of today's users; as the alert champion_age.
CHAMPION_OLD = timedelta(days=45)
SET_UP = "run deploy/setup.sh again (locally: `make down && make up`)"
RESTORE = "restore the object's earlier generation"


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
    there = exam.warehouse.tables_of(f"{settings.project}.{settings.dataset}")
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
    except AccessDenied as error:
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
            except (MissingTable, SettingsError, SchemaError, AccessDenied) as why:
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
        there = exam.warehouse.tables_of(settings.export)
    except (MissingTable, SettingsError, AccessDenied) as error:
        exam.error(error.message, "correct PROPENSITY_GA4_DATASET or its rights")
        return
    obstacles = [*exported.obstacles(there.values())]
    for what in obstacles:
        exam.error(
            f"in {settings.ga4_dataset}, {what}",
            "move it to another dataset: it begins as the days of the export do, and "
            "BigQuery's wildcards take all of one kind or fail",
        )
    _check_days(exam, Shards.of(there))
    if obstacles:
        return
    try:
        exam.warehouse.dry_run(f"SELECT * FROM {consent.VIEW} WHERE table_suffix = ''")
    except (MissingTable, SchemaError) as error:
        exam.error(
            f"the view {consent.VIEW} cannot be read: {error.message}",
            f"{SET_UP}; if GA4 has renamed a column change ga_events.sql",
        )


def _check_days(exam: Examination, shards: Shards) -> None:
    if not shards.days:
        exam.error(
            f"{exam.settings.ga4_dataset} has no table events_YYYYMMDD",
            "switch on the daily export in GA4 (Admin, BigQuery links), or streaming "
            "for a property of over a million events a day (locally: make demo)",
        )
        return
    begun, newest = first_and_last(dict.fromkeys(shards.days, 1))
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
    span = shards.expected(first, newest)
    if missing := [day for day in span if day not in shards.days]:
        exam.error(
            f"days of the export are missing: {len(missing)} within the lookback of "
            f"{lookback} days: {listed(missing)}",
            "GA4 fills no gap by itself: see whether the tables were deleted, and "
            "restore them (BigQuery keeps deleted tables for 7 days)",
        )


def check_champions(exam: Examination) -> None:
    """Whether champions are recorded, unaltered, loadable here, and not too old."""
    for use_case in exam.use_cases:
        _check_champion(exam, use_case, Registry(exam.artifacts, use_case.name))


def _check_champion(exam: Examination, use_case: UseCase, registry: Registry) -> None:
    name = use_case.name
    promote = f"propensity promote N --use-case {name}"
    try:
        champion = registry.find_champion()
    except ArtifactError as error:
        exam.error(
            f"{name}: the pointer {registry.pointer} is damaged: {error.message}",
            f"{RESTORE}, or delete it and {promote}",
        )
        return
    if champion is None:
        why, advice = "", f"call 00-ModelTraining with use_case {name}"
        if (promoted := find_promoted(exam.warehouse, name)) is not None:
            why = f": version {promoted} was promoted, and {registry.pointer} deleted"
            advice = f"{RESTORE}, or {promote}"
        exam.error(f"{name}: no model serves{why}", advice)
        return
    version = f"{name}: the champion, version {champion.version},"
    recorded = find_recorded(exam.warehouse, use_case, champion.version)
    if recorded is None:
        exam.error(
            f"{version} is not recorded in {tables.TRAINING_METADATA.name}: no "
            "function loads it",
            f"{promote}, with N of propensity versions, or train",
        )
        return
    try:
        chosen = use_case.chosen(exam.settings)
        serving = loaded(registry, use_case, recorded, chosen=chosen)
    except PropensityError as error:
        exam.error(
            f"{version} cannot be loaded: {error.message}",
            f"{RESTORE}, promote another version, or train again",
        )
        return
    if not serving.is_warm:
        exam.warn(
            f"{version} has not seen enough to score",
            "train again once more events have come",
        )
    age = exam.now - datetime.fromisoformat(champion.promoted_at)
    if age > CHAMPION_OLD and not champion.pinned and not exam.is_local:
        exam.warn(
            f"{version} has served for {age.days} days",
            "see in propensity versions why newer ones were not promoted, or "
            "whether training still runs",
        )


def check_dead_letters(exam: Examination) -> None:
    """Whether messages could not be processed."""
    try:
        letters = dead_letters.letters(exam.settings, now=exam.now)
    except MissingTable as error:
        exam.error(error.message, SET_UP)
        return
    if letters["waiting"]:
        exam.error(
            f"{letters['waiting']} messages wait in {dead_letters.SUBSCRIPTION}: every "
            "delivery of them failed",
            "see the log of stream_features and score_stream for why, then bring them "
            "back: propensity dead-letters replay",
        )
    if letters["refused"]:
        reasons = ", ".join(
            f"{r['reason']} {r['messages']}" for r in letters["refused"]
        )
        total = sum(row["messages"] for row in letters["refused"])
        exam.warn(
            f"{total} messages of the last seven days became dead letters: {reasons}",
            "see detail and field in dead_letters, correct the producer, and replay "
            "what can be: propensity dead-letters replay --refused",
        )
