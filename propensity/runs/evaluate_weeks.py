"""Weeks of users: the publication in force, and its outcomes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from msgspec.structs import replace

from propensity.ids import PRESENCE
from propensity.learning import season
from propensity.measures import revenue
from propensity.measures.presence import by_presence
from propensity.models.encoding import floats_of
from propensity.registry.records import find_recorded, training_mismatch
from propensity.runs.categories import evaluated_categories
from propensity.runs.evaluation import Evaluated, evaluation, outcomes_of
from propensity.runs.export import missing_label_days
from propensity.runs.run import Run
from propensity.tables.models import (
    Compared,
    InForce,
    Range,
    Residual,
    Unidentified,
    WeekValue,
)


def weeks(run: Run, since: date, until: date) -> Iterator[Evaluated]:
    """
    Yield weeks with the publication in force, and its outcomes.

    A week whose version has learned other labels than today's is left out: these say
    nothing of it, and what was known of the week stays.
    """
    use_case = run.use_case
    is_late = run.export is not None and bool(run.export.late)
    published = run.rows(
        "weeks_to_evaluate",
        since=since,
        until=until,
        with_newest=not is_late,
        lookback_days=use_case.lookback_days,
        horizon_days=use_case.horizon_days,
    )
    mismatches = dict[int, str]()
    for week in published:
        first_day = week["week"]
        version = week["model_version"]
        if version is None:
            yield Evaluated(evaluation(run, first_day))
            continue
        if version not in mismatches:
            mismatches[version] = _label_mismatch(run, version)
        mismatch = mismatches[version]
        if mismatch:
            why = f"{first_day} is not evaluated: version {version} {mismatch}"
            run.log("WARNING", why)
            continue
        parameters = use_case.window(run.settings, [first_day], today=run.as_of)
        rows = run.warehouse.table(
            use_case.statement("evaluation_rows"),
            {**parameters, "prediction_as_of": week["as_of"]},
        )
        groups, values, categories = _kinds_of_rows(rows)
        value = _value(run, groups, values)
        row = replace(
            evaluation(run, first_day, version),
            in_force=InForce(
                prediction_as_of=week["as_of"],
                prediction_scored_at=week["scored_at"],
                log_odds_shift=week["log_odds_shift"],
            ),
            range=_range(week, groups, value),
            residual=residual_of(run, first_day, groups),
            lacked=missing_label_days(run, first_day, run.missing_days),
            value=value,
            unidentified=_unidentified(groups),
            compared=_compared(run, groups, categories),
        )
        yield Evaluated(row, groups)


def _label_mismatch(run: Run, version: int) -> str:
    """Say which labels a version has learned that are others today; "" for the same."""
    recorded = find_recorded(run.warehouse, run.use_case.name, version)
    if recorded is None:
        return ""
    labels = run.use_case.statement("evaluation_rows")
    return training_mismatch(recorded, run.use_case, run.settings, statement=labels)


def residual_of(run: Run, week: date, groups: pa.Table) -> Residual | None:
    """
    Return by how much the week's log-odds were too low, as 01-Predictions reads it.

    None if the export lacks a day of the week: outcomes that never arrived are not a
    season that 01 may follow.
    """
    lacked = season.residual(outcomes_of(groups)[0])
    if lacked is None or missing_label_days(run, week, run.missing_days):
        return None
    return Residual(residual_log_odds=lacked[0], residual_standard_error=lacked[1])


def _range(
    week: Mapping[str, Any], groups: pa.Table, value: WeekValue | None
) -> Range | None:
    """
    Return what was published as the range of a week, for the users who are still there.

    Other users were suppressed since. None for the predictions of an earlier date, and
    for those that were published without a range.
    """
    if week["spread"] is None or week["as_of"] != week["week"]:
        return None
    forecast = season.Forecast(
        spread=week["spread"],
        value_spread=week["value_spread"],
        freedom=week["freedom"],
    )
    observed, _ = outcomes_of(groups)
    each = observed.probability
    information = float(observed.users @ (each * (1 - each)))
    if not information:
        return None
    return forecast.range(
        users=int(observed.users.sum()),
        expected=float(observed.users @ each),
        information=information,
        value=None if value is None else value.value_promised,
    )


def _kinds_of_rows(rows: pa.Table) -> tuple[pa.Table, pa.Table, pa.Table]:
    """
    Return the rows of probabilities, of expected values and amounts, and of categories.

    A use case whose own statement reads neither of the latter has none of them.
    """
    none = rows.slice(0, 0)
    categories = none
    if "is_category" in rows.column_names:
        categories = rows.filter(rows["is_category"])
        rows = rows.filter(pc.invert(rows["is_category"]))
    if "is_value" not in rows.column_names:
        return rows, none, categories
    values = rows.filter(pc.and_(rows["is_value"], pc.is_valid(rows["expected_value"])))
    return rows.filter(pc.invert(rows["is_value"])), values, categories


def _compared(run: Run, groups: pa.Table, rows: pa.Table) -> Compared | None:
    """Return the categories of a week; None where nobody has any."""
    categories = []
    if PRESENCE in groups.column_names:
        categories += by_presence(
            groups[PRESENCE].to_pylist(),
            floats_of(groups["probability"]),
            floats_of(groups["users"]),
            floats_of(groups["conversions"]),
            budget=run.use_case.chosen_budget(run.settings),
        )
    if len(rows):
        categories += evaluated_categories(rows, run.use_case.compared)
    return Compared(categories=categories) if categories else None


def _unidentified(groups: pa.Table) -> Unidentified | None:
    """Return purchases without an id among all; None where the statement has none."""
    if "purchases" not in groups.column_names:
        return None
    names = ("purchases", "purchases_without_id", "paid", "paid_without_id")
    # No group has a sum where nobody paid.
    sums = {name: pc.sum(groups[name], min_count=0).as_py() for name in names}
    return Unidentified(
        purchases=int(sums["purchases"]),
        purchases_without_id=int(sums["purchases_without_id"]),
        revenue=Decimal(sums["paid"]),
        revenue_without_id=Decimal(sums["paid_without_id"]),
    )


def _value(run: Run, groups: pa.Table, values: pa.Table) -> WeekValue | None:
    """Return expected values and what users paid; None without amounts."""
    if not len(values):
        return None
    users, expected = map(floats_of, (values["users"], values["expected_value"]))
    paid = revenue.amounts(floats_of(values["amount"]))
    groups = groups.filter(pc.is_valid(groups["probability"]))
    size, probability = map(floats_of, (groups["users"], groups["probability"]))
    each = revenue.amounts(floats_of(groups["paid"])) / size
    budget = run.use_case.chosen_budget(run.settings).rows(users.sum())
    return replace(
        revenue.value_metrics(expected, paid, users, budget=budget),
        revenue_at_budget_by_probability=revenue.share_of_best(
            probability, each, size, budget
        ),
    )
