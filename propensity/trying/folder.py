"""
A folder of weekly lists, as it lies on disk: what binds it, and what each list was.

``propensity-lists.json`` says both. A list is there whole or not at all, and is never
written again: its SHA-256 stands there before the list does, so that a run that is
stopped in between is ended by the next one.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

import msgspec
import pandas as pd
from msgspec import Struct, structs

from propensity import whole_files
from propensity.errors import RequestError
from propensity.spreadsheet import csv_of
from propensity.tables.audiences import GroupSums
from propensity.tables.models import Range
from propensity.trying.lists import read_rows

FILE = "propensity-lists.json"
LOCK = ".propensity-lists.lock"
# Lists of another form can't be added up with new ones: a release that chooses, draws
# or counts otherwise raises it.
FORM = 1


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
        buyers: All scored users who had the event, also those who are on no list.
        sums: Of the users of each group who are on no earlier list.
    """

    buyers: int
    sums: Sequence[GroupSums]


class WeeklyList(Struct, frozen=True, kw_only=True):
    """
    A list, and what was expected when it was written.

    Attributes:
        chances: Mean probability and number of all scored users, from groups of them.
        range: What was expected of all of them, as a range of buyers.
    """

    as_of: date
    sha256: str
    contacted: int
    held_out: int
    users: int
    chances: Sequence[tuple[float, int]]
    range: Range | None
    counted: Counted | None = None

    @property
    def name(self) -> str:
        return f"list-{self.as_of}.csv"

    @property
    def expected(self) -> float:
        """The buyers that were expected of all scored users."""
        return sum(mean * users for mean, users in self.chances)


class Lists(Struct, frozen=True):
    bound: Bound
    weeks: Sequence[WeeklyList] = ()


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
        RequestError: A list is missing or was edited, or the file is damaged.
    """
    file = folder / FILE
    if not file.exists():
        return None
    try:
        state = msgspec.json.decode(file.read_bytes(), type=Lists)
    except msgspec.DecodeError as error:
        raise RequestError(
            f"{file} can't be read: {error}",
            hint="Restore it from a copy, or begin another folder",
            field="folder",
        ) from error
    for week in state.weeks:
        path = folder / week.name
        unfinished = _unfinished(path)
        if unfinished.exists() and _sha256(unfinished) == week.sha256:
            unfinished.replace(path)
        if not path.exists() or _sha256(path) != week.sha256:
            change = "was edited" if path.exists() else "is missing"
            raise RequestError(
                f"{path} {change}, so that its groups can't be compared any more",
                hint="Restore the list as it was written; to remove people from it, "
                "use --forget FILE",
                field="folder",
            )
    return state


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


def write_lists(folder: Path, state: Lists, lists: Mapping[str, bytes]) -> None:
    """Replace what a folder has, and write lists whose SHA-256 the state has."""
    for name, content in lists.items():
        whole_files.write_whole(_unfinished(folder / name), content)
    text = msgspec.json.format(msgspec.json.encode(state))
    whole_files.write_whole(folder / FILE, text)
    for name in lists:
        _unfinished(folder / name).replace(folder / name)


def with_list(state: Lists, week: WeeklyList, content: bytes) -> Lists:
    """Return a state that has another list."""
    weeks = [*state.weeks, _with_sha256(week, content)]
    return structs.replace(state, weeks=weeks)


def without_users(folder: Path, state: Lists, users: Sequence[str]) -> int:
    """Remove users from all lists of a folder; return how many rows that were."""
    weeks = []
    lists = {}
    removed = 0
    for week in state.weeks:
        rows = pd.read_csv(folder / week.name, dtype=str, keep_default_na=False)
        is_forgotten = rows["user_id"].isin(users)
        removed += int(is_forgotten.sum())
        if is_forgotten.any():
            kept = rows[~is_forgotten]
            lists[week.name] = csv_of(list(kept), kept.itertuples(index=False))
        weeks.append(_with_sha256(week, lists.get(week.name)))
    write_lists(folder, structs.replace(state, weeks=weeks), lists)
    return removed


def new_members(folder: Path, state: Lists, week: WeeklyList) -> pd.DataFrame:
    """Return the rows of a list whose users are on no earlier one."""
    earlier: set[str] = set()
    for other in state.weeks:
        if other.as_of < week.as_of:
            earlier.update(read_rows(folder / other.name)["user_id"])
    rows = read_rows(folder / week.name)
    return rows[~rows["user_id"].isin(earlier)]


def _with_sha256(week: WeeklyList, content: bytes | None) -> WeeklyList:
    if content is None:
        return week
    return structs.replace(week, sha256=hashlib.sha256(content).hexdigest())


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
