"""The split of scored events by time: to choose on, to fit, to hold out."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from propensity.learning.rows import JudgedRows, Slice, is_enough
from propensity.learning.task import Limits
from propensity.models.encoding import floats_of
from propensity.streaming.cards.dataset import counts
from propensity.streaming.cards.trained import EventParts
from propensity.timeframe import Split

# Share of the labelled events to hold out: the first that has enough frauds, or the
# last.
HOLDOUT_SHARES = (0.2, 0.25, 0.3)

# Share of the labelled events before them to choose on.
CHOOSING_SHARE = 0.25


def split_events(rows: pa.Table, *, limits: Limits) -> EventParts:
    """Split scored events, as ``dataset`` has them; most have no label yet."""
    minimum = limits.conversions
    choose, hold = _split_rows(rows, minimum=minimum)
    older = rows.slice(0, choose)
    later = rows.slice(choose, hold - choose)
    newest = rows.slice(hold)
    before = _labelled(rows.slice(0, hold))
    fitting = _labelled(older)
    choosing = _labelled(later)
    holdout = _labelled(newest)
    blocks = []
    has_labels = is_enough(fitting, limits) and minimum <= choosing.conversions
    if has_labels and choosing.has_both_classes:
        first = len(fitting)
        blocks.append(JudgedRows(fit_end=first, first=first, end=len(before)))
    return EventParts(
        split=Split(train=_days(older), calibrate=_days(later), holdout=_days(newest)),
        before=before,
        blocks=blocks,
        fitting=before,
        holdout=holdout,
        every=before.followed_by(holdout),
        unlabelled=(older, rows.slice(0, hold)),
        outcomes=counts(rows),
    )


def _split_rows(rows: pa.Table, *, minimum: int) -> tuple[int, int]:
    """
    Return the first row to choose on, and the first row to hold out.

    Shares are of the labelled rows, since the newest seldom have a label yet.
    """
    label = floats_of(rows["label"])
    at = rows["event_time"].cast(pa.int64()).to_numpy()
    labelled = np.flatnonzero(~np.isnan(label))
    end = len(rows)
    if len(np.unique(label[labelled])) < 2:
        return end, end

    def first(index: int) -> int:
        return int(np.searchsorted(at, at[labelled[index]]))

    hold = end
    for share in HOLDOUT_SHARES:
        hold = first(int(len(labelled) * (1 - share)))
        if np.sum(label[hold:] == 1) >= minimum:
            break
    if not hold:
        return end, end
    before = int(np.searchsorted(labelled, hold))
    choose = first(int(before * (1 - CHOOSING_SHARE)))
    # There are no rows to train on before the first one.
    return (choose if choose else hold), hold


def _labelled(rows: pa.Table) -> Slice:
    return Slice(rows=rows.filter(pc.is_valid(rows["label"])))


def _days(rows: pa.Table) -> tuple[date, ...]:
    return tuple(sorted(pc.unique(rows["as_of"]).to_pylist()))
