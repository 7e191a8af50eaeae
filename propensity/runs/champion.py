"""
The champion as a run reads it: the version that is live, or was at an earlier date.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from propensity.errors import ArtifactError, NoChampion, SchemaError
from propensity.fraud.alerts import NO_ALERTS
from propensity.learning.gate import Rival
from propensity.registry.serving import (
    Serving,
    find_promoted,
    loaded,
    newest_recorded,
    recorded,
)

if TYPE_CHECKING:
    from propensity.registry.versions import Champion, Record
    from propensity.runs.run import Run


def as_of(run: Run) -> Serving:
    """
    Load the champion or, for a date before its training, the version promoted by then.

    A model that was trained after the run's as-of date knows the outcomes of that week:
    its scores would look better than they are. Where no version was promoted by then,
    today's champion scores all the same, and the log says so.

    Raises:
        NoChampion: No version is live.
        ArtifactError: The version has no record, or other bytes.
        SchemaError: Its features are not those of the use case.
    """
    champion = run.registry.champion()
    if champion is None:
        raise _no_champion(run)
    record = recorded(run.warehouse, run.use_case.name, champion.version)
    if (age := run.as_of - record.as_of).days >= 0:
        # The alert of this name reads it, where no compaction runs as well.
        run.log("INFO", "the age of the live version", champion_age_days=age.days)
        return _loaded(run, record)
    champions = (champion.version, *champion.earlier)
    name = run.use_case.name
    version = find_promoted(run.warehouse, name, as_of=run.as_of, champions=champions)
    if version is not None:
        record = recorded(run.warehouse, run.use_case.name, version)
    else:
        run.log(
            "WARNING",
            "no version was live by then, so the live version of today scores",
        )
    return _loaded(run, record)


def _no_champion(run: Run) -> NoChampion:
    """Return why there is no live version: no training yet, or all were rejected."""
    is_trained = newest_recorded(run.warehouse, run.use_case.name) >= 0
    why, hint = "it was never trained", "Call 00-ModelTraining first"
    if is_trained:
        why = f"no training was promoted, or {run.registry.pointer} was deleted"
        hint = (
            "`propensity versions` lists the verdicts; `propensity promote` a version"
        )
    return NoChampion(
        f"{run.use_case.name} has no live version: {why}",
        hint=hint,
        # The alert ignores use cases that were never trained.
        detail={"is_trained": is_trained},
    )


def _loaded(run: Run, record: Record) -> Serving:
    from joblib import cpu_count  # 03 has no joblib

    return loaded(
        run.registry,
        run.use_case,
        record,
        settings=run.settings,
        threads=cpu_count(),
    )


def rival(run: Run, champion: Champion, rows: pa.Table) -> Rival:
    """
    Return the champion with its scores of a challenger's holdout rows.

    A champion cannot score them if it has other features, if its artifacts are lost or
    altered, or if it is not warm. Its scores of rows whose outcomes it knows, as in a
    second training of the same day, would look better than they are.
    """
    try:
        record = recorded(run.warehouse, run.use_case.name, champion.version)
        model = _loaded(run, record)
        if not model.is_warm:
            raise SchemaError("it has not seen enough events to score")
        parts = [scores for _, scores in model.scorer.score(rows.to_batches())]
    except (SchemaError, ArtifactError) as error:
        run.log("WARNING", f"the live version cannot be compared: {error.message}")
        return Rival(version=champion.version, score=None)
    threshold, is_new, card = record.alert_threshold, None, record.card
    # Trees that were never measured have no alerts.
    if threshold is None and card.get("is_anomaly"):
        threshold = NO_ALERTS
    until = card.get("trained_until")
    # Of events, rows that it may have learned from are left out when they are read.
    if until and not run.use_case.scores_events:
        known = date.fromisoformat(until) + run.timeframe.horizon
        is_new = pc.greater_equal(rows["as_of"], known).to_numpy()
    return Rival(
        version=champion.version,
        score=np.concatenate(parts) if parts else np.empty(0),
        is_new=is_new,
        alert_threshold=threshold,
    )
