"""
The steps of the scheduled runs, each between an edge and a pure function.

What a run reads, computes and writes is told by its ``main.py``; here is how. Nothing
in this module decides what a figure means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from propensity import freshness, tables
from propensity.edges.columns import record
from propensity.errors import (
    ArtifactError,
    Conflict,
    ExportLate,
    NoChampion,
    NotEnoughData,
    Pinned,
    RequestError,
    SchemaError,
    ScoreShift,
)
from propensity.learning import evaluation
from propensity.privacy import consent, suppression
from propensity.registry.champion import Champion
from propensity.registry.loading import Serving, loaded, recorded
from propensity.runs import compaction
from propensity.statements import statement

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from propensity.learning.training import Trained, Verdict
    from propensity.runs.endpoint import Run

Floats = NDArray[np.float64]

# Rows that are staged at once: what waits for it is in memory.
STAGED_ROWS = 1_000_000

PERCENTILES = 100

# How far a run of 03 goes back for outcomes missed while it did not run.
CATCH_UP = timedelta(weeks=13)


@dataclass(frozen=True, kw_only=True)
class Staged:
    """Scores in the staging table: how many, and their 101 percentiles."""

    users: int
    mean_probability: float | None
    quantiles: Floats


# -- The export -----------------------------------------------------------------------


def wait_for_training_days(run: Run) -> dict[str, Any]:
    """Do as ``wait_for_days`` with the days that a training reads."""
    timeframe, count = run.timeframe, run.settings.training_snapshots
    newest = timeframe.newest_matured(today=run.as_of)
    oldest = newest - (count - 1) * timeframe.horizon
    return wait_for_days(
        run,
        since=oldest - timedelta(days=timeframe.lookback_days),
        until=newest + timeframe.horizon,
    )


def wait_for_days(
    run: Run, *, since: date | None = None, until: date | None = None
) -> dict[str, Any]:
    """
    See that the days of the export are there, or go on with those that are.

    While the newest may still come the run ends here and is called again. Once that
    has lasted as long as it may, or where it will not come any more, the run goes on as
    of the newest date whose days are all there: a missing day would make every user
    less recent.

    Args:
        since: The first day (UTC) that is read; None for the lookback's.
        until: The day after the last; None for the as-of date.

    Returns:
        What the answer says: ``data_until`` and, where there are some, ``late_days``,
        ``missing_days`` and ``streamed_days``. Nothing for a use case without export.

    Raises:
        ExportLate: The newest day is not there, and may come.
        MissingTable, SettingsError, AccessDenied: The export cannot be read at all.
    """
    export = run.settings.export
    if not (run.use_case.reads_export and export):
        return {}
    until = until or run.as_of
    run.warehouse.check_location(export)
    found = freshness.look(
        freshness.Shards.of(run.warehouse.table_names(export)),
        freshness.Window(
            since=since or run.as_of - timedelta(days=run.use_case.lookback_days),
            until=until,
            now=run.now(),
            utc_offset_hours=run.settings.property_utc_offset_hours,
        ),
        rows=lambda day: run.warehouse.row_count(export, f"events_{day:%Y%m%d}"),
    )
    if found.is_awaited and not run.force:
        _wait(run, found)
    run.is_cut_short = found.data_until < until
    run.as_of -= until - found.data_until
    run.data_until = found.data_until
    told = {
        "data_until": found.data_until,
        **{
            f"{name}_days": list(days)
            for name in ("late", "missing", "streamed")
            if (days := getattr(found, name))
        },
    }
    run.noted.update(told)
    if found.late or found.missing:
        run.noted.update(severity="WARNING", message=_told_days(found, until))
    return told


def _wait(run: Run, found: freshness.Freshness) -> None:
    """Raise ExportLate, unless this date's runs have waited as long as they may."""
    lease, now = run.lease, run.now()
    since = (lease.waiting_since if lease else None) or now
    wait_s = freshness.retry_after_s(now - since, run.settings)
    if not wait_s:
        return
    if lease is not None:
        lease.waiting_since = since
    ends = since + timedelta(minutes=run.settings.export_wait_minutes)
    days = _listed(found.late or found.streamed[-1:])
    raise ExportLate(
        f"the export {run.settings.export} is not whole yet: {days} is missing, still "
        f"being loaded, or only streamed. Call again in {wait_s} s or later; from "
        f"{ends:%Y-%m-%d %H:%M} UTC on (PROPENSITY_EXPORT_WAIT_MINUTES), or with "
        f"force, the run goes on as of {found.data_until}",
        retry_after_s=wait_s,
        detail={"late_days": [str(day) for day in found.late]},
    )


def _told_days(found: freshness.Freshness, until: date) -> str:
    parts = []
    if found.late:
        parts.append(
            f"the export lacks {_listed(found.late)}: went on with what happened "
            f"before {found.data_until} instead of {until}"
        )
    if found.missing:
        parts.append(f"days of the export never came: {_listed(found.missing)}")
    return "; ".join(parts)


def _listed(days: Sequence[date], shown: int = 5) -> str:
    more = f" and {len(days) - shown} more" if len(days) > shown else ""
    return ", ".join(map(str, days[:shown])) + more


# -- 00-ModelTraining -----------------------------------------------------------------


def training_rows(run: Run) -> pa.Table:
    """
    Read features and labels: one row per user and as-of date, or one per event.

    Raises:
        NotEnoughData: The source has no event, or too few days for a snapshot.
        MissingTable, SchemaError: The source is not what the use case reads.
    """
    if run.use_case.scores_events:
        return _event_rows(run)
    check_consent(run)
    use_case, settings = run.use_case, run.settings
    timeframe = run.timeframe
    most = settings.training_snapshots
    found = run.warehouse.rows(
        use_case.statement("first_day"),
        {"earliest": timeframe.first_read(today=run.as_of, at_most=most)},
    )
    if not found or found[0]["first_day"] is None:
        raise NotEnoughData("the source has no events at all")
    snapshots = timeframe.snapshots(
        today=run.as_of,
        earliest=found[0]["first_day"],
        at_most=most,
    )
    if not snapshots:
        raise NotEnoughData(
            f"events begin on {found[0]['first_day']}: a first snapshot needs "
            f"{timeframe.lookback_days} days before it, and "
            f"{timeframe.horizon_days + timeframe.settle_days} days after it that end "
            f"by {run.as_of}"
        )
    rows = run.warehouse.table(
        use_case.statement("training_rows"),
        {
            **use_case.window(settings, snapshots, today=run.as_of),
            "maximum_rows": settings.maximum_training_rows,
        },
    )
    rows = suppression.read(run.warehouse).without(rows, use_case.name)
    run.noted["rows_in"] = len(rows)
    return checked(rows, use_case.features)


def _event_rows(run: Run) -> pa.Table:
    """Read scored events and what is known of them, and note how much that is."""
    from propensity.learning import event_training  # 03 runs without sklearn

    joined = run.warehouse.table(
        run.use_case.statement("event_training_rows"),
        {**_event_window(run), "maximum_rows": run.settings.maximum_training_rows},
    )
    joined = suppression.read(run.warehouse).without(joined, run.use_case.name)
    rows = event_training.dataset(joined, run.use_case)
    run.noted.update(rows_in=len(rows), **event_training.counts(rows))
    return rows


def check_consent(run: Run) -> None:
    """Raise SettingsError where the export would be read without asked consent."""
    if run.use_case.reads_export:
        consent.check_view(run.warehouse)


def _event_window(run: Run) -> dict[str, Any]:
    """Return the parameters of the statements that join events and truths."""
    return {
        "use_case": run.use_case.name,
        "as_of": run.as_of,
        "since": run.as_of - timedelta(days=run.use_case.lookback_days),
        "truth_delay_days": run.settings.truth_delay_days,
    }


def trained_on(run: Run, rows: pa.Table) -> Trained:
    """
    Train, choose, calibrate and measure on what ``training_rows`` has read.

    Raises:
        NotEnoughData, SchemaError, UseCaseError: As ``training.train``.
    """
    from propensity.learning import event_training, training

    preprocessor = uploaded_preprocessor(run)
    if run.use_case.scores_events:
        return event_training.train(
            rows, run.use_case, preprocessor=preprocessor, settings=run.settings
        )
    return training.train(
        rows,
        run.use_case,
        run.timeframe,
        preprocessor=preprocessor,
        settings=run.settings,
    )


def compared(run: Run, trained: Trained, champion: Champion | None) -> Verdict:
    """Compare a challenger with what serves; while a version is pinned, that stays."""
    from propensity.learning import event_training, training

    use_case = run.use_case
    compare = event_training.compare if use_case.scores_events else training.compare
    verdict = compare(
        trained,
        champion_probabilities(run, champion, trained.holdout.rows),
        version=champion.version if champion else None,
        seed=run.settings.seed,
    )
    if champion is None or not champion.pinned:
        return verdict
    return replace(
        verdict,
        promoted=False,
        reason=f"version {champion.version} is pinned and stays; {verdict.reason}",
    )


def checked(rows: pa.Table, features: Mapping[str, str]) -> pa.Table:
    """Return the rows, or raise SchemaError where a feature is missing."""
    missing = [name for name in features if name not in rows.column_names]
    if missing:
        raise SchemaError(
            f"features.sql gives no column {', '.join(missing)}, which usecase.toml "
            "names as a feature"
        )
    return rows


def uploaded_preprocessor(run: Run) -> Any | None:
    """Return the preprocessor that was uploaded last, or None for the default."""
    found = run.warehouse.rows(
        statement("newest_preprocessor"), {"use_case": run.use_case.name}
    )
    if not found or found[0]["is_default"]:
        return None
    return run.registry.preprocessor(found[0])


def champion_probabilities(
    run: Run, champion: Champion | None, rows: pa.Table
) -> Floats | None:
    """
    Return the champion's probabilities of rows; None where it cannot score them.

    A champion of other features, or one whose artifacts are lost or altered, can not
    serve either, and loses to any challenger; so does one that is not warm.
    """
    if champion is None:
        return None
    try:
        found = serving(run, champion.version)
        parts = [scored for _, scored in found.scorer.score(rows.to_batches())]
    except (SchemaError, ArtifactError) as error:
        run.noted["champion_unusable"] = error.message
        return None
    if not found.is_warm:
        run.noted["champion_unusable"] = "it is not warm"
        return None
    return np.concatenate(parts) if parts else np.empty(0)


def champion_as_of(run: Run) -> Serving:
    """
    Load the champion, or, to rerun a past week, the one of that time.

    A model that was trained after the run's as-of date has seen what came of the week:
    its scores of it would look better than they are. Where nothing had been promoted
    by then, the champion serves all the same, and the log line says so.

    Raises:
        NoChampion, ArtifactError, SchemaError: As ``serving``.
    """
    champion = run.registry.find_champion()
    if champion is None:
        raise NoChampion(why_nothing_serves(run))
    metadata = recorded(run.warehouse, run.use_case, champion.version)
    if metadata["as_of"] <= run.as_of:
        run.noted["champion_age_days"] = (run.as_of - metadata["as_of"]).days
        return loaded(
            run.registry,
            run.use_case,
            metadata,
            chosen=run.use_case.chosen(run.settings),
        )
    found = run.warehouse.rows(
        statement("champion_as_of"),
        {"use_case": run.use_case.name, "as_of": run.as_of},
    )
    if not found:
        run.noted["trained_after_as_of"] = True
        return loaded(
            run.registry,
            run.use_case,
            metadata,
            chosen=run.use_case.chosen(run.settings),
        )
    return serving(run, found[0]["model_version"])


def why_nothing_serves(run: Run) -> str:
    """Say what is to be done where nothing serves: train, or read the verdict."""
    found = run.warehouse.rows(
        statement("recorded_versions"), {"use_case": run.use_case.name, "at_most": 1}
    )
    if not found:
        return f"{run.use_case.name} has no champion yet: run modelTraining first"
    newest = found[0]
    return (
        f"{run.use_case.name} has no champion: version {newest['model_version']}, "
        f"trained as of {newest['as_of']}, was not promoted. {newest['verdict']}"
    )


def serving(run: Run, version: int) -> Serving:
    """
    Load a version, its bytes verified by what training recorded.

    Raises:
        ArtifactError: It was not recorded, or its bytes are others.
        SchemaError: Its features are not those of the use case.
    """
    metadata = recorded(run.warehouse, run.use_case, version)
    return loaded(
        run.registry,
        run.use_case,
        metadata,
        chosen=run.use_case.chosen(run.settings),
    )


def publish_model(
    run: Run,
    trained: Trained,
    verdict: Verdict,
    *,
    rows: pa.Table,
    champion: Champion | None,
) -> Mapping[str, Any]:
    """
    Store a version's files, record it, and let it serve if the verdict says so.

    In this order, so that what serves is recorded and what is recorded is stored; a
    run that dies between leaves a version that nothing points to.
    """
    from propensity.learning import modelcard  # 03 runs without sklearn

    run.check_lease()
    version = run.registry.claim(run_id=run.run_id, at=run.began_at)
    card = modelcard.card(
        run.use_case,
        trained,
        verdict,
        version=version,
        rows=rows,
        as_of=run.as_of,
        data_until=run.data_until,
        settle_days=run.timeframe.settle_days,
        chosen=run.use_case.chosen(run.settings),
        trained_at=run.began_at,
        bytes_billed=run.warehouse.bytes_billed,
    )
    published = run.registry.publish(version, modelcard.files(card, trained, rows))
    row = modelcard.metadata(card, published, seconds=run.elapsed_s())
    run.warehouse.write(tables.TRAINING_METADATA, record(row, tables.TRAINING_METADATA))
    final = _promoted(run, trained, verdict, row=row, champion=champion)
    if final is not verdict:
        _revise(run, final, row)
    run.noted.update(model_version=version, rows_out=1)
    return {
        **modelcard.answer(card, published),
        "promoted": final.promoted,
        "verdict": final.reason,
    }


def _promoted(
    run: Run,
    trained: Trained,
    verdict: Verdict,
    *,
    row: Mapping[str, Any],
    champion: Champion | None,
) -> Verdict:
    """
    Let a version serve if the verdict says so, and return the verdict.

    Where another training was quicker, the version is compared with that one's.
    """
    from propensity.registry import announcements  # 03 runs without sklearn

    while verdict.promoted:
        try:
            promoted = run.registry.promote(
                row["model_version"],
                model_sha256=row["model_sha256"],
                at=run.began_at,
                instead_of=champion.version if champion else None,
            )
        except Pinned as error:
            verdict = replace(
                verdict, promoted=False, reason=f"{error.message} ({verdict.reason})"
            )
        except Conflict:
            champion = run.registry.find_champion()
            verdict = compared(run, trained, champion)
        else:
            announcements.announce(
                run.settings, run.use_case.name, "promote", promoted, at=run.began_at
            )
            break
    return verdict


def _revise(run: Run, verdict: Verdict, row: Mapping[str, Any]) -> None:
    """Correct the verdict that a version's row was written with."""
    nothing = evaluation.Difference(0.0, 0.0, 0.0)
    found = {
        name: verdict.differences.get(name, nothing) for name in ("roc_auc", "log_loss")
    }
    bounds = {name: [one.estimate, one.low, one.high] for name, one in found.items()}
    run.warehouse.execute(
        statement("revise_verdict"),
        {
            **{name: row[name] for name in ("use_case", "training_date")},
            "model_version": row["model_version"],
            "promoted": verdict.promoted,
            "verdict": verdict.reason,
            "compared_version": -1
            if verdict.compared_version is None
            else verdict.compared_version,
            "is_compared": bool(verdict.differences),
            "has_log_loss": "log_loss" in verdict.differences,
            **bounds,
        },
    )


# -- 01-Predictions -------------------------------------------------------------------


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
    found = run.warehouse.rows(
        statement("evaluation_exists"), {"use_case": run.use_case.name, "week": week}
    )
    is_there = bool(found[0]["evaluations"])
    if not is_there:
        run.noted["evaluation_missing"] = str(week)
    return is_there


def stage(run: Run, model: Serving) -> Staged:
    """
    Score every user of the lookback into the staging table, in bounded memory.

    Raises:
        NotEnoughData: There is no user to score.
    """
    check_consent(run)
    suppressed = suppression.read(run.warehouse)
    read = run.warehouse.batches(
        run.use_case.statement("features"),
        run.use_case.window(run.settings, [run.as_of]),
    )
    batches = (suppressed.without(batch, run.use_case.name) for batch in read)
    users, mass = 0, 0.0
    for rows in _staged(run, model.scorer.score(batches)):
        users += len(rows)
        mass += float(np.sum(rows["probability"].to_numpy()))
        run.warehouse.write(tables.PREDICTIONS_STAGING, rows)
        # The next million is gathered while nothing holds this one.
        del rows
    if not users:
        raise NotEnoughData(
            f"no user has an event in the {run.use_case.lookback_days} days before "
            f"{run.as_of}: nothing was published"
        )
    return Staged(
        users=users, mean_probability=mass / users, quantiles=_staged_quantiles(run)
    )


def _staged(
    run: Run, scored: Iterable[tuple[pa.RecordBatch, Floats]]
) -> Iterator[pa.Table]:
    """Gather scored batches into tables that are staged at once each."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch, probability in scored:
        if not np.all((probability >= 0) & (probability <= 1)):
            raise SchemaError("the model gives values that are no probabilities")
        waiting.append(
            pa.RecordBatch.from_arrays(
                [batch["user_id"].cast(pa.string()), pa.array(probability)],
                names=["user_id", "probability"],
            )
        )
        rows += len(probability)
        if rows >= STAGED_ROWS:
            yield _with_run(run, waiting)
            waiting, rows = [], 0
    if rows:
        yield _with_run(run, waiting)


def _with_run(run: Run, batches: list[pa.RecordBatch]) -> pa.Table:
    rows = pa.Table.from_batches(batches)
    for name, value in _staged_key(run).items():
        column = pa.array([value]).take(pa.array(np.zeros(len(rows), dtype=np.int64)))
        rows = rows.append_column(name, column)
    return rows


def _staged_key(run: Run) -> dict[str, Any]:
    return {"run_id": run.run_id, "staged_on": run.began_at.date()}


def _staged_quantiles(run: Run) -> Floats:
    found = run.warehouse.rows(statement("staged_quantiles"), _staged_key(run))
    return np.asarray(found[0]["quantiles"], dtype=np.float64)


def score_shift(run: Run, staged: Staged) -> float | None:
    """
    Return how far scores moved since the last publication; None without one.

    Raises:
        ScoreShift: Beyond the bound, unless the run is forced.
    """
    found = run.warehouse.rows(
        statement("published_quantiles"),
        {
            "use_case": run.use_case.name,
            "as_of": run.as_of,
            "since": run.as_of - timedelta(days=run.use_case.lookback_days),
        },
    )
    if not found:
        return None
    before = np.asarray(found[0]["quantiles"], dtype=np.float64)
    shift = evaluation.score_shift(before, staged.quantiles)
    bound = run.settings.maximum_score_shift
    if shift > bound and not run.force:
        raise ScoreShift(
            f"scores moved by {shift:.2f} of their mean since {found[0]['as_of']}, "
            f"more than PROPENSITY_MAXIMUM_SCORE_SHIFT = {bound:g}. Nothing was "
            "published; look at the features, or send force",
            detail={
                "score_shift": shift,
                "mean_before": float(before.mean()),
                "mean_now": float(staged.quantiles.mean()),
            },
        )
    return shift


def publish_predictions(run: Run, model: Serving, staged: Staged) -> None:
    """Publish what was staged in one transaction, then clear the staging table."""
    run.check_lease()
    run.warehouse.execute(
        statement("publish_predictions"),
        {
            **_staged_key(run),
            "use_case": run.use_case.name,
            "as_of": run.as_of,
            "reads_export": run.data_until is not None,
            "data_until": run.data_until or run.as_of,
            "model_version": model.version,
            "scored_at": run.began_at,
            "edges": [float(edge) for edge in staged.quantiles[1:PERCENTILES]],
        },
    )
    run.warehouse.execute(statement("clear_staged_predictions"), _staged_key(run))
    run.noted.update(
        model_version=model.version, rows_in=staged.users, rows_out=staged.users
    )


# -- 03-ModelEvaluation ---------------------------------------------------------------


def evaluations(run: Run) -> list[dict[str, Any]]:
    """
    Return the rows of ``ma_model_evaluation`` for all weeks that are to be evaluated.

    Of a use case whose rows are events they are days, with a row for each version that
    scored on the day, and one more where it was scored to compare only.
    """
    if run.use_case.scores_events:
        return _evaluated_days(run)
    return [evaluate_week(run, week) for week in weeks_to_evaluate(run)]


def weeks_to_evaluate(run: Run) -> list[date]:
    """
    Return the weeks whose outcomes are over and whose figures are not final.

    The week that ends with the as-of date is always among them: without predictions it
    gets a row that says so. Not so where the export ends before that date: the week is
    evaluated once its days are there. For events a week is a day, and goes by their
    scores.
    """
    timeframe = run.timeframe
    newest = run.as_of - timeframe.horizon
    days, weeks = "days_to_evaluate", "weeks_to_evaluate"
    found = run.warehouse.rows(
        statement(days if run.use_case.scores_events else weeks),
        {
            "use_case": run.use_case.name,
            "since": newest - CATCH_UP,
            "until": newest,
        },
    )
    ends = set() if run.is_cut_short else {newest}
    return sorted({row["week"] for row in found} | ends)


def evaluate_week(run: Run, week: date) -> dict[str, Any]:
    """Return the week's row of ``ma_model_evaluation``."""
    check_consent(run)
    use_case, settings = run.use_case, run.settings
    row = _evaluation(run, week)
    in_force = run.warehouse.rows(
        statement("predictions_in_force"),
        {
            "use_case": use_case.name,
            "week": week,
            "since": week - timedelta(days=use_case.lookback_days),
        },
    )
    if not in_force:
        return {**row, "model_version": -1, "outcome": "no_predictions"}
    asked = {
        **use_case.window(settings, [week], today=run.as_of),
        "use_case": use_case.name,
        "prediction_as_of": in_force[0]["as_of"],
    }
    groups = run.warehouse.table(use_case.statement("evaluation_rows"), asked)
    observed, unscored = outcomes_of(groups)
    if suppressed := suppression.read(run.warehouse):
        # Whoever is forgotten has no probability, and is no converter who was missed.
        missed = run.warehouse.table(use_case.statement("unscored_converters"), asked)
        unscored = len(suppressed.without(missed, use_case.name))
    return {
        **row,
        "model_version": in_force[0]["model_version"],
        "prediction_as_of": in_force[0]["as_of"],
        "outcome": "evaluated" if observed.has_both_classes else "one_class",
        "unscored_converters": unscored,
        **evaluation.quality(
            observed, threshold=use_case.threshold, seed=settings.seed
        ),
    }


def _evaluation(run: Run, week: date) -> dict[str, Any]:
    """Return what all rows of a week begin with."""
    is_final = run.timeframe.is_matured(week, today=run.as_of)
    return {
        "use_case": run.use_case.name,
        "week": week,
        "week_end": week + run.timeframe.horizon,
        "status": "final" if is_final else "provisional",
        "evaluated_at": run.began_at,
        "data_until": run.data_until,
    }


def _evaluated_days(run: Run) -> list[dict[str, Any]]:
    """Evaluate scores as they were given, by what was learned later."""
    days = weeks_to_evaluate(run)
    groups = run.warehouse.table(
        run.use_case.statement("event_evaluation_rows"),
        {**_event_window(run), "since": days[0], "days": days},
    )
    key = ["day", "model_version", "is_shadow"]
    found = groups.group_by(key).aggregate([])
    found = found.sort_by([(name, "ascending") for name in key])
    rows = []
    for one in found.to_pylist():
        of_one = pc.and_(
            pc.equal(groups["day"], one["day"]),
            pc.and_(
                pc.equal(groups["model_version"], one["model_version"]),
                pc.equal(groups["is_shadow"], one["is_shadow"]),
            ),
        )
        rows.append(
            {
                **_evaluation(run, one.pop("day")),
                **one,
                **_event_figures(run, groups.filter(of_one)),
            }
        )
    without = sorted(set(days) - {row["week"] for row in rows})
    rows += [
        {
            **_evaluation(run, day),
            "model_version": -1,
            "is_shadow": False,
            "outcome": "no_predictions",
        }
        for day in without
    ]
    return sorted(rows, key=lambda row: (row["week"], row["model_version"]))


def _event_figures(run: Run, groups: pa.Table) -> dict[str, Any]:
    """
    Return the figures of one version's scores of one day.

    Args:
        groups: Of distinct scores ``score`` (null for none), ``is_anomaly``, and how
            many events had it: ``known``, ``conversions``, ``unknown`` and
            ``conflicting``.
    """
    counted = {
        f"{name}_outcomes": pc.sum(groups[name]).as_py() or 0
        for name in ("unknown", "conflicting")
    }
    known = groups.filter(pc.greater(groups["known"], 0))
    observed, unscored = outcomes_of(
        known.select(["score", "known", "conversions"]).rename_columns(
            ["probability", "users", "conversions"]
        )
    )
    counted["unscored_converters"] = unscored
    if groups["score"].null_count == len(groups):
        return {**counted, "outcome": "no_predictions"}
    is_anomaly = pc.any(groups["is_anomaly"]).as_py()
    figures = (
        evaluation.ranking(observed, seed=run.settings.seed)
        if is_anomaly
        else evaluation.quality(
            observed, threshold=run.use_case.threshold, seed=run.settings.seed
        )
    )
    return {
        **counted,
        "outcome": "evaluated" if observed.has_both_classes else "one_class",
        **figures,
    }


def outcomes_of(groups: pa.Table) -> tuple[evaluation.Outcomes, int]:
    """
    Return the outcomes by probability, and how many converted without one.

    Args:
        groups: ``probability``, ``users`` and ``conversions``; one row at most has no
            probability.
    """
    probability = groups["probability"].to_numpy().astype(np.float64)
    users = groups["users"].to_numpy().astype(np.float64)
    conversions = groups["conversions"].to_numpy().astype(np.float64)
    scored = ~np.isnan(probability)
    observed = evaluation.grouped(
        probability[scored], users[scored], conversions[scored]
    )
    return observed, int(conversions[~scored].sum())


def publish_evaluations(run: Run, rows: list[dict[str, Any]]) -> None:
    """Replace the rows of the evaluated weeks in one statement; there may be none."""
    run.check_lease()
    if not rows:
        return
    key = _staged_key(run)
    billed = run.warehouse.bytes_billed
    staged = pa.concat_tables(
        [
            record({**key, **row, "bytes_billed": billed}, tables.EVALUATION_STAGING)
            for row in rows
        ]
    )
    run.warehouse.write(tables.EVALUATION_STAGING, staged)
    run.warehouse.execute(
        statement("publish_evaluation"),
        {
            **key,
            "use_case": run.use_case.name,
            "weeks": [row["week"] for row in rows],
            "model_versions": sorted({row["model_version"] for row in rows}),
        },
    )
    run.warehouse.execute(statement("clear_staged_evaluations"), _staged_key(run))
    served = [row.get("roc_auc") for row in rows if not row.get("is_shadow")]
    run.noted.update(
        model_version=rows[-1]["model_version"],
        roc_auc=next((value for value in reversed(served) if value is not None), None),
        rows_in=sum(row.get("users", 0) for row in rows),
        rows_out=len(rows),
    )


# -- Set-up ---------------------------------------------------------------------------


def prepare(warehouse: Any, artifacts: Any, settings: Any) -> None:
    """
    Create the dataset, its tables and its views, where missing.

    Tables that are there are kept from now on for as long as the settings say.

    Raises:
        MissingTable: The export has no table yet, so that its view can not be made.
            All else is there.
        SettingsError: The export is in another location. All else is there.
    """
    warehouse.create_dataset(settings.dataset)
    for table in tables.retained(settings.retention_days):
        warehouse.create(table)
        warehouse.keep(table)
    compaction.prepare_view(warehouse, artifacts)
    if not settings.ga4_dataset:
        return
    warehouse.check_location(settings.export)
    text = consent.events_view(settings.export, require=settings.require_consent)
    warehouse.replace_view(consent.VIEW, text)
