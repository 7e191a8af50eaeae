"""
Staged scores: computed by this function, or by BigQuery where the data are.

BigQuery runs the graph of the version (``propensity.graphs``), which training has found
equal to the model. A version without one is scored by the function.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from propensity.errors import NotEnoughData, SchemaError
from propensity.graphs import sql
from propensity.privacy import suppression
from propensity.runs import predict, reasons
from propensity.runs.export import check_consent
from propensity.settings import BIGQUERY, FUNCTION
from propensity.statements import statement

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.learning import season
    from propensity.models.encoding import Kind
    from propensity.registry.loading import Serving
    from propensity.runs.predict import Staged
    from propensity.runs.run import Run

# Ids in one statement; BigQuery's limit for all parameters is 10 MB.
UNSTAGED_AT_ONCE = 10_000

# BigQuery's names of types of columns that hold a kind of feature.
_NUMBERS = frozenset(
    {"INTEGER", "INT64", "FLOAT", "FLOAT64", "NUMERIC", "BIGNUMERIC", *sql.FLAG_TYPES}
)


def stage(
    run: Run,
    model: Serving,
    features: Iterable[pa.RecordBatch],
    *,
    shift: season.Shift | None,
) -> Staged:
    """
    Score every user of the lookback into the staging table.

    Args:
        features: Of every user; read only if the function scores, not BigQuery.
        shift: The season's, to add to their log-odds; None for none.

    Raises:
        NotEnoughData: There is no user to score.
        SchemaError: The features are not those of the model, or give no probability.
    """
    run.log_fields["scored_with"] = FUNCTION
    if run.settings.score_with == BIGQUERY:
        reason = _why_not(model)
        if not reason:
            run.log_fields["scored_with"] = BIGQUERY
            # BigQuery runs no model of amounts.
            run.log_fields["valued"] = False
            if run.settings.explain_predictions:
                reasons.without(run, model, "features do not leave BigQuery")
            return _in_bigquery(run, model, shift.log_odds if shift else None)
        run.warn(f"version {model.version} is scored by the function: {reason}")
    return in_function(run, model, features, shift=shift)


def in_function(
    run: Run,
    model: Serving,
    features: Iterable[pa.RecordBatch],
    *,
    shift: season.Shift | None,
) -> Staged:
    """
    Score users here into the staging table; nobody on the list is in it at the end.

    Args:
        features: As of ``stage``. Who was on the list when this began is in none.

    Raises:
        NotEnoughData, SchemaError: As ``stage``.
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


def _why_not(model: Serving) -> str:
    """Return why BigQuery cannot score a version; empty where it can."""
    if model.metadata.get("onnx_object"):
        return ""
    return model.metadata.get("onnx_note") or "it was trained before graphs were kept"


def _in_bigquery(run: Run, model: Serving, log_odds_shift: float | None) -> Staged:
    """Have BigQuery score all users in one statement, then take out suppressed ones."""
    check_consent(run)
    name = _imported(run, model)
    window = run.use_case.window(run.settings, [run.as_of])
    rows = run.use_case.statement("features")
    flags = _flags(run, rows, window)
    shift = {
        "is_shifted": bool(log_odds_shift),
        "log_odds_shift": log_odds_shift or 0.0,
    }
    run.warehouse.execute(
        sql.scoring_statement(
            statement("score_by_model"),
            model=name,
            features=_features(run),
            flags=flags,
            rows=rows,
        ),
        {**window, **run.staging_key, **shift},
    )
    _unstage_suppressed(run)
    [row] = run.warehouse.rows(statement("staged_scores"), run.staging_key)
    if not row["users"]:
        raise NotEnoughData(predict.no_users(run))
    if row["not_probabilities"]:
        raise SchemaError(
            f"the model gives {row['not_probabilities']} values that are not "
            "probabilities: it refuses rows, such as a NULL where it was trained "
            "without one"
        )
    return predict.Staged(
        users=row["users"],
        mean_probability=row["mean_probability"],
        quantiles=predict.staged_quantiles(run),
        log_odds_shift=log_odds_shift,
    )


def _imported(run: Run, model: Serving) -> str:
    """
    Return the name of a version's model in BigQuery, imported if it is not there.

    Its bytes are verified first: so write access to the bucket is not enough to change
    what BigQuery computes.
    """
    checksum = model.metadata["onnx_sha256"]
    name = sql.model_name(run.use_case.name, model.version, checksum=checksum)
    if not run.warehouse.has_model(name):
        artifacts = run.registry.artifacts
        graph = model.metadata["onnx_object"]
        artifacts.read_verified(graph, checksum=checksum)
        run.warehouse.execute(sql.import_statement(name, uri=artifacts.uri(graph)))
        run.log_fields["model_imported"] = name
    return name


def _features(run: Run) -> dict[str, Kind]:
    return {
        name: "category" if kind == "category" else "number"
        for name, kind in run.use_case.features.items()
    }


def _flags(run: Run, rows: str, window: Mapping[str, Any]) -> frozenset[str]:
    """
    Return the features that are truth values, by a dry run, which bills nothing.

    Raises:
        SchemaError: A feature is missing, or has a type of another kind.
    """
    types = run.warehouse.column_types(rows, window)
    for name, kind in run.use_case.features.items():
        expected = {"STRING"} if kind == "category" else _NUMBERS
        if types.get(name) not in expected:
            state = f"is {types[name]}" if name in types else "is missing"
            raise SchemaError(
                f"feature {name!r} {state}, but the model was trained with a {kind}",
                field=name,
            )
    return frozenset(name for name, kind in types.items() if kind in sql.FLAG_TYPES)


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
