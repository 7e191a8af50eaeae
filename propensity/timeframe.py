"""
Time: as-of dates, lookback, horizon, settle, and the rules that keep the future out.

Every window is half-open and in UTC. Features of a user at ``as_of`` read events in
``[as_of - lookback, as_of)``; the label reads ``[as_of, as_of + horizon)`` and can be
known from ``as_of + horizon + settle`` on, since GA4 rewrites its daily tables for up
to three days. Nothing here reads a clock.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from statistics import median
from typing import Literal, get_args

DAY = timedelta(days=1)
# Beside quarters, the period of all weeks.
ALL_WEEKS = "all"

Weekday = Literal[
    "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"
]
WEEKDAYS = get_args(Weekday)
# As settings and schedules name them: MON.
SCHEDULED = tuple(day[:3].upper() for day in WEEKDAYS)

# A longer text is no time in ISO 8601, whatever the digits of its seconds.
MAXIMUM_MOMENT_CHARACTERS = 100

# A day with less than this share of a usual day's rows has stray rows, and no data.
STRAY = 0.1
# The usual number is the median of so many days with rows before a day, and after it: a
# season changes slower than that, and an outage is over sooner.
NEIGHBOURS = 14
# Days that are farther apart are no neighbours; those of a monthly event are.
FAR = timedelta(days=31)

# One trains, one chooses and one is the test set.
FEWEST_SNAPSHOTS = 3
# Outcomes of more days are known too late to say how the next ones will be.
LONGEST_DAYS = 28

# Candidates are judged on so many blocks of so many snapshots: a block is about what a
# model is live between two monthly trainings.
BLOCKS = 3
BLOCK_SNAPSHOTS = 4
# The truth of an event is known after so many days: those of a dispute.
TRUTH_DELAY_DAYS = 7

# A day of ISO 8601, which may have a time, which may have an offset. Python's own
# parser says the rest, and takes other forms as well, depending on its version.
_MOMENT = re.compile(
    r"([0-9]{4}-?[0-9]{2}-?[0-9]{2})"
    r"(?:[T ]([0-9]{2}(?::?[0-9]{2}(?::?[0-9]{2}(?:[.,][0-9]+)?)?)?)"
    r"(?: ?(?:Z|UTC)|([+-][0-9]{2}(?::?[0-5][0-9])?))?)?",
    re.IGNORECASE | re.ASCII,
)


def day_of(text: str) -> date:
    """Read a date: ``YYYY-MM-DD``, in ASCII digits and nothing else."""
    with contextlib.suppress(ValueError):
        day = date.fromisoformat(text)
        if day.isoformat() == text:
            return day
    raise ValueError(f"{text[:32]!r} is not a day. Example: 2026-03-01")


def moment_of(text: str) -> datetime:
    """
    Read a day, or a time in ISO 8601; in UTC if it has no zone.

    ``2026-11-20 10:00:00 UTC``, as BigQuery writes times, is one as well.
    """
    try:
        is_short = len(text) <= MAXIMUM_MOMENT_CHARACTERS
        match = _MOMENT.fullmatch(text.strip()) if is_short else None
        if match:
            day, time, offset = match.groups(default="")
            clock = time if time else "00"
            zone = offset if offset else "Z"
            moment = datetime.fromisoformat(f"{day}T{clock}{zone}")
            return moment.astimezone(UTC) if offset else moment
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"{text[:64]!r} is neither a day nor a time in ISO 8601")


def weekdays_of(prediction_days: str) -> list[str]:
    """Return the weekdays of ``daily``, or of a text such as ``MON,THU``."""
    return list(SCHEDULED) if prediction_days == "daily" else prediction_days.split(",")


def first_of_week(weekdays: Iterable[str]) -> str:
    return min(weekdays, key=SCHEDULED.index)


def midnight(day: date) -> datetime:
    """Return the moment at which a day begins in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def days_of_data(rows: Mapping[date, int]) -> set[date]:
    """
    Return the days that have ``STRAY`` of their neighbours' rows, or more.

    Days of a clock that is wrong by years have no neighbours but each other: a run of
    days far from the others counts if it has as many rows as the main run would have.
    """
    runs: list[list[date]] = []
    for day in sorted(rows):
        if not runs or day - runs[-1][-1] > FAR:
            runs.append([])
        runs[-1].append(day)
    main = max(runs, key=lambda run: sum(rows[day] for day in run), default=[])
    days = set[date]()
    for run in runs:
        usual = median(rows[day] for day in main)
        total = sum(rows[day] for day in run)
        if run is main or total >= max(usual / 2, STRAY * usual * len(run)):
            days.update(_usual_days(run, rows))
    return days


def _usual_days(run: Sequence[date], rows: Mapping[date, int]) -> Iterator[date]:
    for index, day in enumerate(run):
        neighbours = run[max(0, index - NEIGHBOURS) : index + NEIGHBOURS + 1]
        if rows[day] >= STRAY * median(rows[other] for other in neighbours):
            yield day


def open_weekdays(days: Collection[date]) -> set[int]:
    """
    Return the weekdays that have data more than half as often as the busiest.

    On the others nothing happens, as in a shop that closes on Saturdays.
    """
    counts = Counter(day.weekday() for day in days)
    return {day for day in counts if 2 * counts[day] > max(counts.values())}


@dataclass(frozen=True, kw_only=True)
class Timeframe:
    """
    Lookback, horizon and settle time of a use case, in whole days.

    Dates of training are ``stride_days`` apart, or a horizon where it is 0. Outcomes of
    dates that are less than a horizon apart overlap.
    """

    lookback_days: int
    horizon_days: int
    settle_days: int
    stride_days: int = 0

    @property
    def horizon(self) -> timedelta:
        """The span after an as-of date in which a conversion makes the label 1."""
        return timedelta(days=self.horizon_days)

    @property
    def stride(self) -> timedelta:
        """The span between two as-of dates of a training."""
        days = self.stride_days if self.stride_days else self.horizon_days
        return timedelta(days=days)

    def over(self, as_ofs: Iterable[date], *, today: date) -> tuple[date, ...]:
        """Return the as-of dates whose horizon has ended on ``today``."""
        return tuple(as_of for as_of in as_ofs if as_of + self.horizon <= today)

    def are_enough(self, as_ofs: Sequence[date]) -> bool:
        """Return whether dates, oldest first, suffice to train, choose and hold out."""
        return len(as_ofs) >= FEWEST_SNAPSHOTS and bool(
            self.over(as_ofs, today=as_ofs[-2])
        )

    def is_matured(self, as_of: date, *, today: date) -> bool:
        """Return whether the label of ``as_of`` is final on ``today``."""
        return as_of <= self.newest_matured(today=today)

    def known_on(self, as_of: date) -> date:
        """Return the first day on which the label of ``as_of`` is final."""
        return as_of + self.horizon + timedelta(days=self.settle_days)

    def newest_matured(self, *, today: date) -> date:
        """Return the newest as-of date whose labels are final on ``today``."""
        return today - self.horizon - timedelta(days=self.settle_days)

    def oldest_matured(self, *, today: date, at_most: int) -> date:
        """Return the oldest of so many dates, a stride apart, that are final then."""
        return self.newest_matured(today=today) - (at_most - 1) * self.stride

    def is_covered(self, as_of: date, days: Collection[date]) -> bool:
        """
        Return whether a lookback lacks a tenth of its days at most.

        Of a source that is closed on some weekdays it lacks no more than a fifth of
        the others. ``days`` are all days of the source that have data.
        """
        open_days = open_weekdays(days)
        lookback = [as_of - DAY * n for n in range(1, self.lookback_days + 1)]
        expected = [day for day in lookback if day.weekday() in open_days]
        missing = set(expected).difference(days)
        are_few_of_open = 5 * len(missing) <= len(expected)
        are_few = 10 * len(missing) <= self.lookback_days
        return are_few_of_open and are_few

    def snapshots(
        self, *, today: date, days: Collection[date], at_most: int
    ) -> tuple[date, ...]:
        """
        Choose the as-of dates that training reads, oldest first.

        One stride apart, ending with the newest matured one. Those whose lookback is
        not covered are left out: users would look inactive.

        Args:
            today: The run's as-of date; no label at or after it is read.
            days: All days of the source that have data.
        """
        newest = self.newest_matured(today=today)
        as_ofs = (newest - n * self.stride for n in reversed(range(at_most)))
        return tuple(as_of for as_of in as_ofs if self.is_covered(as_of, days))

    def first_read(self, *, today: date, at_most: int) -> date:
        """Return the first day that ``at_most`` snapshots can read, less two days."""
        oldest = self.oldest_matured(today=today, at_most=at_most)
        return oldest - timedelta(days=self.lookback_days + 2)


@dataclass(frozen=True, kw_only=True)
class Split:
    """As-of dates by their use: train, then calibrate, then hold out."""

    train: tuple[date, ...]
    calibrate: tuple[date, ...]
    holdout: tuple[date, ...]


@dataclass(frozen=True, kw_only=True)
class Block:
    """
    Snapshots to judge candidates on, and those to fit them on, oldest first.

    It is as a model is used: trained on what was final at the first judged date.
    """

    fitting: tuple[date, ...]
    judged: tuple[date, ...]


def rolling_blocks(
    snapshots: tuple[date, ...], timeframe: Timeframe
) -> tuple[Block, ...]:
    """
    Return the blocks that judge candidates, oldest first; none of too few snapshots.

    They follow each other and end with the newest snapshot. Each is fitted on all older
    snapshots whose labels were final at its first date: at least a third of all, and
    as many as it judges.

    Args:
        snapshots: As-of dates, oldest first, without those to hold out.
        timeframe: Says when labels are final.
    """
    blocks: list[Block] = []
    remaining = snapshots
    while len(blocks) < BLOCKS:
        judged = remaining[-BLOCK_SNAPSHOTS:]
        older = remaining[:-BLOCK_SNAPSHOTS]
        fitting = older
        while fitting and not timeframe.is_matured(fitting[-1], today=judged[0]):
            fitting = fitting[:-1]
        if len(fitting) < max(BLOCK_SNAPSHOTS, len(snapshots) // 3):
            break
        blocks.append(Block(fitting=fitting, judged=judged))
        remaining = older
    return tuple(reversed(blocks))


def first_shard(as_of: date, *, days: int) -> date:
    """
    Return the first day whose ``events_YYYYMMDD`` may hold events of a window.

    Shards are named by the property's local date, which differs from UTC's by one
    day at most.
    """
    return as_of - timedelta(days=days) - DAY


def first_suffix(as_of: date, *, days: int) -> str:
    return first_shard(as_of, days=days).isoformat().replace("-", "")
