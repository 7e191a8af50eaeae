"""
The monthly look at audiences that ask for an order by effect.

It says whether they may have one; only then is there a model of the effect, which
01-Predictions gives to all users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np

from propensity import errors, suppression
from propensity.gcp.artifacts import sha256
from propensity.learning.effect_gate import Look, Members, look_at
from propensity.learning.rows import repeated
from propensity.measures.intervals import in_columns
from propensity.measures.uplift import ALARM, sample_ratio
from propensity.models.encoding import floats_of
from propensity.registry.versions import pickled
from propensity.runs.export import missing_label_days
from propensity.runs.reading import check_no_user_twice
from propensity.runs.run import Run
from propensity.runs.snapshots import source_days
from propensity.tables.audiences import AUDIENCE_EFFECTS, Effect
from propensity.timeframe import DAY


def publish_looks(run: Run) -> list[Effect]:
    """
    Look at the audiences that ask for an order by effect, and record what was seen.

    What cannot be looked at is logged, and stays as it was. The new version counts: a
    run that failed now would be called again, and train another one.
    """
    rows = list[Effect]()
    if run.use_case.scores_events:
        return rows
    try:
        looks = run.rows("newest_looks", until=run.as_of - DAY)
        opened = {look["audience"] for look in looks if look["is_open"]}
        for plan in run.rows("newest_plans", until=run.as_of):
            if plan["declared_order"] == "effect":
                rows += _looks(run, plan, was_open=plan["audience"] in opened)
        run.append(AUDIENCE_EFFECTS, rows)
    except Exception as error:  # a version is worth more than the looks
        why = f"{type(error).__name__}: {error}"
        run.log("WARNING", f"the effects of audiences were not recorded: {why}")
        return []
    return rows


def _looks(run: Run, plan: Mapping[str, Any], *, was_open: bool) -> list[Effect]:
    """Return the row about an audience; none where it cannot be looked at."""
    name = plan["audience"]
    try:
        members = _members(run, name, control_share=plan["control_share"])
        look = look_at(members, run.use_case.features, was_open=was_open)
        return [_recorded(run, name, look)]
    except Exception as error:  # the other audiences can be
        why = f"{type(error).__name__}: {error}"
        run.log("WARNING", f"the effect of {name} was not looked at: {why}")
        return []


def shown_looks(rows: Sequence[Effect]) -> dict[str, object]:
    """Return rows for an answer; nothing where there are none."""
    looks = []
    for row in rows:
        look = {"audience": row.audience, "is_open": row.is_open, "reason": row.reason}
        looks.append(look)
    return {"audiences": looks} if looks else {}


def _members(run: Run, audience: str, *, control_share: float) -> Members:
    """Read who became a member on dates whose outcomes are final."""
    use_case = run.use_case
    as_ofs = _dates(run, audience)
    if not as_ofs:
        raise errors.NotEnoughData("no date of its members has final outcomes and data")
    rows = run.warehouse.table(
        use_case.statement("effect_rows"),
        {
            **use_case.window(run.settings, as_ofs, today=run.as_of),
            "audience": audience,
            "maximum_rows": run.settings.maximum_training_rows,
        },
    )
    rows = suppression.read_suppressed(run.warehouse).without(rows, use_case.name)
    check_no_user_twice(repeated(rows))
    is_control = np.asarray(rows["in_control"].to_numpy(), dtype=np.bool_)
    control = int(is_control.sum())
    p_value = sample_ratio(len(rows) - control, control, share=control_share)
    return Members(
        features=rows.select(list(use_case.features)),
        probability=floats_of(rows["published"]),
        is_control=is_control,
        outcome=floats_of(rows["label"]),
        is_sound=p_value >= ALARM,
    )


def _dates(run: Run, audience: str) -> list[date]:
    """Return dates of an audience with final outcomes and days of data before them."""
    timeframe = run.timeframe
    days = source_days(run)
    dates = []
    for row in run.rows("audience_selections", audience=audience):
        as_of = row["as_of"]
        if (
            timeframe.is_matured(as_of, today=run.as_of)
            and timeframe.is_covered(as_of, days)
            and not missing_label_days(run, as_of, run.missing_days)
        ):
            dates.append(as_of)
    return dates


def _recorded(run: Run, audience: str, look: Look) -> Effect:
    """Store the model of a look, if there is one, and return the look's row."""
    gain = look.gain
    name = None
    checksum = None
    if look.model is not None:
        data = pickled(look.model)
        checksum = sha256(data)
        name = f"effects/{run.use_case.name}/{audience}/{run.as_of}/{checksum}.joblib"
        if run.artifacts.find(name) is None:
            run.artifacts.create(name, data)
    return Effect(
        use_case=run.use_case.name,
        audience=audience,
        as_of=run.as_of,
        run_id=run.run_id,
        looked_at=run.began_at,
        users=look.users,
        control_users=look.control,
        **in_columns("gain", gain),
        users_needed=look.needed,
        is_open=look.model is not None,
        reason=look.reason,
        model_object=name,
        model_sha256=checksum,
    )
