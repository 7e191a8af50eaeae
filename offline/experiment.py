"""An audience's history as a table of an experiment, which ``propensity try`` takes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from propensity import errors, suppression, whole_files
from propensity.clock import SYSTEM
from propensity.learning.rows import repeated
from propensity.runs import export
from propensity.runs.reading import check_no_user_twice
from propensity.runs.run import Overrides, Run, RunRequest, begun, clients
from propensity.runs.snapshots import source_days
from propensity.settings import Settings
from propensity.spreadsheet import csv_of

GROUP = "group"
CONTROL = "control"
LABEL = "label"


def write_experiment(
    audience: str, *, use_case: str | None, as_of: date | None, file: Path
) -> dict[str, object]:
    """
    Write who became a member of an audience, once each, with what they did since.

    A row has the features of the date on which the user became a member, the
    probability that was published for it, the group, ``contact`` or ``control``, and
    the outcome, 0 or 1. Suppressed users are left out.

    Args:
        as_of: What was known on this day counts; today by default.

    Raises:
        NotEnoughData: No date of the members has final outcomes and data before it.
    """
    whole_files.check_output(file, ".csv", option="to", others=[])
    if use_case is None:
        use_case = Settings.from_environment().use_case
    request = RunRequest(
        use_case=use_case,
        as_of=SYSTEM.now().date() if as_of is None else as_of,
        overrides=Overrides.of(force=False, trial=True),
        trial=True,
    )
    run = export.digest_training_days(begun(request, "experiment", clock=SYSTEM))
    try:
        rows = _read_members(run, audience)
    finally:
        for client in clients()[1:]:
            client.close()
        clients.cache_clear()
    pages = (row.values() for row in rows.to_pylist())
    whole_files.write_whole(file, csv_of(rows.column_names, map(list, pages)))
    control = pc.sum(pc.equal(rows[GROUP], CONTROL)).as_py()
    return {
        "audience": audience,
        "file": str(file),
        "contacted": len(rows) - control,
        "control": control,
        "label": LABEL,
    }


def _read_members(run: Run, audience: str) -> pa.Table:
    """Read who became a member on dates whose outcomes are final, and has features."""
    use_case = run.use_case
    as_ofs = _read_dates(run, audience)
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
    names = ["user_id", *use_case.features, "published", GROUP, LABEL]
    return rows.select(names)


def _read_dates(run: Run, audience: str) -> Sequence[date]:
    """Return dates of an audience with final outcomes and days of data before them."""
    timeframe = run.timeframe
    days = source_days(run)
    dates = []
    for row in run.rows("audience_selections", audience=audience):
        as_of = row["as_of"]
        if (
            timeframe.is_matured(as_of, today=run.as_of)
            and timeframe.is_covered(as_of, days)
            and not export.missing_label_days(run, as_of, run.missing_days)
        ):
            dates.append(as_of)
    if not dates:
        raise errors.NotEnoughData(
            f"no date of the members of {audience} has final outcomes, and events in "
            "the days before it",
            hint="They are final a horizon and a settle period after the prediction "
            "date: `propensity status` says when",
        )
    return dates
