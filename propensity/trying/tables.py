"""Try a table or an experiment: train, compare, and write the report and a list."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from propensity import usecases, whole_files
from propensity.cli.progress import announced
from propensity.errors import MissingTable, RequestError
from propensity.gcp.warehouse import Warehouse
from propensity.learning.candidates import ALGORITHMS, imported
from propensity.settings import GIB, Settings
from propensity.spreadsheet import WORKBOOK, id_of_cell, list_of
from propensity.statements import statement
from propensity.table_files import files as table_files
from propensity.trying.duel import Duel, compare_look, read_todays_list
from propensity.trying.first_look.experiment import ExperimentLook, try_experiment
from propensity.trying.first_look.reading import read_table
from propensity.trying.first_look.scores import RowsToScore
from propensity.trying.first_look.table import FirstLook, look_at_table
from propensity.trying.first_look.who import Trait, traits_text
from propensity.usecases import parsing
from propensity.usecases.declaration import SOURCE_TABLE

# Of a table of BigQuery; more would fill a laptop's memory.
MAXIMUM_ROWS = 1_000_000


def is_use_case(target: str) -> bool:
    """Return whether a name is a use case's, and no table's."""
    return target in usecases.names() and not Path(target).is_file()


@dataclass(frozen=True, kw_only=True)
class TriedTable:
    """
    What a table can predict.

    Attributes:
        duel: Its list beside today's, if there is one.
        who: What tells the best tenth of its list; None without a list.
        listed: How many users the list has.
    """

    look: FirstLook
    duel: Duel | None
    who: Sequence[Trait] | None
    listed: int

    @property
    def traits(self) -> Sequence[Trait]:
        """What tells the best tenth of its list; of the test set without a list."""
        return self.look.who if self.who is None else self.who

    @property
    def words(self) -> str:
        """What people read of it."""
        lines = [*self.look.lines]
        if self.traits:
            name = "test set" if self.who is None else "list"
            lines.append(f"Who      best 10% of the {name}: {traits_text(self.traits)}")
        if self.duel is not None:
            lines.append(self.duel.sentence)
        return "\n".join(lines)


def try_file(
    target: str,
    *,
    report: Path,
    scores: Path | None = None,
    rows: str | None = None,
    candidates: Path | None = None,
    against: str | None = None,
    **chosen: Any,
) -> TriedTable:
    """
    Have a first look at a file or a table of BigQuery, and write the report.

    Args:
        target: A CSV or Parquet file, or ``project.dataset.table``.
        scores: The file to write the list to, if there is to be one.
        rows: Whom it lists, as ``target``; None for the target's open rows.
        candidates: A ``usecase.toml`` with those to choose from; None for the usual.
        against: The list that somebody makes today, as ``read_todays_list`` takes it.
        chosen: As ``try_table`` takes them.

    Returns:
        With a list, a look without columns that may know the outcome.
    """
    check_files(target, rows, report=report, scores=scores)
    if candidates is not None:
        chosen["candidates"] = parsing.candidates_of(candidates)
        # One that is not here is said before the table is read and others are fitted.
        for candidate in chosen["candidates"]:
            if candidate.algorithm not in ALGORITHMS:
                imported(candidate)
    new_rows = _read_rows(rows, chosen["user"])
    file = Path(target)
    table = _labelled(target, chosen["label"])
    typing = f"typing {table.num_columns} columns of {len(table):,} rows"
    with table_files.named(file), announced(typing):
        read = read_table(table, name=file.name, **chosen)
    # The file itself is not kept.
    del table
    todays = None
    if against is not None:
        todays = read_todays_list(
            against, read.features, read.columns, user=read.user, time=read.time
        )
    to_score = file if rows is None else Path(rows)
    if scores is not None:
        # Faults of these rows are said before the training, which takes a minute.
        with table_files.named(to_score):
            RowsToScore.of(read, new_rows)
    with table_files.named(file), announced(f"training on {len(read.rows):,} rows"):
        look = look_at_table(read)
        duel = None if todays is None else compare_look(look, todays)
        if scores is not None:
            look = look.without_leaks
    listed = None
    who = None
    if scores is not None:
        with table_files.named(to_score), announced("scoring the list"):
            listed, who = look.list_of(new_rows)
            listed = listed.round({"probability": 6})
    whole_files.write_whole(report, look.page(duel=duel, who=who).encode())
    count = 0
    if listed is not None and scores is not None:
        write_scores(scores, listed)
        count = len(listed)
    return TriedTable(look=look, duel=duel, who=who, listed=count)


def try_experiment_file(
    target: str,
    *,
    report: Path,
    scores: Path | None = None,
    rows: str | None = None,
    **chosen: Any,
) -> tuple[ExperimentLook, int]:
    """
    Say what contacting added in an experiment, and write the report.

    Args:
        rows: Whom the list has, as ``target``; needed for a list.
        chosen: As ``try_experiment`` takes them; other arguments are ``try_file``'s, as
            are errors.

    Returns:
        What the experiment says, and how many users the list has.
    """
    check_files(target, rows, report=report, scores=scores)
    new_rows = _read_rows(rows, chosen["user"])
    table = _labelled(target, chosen["label"])
    with table_files.named(Path(target)), announced(f"comparing {len(table):,} rows"):
        look = try_experiment(table, name=Path(target).name, **chosen)
    count = 0
    if rows is not None and new_rows is not None and scores is not None:
        with table_files.named(Path(rows)), announced(f"scoring {rows}"):
            listed = look.scores(new_rows).round({"effect": 6, "expected": 6})
        write_scores(scores, listed)
        count = len(listed)
    whole_files.write_whole(report, look.page().encode())
    return look, count


def check_files(*read_files: str | None, report: Path, scores: Path | None) -> None:
    """Make sure that no file is replaced that another option names."""
    others = list(filter(None, read_files))
    whole_files.check_output(report, ".html", option="report", others=others)
    if scores is not None:
        others.append(str(report))
        whole_files.check_output(
            scores, ".csv", WORKBOOK, option="scores", others=others
        )


def write_scores(scores: Path, listed: pd.DataFrame) -> None:
    """Write a list; one of nobody has its header alone, in the place of an earlier."""
    content = list_of(scores, list(listed), listed.itertuples(index=False))
    whole_files.write_whole(scores, content)


def _read_rows(rows: str | None, user: str | None) -> pa.Table | None:
    """Return the rows to score; users of a list as they were before it was written."""
    if rows is None:
        return None
    with announced(f"reading {rows}"):
        table = _read(rows)
    if user not in table.column_names or Path(rows).suffix.lower() != ".csv":
        return table
    column_index = table.column_names.index(user)
    return table.set_column(column_index, user, ids_of_cells(table[user]))


def ids_of_cells(column: pa.ChunkedArray) -> pa.Array:
    """Return the ids of a list as they were before it was written as CSV."""
    cells = column.cast(pa.string()).to_pylist()
    ids = [None if cell is None else id_of_cell(cell) for cell in cells]
    return pa.array(ids, pa.string())


def _labelled(target: str, label: str | Sequence[str] | None) -> pa.Table:
    with announced(f"reading {target}"):
        table = _read(target)
    if not label:
        raise RequestError(
            f"which column of {target} has the outcome?",
            hint=f"Add --label and one of {', '.join(table.column_names[:30])}",
            field="label",
        )
    return table


def _read(target: str) -> pa.Table:
    path = Path(target)
    match = SOURCE_TABLE.fullmatch(target)
    if path.is_file() or table_files.is_table(path.name):
        return table_files.read_file(path, [])
    if match is None or match[1] is None:
        raise RequestError(
            f"{target!r} is not a file, a project.dataset.table or a use case",
            hint=f"Check the path; use cases are {', '.join(usecases.names())}",
            field="target",
        )
    # Nothing need be deployed: without a setting the table's own project asks.
    environment = {"GOOGLE_CLOUD_PROJECT": match[1], **os.environ}
    settings = Settings.from_environment(environment)
    sql = statement("first_look_rows", some_table=f"`{target}`")
    try:
        with contextlib.closing(Warehouse.open(settings)) as warehouse:
            location, rows, size = warehouse.size_of(target)
        if rows > MAXIMUM_ROWS or size > GIB:
            raise RequestError(
                f"{target} has {rows:,} rows and {size / GIB:.1f} GiB; at most "
                f"{MAXIMUM_ROWS:,} rows and 1 GiB can be tried",
                hint="Try a table of a tenth of the users, WHERE MOD(FARM_FINGERPRINT("
                "CAST(customer AS STRING)), 10) = 0",
                field="target",
            )
        # A job runs where its table is. A view may read more than it has.
        settings = replace(settings, location=location, maximum_bytes_billed=10 * GIB)
        with contextlib.closing(Warehouse.open(settings)) as warehouse:
            return warehouse.table(sql)
    except MissingTable as error:
        hint = f"check the name, and that {match[1]} has this dataset"
        problem = f"there is no table {target}"
        raise RequestError(problem, hint=hint, field="target") from error
