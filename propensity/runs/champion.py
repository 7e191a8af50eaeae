"""
The champion as a run reads it: the version that serves, or served at an earlier date.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from propensity.errors import ArtifactError, NoChampion, SchemaError
from propensity.registry.loading import Serving, loaded, recorded
from propensity.statements import statement

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from propensity.registry.champion import Champion
    from propensity.runs.run import Run

Floats = NDArray[np.float64]


def as_of(run: Run) -> Serving:
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
        run.log_fields["champion_age_days"] = (run.as_of - metadata["as_of"]).days
        return _loaded(run, metadata)
    found = run.warehouse.rows(
        statement("champion_as_of"),
        {"use_case": run.use_case.name, "as_of": run.as_of},
    )
    if not found:
        run.log_fields["trained_after_as_of"] = True
        return _loaded(run, metadata)
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
    return _loaded(run, recorded(run.warehouse, run.use_case, version))


def _loaded(run: Run, metadata: Mapping[str, Any]) -> Serving:
    chosen = run.use_case.chosen(run.settings)
    return loaded(run.registry, run.use_case, metadata, chosen=chosen)


def probabilities(run: Run, champion: Champion | None, rows: pa.Table) -> Floats | None:
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
        run.log_fields["champion_unusable"] = error.message
        return None
    if not found.is_warm:
        run.log_fields["champion_unusable"] = "it is not warm"
        return None
    return np.concatenate(parts) if parts else np.empty(0)
