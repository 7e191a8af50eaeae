"""
Prediction as a run: score every user into the staging table, check, publish.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from propensity import tables
from propensity.drift.sketch import Sketches
from propensity.errors import (
    NotEnoughData,
    RequestError,
    SchemaError,
    ScoreShift,
)
from propensity.learning import metrics, season
from propensity.pages.words import plural
from propensity.privacy import suppression
from propensity.runs import value
from propensity.runs.export import check_consent
from propensity.statements import statement

if TYPE_CHECKING:
    from propensity.registry.loading import Serving
    from propensity.runs.run import Run

Floats = NDArray[np.float64]

# Rows that are staged at once; they are gathered in memory.
STAGED_ROWS = 1_000_000

_STAGED_COLUMNS = ["user_id", "probability", value.COLUMN]

PERCENTILES = 100


@dataclass(frozen=True, kw_only=True)
class Staged:
    """
    Scores in the staging table: how many, and their 101 percentiles.

    ``log_odds_shift`` is the season's, which is in all scores; None without one.
    ``sketches`` count the values of scores and features.
    ``expected_value`` is the sum over all users; None without
    amounts.
    """

    users: int
    mean_probability: float | None
    quantiles: Floats
    log_odds_shift: float | None
    sketches: Sketches
    expected_value: Decimal | None = None

    def answer(self) -> dict[str, Any]:
        """Return what the answer of 01 says."""
        return {
            "users": self.users,
            "mean_probability": self.mean_probability,
            "expected_value": None
            if self.expected_value is None
            else {"sum": self.expected_value},
            "log_odds_shift": self.log_odds_shift,
        }


def check_scores_users(run: Run) -> None:
    """Raise RequestError for a use case whose events are scored as they happen."""
    if run.use_case.scores_events:
        raise RequestError(
            f"{run.use_case.name} scores every event as it happens: send it to the "
            "stream, or ask the function score. There are no users to score by day",
            field="use_case",
        )


def is_evaluated(run: Run) -> bool:
    """Tell whether 03 has evaluated the week that ends with the run's as-of date."""
    week = run.as_of - run.timeframe.horizon
    [row] = run.rows("evaluation_exists", week=week)
    if not row["evaluations"]:
        run.log_fields["evaluation_missing"] = str(week)
    return bool(row["evaluations"])


def features(run: Run) -> Iterator[pa.RecordBatch]:
    """
    Yield the features of every user as of the run's date, suppressed users left out.

    Raises:
        SettingsError, SchemaError, MissingTable: As ``check_consent``.
        QueryTooExpensive, Unavailable: As named.
    """
    check_consent(run)
    listed = suppression.Followed(run.warehouse, clock=run.clock.monotonic)
    window = run.use_case.window(run.settings, [run.as_of])
    for batch in run.warehouse.batches(run.use_case.statement("features"), window):
        yield listed.now().without(batch, run.use_case.name)


def stage(
    run: Run,
    model: Serving,
    *,
    features: Iterable[pa.RecordBatch],
    shift: season.Shift | None,
) -> Staged:
    """
    Score every user of the lookback into the staging table, in bounded memory.

    Args:
        features: Of every user, as ``features`` gives them.
        shift: The season's, to add to their log-odds; None for none.

    Raises:
        NotEnoughData: There is no user to score.
    """
    users, mass = 0, 0.0
    sketches = Sketches(run.use_case.features)
    scored = sketches.watching(model.scorer.score(features))
    log_odds_shift = shift.log_odds if shift else None
    worth = value.Values.of(run, model)
    for rows in _staged(run, scored, log_odds_shift, worth):
        users += len(rows)
        mass += float(np.sum(rows["probability"].to_numpy()))
        run.warehouse.write(tables.PREDICTIONS_STAGING, rows)
        # Free these rows before the next million is gathered.
        del rows
    if not users:
        raise NotEnoughData(no_users(run))
    return Staged(
        users=users,
        mean_probability=mass / users,
        quantiles=staged_quantiles(run),
        log_odds_shift=log_odds_shift,
        sketches=sketches,
        expected_value=worth.summary(),
    )


def _staged(
    run: Run,
    scored: Iterable[tuple[pa.RecordBatch, Floats]],
    log_odds_shift: float | None,
    worth: value.Values,
) -> Iterator[pa.Table]:
    """
    Gather scored batches, shifted, into tables of about ``STAGED_ROWS`` rows.

    Args:
        scored: Batches with a probability for each row.
        log_odds_shift: The season's, for all scores; None for none.
        worth: Gives the expected values, of the shifted probabilities.
    """
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch, unshifted in scored:
        if not np.all((unshifted >= 0) & (unshifted <= 1)):
            raise SchemaError("the model gives values that are not probabilities")
        probability = season.apply(unshifted, log_odds_shift)
        columns = [
            batch["user_id"].cast(pa.string()),
            pa.array(probability),
            worth.column(batch, probability),
        ]
        waiting.append(pa.RecordBatch.from_arrays(columns, names=_STAGED_COLUMNS))
        rows += len(probability)
        if rows >= STAGED_ROWS:
            yield _with_run(run, waiting)
            waiting, rows = [], 0
    if rows:
        yield _with_run(run, waiting)


def _with_run(run: Run, batches: list[pa.RecordBatch]) -> pa.Table:
    """Return batches as one table, with the columns of ``Run.staging_key``."""
    rows = pa.Table.from_batches(batches)
    for name, same in run.staging_key.items():
        column = pa.array([same]).take(pa.array(np.zeros(len(rows), dtype=np.int64)))
        rows = rows.append_column(name, column)
    return rows


def no_users(run: Run) -> str:
    """Say that there is nobody to score."""
    return (
        f"no user has an event in the {run.use_case.lookback_days} days before "
        f"{run.as_of}: nothing was published"
    )


def staged_quantiles(run: Run) -> Floats:
    """
    Return the 101 percentiles of the run's staged probabilities.

    Raises:
        SchemaError: A user has several.
    """
    [row] = run.warehouse.rows(statement("staged_quantiles"), run.staging_key)
    if repeated := row["repeated"]:
        raise SchemaError(
            f"features.sql gives {plural(repeated, 'row')} of users who have one "
            "already, and is to give one row per user and as-of date: does it join "
            "something that a user has several of? Nothing was published"
        )
    return np.asarray(row["quantiles"], dtype=np.float64)


def score_shift(
    run: Run, staged: Staged, *, causes: Sequence[str] = ()
) -> float | None:
    """
    Return how far scores moved since the last publication; None without one.

    Both are compared as the models gave them, without the season's shift: the shift has
    a bound of its own, and must neither stop a publication nor hide broken features.

    Args:
        causes: What has drifted, for the message.

    Raises:
        ScoreShift: Beyond the bound, unless the run is forced.
    """
    publications = run.rows(
        "published_quantiles",
        as_of=run.as_of,
        since=run.as_of - timedelta(days=run.use_case.lookback_days),
    )
    if not publications:
        return None
    last = publications[0]
    before = _unshifted(
        np.asarray(last["quantiles"], dtype=np.float64), last["log_odds_shift"]
    )
    now = _unshifted(staged.quantiles, staged.log_odds_shift)
    shift = metrics.score_shift(before, now)
    bound = run.settings.maximum_score_shift
    if shift > bound and not run.force:
        raise ScoreShift(
            f"scores moved by {shift:.2f} of their mean since {last['as_of']}, "
            f"more than {bound:g}. Nothing was "
            f"published; {'; '.join(causes) or 'look at the features'}. Correct that, "
            "or, if the move is real, send force",
            detail={
                "score_shift": shift,
                "mean_before": float(before.mean()),
                "mean_now": float(now.mean()),
            },
        )
    return shift


def _unshifted(probability: Floats, log_odds_shift: float | None) -> Floats:
    return season.apply(probability, -(log_odds_shift or 0.0))


def publish_predictions(run: Run, model: Serving, staged: Staged) -> None:
    """Publish the staged scores in one transaction, then clear the staging table."""
    run.check_lease()
    run.warehouse.execute(
        statement("publish_predictions"),
        {
            **run.staging_key,
            "use_case": run.use_case.name,
            "as_of": run.as_of,
            "reads_export": run.data_until is not None,
            "data_until": run.data_until or run.as_of,
            "model_version": model.version,
            "scored_at": run.began_at,
            "edges": [float(edge) for edge in staged.quantiles[1:PERCENTILES]],
            "is_shifted": staged.log_odds_shift is not None,
            "log_odds_shift": staged.log_odds_shift or 0.0,
        },
    )
    run.warehouse.execute(statement("clear_staged_predictions"), run.staging_key)
    run.log_fields.update(
        model_version=model.version, rows_in=staged.users, rows_out=staged.users
    )
