"""
The split of labelled snapshots of users by time: to choose on, to fit, to hold out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from propensity.errors import NotEnoughData
from propensity.learning.rows import JudgedRows, Parts, Slice, in_order, is_enough
from propensity.learning.task import Limits, Task
from propensity.timeframe import (
    BLOCK_SNAPSHOTS,
    FEWEST_SNAPSHOTS,
    Split,
    Timeframe,
    rolling_blocks,
)


@dataclass(frozen=True, kw_only=True)
class Snapshots:
    """
    Labelled rows of several as-of dates, oldest first.

    Attributes:
        as_ofs: Their dates; ``first`` and ``end`` have the first row of each, and the
            row after its last.
    """

    every: Slice
    as_ofs: tuple[date, ...]
    first: Mapping[date, int]
    end: Mapping[date, int]

    @classmethod
    def of(cls, rows: pa.Table) -> Snapshots:
        """Return rows in the order of their dates as snapshots."""
        as_ofs: tuple[date, ...] = tuple(sorted(pc.unique(rows["as_of"]).to_pylist()))
        days = rows["as_of"].to_numpy().astype("datetime64[D]")
        starts = np.searchsorted(days, np.array(as_ofs, "datetime64[D]")).tolist()
        ends = starts[1:] + [len(rows)]
        return cls(
            every=Slice(rows=rows),
            as_ofs=as_ofs,
            first=dict(zip(as_ofs, starts, strict=True)),
            # Without rows there is an end, and no date.
            end=dict(zip(as_ofs, ends, strict=False)),
        )


def split_users(
    rows: pa.Table,
    task: Task,
    timeframe: Timeframe,
    *,
    limits: Limits,
    advice: str = "Wait for more weeks of events",
    test_dates: int | None = None,
) -> Parts:
    """
    Split labelled snapshots of users.

    The newest snapshot is held out. If it has too few conversions, up to a quarter of
    the snapshots are.

    Args:
        rows: One row per user and as-of date: ``as_of``, ``user_id``, the task's
            features, ``label`` 0 or 1 and ``weight``.
        timeframe: Lookback, horizon and settle time of the rows.
        advice: What to do where the rows are too few.
        test_dates: How many snapshots are held out, if somebody says so.
    """
    snapshots = Snapshots.of(in_order(rows, elapsed=task.elapsed))
    _check_dates(snapshots.as_ofs, timeframe)
    n_held = test_dates or _held_out(snapshots, minimum=limits.conversions)
    earlier = snapshots.as_ofs[:-n_held]
    held_out = snapshots.as_ofs[-n_held:]
    # Outcomes that overlap those of the holdout choose no candidate.
    over = timeframe.over(earlier, today=held_out[0])
    blocks = _rolling(snapshots, over, timeframe, limits)
    fitting = tuple(d for d in over if timeframe.is_matured(d, today=held_out[0]))
    if not blocks:
        blocks = [_only_block(snapshots, earlier, over, timeframe)]
        fitting = over
    first_judged = blocks[0].first
    end_judged = blocks[-1].end
    every = snapshots.every
    hold = snapshots.first[held_out[0]]
    before_judged = [d for d in earlier if snapshots.first[d] < first_judged]
    judged = [d for d in earlier if first_judged <= snapshots.first[d] < end_judged]
    parts = Parts(
        split=Split(
            train=tuple(before_judged), calibrate=tuple(judged), holdout=held_out
        ),
        before=every.between(0, hold),
        blocks=blocks,
        fitting=every.between(0, snapshots.end[fitting[-1]] if fitting else 0),
        holdout=every.between(hold),
        every=every,
    )
    purposes = {
        "train on": every.between(0, blocks[0].fit_end),
        "choose on": parts.choosing,
        "hold out": parts.holdout,
    }
    _check_enough(purposes, task, limits, advice)
    return parts


def _check_dates(as_ofs: Sequence[date], timeframe: Timeframe) -> None:
    """Raise NotEnoughData unless dates suffice to train, choose and hold out."""
    if not as_ofs:
        raise NotEnoughData(
            f"no event of the {timeframe.lookback_days} days before each snapshot has "
            "a user id",
            hint="Check that events arrive, and that PROPENSITY_USER_COLUMN is the "
            "column with the user ids",
        )
    if not timeframe.are_enough(as_ofs):
        raise NotEnoughData(
            f"{len(as_ofs)} snapshots have users, on {', '.join(map(str, as_ofs))}; "
            f"{FEWEST_SNAPSHOTS} are needed, to train, to choose and to test, the "
            f"first {timeframe.horizon_days} days or more before the others. Each "
            f"needs a lookback of {timeframe.lookback_days} days before it and "
            f"{timeframe.horizon_days} + {timeframe.settle_days} days after it"
        )


def _held_out(snapshots: Snapshots, *, minimum: int) -> int:
    """Return how many of the newest snapshots are held out."""
    maximum = len(snapshots.as_ofs) // 4
    n_held = 1
    while n_held < maximum:
        first = snapshots.first[snapshots.as_ofs[-n_held]]
        if snapshots.every.between(first).conversions >= minimum:
            break
        n_held += 1
    return n_held


def _rolling(
    snapshots: Snapshots,
    as_ofs: tuple[date, ...],
    timeframe: Timeframe,
    limits: Limits,
) -> list[JudgedRows]:
    """Return the blocks to judge candidates on that have enough rows to fit on."""
    blocks = []
    for dates in rolling_blocks(as_ofs, timeframe):
        fit_end = snapshots.end[dates.fitting[-1]]
        # The oldest blocks have the fewest rows to fit on.
        if is_enough(snapshots.every.between(0, fit_end), limits):
            first = snapshots.first[dates.judged[0]]
            end = snapshots.end[dates.judged[-1]]
            blocks.append(JudgedRows(fit_end=fit_end, first=first, end=end))
    return blocks


def _only_block(
    snapshots: Snapshots,
    earlier: tuple[date, ...],
    over: tuple[date, ...],
    timeframe: Timeframe,
) -> JudgedRows:
    """Return one block, as close to the holdout as can be: there are too few weeks."""
    n_judged = min(BLOCK_SNAPSHOTS, max(1, len(snapshots.as_ofs) // 5))
    # Only these dates have earlier ones, whose outcomes are over, to learn from.
    judged = [d for d in over[-n_judged:] if timeframe.over(over, today=d)]
    if not judged:
        # Outcomes so long that none would be left to learn from overlap those of the
        # holdout: they decide among few candidates, and nothing is fitted.
        judged = list(earlier[-n_judged:])
    learned = timeframe.over(over, today=judged[0])
    return JudgedRows(
        fit_end=snapshots.end[learned[-1]] if learned else 0,
        first=snapshots.first[judged[0]],
        end=snapshots.end[judged[-1]],
    )


def _check_enough(
    parts: Mapping[str, Slice], task: Task, limits: Limits, advice: str
) -> None:
    """Raise NotEnoughData; a missing class comes first, as the worse problem."""
    hint = advice
    if task.other_outcome:
        hint += f", or {task.other_outcome}"
    for name, part in parts.items():
        if not part.has_both_classes:
            raise NotEnoughData(
                f"not enough data: {part.conversions} of the {len(part)} rows to "
                f"{name} are users who {task.outcome}. A model needs users who did "
                "and users who did not",
                hint=hint,
            )
    minimum = limits.rows
    count = len(parts["train on"])
    if count < minimum:
        raise NotEnoughData(
            f"{count} rows to train on are too few: at least {minimum} are needed",
            hint=advice,
        )
    minimum = limits.conversions
    for name, part in parts.items():
        if part.conversions < minimum:
            raise NotEnoughData(
                f"{part.conversions} of the {len(part)} rows to {name} are of users "
                f"who {task.outcome} (label 1), which is too few: at least "
                f"{minimum} are needed",
                hint=hint,
            )
