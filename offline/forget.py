"""
Remove all data of users, prove it, and keep new data out.

First the users go on the list of suppressed users, by a keyed hash, and the receivers
that took them are named. Then their rows are removed from every table and from every
Parquet file and audience's list in the bucket, older generations included, and
prediction indexes are built anew without them. A second search proves it.

What was under way until functions followed the list needs a second run: the report says
when. So do rows that a receiver's next removal needs. See ``docs/privacy.md``.
"""

from __future__ import annotations

import contextlib
import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib import resources
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from offline import receivers
from offline.forget_report import Place, Report
from offline.receivers import Taken
from offline.user_rows import MODELS, index_has, named_cells, named_rows, without
from propensity import statements, suppression, usecases
from propensity.audience import stopping
from propensity.audience.declared import FOLDER
from propensity.clock import SYSTEM
from propensity.errors import (
    ArtifactError,
    Conflict,
    MissingTable,
)
from propensity.gcp.artifacts import Artifacts, Generation
from propensity.gcp.warehouse import Warehouse
from propensity.ids import EVENT, USER
from propensity.registry import index
from propensity.registry.deployment import connected
from propensity.registry.index import INDEXES, pointer_name
from propensity.registry.leases import leased
from propensity.registry.versions import PARQUET, parquet_of
from propensity.runs import digest
from propensity.schema import Table
from propensity.settings import Settings
from propensity.spreadsheet import CSV_TYPE, csv_of, rows_of_csv
from propensity.statements import statement
from propensity.streaming.features import compact
from propensity.suppression import EVERYWHERE, key_id, suppressed_list, user_hash
from propensity.tables import every as tables
from propensity.tables.every import RAW, RECIPIENTS
from propensity.tables.export import DIGEST, with_suffix
from propensity.tables.stream import SUPPRESSED_USERS
from propensity.usecases import UseCase
from propensity.usecases.declaration import MAXIMUM_DAYS
from propensity.watching import Watched, unwatched

SQL = resources.files(__package__)
# Keys of one statement: BigQuery's limit for all parameters is 10 MB.
AT_ONCE = 1_000


def run(
    settings: Settings,
    users: Sequence[str] | Mapping[str, int],
    *,
    use_case: str = "",
    is_dry: bool = False,
    is_suppressing: bool = True,
    announce: Callable[[str], object] = str,
    watched: Watched = unwatched,
) -> dict[str, Any]:
    """
    Remove users; see the module.

    Args:
        users: Their ids; or the line of each in a list, as ``ids`` reads them.
        announce: Gets a line for each receiver, before the record of it is deleted.
        watched: Yields tables or objects, and shows how many are done.

    Returns:
        The rows and objects by place, before and after; how many are ``left``, and
        what others have to do.

    Raises:
        SettingsError: There is no key for the list of suppressed users.
        RunInProgress: A compaction is running, or a run digests days of an export:
            both could bring rows back.
        PropensityError: It could not finish; a second run continues.
    """
    is_suppressing = is_suppressing and not is_dry
    if is_suppressing:
        settings.required("suppression_key")
    loaded, wrong = usecases.load_all(_names(use_case))
    report = Report(users, use_case=use_case, is_dry=is_dry, suppressed=is_suppressing)
    with connected(settings) as (artifacts, warehouse):
        forgotten_at = SYSTEM.now()
        browsers = browsers_of(warehouse, list(users), loaded)
        ids = list(users) + browsers
        work = Work(warehouse, artifacts, ids, use_case, loaded, watched=watched)
        if is_suppressing:
            work.suppress()
        work.find_receivers()
        report.receivers = receivers.entries(work.taken)
        if is_dry:
            report.add_places(work.search())
        else:
            for entry in report.receivers:
                announce(receivers.sentence(entry))
            with _alone(artifacts, work.digests()):
                before = work.search()
                work.remove()
                report.add_places(before, work.search())
        events = work.export_events()
        report.bytes_billed = warehouse.bytes_billed
    cleared = [_clearing(one, forgotten_at) for one, count in events.items() if count]
    report.ga4_statement = "\n\n".join(cleared)
    if events:
        report.ga4_events = sum(events.values())
    if is_suppressing:
        follow = timedelta(seconds=5 * settings.refresh_s) + compact.IN_FLIGHT
        report.run_again_at = (SYSTEM.now() + follow).isoformat(timespec="seconds")
    kept = work.kept(work.users)
    report.unreadable = sorted(work.unreadable)
    if not is_dry:
        report.left += len(report.unreadable) + len(kept)
    report.add_unknown(work.found)
    report.add_notes(
        browsers=browsers,
        use_cases=work.use_cases.values(),
        wrong=wrong,
        is_digest_searched=bool(work.digests()),
        is_kept=bool(kept),
    )
    return report.answer()


@contextlib.contextmanager
def _alone(artifacts: Artifacts, exports: Sequence[Settings]) -> Iterator[None]:
    """Let nobody write back meanwhile what was read before, for a block."""
    with contextlib.ExitStack() as leases:
        compaction = leased(artifacts, compact.SCOPE, compact.KIND, clock=SYSTEM.now)
        leases.enter_context(compaction)
        for export in exports:
            leases.enter_context(digest.alone(artifacts, export, clock=SYSTEM.now))
        yield


def _names(use_case: str) -> list[str]:
    return [use_case] if use_case else usecases.names()


def _clearing(export: Settings, forgotten_at: datetime) -> str:
    """Return the statement by which the owner of an export removes users of it."""
    text = statement(
        "forget_ga4_export",
        folder=SQL,
        export_dataset=export.export,
        own_dataset=f"{export.project}.{export.dataset}",
        forgotten_at=f"TIMESTAMP '{forgotten_at:%Y-%m-%d %H:%M:%S.%f}+00'",
    )
    return with_suffix(text.strip(), export.export_suffix)


@contextlib.contextmanager
def _of_export(warehouse: Warehouse, settings: Settings) -> Iterator[Warehouse]:
    """Open the tables of an export; the bill is that of the warehouse."""
    opened = warehouse.for_run(settings)
    yield opened
    warehouse.bytes_billed += opened.bytes_billed


def browsers_of(
    warehouse: Warehouse, users: Sequence[str], loaded: Mapping[str, UseCase]
) -> list[str]:
    """
    Return the browsers of persons, who were users before the persons' logins.

    Args:
        loaded: The use cases that are meant, by name.
    """
    browsers: set[str] = set()
    settings = warehouse.settings
    sql = statement("forget_browsers", folder=SQL)
    for export, use_cases in usecases.by_export(settings, loaded.values()):
        # The setting is about the deployment's own property.
        columns = {"" if export.export_suffix else settings.user_column}
        for use_case in use_cases:
            columns.add(str(use_case.statement_parameters(settings).get("user_column")))
        if "person" not in columns or not (use_cases and export.ga4_dataset):
            continue
        with (
            _of_export(warehouse, export) as opened,
            contextlib.suppress(MissingTable),
        ):
            for piece in _pieces(users):
                rows = opened.rows(sql, {"user_ids": piece})
                browsers |= {row["user_pseudo_id"] for row in rows}
    return sorted(browsers - set(users))


def allow_again(
    settings: Settings, users: Sequence[str], *, use_case: str = ""
) -> dict[str, Any]:
    """
    Take users off the list of suppressed ones, as they come back by choice.

    With a person go the browsers that the export still says are theirs.

    Returns:
        The number of entries removed, and what is wrong.
    """
    key = settings.required("suppression_key")
    loaded, wrong = usecases.load_all(_names(use_case))
    parameters = {"use_case": use_case if use_case else EVERYWHERE}
    removed = 0
    notes = [error.message for error in wrong]
    with connected(settings) as (artifacts, warehouse):
        suppression.read_suppressed(warehouse)
        browsers = browsers_of(warehouse, users, loaded)
        hashes = [user_hash(key, user) for user in list(users) + browsers]
        for piece in _pieces(hashes):
            entries = parameters | {"hashes": piece}
            removed += warehouse.execute(statement("allow_again", folder=SQL), entries)
        suppressed_list.publish(warehouse, artifacts)
    return {"users": len(users), "entries_removed": removed, "notes": notes}


@dataclass
class Work:
    """
    The users, and where they are searched for.

    Attributes:
        use_cases: Those that are meant, by name, as far as their folders can be read.
        events: The users' events, which say whose a truth is: they are remembered,
            because a truth may arrive after its event was removed.
        taken: Users whom receivers of audiences took.
        found: Ids that rows of tables have, and those of ``taken``.
        unreadable: Files that cannot be read.
        clean: Generations of objects without the users. They never change.
        watched: Yields tables or objects, and shows how many are done.
    """

    warehouse: Warehouse
    artifacts: Artifacts
    users: Sequence[str]
    use_case: str
    use_cases: Mapping[str, UseCase]
    events: set[str] = field(default_factory=set)
    taken: list[Taken] = field(default_factory=list)
    found: set[str] = field(default_factory=set)
    unreadable: set[str] = field(default_factory=set)
    clean: set[tuple[str, int]] = field(default_factory=set)
    watched: Watched = unwatched

    def suppress(self) -> None:
        """Add the users to the list of suppressed users, unless they are on it."""
        key = self.warehouse.settings.suppression_key
        use_case = self.use_case if self.use_case else EVERYWHERE
        now = SYSTEM.now()
        suppressed_list.check_key(self.artifacts, key)
        try:
            suppressed = suppression.read_suppressed(self.warehouse)
        except MissingTable:
            self.warehouse.create(SUPPRESSED_USERS)
            suppressed = suppression.read_suppressed(self.warehouse)
        rows = [
            {
                "use_case": use_case,
                "user_hash": user_hash(key, user),
                "key_id": key_id(key),
                "suppressed_at": now,
                "suppressed_on": now.date(),
            }
            for user in self.users
            if not suppressed.covers(user, use_case)
        ]
        if rows:
            self.warehouse.write(SUPPRESSED_USERS, rows)
        suppressed_list.publish(self.warehouse, self.artifacts)

    def find_receivers(self) -> None:
        use_cases = statement("forget_takers", folder=SQL)
        sql = statement("forget_receivers", folder=SQL)
        taken = list[Taken]()
        stopped = stopping.read(self.artifacts)
        if self.warehouse.settings.sends == "no":
            stopped = stopping.StopFile([stopping.ALL])
        with contextlib.suppress(MissingTable):
            for keys in _pieces(self.users):
                parameters = {"keys": keys, "use_case": self.use_case}
                for row in self.warehouse.rows(use_cases, parameters):
                    name = row["use_case"]
                    asked = {"keys": keys, "use_case": name}
                    rows = self.warehouse.rows(sql, asked)
                    use_case = self.use_cases.get(name)
                    taken += receivers.taken(rows, name, use_case, stopped=stopped)
        self.taken = taken
        self.found.update(user.user_id for user in taken)

    def kept(self, users: Sequence[str]) -> list[str]:
        """Return the keys of rows of users that a removal needs; see ``Taken.key``."""
        keys = set[str]()
        ids = frozenset(users)
        for user in self.taken:
            if user.is_kept and user.user_id in ids:
                keys.add(user.key)
        return sorted(keys)

    def search(self) -> Counter[Place]:
        """Count rows and objects with the users, by place."""
        return self._everywhere(is_search=True)

    def remove(self) -> None:
        """Remove rows and objects with the users."""
        self._everywhere(is_search=False)

    def _everywhere(self, *, is_search: bool) -> Counter[Place]:
        with contextlib.suppress(MissingTable):
            self._remember_events()
        counts = Counter[Place]()
        for table, source in self.watched(list(in_order()), "looking at tables"):
            exports = [self.warehouse.settings]
            if table in DIGEST:
                exports = self.digests()
            for export in exports:
                name = with_suffix(table.stored, export.export_suffix)
                with (
                    _of_export(self.warehouse, export) as warehouse,
                    contextlib.suppress(MissingTable),
                ):
                    rows = self._rows(table, source, warehouse, is_search)
                    counts["rows", name] = rows
        # Indexes last: they are built anew of the table.
        objects = sorted(
            self.artifacts.generations(), key=lambda one: is_index(one.name)
        )
        for generation in self.watched(objects, "looking at objects"):
            name = generation.name
            key = name, generation.generation
            is_file = name.endswith(".parquet") or is_list(name)
            if key in self.clean or not (is_file or is_index(name)):
                continue
            if self._is_of_another(name):
                continue
            if is_index(name):
                kind = "indexes"
                has_users = self._index(generation, is_search)
            else:
                kind = "objects" if generation.is_live else "noncurrent objects"
                has_users = self._file(generation, is_search)
            counts[kind, _folder_of(name)] += int(has_users)
            if not has_users:
                self.clean.add(key)
        return counts

    def _is_of_another(self, name: str) -> bool:
        """Return whether an object is of a use case that is not meant."""
        folder, _, rest = name.partition("/")
        use_case = rest.partition("/")[0]
        is_of_one = f"{folder}/" in (f"{FOLDER}/", INDEXES, MODELS)
        return is_of_one and self.use_case not in ("", use_case)

    # -- tables

    def digests(self) -> list[Settings]:
        """
        Return the settings of the exports whose digests are searched.

        The digest of a property is of all its use cases: where one is named, it is
        searched if no other one reads it.
        """
        groups = usecases.by_export(self.warehouse.settings, self.use_cases.values())
        exports = list[Settings]()
        for export, _ in groups:
            if not self.use_case or digest.readers_of(export) == [self.use_case]:
                exports.append(export)
        return exports

    def _rows(
        self, table: Table, source: str, warehouse: Warehouse, is_search: bool
    ) -> int:
        """Count the users' rows of a table; delete them unless this is a search."""
        keys: Sequence[str] = self.users
        if source == RAW:
            keys = self._refused()
        elif source == EVENT:
            keys = sorted(self._identities() | self.events)
        count = 0
        for piece in _pieces(keys):
            parameters = {"keys": piece, "use_case": self.use_case}
            if "audience" in table.types:
                kept = self.kept(piece)
                # An empty list has no type; no row has an empty key.
                parameters["kept"] = kept if kept else [""]
            if not is_search:
                warehouse.execute(about(table, source, "forget_rows"), parameters)
                continue
            for row in warehouse.rows(about(table, source, "forget_count"), parameters):
                count += row["found"]
                self.found.update([row["id"], row["other_id"]])
        return count

    def _remember_events(self) -> None:
        sql = statement("forget_events", folder=SQL)
        for keys in _pieces(self.users):
            rows = self.warehouse.rows(sql, {"keys": keys, "use_case": self.use_case})
            self.events |= {row["event"] for row in rows}

    def _identities(self) -> set[str]:
        """Return the users as events: an identity may be both event and user."""
        names = _names(self.use_case)
        return {f"{name}/{user}" for name in names for user in self.users}

    def _refused(self) -> list[str]:
        """Return the ids of dead letters that name a user in the clear."""
        users = frozenset(self.users)
        message_ids = set()
        for batch in self.warehouse.batches(statement("forget_letters", folder=SQL)):
            for row in batch.to_pylist():
                attributes: dict[str, str] = {}
                if row["attributes"] is not None:
                    attributes = json.loads(row["attributes"])
                raw = b"" if row["raw"] is None else row["raw"]
                texts = suppression.possible_ids(raw, attributes.values())
                if not users.isdisjoint(texts):
                    message_ids.add(row["message_id"])
        return sorted(message_ids)

    # -- objects

    def _file(self, generation: Generation, is_search: bool) -> bool:
        """
        Return whether a file has rows of the users; write it anew unless searching.

        One that another program writes meanwhile is found by the second search.
        """
        name = generation.name
        try:
            with self.artifacts.opened(name, generation=generation.generation) as file:
                if is_list(name):
                    kept = self._csv(file.read())
                else:
                    kept = self._parquet(name, pq.ParquetFile(file))
        except ArtifactError:
            return False  # Another run has deleted it.
        except (pa.ArrowException, OSError, UnicodeError, csv.Error, IndexError):
            self.unreadable.add(name)
            return False
        if kept is None:
            return False
        if not is_search:
            kind = CSV_TYPE if is_list(name) else PARQUET
            with contextlib.suppress(Conflict):
                if generation.is_live and kept:
                    self.artifacts.replace(name, kept, generation, content_type=kind)
                self._delete(generation)
        return True

    def _parquet(self, name: str, file: pq.ParquetFile) -> bytes | None:
        """Return a file without the users, empty if only they are in it; None without
        them."""
        is_named = named_rows(name, file, self.users, self.use_case)
        if not any(is_named):
            return None
        kept = without(file.read(), is_named)
        return parquet_of(kept) if len(kept) else b""

    def _csv(self, content: bytes) -> bytes | None:
        """As ``_parquet``, of a list for people."""
        rows = rows_of_csv(content)
        is_named = named_cells(rows, self.users)
        if not any(is_named):
            return None
        kept = [row for row, is_gone in zip(rows, is_named, strict=True) if not is_gone]
        return csv_of(kept[0], kept[1:]) if len(kept) > 1 else b""

    def _index(self, generation: Generation, is_search: bool) -> bool:
        """
        Return whether a prediction index has the users; replace it unless searching.

        It has hashes of ids under a key that it names itself: anyone with the file can
        look an id up.
        """
        use_case = generation.name.split("/")[1]
        if generation.name == pointer_name(use_case):
            return False
        name = generation.name
        number = generation.generation
        stored = self.artifacts.find(name, generation=number)
        if stored is None or not index_has(stored.data, self.users):
            return False
        if not is_search:
            if generation.is_live and self.artifacts.find(pointer_name(use_case)):
                # This deploy may have the use case no more, or its folder be wrong.
                loaded = self.use_cases.get(use_case)
                days = loaded.lookback_days if loaded else MAXIMUM_DAYS
                index.store_index(self.warehouse, self.artifacts, use_case, days=days)
            self._delete(generation)
        return True

    def _delete(self, generation: Generation) -> None:
        self.artifacts.delete(generation.name, generation=generation.generation)

    def export_events(self) -> dict[Settings, int]:
        """Count the users' events by the exports that the named use cases read."""
        sql = statement("forget_export_events", folder=SQL)
        events = {}
        for export, use_cases in usecases.by_export(
            self.warehouse.settings, self.use_cases.values()
        ):
            if not (use_cases and export.ga4_dataset):
                continue
            with (
                _of_export(self.warehouse, export) as warehouse,
                contextlib.suppress(MissingTable),
            ):
                count = 0
                for users in _pieces(self.users):
                    [row] = warehouse.rows(sql, {"user_ids": users})
                    count += row["events"]
                events[export] = count
        return events


def _folder_of(name: str) -> str:
    """Return the folder of an object, as the report names it."""
    first, *rest = name.split("/")
    # All use cases have a folder of models, and each the other folders.
    return first if first == "models" or not rest else f"{first}/{rest[0]}"


def is_index(name: str) -> bool:
    return name.startswith(INDEXES)


def is_list(name: str) -> bool:
    """Return whether an object is an audience's list for people."""
    return name.startswith(f"{FOLDER}/") and name.endswith(".csv")


def in_order() -> list[tuple[Table, str]]:
    """
    Return the tables with rows about users, in the order of removal.

    Truths come last: events that are gone cannot tell whose a later one is.
    """
    order = {RAW: 0, USER: 1, RECIPIENTS: 1, EVENT: 2}
    return sorted(tables.holding_users().items(), key=lambda holder: order[holder[1]])


def about(table: Table, source: str, name: str) -> str:
    """Return a statement on a table's rows about users, by the column of ``source``."""
    if source == RECIPIENTS:
        return statement(f"{name}_within", folder=SQL, some_table=table.stored)
    columns = [source]
    if source == RAW:
        part = "about_messages"
        columns = ["message_id"]
    elif source == EVENT:
        part = "about_events"
    elif "audience" in table.types:
        part = "about_members"
    elif "user_pseudo_id" in table.types:
        part = "about_browsers"
        columns = [source, "user_pseudo_id"]
    else:
        part = "about_users"
    return statement(
        name,
        folder=SQL,
        some_table=table.stored,
        some_partition=table.partition,
        some_id=columns[0],
        some_other_id=columns[-1],
        is_about=statements.lines_of(part, folder=SQL),
    )


def _pieces(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield values in lists short enough for one statement."""
    for first in range(0, len(values), AT_ONCE):
        yield values[first : first + AT_ONCE]
