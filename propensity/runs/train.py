"""
Training as a run: read rows, train, compare with the champion, publish the version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from propensity import tables
from propensity.errors import (
    Conflict,
    NotEnoughData,
    Pinned,
    SchemaError,
)
from propensity.gcp.columns import record
from propensity.learning import card as cards
from propensity.learning import event_rows, fit, gate, value
from propensity.learning import rows as learning_rows
from propensity.pages.words import plural
from propensity.privacy import suppression
from propensity.registry import announcements
from propensity.registry.champion import Champion
from propensity.registry.loading import newest_recorded
from propensity.runs import sources
from propensity.runs import value as run_value
from propensity.runs.champion import rival
from propensity.runs.export import check_consent, lacked_days
from propensity.timeframe import days_of_data

# To train, to choose and to hold out.
FEWEST_SNAPSHOTS = 3

if TYPE_CHECKING:
    from datetime import date

    from propensity.learning.gate import Verdict
    from propensity.learning.trained import Trained
    from propensity.learning.value import Valued
    from propensity.runs.run import Run


def training_rows(run: Run) -> pa.Table:
    """
    Read features and labels: one row per user and as-of date, or one per event.

    Raises:
        NotEnoughData: The source has no event, or too few days for a snapshot.
        MissingTable, SchemaError: The source is not what the use case reads.
    """
    return _event_rows(run) if run.use_case.scores_events else _user_rows(run)


def train(run: Run, rows: pa.Table) -> tuple[Trained, Valued | None]:
    """
    Train, choose, calibrate and measure on the rows of ``training_rows``.

    Returns:
        The model, and the model of amounts; None without amounts.

    Raises:
        NotEnoughData, SchemaError, UseCaseError: As ``fit.train``.
    """
    parts = (
        learning_rows.of_events(rows, settings=run.settings)
        if run.use_case.scores_events
        else learning_rows.of_users(
            rows, run.use_case, run.timeframe, settings=run.settings
        )
    )
    trained = fit.train(
        parts,
        run.use_case,
        preprocessor=uploaded_preprocessor(run),
        settings=run.settings,
    )
    return trained, value.train(trained, run.use_case, seed=run.settings.seed)


def _user_rows(run: Run) -> pa.Table:
    """Read labelled snapshots: one row per user and as-of date."""
    check_consent(run)
    sources.check(run, is_training=True)
    use_case, settings = run.use_case, run.settings
    timeframe = run.timeframe
    at_most = settings.training_snapshots
    days = days_of_data(
        {
            row["day"]: row["n_events"]
            for row in run.warehouse.rows(
                use_case.statement("days"),
                {"earliest": timeframe.first_read(today=run.as_of, at_most=at_most)},
            )
        }
    )
    if not days:
        raise NotEnoughData(
            f"the source of {use_case.name} has no events at all: check that the GA4 "
            "export, or the stream, has begun"
        )
    snapshots = timeframe.snapshots(
        today=run.as_of,
        days=days,
        at_most=at_most,
    )
    if len(snapshots) < FEWEST_SNAPSHOTS:
        newest = timeframe.newest_matured(today=run.as_of)
        oldest = newest - (FEWEST_SNAPSHOTS - 1) * timeframe.horizon
        raise NotEnoughData(
            f"{len(snapshots)} snapshots can be used of {FEWEST_SNAPSHOTS} that are "
            f"needed: nine tenths of the {timeframe.lookback_days} days before each "
            f"must have data, and the data are of {plural(len(days), 'day')} from "
            f"{min(days)} to {max(days)}. Of the {timeframe.lookback_days} days before "
            f"{oldest}, {timeframe.lacks(oldest, days)} are missing, and before "
            f"{newest} {timeframe.lacks(newest, days)}"
        )
    affordable = _affordable(run, _with_outcomes(run, snapshots))
    rows = run.warehouse.table(
        use_case.statement("training_rows"), _row_parameters(run, affordable)
    )
    rows = suppression.read(run.warehouse).without(rows, use_case.name)
    run.log_fields["rows_in"] = len(rows)
    check_features(rows, use_case.features)
    # Sorted here, before there are copies: a later sort would hold the rows twice.
    rows = learning_rows.in_order(rows)
    if repeated := learning_rows.repeated(rows):
        raise SchemaError(
            f"{plural(repeated, 'row')} to train on are of users who have one of that "
            "date already: features.sql is to give one row per user and as-of date. "
            "Does it join something that a user has several of?"
        )
    return run_value.with_amounts(run, rows, affordable)


def _with_outcomes(run: Run, snapshots: Sequence[date]) -> Sequence[date]:
    """
    Return the snapshots whose horizon lacks no day of the export.

    The log line says how many are left out.

    Raises:
        NotEnoughData: None is left.
    """
    whole = tuple(as_of for as_of in snapshots if not lacked_days(run, as_of))
    if not whole:
        raise NotEnoughData(
            f"each of {len(snapshots)} snapshots lacks days of the export within its "
            f"{run.timeframe.horizon_days} days of outcomes, the newest "
            f"{max(run.missing_days)}: load these days again"
        )
    if left_out := len(snapshots) - len(whole):
        run.log_fields["snapshots_left_out"] = left_out
    return whole


def _row_parameters(run: Run, snapshots: Sequence[date]) -> dict[str, Any]:
    return {
        **run.use_case.window(run.settings, snapshots, today=run.as_of),
        "maximum_rows": run.settings.maximum_training_rows,
    }


def _affordable(run: Run, snapshots: Sequence[date]) -> Sequence[date]:
    """
    Return the newest snapshots whose rows cost no more than a query may.

    A long export of a busy site would be refused as a whole, and with it the training;
    older snapshots add the least. A dry run, which bills nothing, says what a statement
    would read.
    """
    limit = run.settings.maximum_bytes_billed
    while len(snapshots) > FEWEST_SNAPSHOTS:
        scanned = run.warehouse.dry_run(
            run.use_case.statement("training_rows"), _row_parameters(run, snapshots)
        )
        if scanned <= limit:
            break
        fewer = min(len(snapshots) - 1, int(len(snapshots) * limit / scanned))
        snapshots = snapshots[-max(FEWEST_SNAPSHOTS, fewer) :]
        run.log_fields["snapshots_limited"] = len(snapshots)
    return snapshots


def check_features(rows: pa.Table, features: Mapping[str, str]) -> None:
    """Raise SchemaError if the rows lack a feature."""
    missing = [name for name in features if name not in rows.column_names]
    if missing:
        raise SchemaError(
            f"features.sql gives no column {', '.join(missing)}, which usecase.toml "
            "names as a feature"
        )


def _event_rows(run: Run) -> pa.Table:
    """Read scored events with their labels, and put the counts into the log line."""
    joined = run.warehouse.table(
        run.use_case.statement("event_training_rows"),
        {**run.event_window(), "maximum_rows": run.settings.maximum_training_rows},
    )
    joined = suppression.read(run.warehouse).without(joined, run.use_case.name)
    rows = event_rows.dataset(joined, run.use_case)
    run.log_fields.update(rows_in=len(rows), **event_rows.counts(rows))
    return rows


def compare(run: Run, trained: Trained, champion: Champion | None) -> Verdict:
    """Compare a challenger with the champion; a pinned champion stays."""
    verdict = gate.compare(
        trained,
        rival(run, champion, trained.holdout.rows.rows) if champion else None,
        seed=run.settings.seed,
    )
    if champion is None or not champion.pinned:
        return verdict
    return replace(
        verdict,
        promoted=False,
        reason=f"version {champion.version} is pinned and stays; {verdict.reason}",
    )


def uploaded_preprocessor(run: Run) -> Any | None:
    """Return the newest upload of a preprocessor, or None for the default."""
    uploads = run.rows("newest_preprocessor")
    if not uploads or uploads[0]["is_default"]:
        return None
    return run.registry.preprocessor(uploads[0])


def publish_model(
    run: Run,
    trained: Trained,
    verdict: Verdict,
    *,
    rows: pa.Table,
    champion: Champion | None,
    valued: Valued | None,
) -> Mapping[str, Any]:
    """
    Store a version's files, record it, and let it serve if the verdict says so.

    In this order: whatever serves is recorded, and whatever is recorded is stored. A
    run that dies in between leaves a version that nothing points to, or whose record
    does not know whether the pointer has moved.
    """
    run.check_lease()
    version = run.registry.claim(
        run_id=run.run_id,
        at=run.began_at,
        recorded=newest_recorded(run.warehouse, run.use_case.name),
    )
    card = cards.card(
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
        valued=valued,
    )
    files = cards.files(card, trained, rows, valued=valued)
    published = run.registry.publish(version, files)
    row = card.columns(published, run_id=run.run_id, seconds=run.elapsed_s())
    _record(run, cards.undecided(row) if verdict.promoted else row)
    final = _promoted(run, trained, verdict, row=row, champion=champion)
    if verdict.promoted:
        card = replace(card, verdict=cards.verdict_entry(final))
        _record(run, card.columns(published, run_id=run.run_id, seconds=row["seconds"]))
    run.log_fields.update(model_version=version, rows_out=1)
    return {
        **card.answer(published),
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

    If another training promoted first, compare again, with its version.
    """
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
            verdict = compare(run, trained, champion)
        else:
            announcements.announce(
                run.settings, run.use_case.name, "promote", promoted, at=run.began_at
            )
            break
    return verdict


def _record(run: Run, row: Mapping[str, Any]) -> None:
    """Append a row about the version; readers see the newest."""
    run.warehouse.write(tables.TRAINING_METADATA, record(row, tables.TRAINING_METADATA))
