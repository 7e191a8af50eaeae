"""
A folder of weekly lists, as it lies on disk: what binds it, and what each list was.

``propensity-lists.json`` says both, with each list's users, probabilities and groups:
what a list brought is read from there alone. So ``list-DATE.csv`` and
``contact-DATE.csv`` are their readers' to edit, move or delete.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path

import msgspec
import pandas as pd
import pyarrow as pa
from msgspec import Struct, structs

from propensity import whole_files
from propensity.errors import RequestError, SchemaError
from propensity.ids import USER
from propensity.spreadsheet import csv_of, id_meant, id_of_cell, unmarked
from propensity.table_files import files as table_files
from propensity.tables.audiences import GroupSums
from propensity.tables.models import Range
from propensity.trying.lists import CONTACT, CONTROL, GROUP, KEY

FILE = "propensity-lists.json"
PAGE = "index.html"
REPORT = "report.html"
LOCK = ".propensity-lists.lock"
# What a killed run leaves.
UNFINISHED = ".part"
# Lists of another form can't be added up with new ones: a release that chooses, draws
# or counts otherwise raises it.
FORM = 1
WEEK = timedelta(days=7)


class Bound(Struct, frozen=True, kw_only=True):
    """What all lists of a folder have in common; ``key`` is the key's fingerprint."""

    export: str
    user_column: str
    label_event: str
    horizon_days: int
    require_consent: str
    control_share: float
    key: str
    listed: int
    form: int = FORM


class Counted(Struct, frozen=True, kw_only=True):
    """
    What came of a list, once its outcomes are final.

    Attributes:
        buyers: All scored users who had the event, also those who are on no list; None
            where the export has lost the days by which they were scored.
        sums: Of the users of each group who are on no earlier list.
    """

    buyers: int | None
    sums: Sequence[GroupSums]


class ListedUser(Struct, frozen=True, array_like=True):
    """A user of a list, as the list was written."""

    user_id: str
    probability: float
    is_control: bool


class WeeklyList(Struct, frozen=True, kw_only=True):
    """
    A list, and what was expected when it was written.

    Attributes:
        sha256: Of the file as it was written, by which an edited one is known; "" of a
            list that was taken in.
        contacted, held_out: Its users when it was written.
        users: All scored users; 0 of a list that was taken in.
        chances: Mean probability and number of all scored users, from groups of them.
        range: What was expected of all of them, as a range of buyers.
        lacked: Days of its outcomes that the export lacks.
        cost_per_contact: As it was when the list was written; None if nobody said.
    """

    as_of: date
    sha256: str = ""
    contacted: int
    held_out: int
    users: int = 0
    chances: Sequence[tuple[float, int]] = ()
    range: Range | None = None
    counted: Counted | None = None
    members: Sequence[ListedUser]
    lacked: Sequence[date] = ()
    cost_per_contact: float | None = None

    @property
    def name(self) -> str:
        return f"list-{self.as_of}.csv"

    @property
    def contact_name(self) -> str:
        return f"contact-{self.as_of}.csv"

    @property
    def expected(self) -> float:
        """The buyers that were expected of all scored users."""
        return sum(mean * users for mean, users in self.chances)


class Lists(Struct, frozen=True, kw_only=True):
    """
    What a folder has.

    Attributes:
        weeks: The oldest first.
        forgotten: Fingerprints of users who were removed, by the control group's key.
    """

    bound: Bound
    weeks: Sequence[WeeklyList] = ()
    forgotten: Sequence[str] = ()

    def number_of(self, day: date) -> int:
        """
        Return which Monday, from the first list on, a list as of a day is for.

        A list is as of Monday, or of Sunday where the table of Sunday is late.
        """
        return (day - self.weeks[0].as_of + timedelta(days=1)) // WEEK

    @property
    def without_list(self) -> list[date]:
        """The Mondays that have no list, between the first and the newest one."""
        numbers = {self.number_of(week.as_of) for week in self.weeks}
        first = self.weeks[0].as_of
        return [first + n * WEEK for n in range(max(numbers)) if n not in numbers]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder, and refuse a second run in it; a killed one holds nothing."""
    try:
        import fcntl
    except ModuleNotFoundError as error:
        raise RequestError(
            "a folder of weekly lists is locked by fcntl, which Windows lacks",
            hint="Run it on Linux, on macOS or in WSL",
            field="folder",
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RequestError(
                f"another run is writing to {folder}",
                hint="Wait until it has ended",
                field="folder",
            ) from error
        yield


def read_lists(folder: Path) -> Lists | None:
    """
    Return what a folder has; None of a new one.

    Raises:
        RequestError: The file is damaged.
    """
    file = folder / FILE
    if not file.exists():
        return None
    try:
        return msgspec.json.decode(file.read_bytes(), type=Lists)
    except msgspec.DecodeError as error:
        raise RequestError(
            f"{file} is damaged: {error}",
            hint="Restore it, or begin another folder",
            field="folder",
        ) from error


def check_bound(state: Lists, bound: Bound, folder: Path) -> None:
    """Refuse a run whose lists could not be added up with those of the folder."""
    before = structs.asdict(state.bound)
    for name, value in structs.asdict(bound).items():
        if value != before[name]:
            # A fingerprint tells nobody anything.
            what = "another key" if name == "key" else f"{name} {value}"
            had = "" if name == "key" else f", and its lists have {before[name]}"
            raise RequestError(
                f"{folder} can't have a list of {what}{had}",
                hint="Set it as it was, or begin another folder",
                field="folder",
            )


def write_state(folder: Path, state: Lists) -> None:
    """Write what a folder has: last, so that a run is whole or has not been."""
    whole_files.write_whole(folder / FILE, msgspec.json.encode(state))


def write_list(folder: Path, week: WeeklyList, listed: pd.DataFrame) -> WeeklyList:
    """Write the files of a list, and return its week with their fingerprint."""
    content = csv_of(list(listed), listed.itertuples(index=False))
    whole_files.write_whole(folder / week.name, content)
    contacts = listed[listed[GROUP] == CONTACT]
    contacts = contacts[[USER, "probability", "percentile"]]
    contacts.insert(0, "rank", range(1, len(contacts) + 1))
    rows = contacts.itertuples(index=False)
    whole_files.write_whole(folder / week.contact_name, csv_of(list(contacts), rows))
    return structs.replace(week, sha256=_sha256(content))


def members_of(rows: pd.DataFrame) -> list[ListedUser]:
    """Return the users of a list."""
    members = []
    for user, chance, group in zip(
        rows[USER], rows["probability"], rows[GROUP], strict=True
    ):
        member = ListedUser(str(user), float(chance), is_control=group == CONTROL)
        members.append(member)
    return members


def differences(folder: Path, state: Lists) -> list[str]:
    """Say which lists are no longer as they were written, and in what."""
    sentences = []
    for week in state.weeks:
        path = folder / week.name
        if not week.sha256:
            continue
        if not path.exists():
            sentences.append(f"{week.name} is not there")
        elif _sha256(path.read_bytes()) != week.sha256:
            sentences.append(f"{week.name} {_difference(path, week)}")
    return sentences


def _difference(path: Path, week: WeeklyList) -> str:
    users = {member.user_id for member in week.members}
    try:
        cells = _ids_written(table_files.read_file(path, [USER]))
    except SchemaError as error:
        return f"was edited and can't be read: {error.problem}"
    named_users = {id_meant(cell, users) for cell in cells} & users
    return f"was edited, and names {len(named_users):,} of its {len(users):,} users"


def users_meant(state: Lists, ids: Sequence[str]) -> set[str]:
    """Return the users of ids that a person brings, also of those on no list."""
    listed = _listed(state)
    users = set()
    for text in ids:
        meant = id_meant(text, listed)
        users.add(id_of_cell(text) if meant is None else meant)
    return users


def without_users(
    folder: Path, state: Lists, users: Collection[str]
) -> tuple[Lists, set[str], list[str]]:
    """
    Remove users from all lists of a folder, and from each file of it.

    Returns:
        What the folder has then, which users were on a list or in a file, and files
        that can't be read, from which nobody was removed.
    """
    listed = _listed(state)
    found_users = listed.intersection(users)
    weeks = []
    for week in state.weeks:
        kept = [member for member in week.members if member.user_id not in users]
        weeks.append(structs.replace(week, members=kept))
    unread = []
    own_files = {FILE, PAGE, REPORT, LOCK, KEY}
    for path in sorted(folder.iterdir()):
        if path.name.endswith(UNFINISHED):
            path.unlink()
        elif path.name not in own_files and path.is_file():
            removed = _remove_rows(path, users, known=listed.union(users))
            if removed is None:
                unread.append(path.name)
            else:
                found_users |= removed
    return structs.replace(state, weeks=weeks), found_users, unread


def _listed(state: Lists) -> set[str]:
    listed = set[str]()
    for week in state.weeks:
        listed.update(member.user_id for member in week.members)
    return listed


def _remove_rows(
    path: Path, users: Collection[str], *, known: Collection[str]
) -> set[str] | None:
    """Remove users from a file that a person may have edited; None if it is no list."""
    if path.suffix.lower() != ".csv":
        return None
    try:
        table = table_files.read_file(path, [USER])
    except SchemaError:
        return None
    removed = set[str]()
    is_kept = []
    for cell in _ids_written(table):
        meant = id_meant(cell, known)
        is_kept.append(meant not in users)
        if meant is not None and meant in users:
            removed.add(meant)
    if removed:
        kept = table.filter(pa.array(is_kept)).to_pylist()
        rows = [[unmarked(cell or "") for cell in row.values()] for row in kept]
        whole_files.write_whole(path, csv_of(table.column_names, rows))
    return removed


def _ids_written(table: pa.Table) -> list[str]:
    return [cell or "" for cell in table[USER].to_pylist()]


def new_members(state: Lists, week: WeeklyList) -> pd.DataFrame:
    """Return the rows of a list whose users are on no earlier one."""
    earlier: set[str] = set()
    for other in state.weeks:
        if other.as_of < week.as_of:
            earlier.update(member.user_id for member in other.members)
    rows = []
    for member in week.members:
        if member.user_id not in earlier:
            group = CONTROL if member.is_control else CONTACT
            rows.append((member.user_id, member.probability, group))
    return pd.DataFrame(rows, columns=[USER, "probability", GROUP])


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
