"""
Staged scores: nobody on the list of suppressed users is among them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from propensity.errors import NotEnoughData
from propensity.privacy import suppression
from propensity.runs import predict
from propensity.statements import statement

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.learning import season
    from propensity.registry.loading import Serving
    from propensity.runs.predict import Staged
    from propensity.runs.run import Run

# Ids in one statement; BigQuery's limit for all parameters is 10 MB.
UNSTAGED_AT_ONCE = 10_000


def stage(
    run: Run,
    model: Serving,
    features: Iterable[pa.RecordBatch],
    *,
    shift: season.Shift | None,
) -> Staged:
    """
    Score users into the staging table; nobody on the list is in it at the end.

    Args:
        features: Of every user of the lookback. Who was on the list when this began is
            in none.
        shift: The season's, to add to their log-odds; None for none.

    Raises:
        NotEnoughData: There is no user to score.
        SchemaError: The features are not those of the model, or give no probability.
    """
    listed = suppression.read(run.warehouse)
    staged = predict.stage(run, model, features=features, shift=shift)
    if suppression.read(run.warehouse) == listed:
        return staged
    return _without_forgotten(run, staged)


def _without_forgotten(run: Run, staged: Staged) -> Staged:
    """
    Take out users who were put on the list while the run had their rows in memory.

    ``propensity forget`` could not find those rows. Now they are where it looks: in the
    staging table. Sketches of all users are left as they are.

    Raises:
        NotEnoughData: No other user is left.
    """
    forgotten = _unstage_suppressed(run)
    if not forgotten:
        return staged
    [row] = run.warehouse.rows(statement("staged_scores"), run.staging_key)
    if not row["users"]:
        raise NotEnoughData(predict.no_users(run))
    return replace(
        staged,
        users=row["users"],
        mean_probability=row["mean_probability"],
        quantiles=predict.staged_quantiles(run),
    )


def _unstage_suppressed(run: Run) -> list[str]:
    """
    Delete the staged scores of suppressed users, if there are any; return the users.

    BigQuery cannot know them: the list has keyed hashes, and the key stays here.
    """
    suppressed = suppression.read(run.warehouse)
    waiting: list[str] = []
    if not suppressed:
        return waiting
    for batch in run.warehouse.batches(statement("staged_users"), run.staging_key):
        waiting += suppressed.those_of(batch["user_id"].to_pylist(), run.use_case.name)
    for start in range(0, len(waiting), UNSTAGED_AT_ONCE):
        users = waiting[start : start + UNSTAGED_AT_ONCE]
        run.warehouse.execute(
            statement("unstage_users"), {**run.staging_key, "user_ids": users}
        )
    return waiting
