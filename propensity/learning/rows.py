"""
The rows of a training, split by time: to choose on, to fit, and to hold out.

``of_users`` and ``of_events`` are the two kinds of rows; all code after them is the
same. Candidates are judged forward in time, on blocks of rows that are newer than those
that they were fitted on. The chosen one is fitted on all rows before the holdout and
measured there once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from propensity.errors import NotEnoughData
from propensity.fraud import counts
from propensity.measures import metrics
from propensity.measures.intervals import by_user
from propensity.measures.metrics import Outcomes
from propensity.models.encoding import Flags, Floats, numbers_of
from propensity.settings import Settings
from propensity.timeframe import (
    BLOCK_SNAPSHOTS,
    FEWEST_SNAPSHOTS,
    Split,
    Timeframe,
    rolling_blocks,
)
from propensity.usecases import UseCase

# Share of the labelled events to hold out: the first that has enough frauds, or the
# last.
_HOLDOUT_SHARES = (0.2, 0.25, 0.3)

# Share of the labelled events before them to choose on.
_CHOOSING_SHARE = 0.25


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Labelled rows in time order: raw features, ``label`` 0 or 1, and ``weight``."""

    rows: pa.Table

    @cached_property
    def label(self) -> NDArray[np.int8]:
        """The labels, (rows,)."""
        return np.asarray(self.rows["label"].to_numpy().astype(np.int8))

    @cached_property
    def weight(self) -> Floats:
        """The weights, (rows,)."""
        return np.asarray(self.rows["weight"].to_numpy().astype(np.float64))

    def __len__(self) -> int:
        return len(self.rows)

    def between(self, first: int, end: int | None = None) -> Slice:
        """Return the rows from ``first`` up to ``end``, without a copy."""
        return Slice(rows=self.rows[first:end])

    def where(self, kept: Flags) -> Slice:
        """Return the rows whose flag is true, (rows,)."""
        return Slice(rows=self.rows.filter(pa.array(kept)))

    def followed_by(self, later: Slice) -> Slice:
        """Return these rows and later ones."""
        return Slice(rows=pa.concat_tables([self.rows, later.rows]))

    @property
    def conversions(self) -> int:
        """Rows with label 1; several that stand for one user together count once."""
        positives = self.weight[self.label == 1]
        return round(min(float(positives.sum()), len(positives)))

    @property
    def has_both_classes(self) -> bool:
        """Whether there are rows with label 1 and rows with label 0."""
        return bool(self.label.any() and not self.label.all())

    def row_weight(self, label: int) -> float:
        """Return how many source rows a row with a label stands for, on average."""
        weights = self.weight[self.label == label]
        return float(weights.mean()) if len(weights) else 1.0

    @property
    def users(self) -> NDArray[np.int64]:
        """The number of each row's user, (rows,); a row without one is on its own."""
        users = pc.dictionary_encode(self.rows["user_id"].combine_chunks()).indices
        alone = pa.array(np.arange(len(self), 2 * len(self)), pa.int32())
        return np.asarray(pc.coalesce(users, alone).to_numpy(), dtype=np.int64)

    @property
    def sample_weight(self) -> Floats | None:
        """Weights for a fit; None if all are equal."""
        return None if np.ptp(self.weight) == 0 else self.weight

    def outcomes(self, score: Floats) -> Outcomes:
        """Group these rows by score, (rows,), as ``metrics.outcomes``."""
        return metrics.outcomes(score, self.label, weight=self.weight)

    def roc_auc(self, score: Floats) -> float | None:
        """Return the ROC AUC of these rows by score, (rows,); None with one class."""
        return metrics.roc_auc(self.outcomes(score))

    def slopes(
        self, score: Floats, slopes_of: Callable[[Outcomes], metrics.Slopes]
    ) -> Floats:
        """Return how far each row moves a metric of their scores, (rows,)."""
        observed = self.outcomes(score)
        by_group = slopes_of(observed)
        group = np.searchsorted(observed.probability, score)
        positive, negative = by_group.positive[group], by_group.negative[group]
        return self.weight * np.where(self.label == 1, positive, negative)

    def spread(
        self, score: Floats, slopes_of: Callable[[Outcomes], metrics.Slopes]
    ) -> tuple[float, float]:
        """Return the spread of a metric of their scores, as ``intervals.by_user``."""
        return by_user(self.slopes(score, slopes_of), self.label, self.users)


class JudgedRows(NamedTuple):
    """
    Rows to judge candidates on, as places among those before the holdout.

    Candidates are fitted on the rows up to ``fit_end`` and judged on those from
    ``first`` up to ``end``.
    """

    fit_end: int
    first: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Parts:
    """
    The rows of a training, split by time.

    Attributes:
        split: The as-of dates of each part.
        before: The labelled rows before the holdout.
        blocks: Of these, oldest first; the judged rows follow each other. None where
            there are too few labels for candidates that learn from them.
        fitting: Labelled rows that the measured model is fitted on.
        holdout: Labelled rows that it is measured on.
        every: All labelled rows; of users the model that goes live is fitted on them,
            where of events the measured one goes live.
        unlabelled: All rows before those to choose on, and before the holdout, with
            and without a label, for models that need none; of events only.
        outcomes: Numbers of rows with and without a label; of events only.
    """

    split: Split
    before: Slice
    blocks: Sequence[JudgedRows]
    fitting: Slice
    holdout: Slice
    every: Slice
    unlabelled: Sequence[pa.Table] = ()
    outcomes: Mapping[str, int] = field(default_factory=dict)

    @property
    def choosing(self) -> Slice:
        """The judged rows of all blocks."""
        if not self.blocks:
            return self.before.between(0, 0)
        return self.before.between(self.blocks[0].first, self.blocks[-1].end)


def of_users(
    rows: pa.Table,
    use_case: UseCase,
    timeframe: Timeframe,
    *,
    settings: Settings,
    advice: str = "Wait for more weeks of events",
) -> Parts:
    """
    Split labelled snapshots of users.

    The newest snapshot is held out. If it has too few conversions, up to a quarter of
    the snapshots are.

    Args:
        rows: One row per user and as-of date: ``as_of``, ``user_id``, the use case's
            features, ``label`` 0 or 1 and ``weight``.
        use_case: Its outcome and parameters, for messages.
        timeframe: Lookback, horizon and settle time of the rows.
        settings: The minimum of rows and of conversions.
        advice: What to do where the rows are too few.

    Raises:
        NotEnoughData: Too few snapshots, rows or conversions, or one class only.
    """
    rows = in_order(rows, elapsed=use_case.stream.elapsed)
    as_ofs: tuple[date, ...] = tuple(sorted(pc.unique(rows["as_of"]).to_pylist()))
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
    # The first row of each snapshot, and the end of the last.
    days = rows["as_of"].to_numpy().astype("datetime64[D]")
    firsts = np.searchsorted(days, np.array(as_ofs, "datetime64[D]"))
    cut = [*firsts.tolist(), len(rows)]
    every, count, held = Slice(rows=rows), len(as_ofs), 1
    least = settings.minimum_conversions
    while held < count // 4 and every.between(cut[-held - 1]).conversions < least:
        held += 1
    earlier, held_out = as_ofs[:-held], as_ofs[-held:]
    hold = cut[-held - 1]
    place = dict(zip(as_ofs, cut, strict=False))
    after = dict(zip(as_ofs, cut[1:], strict=True))
    # Outcomes that overlap those of the holdout choose no candidate.
    over = timeframe.over(earlier, today=held_out[0])
    blocks = []
    for one in rolling_blocks(over, timeframe):
        first, end = place[one.judged[0]], after[one.judged[-1]]
        block = JudgedRows(fit_end=after[one.fitting[-1]], first=first, end=end)
        # The oldest blocks have the fewest rows to fit on.
        if _is_enough(every.between(0, block.fit_end), settings):
            blocks.append(block)
    final = [day for day in over if timeframe.is_matured(day, today=held_out[0])]
    if not blocks:
        # Too few weeks: one block, as close to the holdout as can be.
        share = min(BLOCK_SNAPSHOTS, max(1, count // 5))
        # Only these dates have earlier ones, whose outcomes are over, to learn from.
        judged = tuple(day for day in over[-share:] if timeframe.over(over, today=day))
        if not judged:
            # Outcomes so long that none would be left to learn from overlap those of
            # the holdout: they decide among few candidates, and nothing is fitted.
            judged = earlier[-share:]
        known, final = timeframe.over(over, today=judged[0]), [*over]
        fit_end = after[known[-1]] if known else 0
        blocks = [JudgedRows(fit_end, place[judged[0]], after[judged[-1]])]
    fitting = every.between(0, after[final[-1]] if final else 0)
    first, end = blocks[0].first, blocks[-1].end
    parts = Parts(
        split=Split(
            train=tuple(day for day in earlier if place[day] < first),
            calibrate=tuple(day for day in earlier if first <= place[day] < end),
            holdout=held_out,
        ),
        before=every.between(0, hold),
        blocks=blocks,
        fitting=fitting,
        holdout=every.between(hold),
        every=every,
    )
    _check_enough(
        {
            "train on": every.between(0, blocks[0].fit_end),
            "choose on": parts.choosing,
            "hold out": parts.holdout,
        },
        use_case,
        settings,
        advice,
    )
    return parts


def _check_enough(
    parts: Mapping[str, Slice], use_case: UseCase, settings: Settings, advice: str
) -> None:
    """Raise NotEnoughData; a missing class comes first, as the worse problem."""
    hint = advice
    if "label_event" in use_case.parameters:
        hint += ", or choose another PROPENSITY_LABEL_EVENT"
    for name, part in parts.items():
        if not part.has_both_classes:
            raise NotEnoughData(
                f"not enough data: {part.conversions} of the {len(part)} rows to "
                f"{name} are users who {use_case.outcome}. A model needs users who did "
                "and users who did not",
                hint=hint,
            )
    least = settings.minimum_training_rows
    if (count := len(parts["train on"])) < least:
        raise NotEnoughData(
            f"{count} rows to train on are too few: at least {least} are needed",
            hint=advice,
        )
    least = settings.minimum_conversions
    for name, part in parts.items():
        if part.conversions < least:
            raise NotEnoughData(
                f"{part.conversions} of the {len(part)} rows to {name} are of users "
                f"who {use_case.outcome} (label 1), which is too few: at least "
                f"{least} are needed",
                hint=hint,
            )


def of_events(rows: pa.Table, *, settings: Settings) -> Parts:
    """Split scored events, as ``fraud.dataset`` has them; most have no label yet."""
    least = settings.minimum_conversions
    choose, hold = _split_rows(rows, minimum=least)
    older, newest = rows.slice(0, choose), rows.slice(hold)
    later = rows.slice(choose, hold - choose)
    before, fitting, choosing = map(_known, (rows.slice(0, hold), older, later))
    holdout = _known(newest)
    is_enough = _is_enough(fitting, settings) and least <= choosing.conversions
    block = JudgedRows(fit_end=len(fitting), first=len(fitting), end=len(before))
    return Parts(
        split=Split(train=_days(older), calibrate=_days(later), holdout=_days(newest)),
        before=before,
        blocks=[block] if is_enough and choosing.has_both_classes else [],
        fitting=before,
        holdout=holdout,
        every=before.followed_by(holdout),
        unlabelled=(older, rows.slice(0, hold)),
        outcomes=counts(rows),
    )


def _is_enough(part: Slice, settings: Settings) -> bool:
    """Tell whether rows are enough to fit on."""
    return (
        len(part) >= settings.minimum_training_rows
        and settings.minimum_conversions <= part.conversions < len(part)
    )


def slice_of(rows: pa.Table, as_ofs: Sequence[date]) -> Slice:
    """Return the rows of some as-of dates."""
    values = pa.array(as_ofs, pa.date32())
    return Slice(rows=rows.filter(pc.is_in(rows["as_of"], value_set=values)))


def in_order(rows: pa.Table, *, elapsed: str = "") -> pa.Table:
    """Return rows by date, user and ``elapsed``, if any; the same table if they are."""
    names = ("as_of", "user_id", *([elapsed] if elapsed else []))
    order = [(name, "ascending") for name in names]
    places = pc.sort_indices(rows, order)
    if pc.all(pc.equal(pc.pairwise_diff(places.cast(pa.int64()), 1), 1)).as_py():
        return rows
    return rows.take(places)


def repeated(rows: pa.Table, *, elapsed: str = "") -> int:
    """Return how many rows are of the date, user and ``elapsed`` of another one."""
    keys = ["as_of", "user_id", *([elapsed] if elapsed else [])]
    return len(rows) - len(rows.group_by(keys).aggregate([]))


def _split_rows(rows: pa.Table, *, minimum: int) -> tuple[int, int]:
    """
    Return the first row to choose on, and the first row to hold out.

    Shares are of the labelled rows, since the newest seldom have a label yet.
    """
    label = numbers_of(rows["label"])
    at = rows["event_time"].cast(pa.int64()).to_numpy()
    known, end = np.flatnonzero(~np.isnan(label)), len(rows)
    if len(np.unique(label[known])) < 2:
        return end, end

    def first(place: int) -> int:
        return int(np.searchsorted(at, at[known[place]]))

    hold = end
    for share in _HOLDOUT_SHARES:
        hold = first(int(len(known) * (1 - share)))
        if np.sum(label[hold:] == 1) >= minimum:
            break
    if not hold:
        return end, end
    before = int(np.searchsorted(known, hold))
    return first(int(before * (1 - _CHOOSING_SHARE))) or hold, hold


def _known(rows: pa.Table) -> Slice:
    """Return the rows with a label."""
    return Slice(rows=rows.filter(pc.is_valid(rows["label"])))


def _days(rows: pa.Table) -> tuple[date, ...]:
    return tuple(sorted(pc.unique(rows["as_of"]).to_pylist()))
