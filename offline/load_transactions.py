"""
Load past card transactions with their outcomes, as the first data to train on.

Each transaction becomes a row of inference_log with source "loaded" that nothing has
scored (model version -1), and each known outcome a row of truth_events, found when the
transaction happened unless the file says when. Then 00-ModelTraining trains on them as
on those that the stream has scored. A row's id says what it is of, so each counts once.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Hashable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from propensity import usecases
from propensity.errors import SchemaError
from propensity.gcp.warehouse import Warehouse
from propensity.ids import is_meaningless, problem_of
from propensity.registry.deployment import open_deployment
from propensity.streaming.events.values import EARLIEST
from propensity.table_files import files as table_files
from propensity.table_files.texts import refuse
from propensity.tables.stream import INFERENCE_LOG, TRUTH_EVENTS
from propensity.usecases import UseCase
from propensity.watching import Watched, unwatched

EVENT_TIME = "event_time"
USE_CASE = "card_fraud"
SOURCE = "loaded"
NO_VERSION = -1
PIECE = 50_000


def run(
    file: Path,
    *,
    use_case: str = USE_CASE,
    is_dry: bool = False,
    watched: Watched = unwatched,
) -> dict[str, Any]:
    """
    Read, check and load a file of transactions; return what was read and added.

    Args:
        watched: Yields pieces, and shows how many are loaded.

    Raises:
        SchemaError: The file is not one of transactions; names column or row.
        PropensityError: BigQuery did not take all of it; load it again.
    """
    rows = read_transactions(file, usecases.load(use_case), now=datetime.now(UTC))
    if not is_dry:
        with open_deployment(use_case) as deployment:
            load(deployment.warehouse, deployment.use_case, rows, watched=watched)
    last = rows["event_time"].max().date()
    return {
        "file": file.name,
        "use_case": use_case,
        "transactions": len(rows),
        "first_day": rows["event_time"].min().date(),
        "last_day": last,
        "outcomes": int(rows["label"].notna().sum()),
        "fraud": int(rows["label"].sum()),
        "is_dry": is_dry,
        # The first date as of which a training sees all of them.
        "train_as_of": last + timedelta(days=1),
    }


def load(
    warehouse: Warehouse,
    use_case: UseCase,
    rows: pd.DataFrame,
    *,
    watched: Watched = unwatched,
) -> None:
    """
    Append transactions and outcomes.

    Args:
        rows: Of ``read_transactions``.

    Raises:
        PropensityError: BigQuery did not take all of it; load it again.
    """
    outcomes = rows[rows["label"].notna()]
    for table, loaded, row_of in (
        (INFERENCE_LOG, rows, _inference),
        (TRUTH_EVENTS, outcomes, _truth),
    ):
        warehouse.create(table)
        pieces = range(0, len(loaded), PIECE)
        for first in watched(pieces, f"loading pieces of {table.name}"):
            piece = loaded.iloc[first : first + PIECE].to_dict("records")
            warehouse.write(table, [row_of(use_case, row) for row in piece])


def _inference(use_case: UseCase, row: Mapping[Hashable, Any]) -> dict[str, Any]:
    """Return a row of ``inference_log``, as if logged when it happened."""
    features = {name: row[name] for name in use_case.features}
    return {
        "inference_id": _digest(use_case.name, row["event_id"], SOURCE),
        "use_case": use_case.name,
        "event_id": row["event_id"],
        "user_id": row["event_id"],
        "event_time": row["event_time"],
        "event_date": row["event_time"].date(),
        "model_version": NO_VERSION,
        "is_warm": False,
        "source": SOURCE,
        "features": json.dumps(features, separators=(",", ":")),
        "scored_at": row["event_time"],
        "scored_on": row["event_time"].date(),
    }


def _truth(use_case: UseCase, row: Mapping[Hashable, Any]) -> dict[str, Any]:
    """Return a row of ``truth_events``: received when it was found."""
    event_id = row["event_id"]
    label = row["label"]
    time = row["truth_time"]
    return {
        "use_case": use_case.name,
        "event_id": event_id,
        "label": label,
        "truth_time": time,
        "message_id": _digest(use_case.name, event_id, str(label), str(time)),
        "received_at": time,
        "received_on": time.date(),
    }


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


# -- the file --------------------------------------------------------------------------


def read_transactions(path: Path, use_case: UseCase, *, now: datetime) -> pd.DataFrame:
    """
    Read and check the transactions of a file.

    Returns:
        The use case's features, ``event_id``, ``event_time`` and ``truth_time`` (UTC,
        microseconds), and ``label``: 0, 1, or NA where none is known.

    Raises:
        SchemaError: It cannot be read, a column is missing, or a row has what it cannot
            have; rows are counted from 1, without a header.
    """
    if not use_case.scores_events:
        raise SchemaError(f"{use_case.name} scores users; only events can be loaded")
    identity = use_case.entity
    truth_time = _field(use_case, "truth time")
    outcome = _field(use_case, "truth")
    needed = [identity, EVENT_TIME] + list(use_case.features)
    table = table_files.read_file(path, needed)
    if not len(table):
        raise SchemaError(f"{path} is empty: it has no transactions")
    with table_files.named(path):
        rows = pd.DataFrame({name: _numbers(table, name) for name in use_case.features})
        times = _moments(table, EVENT_TIME, now)
        _refuse(times, times.isna(), "is not a time")
        truth_times = times
        if truth_time in table.column_names:
            truth_times = _moments(table, truth_time, now).fillna(times)
        return rows.assign(
            event_id=_ids(table[identity], identity),
            event_time=times,
            label=_labels(table, outcome),
            truth_time=truth_times,
        )


def _field(use_case: UseCase, kind: str) -> str:
    """Return the field of a kind that its types of events have; empty without one."""
    for fields in use_case.event_types.values():
        for name, field_kind in fields.items():
            if field_kind == kind:
                return name
    return ""


def _numbers(table: pa.Table, name: str) -> pd.Series:
    values = table_files.typed(table, name, "FLOAT64").to_pandas().rename(name)
    _refuse(values, ~np.isfinite(values), "is not a finite number")
    return values


def _moments(table: pa.Table, name: str, now: datetime) -> pd.Series:
    """Return moments; a text without a zone is UTC, and a day is its midnight."""
    times = table_files.typed(table, name, "TIMESTAMP").to_pandas().rename(name)
    is_wrong = times.notna() & ~times.between(EARLIEST, now)
    _refuse(times, is_wrong, f"is not from {EARLIEST:%Y} until now")
    return times


def _refuse(column: pd.Series, is_wrong: pd.Series, problem: str) -> None:
    if is_wrong.any():
        refuse(column, is_wrong, problem, hint="Correct it, or remove the row")


def _labels(table: pa.Table, name: str) -> pd.Series:
    """Return 0 and 1, and NA where a row does not say."""
    if name not in table.column_names:
        return pd.Series(pd.NA, range(len(table)), dtype="Int64")
    return (
        table_files.typed(table, name, "BOOL")
        .cast(pa.int64())
        .to_pandas()
        .astype("Int64")
    )


def _ids(column: pa.ChunkedArray, name: str) -> list[str]:
    texts = table_files.identities(column, name).to_pylist()
    for row, text in enumerate(texts):
        problem = problem_of("" if text is None else text)
        if not problem and is_meaningless(text):
            problem = f"is {text!r}, a placeholder; write the id"
        if problem:
            raise SchemaError(f"row {row + 1}: {name} {problem}")
    if len(set(texts)) < len(texts):
        twice, _ = Counter(texts).most_common(1)[0]
        raise SchemaError(f"{name} {twice[:64]!r} is in several rows; keep one")
    return [str(text) for text in texts]
