"""
The rows of a training, split by time: to fit, to choose on, and to hold out.

``of_users`` and ``of_events`` are the two kinds of rows; the code after them is the
same. Candidates are fitted on the oldest rows, chosen and calibrated on later rows, and
measured once on the newest, which no earlier step sees. Users are chosen on several
blocks of weeks, each with its own older rows to fit on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from propensity.errors import NotEnoughData
from propensity.learning import metrics
from propensity.learning.bootstrap import Difference, paired_differences
from propensity.learning.cost import floats
from propensity.learning.event_features import parsed
from propensity.learning.metrics import Outcomes
from propensity.learning.sufficient import check_enough, no_users, suffices
from propensity.settings import Settings
from propensity.timeframe import Block, Split, Timeframe, rolling_blocks, temporal_split
from propensity.usecases import UseCase

Floats = NDArray[np.float64]
STATES = ("known", "unknown", "pending")

# Share of the labelled rows to hold out: the first that has enough frauds, or the last.
_HOLDOUT_SHARES = (0.2, 0.25, 0.3)

# Share of the labelled rows before them to choose on.
_CHOOSING_SHARE = 0.25


@dataclass(frozen=True, kw_only=True)
class Kind:
    """
    The differences between models of users and of events after the split.

    Attributes:
        unusable: The verdict's words for a champion without scores.
        has_alerts: Whether people review the highest scores, so that models are chosen
            and judged by the cost of alerts. They may give anomaly scores, which have
            no log loss.
    """

    unusable: str
    has_alerts: bool


OF_USERS = Kind(unusable="cannot score", has_alerts=False)
OF_EVENTS = Kind(unusable="gives no scores of", has_alerts=True)


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Rows of some as-of dates: raw features, label and weight."""

    rows: pa.Table
    label: NDArray[np.int8]
    weight: Floats

    def __len__(self) -> int:
        return len(self.label)

    @property
    def conversions(self) -> int:
        """Rows with label 1."""
        return int(self.label.sum())

    @property
    def has_both_classes(self) -> bool:
        """Whether there are rows with label 1 and rows with label 0."""
        return 0 < self.conversions < len(self)

    @property
    def base_rate(self) -> float:
        """Weighted share of label 1."""
        return float(np.average(self.label, weights=self.weight))

    @property
    def users(self) -> NDArray[np.int64]:
        """The number of each row's user, from 0 on, (rows,)."""
        users = pc.dictionary_encode(self.rows["user_id"].combine_chunks()).indices
        return np.asarray(users.to_numpy(), dtype=np.int64)

    @property
    def sample_weight(self) -> dict[str, Floats]:
        """The argument of ``fit`` with the weights; none if all are equal."""
        return {} if np.ptp(self.weight) == 0 else {"sample_weight": self.weight}

    def outcomes(self, score: Floats) -> Outcomes:
        """Group these rows by score, (rows,), as ``metrics.outcomes``."""
        return metrics.outcomes(score, self.label, weight=self.weight)

    def differences(
        self, challenger: Floats, champion: Floats, *, seed: int
    ) -> dict[str, Difference]:
        """Compare two scores of these rows, (rows,), as ``paired_differences``."""
        return paired_differences(
            challenger, champion, self.label, weight=self.weight, seed=seed
        )


@dataclass(frozen=True, kw_only=True)
class Parts:
    """
    The rows of a training, split by time.

    Attributes:
        kind: Users or events.
        split: The as-of dates of each part.
        fitting, choosing, holdout: Labelled rows: to fit what is measured, to choose
            on, and to measure on. Of users, ``fitting`` holds the rows to choose on as
            well, since each block has rows of its own to fit on.
        blocks: The as-of dates that candidates of users are judged on, and those that
            they are fitted on; none for events.
        every: All labelled rows of users, in time order; None for events.
        unlabelled: All rows before those to choose on, with and without labels, for
            models that need none; None if every row has a label.
        has_labels: Whether there are enough labels of both classes to learn from.
        sampling: Share of the source's rows that were read, by label.
        outcomes: Numbers of rows with and without a label; of events only.
    """

    kind: Kind
    split: Split
    fitting: Slice
    choosing: Slice
    holdout: Slice
    blocks: Sequence[Block] = ()
    every: Slice | None = None
    unlabelled: pa.Table | None = None
    has_labels: bool = True
    sampling: Mapping[int, float]
    outcomes: Mapping[str, int] = field(default_factory=dict)


def of_users(
    rows: pa.Table, use_case: UseCase, timeframe: Timeframe, *, settings: Settings
) -> Parts:
    """
    Split labelled snapshots of users.

    Args:
        rows: One row per user and as-of date: ``as_of``, ``user_id``, the use case's
            features, ``label`` 0 or 1 and ``weight``.
        use_case: Its outcome and parameters, for messages.
        timeframe: Lookback, horizon and settle time of the rows.
        settings: The minimum of rows and of conversions.

    Raises:
        NotEnoughData: Too few snapshots, rows or conversions, or one class only.
    """
    rows = in_order(rows)
    as_ofs: tuple[date, ...] = tuple(sorted(pc.unique(rows["as_of"]).to_pylist()))
    if not as_ofs:
        raise NotEnoughData(no_users(use_case, timeframe))
    held = _held(rows, as_ofs, minimum_conversions=settings.minimum_conversions)
    earlier, held_out = as_ofs[: len(as_ofs) - held], as_ofs[len(as_ofs) - held :]
    blocks = _sufficient(rolling_blocks(earlier, timeframe), rows, settings)
    if blocks:
        known = tuple(
            as_of for as_of in earlier if timeframe.is_matured(as_of, today=held_out[0])
        )
    else:
        # Too few weeks: one slice to choose on, as close to the holdout as can be.
        split = _split_dates(as_ofs, timeframe, held=held)
        blocks = (Block(fitting=split.train, judged=split.calibrate),)
        known = earlier
    judged = tuple(as_of for block in blocks for as_of in block.judged)
    choosing, holdout = slice_of(rows, judged), slice_of(rows, held_out)
    check_enough(
        {
            "train on": slice_of(rows, blocks[0].fitting),
            "choose on": choosing,
            "hold out": holdout,
        },
        use_case,
        settings,
    )
    return Parts(
        kind=OF_USERS,
        split=Split(
            train=tuple(as_of for as_of in earlier if as_of not in judged),
            calibrate=judged,
            holdout=held_out,
        ),
        fitting=slice_of(rows, known),
        choosing=choosing,
        holdout=holdout,
        blocks=blocks,
        every=_slice(rows),
        sampling=sampling(rows),
    )


def of_events(rows: pa.Table, *, settings: Settings) -> Parts:
    """
    Split scored events; most have no label yet, and some never get one.

    Args:
        rows: As ``dataset`` returns them.
        settings: The minimum of rows and of frauds, and the true share of frauds where
            the rows have another.
    """
    shares = sampling(rows)
    choose, hold = _split_rows(rows, minimum=settings.minimum_conversions)
    before, later, newest = (
        rows.slice(0, choose),
        rows.slice(choose, hold - choose),
        rows.slice(hold),
    )
    fitting, choosing = _known(before), _known(later)
    return Parts(
        kind=OF_EVENTS,
        split=Split(train=_days(before), calibrate=_days(later), holdout=_days(newest)),
        fitting=fitting,
        choosing=choosing,
        holdout=_known(newest),
        unlabelled=before,
        has_labels=suffices(fitting, choosing, settings),
        sampling=shares,
        outcomes=counts(rows),
    )


def dataset(joined: pa.Table, use_case: UseCase) -> pa.Table:
    """
    Return the data set of a training: rows in time order, features in columns.

    Args:
        joined: The result of ``event_training_rows.sql``: ``event_id``, ``user_id``,
            ``event_time``, ``as_of`` (the event's day), ``features`` as JSON, ``label``
            (0, 1 or null), ``truth_time``, ``is_conflicting``, ``state`` and
            ``weight``.
        use_case: Its features are read from the JSON; missing features are null.

    Raises:
        NotEnoughData: There is no row.
        SchemaError: A feature is of another type than the use case's.
    """
    if not len(joined):
        raise NotEnoughData(
            "no event was scored or loaded that happened before the as-of date: "
            "send some to the stream, or load some (propensity load-transactions)"
        )
    order = [("event_time", "ascending"), ("event_id", "ascending")]
    joined = joined.sort_by(order)
    rows = joined.drop_columns(["features"])
    features = parsed(joined["features"], use_case.features)
    for name in use_case.features:
        rows = rows.append_column(name, features[name])
    return rows


def slice_of(rows: pa.Table, as_ofs: Sequence[date]) -> Slice:
    """Return the rows of some as-of dates; without a copy where they are together."""
    days = pa.array(as_ofs, pa.date32())
    is_in = pc.is_in(rows["as_of"], value_set=days)
    count = pc.sum(is_in).as_py() or 0
    first = max(pc.index(is_in, True).as_py(), 0)
    part = rows.slice(first, count)
    if pc.all(is_in.slice(first, count)).as_py():
        return _slice(part)
    return _slice(rows.filter(is_in))


def in_order(rows: pa.Table) -> pa.Table:
    """Return rows of users by as-of date and user; the same table if they are so."""
    order = [("as_of", "ascending"), ("user_id", "ascending")]
    places = pc.sort_indices(rows, order)
    if pc.all(pc.equal(pc.pairwise_diff(places.cast(pa.int64()), 1), 1)).as_py():
        return rows
    return rows.take(places)


def repeated(rows: pa.Table) -> int:
    """Return how many rows ``in_order`` are of the user and date of the one before."""
    columns = [rows[name] for name in ("as_of", "user_id")]
    same = [pc.equal(column[1:], column[:-1]) for column in columns]
    return pc.sum(pc.and_(*same)).as_py() or 0


def _slice(rows: pa.Table) -> Slice:
    return Slice(
        rows=rows,
        label=rows["label"].to_numpy().astype(np.int8),
        weight=rows["weight"].to_numpy().astype(np.float64),
    )


def sampling(rows: pa.Table) -> dict[int, float]:
    """
    Return the share of the source's rows that were read, by label 0 and 1.

    Args:
        rows: ``label`` (0, 1 or null) and ``weight``, the source's rows for each.
    """
    label, weight = floats(rows["label"]), rows["weight"].to_numpy()
    shares = {}
    for value in (0, 1):
        weights = weight[label == value]
        shares[value] = float(len(weights) / weights.sum()) if len(weights) else 1.0
    return shares


def counts(rows: pa.Table) -> dict[str, int]:
    """Return the numbers of rows by state, and of those with conflicting labels."""
    states = pc.value_counts(rows["state"]).to_pylist()
    by_state = {entry["values"]: entry["counts"] for entry in states}
    conflicts = pc.sum(pc.cast(rows["is_conflicting"], pa.int64())).as_py()
    return {
        **{state: by_state.get(state, 0) for state in STATES},
        "conflicting": conflicts or 0,
    }


def _held(rows: pa.Table, as_ofs: Sequence[date], *, minimum_conversions: int) -> int:
    """
    Return the number of snapshots to hold out: the newest, or as many as it takes.

    A week with few purchases says little: then up to a quarter of the snapshots are
    held out, until they have ``minimum_conversions``.
    """
    converted = rows.filter(pc.equal(rows["label"], 1))
    counted = converted.group_by("as_of").aggregate([("label", "count")]).to_pylist()
    conversions = {row["as_of"]: row["label_count"] for row in counted}
    held = 1
    while (
        sum(conversions.get(as_of, 0) for as_of in as_ofs[-held:]) < minimum_conversions
        and held < len(as_ofs) // 4
    ):
        held += 1
    return held


def _sufficient(
    blocks: Sequence[Block], rows: pa.Table, settings: Settings
) -> tuple[Block, ...]:
    """Return the blocks whose rows to fit on are enough; the oldest have the fewest."""
    return tuple(
        block
        for block in blocks
        if len(part := slice_of(rows, block.fitting)) >= settings.minimum_training_rows
        and settings.minimum_conversions <= part.conversions < len(part)
    )


def _split_dates(as_ofs: tuple[date, ...], timeframe: Timeframe, *, held: int) -> Split:
    """
    Split a few snapshots by time.

    Raises:
        NotEnoughData: They are too few.
    """
    try:
        return temporal_split(as_ofs, timeframe, held=held)
    except ValueError as error:
        raise NotEnoughData(
            f"{error}; the data give snapshots on "
            f"{', '.join(map(str, as_ofs))}. Each needs a lookback "
            f"of {timeframe.lookback_days} days before it and {timeframe.horizon_days} "
            f"+ {timeframe.settle_days} days after it"
        ) from error


def _split_rows(rows: pa.Table, *, minimum: int) -> tuple[int, int]:
    """
    Return the first row to choose on, and the first row to hold out.

    The newest rows seldom have a label yet, so shares are of the labelled rows. Rows
    of the same time stay together.
    """
    label, at = floats(rows["label"]), rows["event_time"].cast(pa.int64()).to_numpy()
    known = np.flatnonzero(~np.isnan(label))
    if len(np.unique(label[known])) < 2:
        return len(rows), len(rows)

    def first(place: int) -> int:
        return int(np.searchsorted(at, at[known[place]]))

    hold = len(rows)
    for share in _HOLDOUT_SHARES:
        hold = first(int(len(known) * (1 - share)))
        if np.sum(label[hold:] == 1) >= minimum:
            break
    before = int(np.searchsorted(known, hold))
    choose = first(int(before * (1 - _CHOOSING_SHARE))) if before else 0
    if not hold:
        return len(rows), len(rows)
    return choose or hold, hold


def _known(rows: pa.Table) -> Slice:
    """Return the rows with a label."""
    return _slice(rows.filter(pc.is_valid(rows["label"])))


def _days(rows: pa.Table) -> tuple[date, ...]:
    return tuple(sorted(pc.unique(rows["as_of"]).to_pylist()))
