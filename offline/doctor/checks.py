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
LINKS = "look at Admin, BigQuery links in GA4"
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
    settings, needed = exam.settings, list(tables.TABLES)
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
        exam.error(error.message, "ask an owner of the project for the role")


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
            "move it to another dataset: it begins as the days of the export do",
        )
    _check_days(exam, Shards.of(there))
    if obstacles:
        return
    try:
        exam.warehouse.dry_run(f"SELECT * FROM {consent.VIEW} WHERE table_suffix = ''")
    except (MissingTable, SchemaError) as error:
        exam.error(f"the view {consent.VIEW} cannot be read: {error.message}", SET_UP)


def _check_days(exam: Examination, shards: Shards) -> None:
    if not shards.days:
        exam.error(
            f"{exam.settings.ga4_dataset} has no table events_YYYYMMDD",
            f"{LINKS}, and switch on the daily export (locally: make demo)",
        )
        return
    begun, newest = first_and_last(dict.fromkeys(shards.days, 1))
    # The table of the day that follows has been awaited since that day ended.
    if exam.now - midnight(newest + 2 * DAY) > EXPORT_LATE:
        days = (exam.now.date() - newest).days - 1
        exam.error(
            f"the newest day of the export is {newest}: {days} days are late",
            f"{LINKS}: an export above its daily limit is stopped",
        )
    reading = [one for one in exam.use_cases if one.reads_export] or exam.use_cases
    lookback = max((use_case.lookback_days for use_case in reading), default=60)
    first = max(begun, first_shard(exam.now.date(), days=lookback))
    span = shards.expected(first, newest)
    if missing := [day for day in span if day not in shards.days]:
        exam.error(
            f"days of the export are missing: {len(missing)} within the lookback of "
            f"{lookback} days: {listed(missing)}",
            "GA4 fills no gap; BigQuery keeps deleted tables for 7 days",
        )


def check_champions(exam: Examination) -> None:
    """Whether champions are recorded, unaltered, loadable here, and not too old."""
    for use_case in exam.use_cases:
        _check_champion(exam, use_case, Registry(exam.artifacts, use_case.name))


def _check_champion(exam: Examination, use_case: UseCase, registry: Registry) -> None:
    name, pointer = use_case.name, registry.pointer
    repair = (
        f"{RESTORE}, or delete {pointer} and call propensity promote N "
        f"--use-case {name}"
    )
    try:
        champion = registry.find_champion()
        if champion is None:
            promoted = find_promoted(exam.warehouse, name)
            if promoted is None:
                advice = f"call 00-ModelTraining with use_case {name}"
                exam.error(f"{name}: no model serves", advice)
            else:
                what = f"version {promoted} was promoted, and {pointer} deleted"
                exam.error(f"{name}: no model serves: {what}", repair)
            return
        version = f"{name}: the champion, version {champion.version},"
        recorded = find_recorded(exam.warehouse, use_case, champion.version)
        if recorded is None:
            exam.error(f"{version} is not recorded", repair)
            return
        chosen = use_case.chosen(exam.settings)
        serving = loaded(registry, use_case, recorded, chosen=chosen)
    except (ArtifactError, SchemaError) as error:
        exam.error(f"{name}: the champion cannot be loaded: {error.message}", repair)
        return
    if not serving.is_warm:
        exam.warn(f"{version} has not seen enough to score", "train again later")
    age = exam.now - datetime.fromisoformat(champion.promoted_at)
    if age > CHAMPION_OLD and not champion.pinned and not exam.is_local:
        exam.warn(
            f"{version} has served for {age.days} days",
            "propensity versions says why newer ones were not promoted",
        )


def check_dead_letters(exam: Examination) -> None:
    """Whether messages could not be processed."""
    try:
        letters = dead_letters.letters(exam.settings, now=exam.now)
    except MissingTable as error:
        exam.error(error.message, SET_UP)
        return
    replay = "propensity dead-letters replay"
    if letters["waiting"]:
        exam.error(
            f"{letters['waiting']} messages wait in {dead_letters.SUBSCRIPTION}: every "
            "delivery of them failed",
            f"the log of stream_features or score_stream says why; then {replay}",
        )
    if letters["refused"]:
        counts = [(row["messages"], row["reason"]) for row in letters["refused"]]
        exam.warn(
            f"{sum(n for n, _ in counts)} messages of the last seven days became dead "
            f"letters: {', '.join(f'{reason} {n}' for n, reason in counts)}",
            f"correct the producer (dead_letters.detail), then {replay} --refused",
        )
