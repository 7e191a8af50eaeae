"""
Predictions of past weeks, as the weekly runs would have published them.

The features of all weeks come from one query, which reads each day of the source once.
Each week is then scored by the model of its time, and published as 01-Predictions does
it: a week can be run again, and a user's newer row stays. A failure of one week leaves
that week as it was, and the others are gone on with.
"""

from __future__ import annotations

import contextlib
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from offline.promote import Deployment, opened
from propensity.edges.warehouse import Warehouse
from propensity.errors import (
    NoChampion,
    PropensityError,
    QueryTooExpensive,
    RequestError,
)
from propensity.pages.words import plural
from propensity.privacy.suppression import Followed
from propensity.registry.leases import Finished
from propensity.runs import (
    champion,
    export,
    index,
    predict,
    publications,
    season,
    staging,
)
from propensity.runs.request import EARLIEST
from propensity.runs.run import Run, plain

GIB = 1024**3


@dataclass(frozen=True, kw_only=True)
class Request:
    """
    What to publish: as-of dates from ``since`` on, a horizon apart, up to ``until``.

    ``maximum_bytes`` limits the query for the features; None for the setting's.
    """

    since: date
    until: date
    use_case: str | None = None
    maximum_bytes: int | None = None
    force: bool = False
    is_dry: bool = False
    is_quiet: bool = False


@dataclass(kw_only=True)
class Week:
    """A week's publication; ``error`` says why there is none."""

    as_of: date
    model_version: int | None = None
    users: int = 0
    mean_probability: float | None = None
    is_trained_after: bool = False
    error: str = ""

    def __str__(self) -> str:
        if self.error:
            return f"{self.as_of}  not published: {self.error}"
        if self.model_version is None:
            return f"{self.as_of}"
        later = ", which was trained after it" if self.is_trained_after else ""
        return (
            f"{self.as_of}  {self.users:,} users by version {self.model_version}{later}"
        )


@dataclass(kw_only=True)
class Report:
    """The weeks, and the bytes of the query for their features."""

    use_case: str
    is_dry: bool
    bytes_estimated: int
    maximum_bytes: int
    bytes_billed: int = 0
    weeks: list[Week] = field(default_factory=list)
    index_users: int | None = None
    index_error: str = ""

    @property
    def estimate(self) -> str:
        """Return in words what the query may read."""
        return (
            f"One query of {self.bytes_estimated / GIB:,.3g} GiB at most, of "
            f"{self.maximum_bytes / GIB:,.3g} that are allowed."
        )

    @property
    def failed(self) -> int:
        """Return the number of weeks, and of indexes, that were not published."""
        return sum(bool(week.error) for week in self.weeks) + bool(self.index_error)

    def fields(self) -> dict[str, Any]:
        """Return the report for a program."""
        return {**asdict(self), "failed": self.failed}

    def __str__(self) -> str:
        of = [f"{self.use_case}, {plural(len(self.weeks), 'as-of date')}"]
        end = f"{self.bytes_billed / GIB:,.3g} GiB were billed."
        if self.is_dry:
            # A run says it before it begins.
            of.append(self.estimate)
            end = "Nothing was read or written."
        elif self.index_error:
            end += f" {self.index_error[:1].upper()}{self.index_error[1:]}."
        return "\n".join([*of, *map(str, self.weeks), end])


def run(request: Request) -> Report:
    """
    Publish the predictions of past weeks, oldest first.

    Raises:
        RequestError: The period is empty or not over, or the use case scores events.
        QueryTooExpensive: The query would read more than allowed; nothing was read.
        ExportLate, MissingTable, SettingsError: The source cannot be read.
        NoChampion: No version could score any week.
    """
    now = datetime.now(UTC)
    with opened(request.use_case) as deployment:
        settings = deployment.settings
        warehouse = Warehouse(settings, client=deployment.warehouse.client)
        # The limit is of the query for the features; publications have the setting's.
        limit = request.maximum_bytes or settings.maximum_bytes_billed
        limited = replace(settings, maximum_bytes_billed=limit)
        reader = Warehouse(limited, client=deployment.warehouse.client)
        runs = _runs(deployment, warehouse, request, now=now)
        sql = deployment.use_case.statement("features")
        window = deployment.use_case.window(settings, list(runs))
        report = Report(
            use_case=deployment.use_case.name,
            is_dry=request.is_dry,
            bytes_estimated=reader.dry_run(sql, window),
            maximum_bytes=limit,
        )
        if report.bytes_estimated > limit:
            raise QueryTooExpensive(
                f"the features of {len(runs)} as-of dates take a query of "
                f"{report.bytes_estimated:,} bytes, and {limit:,} are allowed: choose "
                "fewer weeks, or raise --maximum-bytes"
            )
        if request.is_dry:
            report.weeks = [Week(as_of=as_of) for as_of in runs]
            return report
        if not request.is_quiet:
            print(report.estimate, file=sys.stderr)
        parts = reader.parts(sql, window, column="as_of")
        try:
            for as_of, run in tqdm(
                runs.items(),
                "weeks",
                file=sys.stderr,
                leave=False,
                # None draws the bar on a terminal only.
                disable=True if request.is_quiet else None,
            ):
                # It begins now: the command began with the first of them.
                begun = replace(run, began_at=run.now())
                report.weeks.append(_week(begun, parts.of(as_of)))
        finally:
            _renew_index(report, runs)
        report.bytes_billed = reader.bytes_billed + warehouse.bytes_billed
    return report


def _runs(
    deployment: Deployment, warehouse: Warehouse, request: Request, *, now: datetime
) -> dict[date, Run]:
    """Return a run for each week, as of the date up to which its days are there."""
    if not EARLIEST <= request.since <= request.until <= now.date():
        raise RequestError(
            f"--from {request.since} and --to {request.until} have to be in this "
            f"order, from {EARLIEST} to today, {now.date()}",
            field="from",
        )
    use_case, runs = deployment.use_case, {}
    step = use_case.timeframe(deployment.settings).horizon
    for n in range((request.until - request.since) // step + 1):
        run = Run(
            function="backfill",
            run_id=uuid.uuid4().hex,
            settings=warehouse.settings,
            use_case=use_case,
            as_of=request.since + n * step,
            force=request.force,
            began_at=now,
            warehouse=warehouse,
            registry=deployment.registry,
        )
        predict.check_scores_users(run)
        export.wait_for_days(run)
        runs[run.as_of] = run
    some_run = next(iter(runs.values()))
    export.check_consent(some_run)
    if deployment.registry.find_champion() is None:
        raise NoChampion(champion.why_nothing_serves(some_run))
    return runs


def _week(run: Run, rows: Iterator[pa.RecordBatch]) -> Week:
    """Publish a week under the lease of 01-Predictions."""
    try:
        lease = run.registry.begin(
            "predict",
            run.as_of,
            run_id=run.run_id,
            now=run.now(),
            duration=timedelta(minutes=run.settings.lease_minutes),
            again=True,
        )
        assert not isinstance(lease, Finished)
        run.lease = lease
        try:
            with run.registry.kept(lease, clock=run.now, threads=run.threads):
                week = _published(run, rows)
            answer = plain({"use_case": run.use_case.name, **asdict(week)})
            run.registry.finish(lease, answer, at=run.now())
        except BaseException as error:
            # What ended the week matters more than a lease that cannot be freed.
            with contextlib.suppress(PropensityError):
                run.registry.release(lease, error=type(error).__name__, at=run.now())
            raise
    except PropensityError as error:
        return Week(as_of=run.as_of, error=error.message)
    except ValueError as error:
        return Week(as_of=run.as_of, error=f"the model refuses a value: {error}")
    return week


def _renew_index(report: Report, runs: Mapping[date, Run]) -> None:
    """
    Publish the index that lookups read, if a week has changed the table.

    Once, and behind the last week, which may be the one before an interruption: an
    index is of the whole table.
    """
    published = [week.as_of for week in report.weeks if not week.error]
    if published:
        try:
            report.index_users = index.renew(runs[published[-1]])
        except PropensityError as error:
            report.index_error = error.message


def _published(run: Run, rows: Iterator[pa.RecordBatch]) -> Week:
    # The meter is that of all weeks.
    billed_before = run.warehouse.bytes_billed
    model = champion.as_of(run)
    shift = season.log_odds_shift(run, model.version)
    features = _features(run, rows)
    staged = staging.in_function(run, model, features, shift=shift)
    publications.publish(run, model, staged)
    publications.record(run, model, staged, billed_before=billed_before)
    return Week(
        as_of=run.as_of,
        model_version=model.version,
        users=staged.users,
        mean_probability=staged.mean_probability,
        is_trained_after="trained_after_as_of" in run.log_fields,
    )


def _features(run: Run, rows: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield rows without suppressed users; the list is read behind the first call."""
    listed = Followed(run.warehouse, clock=run.clock.monotonic)
    for batch in rows:
        yield listed.now().without(batch, run.use_case.name)
