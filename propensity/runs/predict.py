"""
Prediction as a run: score every user, compare with the training and earlier scores,
publish.

Scores are appended under the run's id while they are computed, and no reader sees them
until one transaction records the publication and merges them into the current table.
What a run that died has appended stays unseen.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from joblib import cpu_count

from propensity import errors, suppression
from propensity.ids import PRESENCE
from propensity.learning import season
from propensity.learning.season import EvaluatedWeek
from propensity.measures import metrics
from propensity.measures.drift import Observed, summary_of
from propensity.models.encoding import Floats
from propensity.models.value import ValueModel
from propensity.registry import index, records, serving
from propensity.runs.categories import stored_categories
from propensity.runs.reading import check_no_user_twice
from propensity.runs.run import EARLIEST, Run
from propensity.schema import columns_of, kept_days
from propensity.statements import Line, lines_of, statement
from propensity.suppression import Suppressed, suppressed_list
from propensity.tables.models import DRIFT, PREDICTIONS, SCORES, Drift, Range, Signal

# Rows that are appended at once; they are gathered in memory.
ROWS_AT_ONCE = 1_000_000

# If scores jumped, the error names this many drift alarms.
CAUSES = 5

_NUMERIC = SCORES.arrow_schema().field("expected_value").type
_EFFECTS = SCORES.arrow_schema().field("effects").type


@dataclass(frozen=True, kw_only=True)
class ScoredUsers:
    """
    What a run has scored, and not published yet.

    Attributes:
        quantiles: The least probability, 99 percentiles and the greatest.
        log_odds_shift: The season's, which is in all scores; None without one.
        expected_value: The sum over all users; None without amounts.
        range: Columns of ``Range``, of outcomes and revenue; null where it isn't known.
        signals: The watched features and scores, beside the training; alarms first.
    """

    users: int
    mean_probability: float
    quantiles: Sequence[float]
    log_odds_shift: float | None
    expected_value: Decimal | None
    range: Mapping[str, Any]
    signals: Sequence[Signal] = ()

    @property
    def alarms(self) -> list[Signal]:
        """The signals that a person should look at."""
        return [signal for signal in self.signals if signal.is_alarm]

    def answer(self) -> dict[str, object]:
        """Return what the answer of 01 says."""
        expected_value = None
        if self.expected_value is not None:
            expected_value = {
                "sum": self.expected_value,
                "low": self.range["value_low"],
                "high": self.range["value_high"],
            }
        alarms = [
            {"cause": signal.cause, "name": signal.name, "message": signal.message}
            for signal in self.alarms
        ]
        return {
            "users": self.users,
            "mean_probability": self.mean_probability,
            "expected_conversions": {
                "sum": self.users * self.mean_probability,
                "low": self.range["conversions_low"],
                "high": self.range["conversions_high"],
            },
            "expected_value": expected_value,
            "log_odds_shift": self.log_odds_shift,
            "drift": {"alarms": alarms},
        }


def check_scores_users(run: Run) -> None:
    """Raise RequestError for a use case whose events are scored as they happen."""
    if run.use_case.scores_events:
        raise errors.RequestError(
            f"{run.use_case.name} scores events as they happen, so it has no users to "
            "predict by day",
            hint="Send events to the stream, or call the function score",
            field="use_case",
        )


def is_evaluated(run: Run) -> bool:
    """
    Tell whether 03 has evaluated outcomes that ended in the week before the run's date.

    Predictions may come each day: the evaluation of a week is of one of its days. Of
    outcomes shorter than a week those ending on the date are asked for.
    """
    newest = run.as_of - run.timeframe.horizon
    days = min(7, run.timeframe.horizon_days) - 1
    since = newest - timedelta(days=days)
    return bool(run.rows("evaluations", since=since, until=newest))


def champion(run: Run) -> serving.Serving:
    """
    Load the champion or, for a date before its training, the version promoted by then.

    A model that was trained after the run's as-of date knows the outcomes of that week:
    its scores would look better than they are. Where no version was promoted by then,
    today's champion scores all the same, and the log says so.
    """
    live = run.registry.champion()
    if live is None:
        raise _no_champion(run)
    record = records.recorded(run.warehouse, run.use_case.name, live.version)
    age = run.as_of - record.as_of
    if age.days >= 0:
        # The alert of this name reads it, where no compaction runs as well.
        run.log("INFO", "the age of the live version", champion_age_days=age.days)
    else:
        name = run.use_case.name
        champions = [live.version] + list(live.earlier)
        version = records.find_promoted(
            run.warehouse, name, as_of=run.as_of, champions=champions
        )
        if version is None:
            message = "no version was live by then, so the live version of today scores"
            run.log("WARNING", message)
        else:
            record = records.recorded(run.warehouse, name, version)
    settings = run.settings
    threads = cpu_count()
    return serving.loaded(
        run.registry, run.use_case, record, settings=settings, threads=threads
    )


def _no_champion(run: Run) -> errors.NoChampion:
    """Return why there is no live version: no training yet, or all were rejected."""
    is_trained = records.newest_recorded(run.warehouse, run.use_case.name) >= 0
    why = "it was never trained"
    hint = "Call 00-ModelTraining first"
    if is_trained:
        why = f"no training was promoted, or {run.registry.pointer} was deleted"
        hint = (
            "`propensity versions` lists the verdicts; `propensity promote` a version"
        )
    return errors.NoChampion(
        f"{run.use_case.name} has no live version: {why}",
        hint=hint,
        # The alert ignores use cases that were never trained.
        detail={"is_trained": is_trained},
    )


def season_weeks(run: Run) -> list[EvaluatedWeek]:
    """
    Return the evaluated weeks that the season and the range are read off.

    Only what was known on the as-of date counts, so that a rerun finds the same.
    """
    weeks = run.rows(
        "season_weeks",
        as_of=run.as_of,
        since=run.as_of - season.MEMORY_WEEKS * run.timeframe.horizon,
        horizon_days=run.timeframe.horizon_days,
    )
    return [EvaluatedWeek(**row) for row in weeks]


def features(run: Run, suppressed: Suppressed) -> Iterator[pa.RecordBatch]:
    """
    Yield the features of every user as of the run's date, suppressed users left out.
    """
    use_case = run.use_case
    window = use_case.window(run.settings, [run.as_of])
    for batch in run.warehouse.batches(use_case.statement("features"), window):
        yield suppressed.without(batch, use_case.name)


def score(
    run: Run, model: serving.Serving, weeks: Sequence[EvaluatedWeek]
) -> ScoredUsers:
    """Score every user of the lookback, in bounded memory, and append the scores."""
    rules = {
        "horizon_days": run.timeframe.horizon_days,
        "minimum_conversions": run.settings.minimum_conversions,
    }
    shift = season.shift(weeks, **rules)
    suppressed = suppression.read_suppressed(run.warehouse)
    key = _key(run)
    value_model = model.value() if model.value is not None else None
    observed = Observed(summary_of(model.record.card.drift))
    batches = observed.count(model.scorer.score(features(run, suppressed)))
    scored_rows = prediction_rows(
        batches,
        key,
        shift,
        value_model,
        compared=run.use_case.compared,
    )
    for rows in in_tables(scored_rows):
        run.warehouse.write(SCORES, rows)
        # Free these rows before the next million is gathered.
        del rows
    if suppression.read_suppressed(run.warehouse) != suppressed:
        raise errors.Unavailable(
            "nothing was published, because a user was suppressed meanwhile",
            hint="Call again",
        )
    [row] = run.warehouse.rows(statement("scored"), key)
    if not row["active"]:
        raise errors.NoData(
            "nothing was published, because no user has an event in the "
            f"{run.use_case.lookback_days} days before {run.as_of}",
            hint="Check that events still arrive",
        )
    check_no_user_twice(row["repeated"])
    forecast = season.forecast(
        weeks, as_of=run.as_of, information=row["information"], **rules
    )
    limits: dict[str, Any] = dict.fromkeys(each.name for each in columns_of(Range))
    if forecast is not None:
        expected = forecast.range(
            users=row["users"],
            expected=row["users"] * row["mean_probability"],
            information=row["information"],
            value=row["expected_value"],
        )
        limits = expected.columns()
    scored = ScoredUsers(
        users=row["users"],
        mean_probability=row["mean_probability"],
        quantiles=row["quantiles"],
        log_odds_shift=shift,
        expected_value=row["expected_value"],
        range=limits,
        signals=sorted(observed.signals(), key=_by_urgency),
    )
    for alarm in scored.alarms:
        message = f"drift: {alarm.message}"
        run.log("WARNING", message, cause=alarm.cause, name=alarm.name)
    return scored


def _by_urgency(signal: Signal) -> tuple[bool, float, str]:
    """Return what signals are sorted by: alarms first, then the largest drift."""
    # A signal without a distance says more than a number.
    psi = 99.0 if signal.psi is None else signal.psi
    return not signal.is_alarm, -psi, signal.name


@contextlib.contextmanager
def removed_on_failure(run: Run) -> Iterator[None]:
    """Remove what the run has scored if it ends here: it would never be read."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(errors.PropensityError):
            run.warehouse.execute(statement("remove_scored"), _key(run))
        raise


def _key(run: Run) -> dict[str, object]:
    """Return the columns that identify what a run has scored."""
    return {"use_case": run.use_case.name, "as_of": run.as_of, "run_id": run.run_id}


def prediction_rows(
    scored: Iterable[tuple[pa.RecordBatch, Floats]],
    key: Mapping[str, object],
    log_odds_shift: float | None,
    value_model: ValueModel | None,
    *,
    compared: Sequence[str] = (),
) -> Iterator[pa.RecordBatch]:
    """Yield rows with shifted probabilities and expected values, null without any."""
    for batch, unshifted in scored:
        if not np.all((unshifted >= 0) & (unshifted <= 1)):
            raise errors.SchemaError(
                "the model gives values that are not probabilities"
            )
        probability = season.apply(unshifted, log_odds_shift)
        value = pa.nulls(len(probability), _NUMERIC)
        if value_model is not None:
            amounts = probability * value_model.amounts(batch)
            value = pc.cast(pa.array(amounts), _NUMERIC)
        names = list(compared)
        if PRESENCE in batch.schema.names:
            names.append(PRESENCE)
        columns = {
            "user_id": batch["user_id"].cast(pa.string()),
            "probability": pa.array(probability),
            "expected_value": value,
            "categories": stored_categories(batch, names),
            "effects": pa.array([[]] * len(probability), _EFFECTS),
        }
        same = {
            name: pa.repeat(constant, len(probability))
            for name, constant in key.items()
        }
        yield pa.RecordBatch.from_pydict({**columns, **same})


def in_tables(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Yield tables of about ``ROWS_AT_ONCE`` rows."""
    gathered: list[pa.RecordBatch] = []
    for batch in batches:
        gathered.append(batch)
        if sum(map(len, gathered)) >= ROWS_AT_ONCE:
            yield pa.Table.from_batches(gathered)
            gathered = []
    if any(map(len, gathered)):
        yield pa.Table.from_batches(gathered)


def score_shift(run: Run, scored: ScoredUsers) -> float | None:
    """
    Return how far scores moved since the last publication, however old; None without
    one.

    Both are compared as the models gave them, without the season's shift: the shift has
    a bound of its own, and must neither stop a publication nor hide broken features.
    """
    publications = run.rows(
        "newest_publication",
        since=EARLIEST,
        until=run.as_of - timedelta(days=1),
    )
    if not publications:
        return None
    last = publications[0]
    before = _unshifted(last["quantiles"], last["log_odds_shift"])
    now = _unshifted(scored.quantiles, scored.log_odds_shift)
    shift = metrics.relative_shift(before, now)
    bound = run.settings.maximum_score_shift
    if shift > bound and not run.overrides.shifts_scores:
        causes = "; ".join(f"{alarm.message}" for alarm in scored.alarms[:CAUSES])
        if not causes:
            causes = "a feature"
        raise errors.ScoreShift(
            "nothing was published, because scores changed too much since "
            f"{last['as_of']}: by {shift:.2f} of their mean (limit {bound:g}). Likely "
            f"cause: {causes}",
            hint=f'Fix it, or, if the change is real, send {{"as_of": "{run.as_of}", '
            '"force": true} (deploy/call.sh sends a request)',
            detail={
                "score_shift": shift,
                "mean_before": float(before.mean()),
                "mean_now": float(now.mean()),
            },
        )
    return shift


def _unshifted(quantiles: Sequence[float], log_odds_shift: float | None) -> Floats:
    if log_odds_shift is None:
        log_odds_shift = 0.0
    return season.apply(np.asarray(quantiles), -log_odds_shift)


def publish_scores(run: Run, model: serving.Serving, scored: ScoredUsers) -> None:
    """
    Publish what the run has scored, in one transaction; check the lease before it.

    What was scored stays where that fails: the transaction may be through all the same.
    """
    parts = dict[str, Sequence[Line]]()
    days_by_table = kept_days(run.settings.retention_days)
    predictions_days = days_by_table.get(PREDICTIONS.stored, 0)
    if predictions_days:
        parts["older_predictions"] = lines_of("remove_older_predictions")
    run.warehouse.execute(
        statement("publish_predictions", **parts),
        {
            **_key(run),
            "kept_days": predictions_days,
            "model_version": model.version,
            "scored_at": run.began_at,
            "data_until": run.data_until,
            "users": scored.users,
            "mean_probability": scored.mean_probability,
            "quantiles": list(scored.quantiles),
            "log_odds_shift": scored.log_odds_shift,
            "value_promised": scored.expected_value,
            **scored.range,
            "bytes_billed": run.warehouse.bytes_billed,
            "seconds": run.elapsed_s(),
        },
    )
    if run.use_case.reads_digest and run.settings.require_consent != "false":
        window = run.use_case.window(run.settings, [run.as_of])
        run.warehouse.execute(statement("remove_refusers"), {**window, **_key(run)})


def publish_drift(run: Run, model: serving.Serving, scored: ScoredUsers) -> None:
    """
    Append the rows of ``ma_drift``; readers see those of the newest run.

    What was published stays so where that fails, which a warning says.
    """
    rows = []
    for signal in scored.signals:
        row = Drift(
            use_case=run.use_case.name,
            as_of=run.as_of,
            model_version=model.version,
            run_id=run.run_id,
            written_at=run.began_at,
            signal=signal,
        )
        rows.append(row)
    try:
        run.append(DRIFT, rows)
    except errors.PropensityError as error:
        run.log("WARNING", f"drift is not in its table: {error.message}")


def publish_index(run: Run) -> int:
    """
    Publish the index of what the table has now; return its users.

    Raises:
        PropensityError: The index was not published, and the message says so. The next
            run of any date publishes it.
    """
    artifacts = run.artifacts
    use_case = run.use_case
    try:
        suppressed_list.publish(run.warehouse, artifacts)
        days = use_case.lookback_days
        return index.store_index(run.warehouse, artifacts, use_case.name, days=days)
    except errors.PropensityError as error:
        error.message = (
            f"the predictions were published, but not their index: {error.message}. "
            "Lookups answer from the index before until a run is repeated"
        )
        raise
