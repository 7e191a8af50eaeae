"""
Publications: staged scores are compared with earlier ones, published and recorded.

A publication's row says who was scored, what was promised, and what it cost. It is the
last thing that is written, so that its bytes are those of the whole run. What was
published stays published where it cannot be written: the log says so, and a repeated
run of the date writes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from propensity.errors import PropensityError
from propensity.learning import cost
from propensity.runs import drift, predict
from propensity.statements import statement

if TYPE_CHECKING:
    from propensity.registry.loading import Serving
    from propensity.runs.drift import Watched
    from propensity.runs.predict import Staged
    from propensity.runs.run import Run


def publish(run: Run, model: Serving, staged: Staged) -> tuple[Watched, float | None]:
    """
    Publish staged scores, and what has changed since earlier publications.

    Returns:
        What has changed, and how far scores moved; None without an earlier publication.

    Raises:
        ScoreShift: They have jumped, and the run is not forced.
    """
    watched = drift.watch(run, model, staged)
    score_shift = predict.score_shift(run, staged, causes=watched.messages)
    predict.publish_predictions(run, model, staged)
    drift.publish(run, watched)
    return watched, score_shift


def record(run: Run, model: Serving, staged: Staged) -> None:
    """
    Write the row of a publication, in the place of an earlier one of its date.

    A run that has lost its lease writes none: the row would be of what another run has
    replaced, or is about to.
    """
    try:
        run.check_lease()
        run.warehouse.execute(
            statement("record_publication"),
            {
                "use_case": run.use_case.name,
                "as_of": run.as_of,
                "model_version": model.version,
                "run_id": run.run_id,
                "scored_at": run.began_at,
                "reads_export": run.data_until is not None,
                "data_until": run.data_until or run.as_of,
                "users": staged.users,
                "mean_probability": staged.mean_probability,
                "is_shifted": staged.log_odds_shift is not None,
                "log_odds_shift": staged.log_odds_shift or 0.0,
                "has_value": staged.expected_value is not None,
                "value_promised": cost.money(staged.expected_value or 0),
                "bytes_billed": run.warehouse.bytes_billed,
                "seconds": run.elapsed_s(),
            },
        )
    except PropensityError as error:
        run.warn(f"publication not recorded: {error}")
