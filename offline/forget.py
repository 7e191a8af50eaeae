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
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from importlib import resources
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from offline.forget_report import Place, Report
from offline.receivers import Receiver, receivers_of
from offline.user_rows import csv_without, index_has, parquet_without
from propensity import statements, suppression, usecases
from propensity.audience import stop_file
from propensity.clock import SYSTEM
from propensity.errors import ArtifactError, Conflict, MissingTable
from propensity.gcp.artifacts import Artifacts, Generation
from propensity.gcp.warehouse import Warehouse
from propensity.ids import EVENT
from propensity.registry.deployment import connected
from propensity.registry.index import store_index
from propensity.registry.leases import leased
from propensity.registry.versions import PARQUET
from propensity.runs import digest, digest_state
from propensity.schema import Table
from propensity.settings import Settings
from propensity.spreadsheet import CSV_TYPE
from propensity.statements import statement
from propensity.streaming.features import compact
from propensity.suppression import key_id, suppressed_list, user_hash
from propensity.tables import every as tables
from propensity.tables.every import MESSAGE, RECIPIENTS
from propensity.tables.export import DIGEST
from propensity.tables.export_names import with_suffix
from propensity.tables.stream import SUPPRESSED_USERS
from propensity.usecases import UseCase
from propensity.usecases.declaration import MAXIMUM_DAYS
from propensity.usecases.exports import by_export
from propensity.usecases.use_case import BROWSER
from propensity.watching import Watched, unwatched

SQL = resources.files(__package__)
# Keys of one statement: BigQuery's limit for all parameters is 10 MB.
AT_ONCE = 1_000
LISTS = "audiences"
INDEXES = "indexes"
INDEX = ".sqlite"
# The files that may have users, by folder; in all others Parquet. Versions of models
# have numbers in the place of ids.
SEARCHED: Mapping[str, str | tuple[str, ...]] = {
    LISTS: (".csv", ".parquet"),
    INDEXES: INDEX,
    "models": (),
}
# What reading a damaged file raises.
DAMAGED = (pa.ArrowException, OSError, ValueError, csv.Error, IndexError)


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
    if not isinstance(users, Mapping):
        users = {user: line for line, user in enumerate(users, 1)}
    loaded, wrong = usecases.load_all(_names(use_case))
    report = Report(len(users), use_case, is_dry, is_suppressing)
    with connected(settings) as (artifacts, warehouse):
        forgotten_at = SYSTEM.now()
        browsers = browsers_of(warehouse, list(users), loaded)
        if browsers:
            report.notes.append(
                f"Of these persons {len(browsers)} browsers were included."
            )
        ids = list(users) + browsers
        if is_suppressing:
            _suppress(warehouse, artifacts, ids, use_case)
        work = Work(warehouse, artifacts, ids, use_case, loaded, watched)
        receivers = work.find_receivers()
        report.receivers = [receiver.entry() for receiver in receivers]
        if is_dry:
            report.add_places(work.search())
        else:
            for receiver in receivers:
                announce(receiver.sentence())
            with work.alone():
                before = work.search()
                work.remove()
                report.add_places(before, work.search())
        _add_exports(report, warehouse, ids, loaded, forgotten_at)
        report.bytes_billed = warehouse.bytes_billed
    if is_suppressing:
        follow = timedelta(seconds=5 * settings.refresh_s) + compact.IN_FLIGHT
        report.run_again_at = (SYSTEM.now() + follow).isoformat(timespec="seconds")
    report.add_unknown(users, work.found)
    report.add_use_cases(loaded.values(), wrong, is_digest_searched=bool(work.digests))
    report.add_left(waiting=len(work.waiting), unreadable=work.unreadable)
    return asdict(report)


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
    with connected(settings) as (artifacts, warehouse):
        suppression.read_suppressed(warehouse)
        browsers = browsers_of(warehouse, users, loaded)
        hashes = [user_hash(key, user) for user in list(users) + browsers]
        sql = statement("allow_again", folder=SQL)
        removed = sum(ask(warehouse, sql, hashes, is_writing=True, use_case=use_case))
        suppressed_list.publish(warehouse, artifacts)
    notes = [error.message for error in wrong]
    return {"users": len(users), "entries_removed": removed, "notes": notes}


def browsers_of(
    warehouse: Warehouse, users: Sequence[str], loaded: Mapping[str, UseCase]
) -> list[str]:
    """Return the browsers of persons, who were users before the persons' logins."""
    browsers = set[str]()
    settings = warehouse.settings
    sql = statement("forget_browsers", folder=SQL)
    for export, use_cases in by_export(settings, loaded.values()):
        columns = [use_case.user_column(settings) for use_case in use_cases]
        if export.ga4_dataset and "person" in columns:
            rows = ask(warehouse, sql, users, export=export)
            browsers.update(row["user_pseudo_id"] for row in rows)
    return sorted(browsers - set(users))


def ask(
    warehouse: Warehouse,
    sql: str,
    keys: Sequence[str],
    *,
    export: Settings | None = None,
    is_writing: bool = False,
    **parameters: object,
) -> list[Any]:
    """
    Return a statement's rows about keys, or how many it has changed; see ``AT_ONCE``.

    Of a table that is missing there are none.
    """
    opened = warehouse.for_run(export)
    answers = list[Any]()
    with contextlib.suppress(MissingTable):
        for first in range(0, len(keys), AT_ONCE):
            piece = {"keys": keys[first : first + AT_ONCE], **parameters}
            if is_writing:
                answers.append(opened.execute(sql, piece))
            else:
                answers += opened.rows(sql, piece)
    warehouse.bytes_billed += opened.bytes_billed
    return answers


def _names(use_case: str) -> list[str]:
    return [use_case] if use_case else usecases.names()


def _suppress(
    warehouse: Warehouse, artifacts: Artifacts, users: Sequence[str], use_case: str
) -> None:
    """Add users to the list of suppressed users, unless they are on it."""
    key = warehouse.settings.suppression_key
    now = SYSTEM.now()
    suppressed_list.check_key(artifacts, key)
    suppressed = suppression.read_suppressed(warehouse)
    rows = [
        {
            "use_case": use_case,
            "user_hash": user_hash(key, user),
            "key_id": key_id(key),
            "suppressed_at": now,
            "suppressed_on": now.date(),
        }
        for user in users
        if not suppressed.covers(user, use_case)
    ]
    if rows:
        warehouse.write(SUPPRESSED_USERS, rows)
    suppressed_list.publish(warehouse, artifacts)


def _add_exports(
    report: Report,
    warehouse: Warehouse,
    users: Sequence[str],
    loaded: Mapping[str, UseCase],
    forgotten_at: datetime,
) -> None:
    """Count the users' events in exports, whose owner removes them by a statement."""
    scripts = []
    sql = statement("forget_export_events", folder=SQL)
    for export, use_cases in by_export(warehouse.settings, loaded.values()):
        if not (export.ga4_dataset and use_cases):
            continue
        rows = ask(warehouse, sql, users, export=export)
        events = sum(row["events"] for row in rows)
        report.ga4_events = (report.ga4_events or 0) + events
        if events:
            script = statement(
                "forget_ga4_export",
                folder=SQL,
                export_dataset=export.export,
                own_dataset=f"{export.project}.{export.dataset}",
                forgotten_at=f"TIMESTAMP '{forgotten_at:%Y-%m-%d %H:%M:%S.%f}+00'",
            )
            scripts.append(with_suffix(script.strip(), export.export_suffix))
    report.ga4_statement = "\n\n".join(scripts)


@dataclass
class Work:
    """
    The users, and where they are searched for.

    Attributes:
        use_cases: Those that are meant, by name, as far as their folders can be read.
        waiting: Users whose rows in tables of audiences a removal needs.
        events: The users' events, which say whose a truth is: they are remembered,
            because a truth may arrive after its event was removed.
        found: Ids that rows of tables have, and those that receivers took.
        unreadable: Files that cannot be read.
        holders: Generations of objects that the last search has found users in.
        clean: Those without users. They never change.
    """

    warehouse: Warehouse
    artifacts: Artifacts
    users: Sequence[str]
    use_case: str
    use_cases: Mapping[str, UseCase]
    watched: Watched
    waiting: set[str] = field(default_factory=set)
    events: set[str] = field(default_factory=set)
    found: set[str] = field(default_factory=set)
    unreadable: set[str] = field(default_factory=set)
    holders: list[Generation] = field(default_factory=list)
    clean: set[Generation] = field(default_factory=set)

    @cached_property
    def digests(self) -> list[Settings]:
        """The exports whose digests are searched: of a named use case if it alone reads
        them, because a property's digest is of all its use cases."""
        exports = list[Settings]()
        groups = by_export(self.warehouse.settings, self.use_cases.values())
        for export, _ in groups:
            readers = digest_state.reader_names(export)
            if not self.use_case or readers == [self.use_case]:
                exports.append(export)
        return exports

    def find_receivers(self) -> list[Receiver]:
        """Return who took the users; note whose rows a removal needs."""
        stopped = stop_file.read(self.artifacts)
        if self.warehouse.settings.sends == "no":
            stopped = stop_file.StopFile([stop_file.ALL])
        sql = statement("forget_receivers", folder=SQL)
        rows = ask(self.warehouse, sql, self.users, use_case=self.use_case)
        receivers = receivers_of(rows, self.use_cases, stopped)
        for receiver in receivers:
            self.found |= receiver.users
            if receiver.needs_rows:
                self.waiting |= receiver.users
        return receivers

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Let nobody write back meanwhile what was read before, for a block."""
        with contextlib.ExitStack() as leases:
            lease = leased(
                self.artifacts, compact.SCOPE, compact.KIND, clock=SYSTEM.now
            )
            leases.enter_context(lease)
            for export in self.digests:
                one = digest.alone(self.artifacts, export, clock=SYSTEM.now)
                leases.enter_context(one)
            yield

    def search(self) -> Counter[Place]:
        """Count rows and objects with the users, by place."""
        counts = Counter[Place]()
        for table, source, export in self.watched(self._tables(), "looking at tables"):
            rows = self._ask("forget_count", table, source, export)
            name = with_suffix(table.stored, export.export_suffix)
            counts["rows", name] = sum(row["found"] for row in rows)
            for row in rows:
                self.found.update([row["id"], row["other_id"]])
        self.holders = []
        for stored in self.watched(self.artifacts.generations(), "looking at objects"):
            if stored in self.clean or not self._is_searched(stored.name):
                continue
            kind = "objects" if stored.is_live else "noncurrent objects"
            folder = "/".join(stored.name.split("/")[:2])
            if self._without(stored) is None:
                self.clean.add(stored)
                counts[kind, folder] += 0
            else:
                self.holders.append(stored)
                counts[kind, folder] += 1
        return counts

    def remove(self) -> None:
        """Remove the rows, and write the objects that were found anew."""
        for table, source, export in self.watched(self._tables(), "removing rows"):
            self._ask("forget_rows", table, source, export, is_writing=True)
        for stored in self.watched(self.holders, "writing objects"):
            self._write_anew(stored)

    # -- tables

    def _tables(self) -> list[tuple[Table, str, Settings]]:
        """Return the tables with rows about users, and the exports that they are of."""
        own = [self.warehouse.settings]
        return [
            (table, source, export)
            for table, source in tables.holding_users().items()
            for export in (self.digests if table in DIGEST else own)
        ]

    def _ask(
        self,
        name: str,
        table: Table,
        source: str,
        export: Settings,
        *,
        is_writing: bool = False,
    ) -> list[Any]:
        """Run a statement about the users' rows in a table."""
        sql = about(table, source, name)
        keys: Sequence[str] = self.users
        if source == MESSAGE:
            keys = self._letters()
        elif source == EVENT:
            keys = self._events()
        elif "audience" in table.types:
            keys = [user for user in self.users if user not in self.waiting]
        return ask(
            self.warehouse,
            sql,
            keys,
            export=export,
            is_writing=is_writing,
            use_case=self.use_case,
        )

    def _events(self) -> list[str]:
        """Return the users' events; a user's id may also be that of an event."""
        sql = statement("forget_events", folder=SQL)
        for row in ask(self.warehouse, sql, self.users, use_case=self.use_case):
            self.events.add(row["event"])
        for name in _names(self.use_case):
            self.events.update(f"{name}/{user}" for user in self.users)
        return sorted(self.events)

    def _letters(self) -> list[str]:
        """
        Return the ids of dead letters that name a user in the clear.

        If a use case is meant, those that name another one alone are of others.
        """
        users = frozenset(self.users)
        others = frozenset(usecases.names()) - {self.use_case}
        message_ids = set()
        for batch in self.warehouse.batches(statement("forget_letters", folder=SQL)):
            for row in batch.to_pylist():
                attributes = json.loads(row["attributes"] or "{}")
                texts = frozenset(
                    suppression.possible_ids(row["raw"] or b"", attributes.values())
                )
                named = users & texts
                is_of_others = others & texts and self.use_case not in texts
                if named and not (self.use_case and is_of_others):
                    self.found |= named
                    message_ids.add(row["message_id"])
        return sorted(message_ids)

    # -- objects

    def _is_searched(self, name: str) -> bool:
        """Return whether an object may have users, of the use case that is meant."""
        folder, _, rest = name.partition("/")
        # Other files say in a column of which use case a row is.
        is_of_one = folder in (LISTS, INDEXES) and self.use_case != ""
        if is_of_one and not rest.startswith(f"{self.use_case}/"):
            return False
        return name.endswith(SEARCHED.get(folder, ".parquet"))

    def _without(self, stored: Generation) -> bytes | None:
        """Return a file without the users, empty if it goes; None without them."""
        name = stored.name
        users = frozenset(self.users)
        try:
            with self.artifacts.opened(name, generation=stored.generation) as file:
                if name.endswith(INDEX):
                    return b"" if index_has(file.read(), users) else None
                if name.endswith(".csv"):
                    return csv_without(file.read(), users)
                return parquet_without(pq.ParquetFile(file), users, self.use_case)
        except ArtifactError:
            return None  # Another run has deleted it.
        except DAMAGED:
            self.unreadable.add(name)
            return None

    def _write_anew(self, stored: Generation) -> None:
        """Replace an object; the second search finds what others write meanwhile."""
        name = stored.name
        kept = self._without(stored)
        if kept is None:
            return  # It was deleted, or cannot be read any more.
        if stored.is_live and name.endswith(INDEX):
            use_case = name.split("/")[1]
            # This deploy may have the use case no more, or its folder be wrong.
            loaded = self.use_cases.get(use_case)
            days = loaded.lookback_days if loaded else MAXIMUM_DAYS
            store_index(self.warehouse, self.artifacts, use_case, days=days)
        elif stored.is_live and kept:
            kind = CSV_TYPE if name.endswith(".csv") else PARQUET
            with contextlib.suppress(Conflict):
                self.artifacts.replace(name, kept, stored, content_type=kind)
        self.artifacts.delete(name, generation=stored.generation)


def about(table: Table, source: str, name: str) -> str:
    """Return a statement on a table's rows about users, by the column of ``source``."""
    if source == RECIPIENTS:
        return statement(f"{name}_within", folder=SQL, some_table=table.stored)
    other = BROWSER if BROWSER in table.types else source
    return statement(
        name,
        folder=SQL,
        some_table=table.stored,
        some_partition=table.partition,
        some_id=source,
        some_other_id=other,
        is_about=statements.lines_of(f"about_{other}", folder=SQL),
    )
