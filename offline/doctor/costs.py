"""
What a month of a use case on the GA4 export costs at BigQuery, by dry runs.

There is a training a month, and every week a prediction and an evaluation of two weeks:
the one that has just ended, and the one whose outcomes have become final. All of them
read the digest of the export; each of its days is read once, and again where Google
Analytics has changed it since.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

from propensity.gcp.warehouse import Warehouse
from propensity.runs.digest import TIB, price_of
from propensity.settings import Settings
from propensity.usecases import UseCase

WEEKS_A_MONTH = 52 / 12
DAYS_A_MONTH = 365 / 12
# TiB of a month that are free.
FREE_TIB = 1.0
# Google Analytics changes the table of a day for three days, perhaps between the
# evaluation and the prediction of a day as well.
REREAD_A_WEEK = 6


def cost_of(
    use_case: UseCase, settings: Settings, warehouse: Warehouse, *, today: date
) -> str:
    """Return what a month bills, in words."""
    timeframe = use_case.timeframe(settings)
    newest = timeframe.newest_matured(today=today)
    weeks = range(settings.training_snapshots)
    snapshots = [newest - n * timeframe.stride for n in weeks]
    week = today - timeframe.horizon
    further = {
        "use_case": use_case.name,
        "prediction_as_of": week,
        "maximum_rows": settings.maximum_training_rows,
        "event_names": ["purchase", "refund"],
    }

    def size(name: str, parameters: Mapping[str, object]) -> float:
        """Return the TiB of a statement."""
        sql = use_case.statement(name)
        return warehouse.dry_run(sql, {**parameters, **further}) / TIB

    first = today - timedelta(days=28)
    span = {"first_suffix": f"{first:%Y%m%d}", "last_suffix": f"{today:%Y%m%d}"}
    four_weeks = (1 + REREAD_A_WEEK / 7) * size("user_days_of_export", span)
    training = size("training_rows", use_case.window(settings, snapshots, today=today))
    prediction = size("features", use_case.window(settings, [today]))
    evaluated = use_case.window(settings, [week], today=today)
    evaluation = 2 * size("evaluation_rows", evaluated)
    month = four_weeks * DAYS_A_MONTH / 28 + training
    month += WEEKS_A_MONTH * (prediction + evaluation)
    usd = price_of(settings.location) * max(0.0, month - FREE_TIB)
    return (
        f"{month:.2f} TiB a month, about {usd:.0f} USD on demand: {training:.2f} a "
        f"training, {prediction:.2f} a prediction, {evaluation:.2f} an evaluation, and "
        "new days of the export, which all its use cases share"
    )
