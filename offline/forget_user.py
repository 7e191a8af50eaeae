"""
Remove users from all that is kept of them, prove it, and keep them from coming back.

In this order: the users go on the list of suppressed users, by a keyed hash, so that
running functions take nothing new of them; their rows are removed from every table that
has any, and from every Parquet file in the bucket, of which the generations before go
as well; then all is searched again. It can be interrupted at any point and run again,
and a second run finds nothing.

Functions follow the list within twice PROPENSITY_SUPPRESSION_TTL_S; what was on its way
until then can be stored once more. The report says when to run this again, after which
nothing more can come.

With a use case only that one forgets, and only there are they suppressed. The report
names no user. See also ``docs/privacy.md``.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from offline.forget_report import Allowed, Place, Report, Request
from propensity import tables
from propensity.edges.artifacts import Artifacts, Generation, sha256
from propensity.edges.warehouse import Warehouse
from propensity.errors import (
    Conflict,
    MissingTable,
    RequestError,
    SettingsError,
)
from propensity.ids import MAXIMUM_ID_CHARACTERS
from propensity.learning import modelcard
from propensity.privacy import suppression
from propensity.privacy.suppression import EVERYWHERE, key_id, user_hash
from propensity.registry.versions import PARQUET, Registry
from propensity.runs import compact
from propensity.settings import Settings
from propensity.statements import statement
from propensity.tables import EVENT, RAW, USER, Table

ENDING = ".parquet"
MODELS = "models/"

# Values of one parameter that a statement is given at once.
AT_ONCE = 10_000

# How often an object that others change meanwhile is begun again.
TRIES = 5


def users_of(given: Sequence[str], lines: Iterable[str]) -> tuple[str, ...]:
    """
    Return the users that a command names, each once.

    Raises:
        RequestError: One is no id, or there is none.
    """
    every = [line.rstrip("\r\n") for line in lines] if given == ["-"] else given
    found = tuple(dict.fromkeys(one for one in every if one))
    if not found:
        raise RequestError("no user was named", field="user_id")
    if any(len(one) > MAXIMUM_ID_CHARACTERS for one in found):
        raise RequestError(
            f"a user id has at most {MAXIMUM_ID_CHARACTERS} characters", field="user_id"
        )
    return found


def forget(settings: Settings, request: Request) -> Report:
    """
    Remove users; see the module.

    Raises:
        SettingsError: There is no key for the list of suppressed users.
        RunInProgress: A compaction is under way, which could bring rows back.
        PropensityError: It could not be finished. Run again, it goes on.
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
    warehouse, artifacts = Warehouse.open(settings), Artifacts.open(settings)
    try:
        work = Work(warehouse, artifacts, request, began_at)
        if is_suppressing:
            work.suppress()
        work.run()
    finally:
        warehouse.close()
        artifacts.close()
    work.report.bytes_billed = warehouse.bytes_billed
    return work.report


def allow_again(
    settings: Settings, user_ids: Sequence[str], *, use_case: str
) -> Allowed:
    """Take users off the list, and say how many were on it."""
    key = settings.required("suppression_key")
    with contextlib.closing(Warehouse.open(settings)) as warehouse:
        suppression.read(warehouse)
        removed = warehouse.execute(
            statement("allow_again"),
            {
                "hashes": [user_hash(key, one) for one in user_ids],
                "use_case": use_case or EVERYWHERE,
            },
        )
    return Allowed(removed=removed)


class Work:
    """One run: the edges, the request, and the report as it grows."""

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
                user_hash(settings.suppression_key, one)[:12] for one in request.users
            ]
            if settings.suppression_key
            else [""] * len(request.users),
            use_case=request.use_case,
            is_dry=request.is_dry,
            began_at=began_at.isoformat(timespec="seconds"),
        )

    def suppress(self) -> None:
        """Put the users on the list, those who are not on it."""
        settings, use_case = (
            self.warehouse.settings,
            self.request.use_case or EVERYWHERE,
        )
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
            given = pa.Table.from_pylist(rows, schema=table.arrow_schema())
            job_id = f"suppress-{uuid.uuid4().hex}"
            self.warehouse.append(table, given, job_id=job_id)
        self.report.suppressed = True
        follow = timedelta(seconds=2 * settings.suppression_ttl_s)
        again = datetime.now(UTC) + follow + compact.IN_FLIGHT
        self.report.run_again_at = again.isoformat(timespec="seconds")

    def run(self) -> None:
        """Remove the users everywhere, and search again."""
        if self.request.is_dry:
            self._places()
        else:
            registry = Registry(self.artifacts, compact.SCOPE)
            # A compaction that had read rows before they go would write them after.
            with compact.alone(
                registry,
                run_id=uuid.uuid4().hex,
                began_at=self.began_at,
                minutes=self.warehouse.settings.lease_minutes,
                clock=lambda: datetime.now(UTC),
            ):
                self._places()
        self._export()
        self._note()

    def _places(self) -> None:
        report, is_dry = self.report, self.request.is_dry
        report.places = [*self._tables(is_dry), *self._objects(is_dry)]
        if is_dry:
            return
        found = [*self._tables(True), *self._objects(True)]
        again = {(place.what, place.name): place.before for place in found}
        for place in report.places:
            place.after = again.pop((place.what, place.name), 0)
        report.places += [
            Place(what=what, name=name, before=0, after=count)
            for (what, name), count in again.items()
            if count
        ]

    def _bar(self, things: Sequence[Any], what: str) -> Iterator[Any]:
        yield from tqdm(
            things,
            what,
            file=sys.stderr,
            leave=False,
            # None: where nobody watches, a bar is only noise in a log.
            disable=True if self.request.is_quiet else None,
        )

    # Tables

    def _tables(self, is_search: bool) -> Iterator[Place]:
        """Yield every table that can have a row of a user; they go unless searching."""
        for table, told_by in self._bar(in_order(), "tables"):
            try:
                before = sum(
                    self._rows(table, condition, parameters, is_search=is_search)
                    for condition, parameters in self._conditions(table, told_by)
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
        sql = about(table, condition, statement(name))
        if is_search:
            return int(self.warehouse.rows(sql, parameters)[0]["found"])
        return self.warehouse.execute(sql, parameters)

    def _conditions(
        self, table: Table, told_by: str
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        named = self.request.parameters()
        if told_by == RAW:
            for ids in pieces(self._refused()):
                yield "of_messages", {"message_ids": ids}
        elif told_by == EVENT:
            rows = self.warehouse.rows(statement("events_of_users"), named)
            events = [f"{row['use_case']}/{row['event_id']}" for row in rows]
            for place, some in enumerate(pieces(events or [""])):
                # The users' own ids count once.
                users = named["user_ids"] if not place else [""]
                yield "of_events", {**named, "user_ids": users, "events": some}
        elif any(column.name == "use_case" for column in table.columns):
            yield "of_users_in_use_case", named
        else:
            yield "of_users", {"user_ids": named["user_ids"]}

    def _refused(self) -> list[str]:
        """Return the dead letters that name a user, wherever and however they do."""
        users = self.request.users
        found = set()
        for batch in self.warehouse.batches(statement("messages_refused")):
            for row in batch.to_pylist():
                attributes = json.loads(row["attributes"] or "{}").values()
                if suppression.names_any(row["raw"] or b"", attributes, users):
                    found.add(row["message_id"])
        return sorted(found)

    # Objects

    def _objects(self, is_search: bool) -> Iterator[Place]:
        """Yield the folders of Parquet files with rows of users, by what they hold."""
        every = [
            one for one in self.artifacts.generations() if one.name.endswith(ENDING)
        ]
        found: dict[tuple[str, str], int] = {}
        for one in self._bar(every, "objects"):
            kind = "objects" if one.is_live else "noncurrent objects"
            key = (kind, folder_of(one.name))
            found[key] = found.get(key, 0) + self._object(one, is_search=is_search)
        for (what, name), before in found.items():
            yield Place(what=what, name=name, before=before)

    def _object(self, one: Generation, *, is_search: bool) -> bool:
        """Return whether a generation has rows of users; it goes unless searching."""
        for _ in range(TRIES):
            data = self.artifacts.read_generation(one)
            rows = None if data is None else self._with_users(data, one.name)
            if rows is None:
                return False
            if is_search:
                return True
            try:
                self._rewrite(one, rows)
            except Conflict:
                # Somebody wrote it meanwhile: what is there now is looked at.
                newer = self.artifacts.find(one.name)
                if newer is not None:
                    one = Generation(one.name, newer.generation, True)
                continue
            return True
        raise Conflict(f"{self.artifacts.uri(one.name)} is written again and again")

    def _with_users(self, data: bytes, name: str) -> pa.Table | None:
        """Return the rows of a file if some of them are about users."""
        file = pq.ParquetFile(io.BytesIO(data))
        names = file.schema_arrow.names
        if USER not in names:
            return None
        if name.startswith(MODELS):
            # Of an earlier version of this program: snapshots have numbers now.
            kind = file.schema_arrow.field(USER).type
            is_of_ids = pa.types.is_string(kind) or pa.types.is_large_string(kind)
            if not is_of_ids:
                return None
            if self.request.use_case and not name.startswith(
                f"{MODELS}{self.request.use_case}/"
            ):
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

    def _rewrite(self, one: Generation, rows: pa.Table) -> None:
        """Put a file without the users in a generation's place, and delete that."""
        if one.is_live:
            if one.name.startswith(MODELS):
                data = written(modelcard.nameless(rows))
                # Before the object: whoever is interrupted between finds the ids again.
                self.warehouse.execute(
                    statement("record_dataset"),
                    {"object": one.name, "checksum": sha256(data)},
                )
                self._replace(one, data)
            else:
                left = rows.filter(pc.invert(self._is_named(rows)))
                if len(left):
                    self._replace(one, written(left))
        self.artifacts.delete_generation(one)

    def _replace(self, one: Generation, data: bytes) -> None:
        self.artifacts.replace(
            one.name, data, generation=one.generation, content_type=PARQUET
        )

    # What is not ours

    def _export(self) -> None:
        """Count what the GA4 export has, and say how its owner removes it."""
        settings = self.warehouse.settings
        if not settings.ga4_dataset:
            return
        try:
            found = self.warehouse.rows(
                statement("ga4_events_of_users"),
                {"user_ids": list(self.request.user_ids)},
            )
        except MissingTable:
            return
        self.report.ga4_events = int(found[0]["events"])
        if self.report.ga4_events:
            text = statement("forget_ga4_export")
            text = text.replace("export_dataset", settings.export)
            self.report.ga4_statement = text.strip()

    def _note(self) -> None:
        settings, report = self.warehouse.settings, self.report
        if report.ga4_events:
            report.notes.append(
                f"The GA4 export has {report.ga4_events:,} events of them. It is "
                "yours: delete the users in Google Analytics first (User Deletion "
                "API), which writes its tables for days, then run this with @user_ids:"
            )
        kept = (
            "BigQuery keeps removed rows for its time travel (7 days, 2 at the least) "
            "and 7 days more, the bucket removed files as long as its soft delete "
            "policy says, and Pub/Sub undelivered messages for 7 days. An instance of "
            f"get_proba keeps its answers for {settings.lookup_ttl_s} s."
        )
        report.notes.insert(0, kept)


def in_order() -> list[tuple[Table, str]]:
    """
    Return the tables with rows about users: what tells of others comes last.

    An event whose row has gone tells no more of whom a truth about it is.
    """
    last = (tables.STREAM_EVENTS, tables.INFERENCE_LOG)
    found = list(tables.holding_users().items())
    order = {EVENT: 0, RAW: 1, USER: 2}
    return sorted(found, key=lambda one: (one[0] in last, order[one[1]]))


def folder_of(name: str) -> str:
    """Return what a Parquet file is of: the name without day, run and version."""
    parts = name.split("/")
    return "/".join(parts[: 1 if parts[0] == "models" else 2]) + "/"


def written(rows: pa.Table) -> bytes:
    """Return rows as a Parquet file."""
    file = io.BytesIO()
    pq.write_table(rows, file, compression="zstd")
    return file.getvalue()


def about(table: Table, condition: str, text: str) -> str:
    """
    Return a statement about some rows of a table.

    Args:
        table: Which.
        condition: Name of the statement that tells the rows.
        text: The statement, with words in the place of table and condition.
    """
    return (
        text.replace("some_condition", statement(condition))
        .replace("some_table", table.name)
        .replace("every_partition", table.every_partition)
    )


def pieces(values: Sequence[str]) -> Iterator[list[str]]:
    """Yield values in lists that one statement can be given."""
    for start in range(0, len(values), AT_ONCE):
        yield list(values[start : start + AT_ONCE])
