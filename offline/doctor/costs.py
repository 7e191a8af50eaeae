"""
What a month of a use case on the GA4 export costs at BigQuery, by dry runs.

There is a training a month, and by the use case's own days a prediction, and every week
an evaluation. All of them read the digest of the export. Before its first reading
nothing is there to measure: the model of ``usecases.costs`` then estimates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta

from propensity.audience import declared
from propensity.gcp.warehouse import Warehouse
from propensity.runs import digest_state
from propensity.settings import Settings
from propensity.statements import statement
from propensity.timeframe import weekdays_of
from propensity.usecases import UseCase
from propensity.usecases.costs import (
    DAYS_A_MONTH,
    EVENTS_A_USER,
    Sizes,
    estimated,
    read_twice,
    usd_of,
    usual_shop,
)
from propensity.usecases.prices import TIB

# Days of the export whose new events are priced.
SAMPLE_DAYS = 28


def cost_of(
    use_case: UseCase,
    settings: Settings,
    warehouse: Warehouse,
    *,
    today: date,
    weekdays: Sequence[str],
) -> str:
    """
    Return what a month bills, in words.

    Args:
        weekdays: On which any use case of the export is predicted.
    """
    kind = ""
    if use_case.reads_digest and not digest_state.read_digested_days(warehouse):
        sizes = _estimated(use_case, settings, warehouse, today=today)
        kind = "an estimate before the first reading: "
    else:
        sizes = _measured(use_case, settings, warehouse, today=today)
    first = today - timedelta(days=SAMPLE_DAYS)
    span = {"first_suffix": f"{first:%Y%m%d}", "last_suffix": f"{today:%Y%m%d}"}
    parameters = {**span, "event_names": ["purchase", "refund"]}
    sql = use_case.statement("user_days_of_export")
    new_days = warehouse.dry_run(sql, parameters) / TIB / SAMPLE_DAYS
    predicted = use_case.chosen_prediction_days(settings)
    month = new_days * DAYS_A_MONTH * (1 + read_twice(weekdays))
    month += sizes.a_month(predicted)
    audiences = ""
    if sizes.audiences:
        audiences = f"{sizes.audiences:.2f} a week's audiences with their log, "
    return (
        f"{kind}{month:.2f} TiB a month, about {usd_of(month, settings.location):.0f} "
        f"USD on demand: {sizes.training:.2f} a training, {sizes.prediction:.2f} a "
        f"prediction ({predicted}), {sizes.evaluation:.2f} an evaluated week, "
        f"{audiences}and new days of the export, which all its use cases share"
    )


def _measured(
    use_case: UseCase, settings: Settings, warehouse: Warehouse, *, today: date
) -> Sizes:
    """Return what dry runs say."""
    timeframe = use_case.timeframe(settings)
    newest = timeframe.newest_matured(today=today)
    weeks = range(settings.training_snapshots)
    snapshots = [newest - n * timeframe.stride for n in weeks]
    week = today - timeframe.horizon
    further = {
        "use_case": use_case.name,
        "prediction_as_of": week,
        "maximum_rows": settings.maximum_training_rows,
    }

    def size(name: str, parameters: Mapping[str, object]) -> float:
        """Return the TiB of a statement."""
        sql = use_case.statement(name)
        return warehouse.dry_run(sql, {**parameters, **further}) / TIB

    prediction = size("features", use_case.window(settings, [today]))
    return Sizes(
        prediction=prediction,
        evaluation=size(
            "evaluation_rows", use_case.window(settings, [week], today=today)
        ),
        training=size(
            "training_rows", use_case.window(settings, snapshots, today=today)
        ),
        audiences=_audiences(use_case, warehouse, prediction),
    )


def _estimated(
    use_case: UseCase, settings: Settings, warehouse: Warehouse, *, today: date
) -> Sizes:
    """Return what the model says of the newest days of an export."""
    state = digest_state.read_state(warehouse, today=today)
    newest = list(state.tables.values())[-SAMPLE_DAYS:]
    events = sum(table.row_count for table in newest) / max(len(newest), 1)
    sizes = estimated(use_case, settings, usual_shop(events / EVENTS_A_USER))
    audiences = _audiences(use_case, warehouse, sizes.prediction)
    return replace(sizes, audiences=audiences)


def _audiences(use_case: UseCase, warehouse: Warehouse, prediction: float) -> float:
    """
    Return the TiB of a week's audiences.

    Each send reads the log, and each day of sends who is on lists; those by days away
    ask for the features of a prediction.
    """
    asked = 0
    sends = 0
    days = set[str]()
    for name in declared.audience_names(use_case):
        entries = declared.load_audience(use_case, name).declared
        sends += len(entries.days)
        days.update(entries.days)
        if entries.has_days:
            asked += len(entries.days)
    if not sends:
        return 0.0
    of_use_case = {"use_case": use_case.name}
    log = warehouse.dry_run(statement("audience_lists"), of_use_case) / TIB
    return asked * prediction + (sends + len(days)) * log


def days_of(use_cases: Sequence[UseCase], settings: Settings) -> list[str]:
    """Return the weekdays on which any of these is predicted."""
    days = set[str]()
    for use_case in use_cases:
        days.update(weekdays_of(use_case.chosen_prediction_days(settings)))
    return sorted(days)
