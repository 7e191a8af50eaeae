"""
Remove all data of users, prove it, and keep new data out.

First the users go on the list of suppressed users, by a keyed hash, so that running
functions store nothing new about them. Then their rows are removed from every table and
from every Parquet file in the bucket, older generations included, and prediction
indexes are built anew without them. Then a second search proves it. A run can be
interrupted at any point and started again.

Functions follow the list within five times PROPENSITY_REFRESH_S; events that were
under way until then may still be stored. The report says when to run this again to
remove those as well.

With a use case, only its data is removed, and users are suppressed only there. The
report names no user. See also ``docs/privacy.md``.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib import resources
from itertools import zip_longest
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from offline import forget_indexes
from offline.forget_report import Place, Report, Request, pieces
from propensity import tables, usecases
from propensity.concurrency import THREADS
from propensity.errors import Conflict, MissingTable, RunInProgress, SettingsError
from propensity.gcp.artifacts import Artifacts, Generation
from propensity.gcp.warehouse import Warehouse
from propensity.privacy import suppression
from propensity.privacy.suppression import EVERYWHERE, key_id, user_hash
from propensity.registry.leases import LEASE_MINUTES
from propensity.registry.objects import parquet_of
from propensity.registry.versions import PARQUET, Registry
from propensity.runs import compact
from propensity.schema import Table
from propensity.settings import Settings
from propensity.statements import statement
from propensity.tables import EVENT, RAW, USER

SQL = resources.files(__package__)
ENDING = ".parquet"

# Attempts at an object that others change meanwhile.
TRIES = 5


def forget(settings: Settings, request: Request) -> Report:
    """
    Remove users; see the module.

    Raises:
        SettingsError: There is no key for the list of suppressed users.
        RunInProgress: A compaction is running, which could bring rows back.
        PropensityError: It could not finish; a second run continues.
    """
    began_at = datetime.now(UTC)
    is_suppressing = request.is_suppressing and not request.is_dry
    if is_suppressing and not settings.suppression_key:
        raise SettingsError(
            "PROPENSITY_SUPPRESSION_KEY is not set: without it the users come back "
            "with their next event. Set it, here and for the functions, or say "
            "--no-suppression",
            field="PROPENSITY_SUPPRESSION_KEY",
        )
    with (
        contextlib.closing(Warehouse.open(settings)) as warehouse,
        contextlib.closing(Artifacts.open(settings)) as artifacts,
    ):
        work = Work(warehouse, artifacts, request, began_at)
        if is_suppressing:
            work.suppress()
        try:
            work.run()
        except RunInProgress as error:
            raise RunInProgress(
                "a compaction or another `propensity forget` is under way, or was "
                f"killed: {error.message}. Run this again then"
            ) from error
    work.report.bytes_billed = warehouse.bytes_billed
    return work.report


class Work:
    """A run with its clients, its request, and the report that it fills."""

    def __init__(
        self,
        warehouse: Warehouse,
        artifacts: Artifacts,
        request: Request,
        began_at: datetime,
    ) -> None:
        self.warehouse = warehouse
        self.artifacts = artifacts
        self.request = request
        self.began_at = began_at
        settings = warehouse.settings
        self.report = Report(
            hashes=[
                user_hash(settings.suppression_key, user)[:12] for user in request.users
            ]
            if settings.suppression_key
            else [""] * len(request.users),
            use_case=request.use_case,
            is_dry=request.is_dry,
            began_at=began_at.isoformat(timespec="seconds"),
        )

    def suppress(self) -> None:
        """Add the users to the list of suppressed users, unless they are on it."""
        settings = self.warehouse.settings
        use_case = self.request.use_case or EVERYWHERE
        table = tables.SUPPRESSED_USERS
        self.warehouse.create(table)
        known = suppression.read(self.warehouse)
        rows = [
            {
                "use_case": use_case,
                "user_hash": user_hash(settings.suppression_key, user),
                "key_id": key_id(settings.suppression_key),
                "suppressed_at": self.began_at,
                "suppressed_on": self.began_at.date(),
            }
            for user in self.request.user_ids
            if not known.covers(user, use_case)
        ]
        if rows:
            entries = pa.Table.from_pylist(rows, schema=table.arrow_schema())
            job_id = f"suppress-{uuid.uuid4().hex}"
            self.warehouse.append(table, entries, job_id=job_id)
        suppression.publish(self.warehouse, self.artifacts)
        self.report.suppressed = True
        follow = timedelta(seconds=5 * settings.refresh_s)
        again = datetime.now(UTC) + follow + compact.IN_FLIGHT
        self.report.run_again_at = again.isoformat(timespec="seconds")

    def run(self) -> None:
        """Remove the users everywhere, and search again."""
        if self.request.is_dry:
            self._places()
        else:
            registry = Registry(self.artifacts, compact.SCOPE)
            # A compaction could write back rows that it read before they were removed.
            with compact.alone(
                registry,
                run_id=uuid.uuid4().hex,
                began_at=self.began_at,
                minutes=LEASE_MINUTES,
                clock=lambda: datetime.now(UTC),
                threads=THREADS,
            ):
                self._places()
        self._export()
        named = self.request.use_case
        sources = {
            source.table
            for name in ([named] if named else usecases.names())
            for source in usecases.load(name).sources
        }
        self.report.add_notes(
            refresh_s=self.warehouse.settings.refresh_s, sources=sorted(sources)
        )

    def _places(self) -> None:
        report, is_dry = self.report, self.request.is_dry
        report.places = self._search(is_dry)
        if is_dry:
            return
        remaining = self._search(True)
        again = {(place.what, place.name): place.before for place in remaining}
        for place in report.places:
            place.after = again.pop((place.what, place.name), 0)
        report.places += [
            Place(what=what, name=name, before=0, after=count)
            for (what, name), count in again.items()
            if count
        ]

    def _search(self, is_search: bool) -> list[Place]:
        """Search everywhere, and remove the users unless this is a search only."""
        tables_and_objects = [*self._tables(is_search), *self._objects(is_search)]
        # Indexes last: they are built anew of the table.
        indexes = forget_indexes.places(
            self.warehouse, self.artifacts, self.request, is_search=is_search
        )
        return [*tables_and_objects, *indexes]

    def _bar(self, things: Sequence[Any], what: str) -> Iterator[Any]:
        yield from tqdm(
            things,
            what,
            file=sys.stderr,
            leave=False,
            # None draws the bar on a terminal only.
            disable=True if self.request.is_quiet else None,
        )

    # Tables

    def _tables(self, is_search: bool) -> Iterator[Place]:
        """Count the users' rows in every table; delete them unless this is a search."""
        for table, source in self._bar(in_order(), "tables"):
            try:
                before = sum(
                    self._rows(table, condition, parameters, is_search=is_search)
                    for condition, parameters in self._conditions(table, source)
                )
            except MissingTable:
                continue
            yield Place(what="rows", name=table.name, before=before)

    def _rows(
        self,
        table: Table,
        condition: str,
        parameters: Mapping[str, Any],
        *,
        is_search: bool,
    ) -> int:
        name = "rows_about" if is_search else "delete_rows_about"
        sql = about(table, condition, statement(name, own=SQL))
        if is_search:
            return int(self.warehouse.rows(sql, parameters)[0]["found"])
        return self.warehouse.execute(sql, parameters)

    def _conditions(
        self, table: Table, source: str
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        of_use_case = {"use_case": self.request.use_case}
        if source == RAW:
            for ids in pieces(self._refused()):
                yield "of_messages", {"message_ids": ids}
        elif source == EVENT:
            events = [
                f"{row['use_case']}/{row['event_id']}"
                for users in pieces(self.request.user_ids)
                for row in self.warehouse.rows(
                    statement("events_of_users", own=SQL),
                    {**of_use_case, "user_ids": users},
                )
            ]
            # Each list comes once: each row counts once.
            for users, some in zip_longest(
                pieces(self.request.user_ids), pieces(events), fillvalue=[""]
            ):
                yield "of_events", {**of_use_case, "user_ids": users, "events": some}
        elif any(column.name == "use_case" for column in table.columns):
            for users in pieces(self.request.user_ids):
                yield "of_users_in_use_case", {**of_use_case, "user_ids": users}
        else:
            for users in pieces(self.request.user_ids):
                yield "of_users", {"user_ids": users}

    def _refused(self) -> list[str]:
        """Return the ids of dead letters that name a user in the clear."""
        users = self.request.users
        message_ids = set()
        for batch in self.warehouse.batches(statement("messages_refused", own=SQL)):
            for row in batch.to_pylist():
                attributes = json.loads(row["attributes"] or "{}").values()
                if suppression.names_any(row["raw"] or b"", attributes, users):
                    message_ids.add(row["message_id"])
        return sorted(message_ids)

    # Objects

    def _objects(self, is_search: bool) -> Iterator[Place]:
        """Count the Parquet files with rows of users by folder; remove the rows."""
        every = [
            generation
            for generation in self.artifacts.generations()
            if generation.name.endswith(ENDING)
        ]
        counts: dict[tuple[str, str], int] = {}
        self.report.unreadable.clear()
        for generation in self._bar(every, "objects"):
            kind = "objects" if generation.is_live else "noncurrent objects"
            key = (kind, folder_of(generation.name))
            counts[key] = counts.get(key, 0) + self._object(
                generation, is_search=is_search
            )
        for (what, name), before in counts.items():
            yield Place(what=what, name=name, before=before)

    def _object(self, generation: Generation, *, is_search: bool) -> bool:
        """Return whether a generation has rows of users; unless searching, rewrite."""
        for _ in range(TRIES):
            data = self.artifacts.read_generation(generation)
            try:
                rows = None if data is None else self._with_users(data)
            except (pa.ArrowException, OSError):
                self.report.unreadable.add(generation.name)
                return False
            if rows is None:
                return False
            if is_search:
                return True
            try:
                self._rewrite(generation, rows)
            except Conflict:
                # Another program wrote it meanwhile: look at the new generation.
                newer = self.artifacts.find(generation.name)
                if newer is not None:
                    generation = Generation(generation.name, newer.generation, True)
                continue
            return True
        raise Conflict(
            f"{self.artifacts.uri(generation.name)} is written again and again"
        )

    def _with_users(self, data: bytes) -> pa.Table | None:
        """Return the rows of a file if some of them are about users."""
        file = pq.ParquetFile(io.BytesIO(data))
        names = file.schema_arrow.names
        if USER not in names:
            return None
        # Snapshots of trainings have numbers in the place of ids.
        kind = file.schema_arrow.field(USER).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            return None
        column = file.read(columns=[USER])[USER]
        if not pc.any(self._about(column)).as_py():
            return None
        rows = file.read()
        return rows if pc.any(self._is_named(rows)).as_py() else None

    def _about(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        return pc.is_in(column, value_set=pa.array(self.request.user_ids, column.type))

    def _is_named(self, rows: pa.Table) -> pa.ChunkedArray:
        is_named = self._about(rows[USER])
        if self.request.use_case and "use_case" in rows.column_names:
            of_use_case = pc.equal(rows["use_case"], self.request.use_case)
            is_named = pc.and_(is_named, of_use_case)
        return is_named

    def _rewrite(self, generation: Generation, rows: pa.Table) -> None:
        """Replace a generation by a file without the users, and delete it."""
        if generation.is_live:
            left = rows.filter(pc.invert(self._is_named(rows)))
            if len(left):
                self.artifacts.replace(
                    generation.name,
                    parquet_of(left),
                    generation=generation.generation,
                    content_type=PARQUET,
                )
        self.artifacts.delete_generation(generation)

    # The GA4 export, which its owner changes

    def _export(self) -> None:
        """Count events in the GA4 export, and say how its owner removes them."""
        settings = self.warehouse.settings
        if not settings.ga4_dataset:
            return
        try:
            found = sum(
                int(row["events"])
                for users in pieces(self.request.user_ids)
                for row in self.warehouse.rows(
                    statement("ga4_events_of_users", own=SQL), {"user_ids": users}
                )
            )
        except MissingTable:
            return
        self.report.ga4_events = found
        if self.report.ga4_events:
            text = statement("forget_ga4_export", own=SQL)
            text = text.replace("export_dataset", settings.export)
            self.report.ga4_statement = text.strip()


def in_order() -> list[tuple[Table, str]]:
    """
    Return the tables with rows about users, in the order of removal.

    Tables that say which user a row of another table is about come last.
    """
    last = (tables.STREAM_EVENTS, tables.INFERENCE_LOG)
    holders = list(tables.holding_users().items())
    order = {EVENT: 0, RAW: 1, USER: 2}
    return sorted(holders, key=lambda holder: (holder[0] in last, order[holder[1]]))


def folder_of(name: str) -> str:
    """Return a Parquet file's folder: its name without day, run and version."""
    parts = name.split("/")
    return "/".join(parts[: 1 if parts[0] == "models" else 2]) + "/"


def about(table: Table, condition: str, text: str) -> str:
    """
    Return a statement on the rows of a table that meet a condition.

    Args:
        condition: Name of the statement that holds the condition.
        text: The statement, with placeholders for table and condition.
    """
    return (
        text.replace("some_condition", statement(condition, own=SQL))
        .replace("some_table", table.name)
        .replace("every_partition", table.every_partition)
    )
