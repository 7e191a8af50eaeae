"""
Time: as-of dates, lookback, horizon, settle, and the rules that keep the future out.

Every window is half-open and in UTC. Features of a user at ``as_of`` read events in
``[as_of - lookback, as_of)``; the label reads ``[as_of, as_of + horizon)`` and can be
known from ``as_of + horizon + settle`` on, since GA4 rewrites its daily tables for up
to three days. Nothing here reads a clock.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from statistics import median

DAY = timedelta(days=1)

# A day with less than this share of a usual day's rows is none of data.
STRAY = 0.1
# In weeks that a run of days lies in, so much of a usual week's rows are.
BUSY_WEEK = 0.5

# To train, to choose and to hold out.
FEWEST_SNAPSHOTS = 3
# Candidates are judged on so many blocks of so many snapshots: a block is about what a
# model serves between two monthly trainings.
BLOCKS = 3
# The truth of an event is known after so many days: those of a dispute.
TRUTH_DELAY_DAYS = 7
BLOCK_SNAPSHOTS = 4

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

# A calendar date of ISO 8601, which may have a time of day, which may have an offset.
# Python's own parser accepts more, depending on its version.
_MOMENT = re.compile(
    r"""
    ( [0-9]{4} -? [0-9]{2} -? [0-9]{2} )
    (?:
      ( [T ] (?: [01][0-9] | 2[0-3] )
        (?: :? [0-5][0-9] (?: :? [0-5][0-9] (?: [.,] [0-9]+ )? )? )? )
      (?: \ ? (?P<utc> Z | UTC ) | ( [+-] [0-9]{2} (?: :? [0-5][0-9] )? ) )?
    )?
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)


def day_of(text: str) -> date:
    """
    Read a date: ``YYYY-MM-DD``, in ASCII digits and nothing else.

    Raises:
        ValueError: The text is malformed, or there is no such day.
    """
    if not _DAY.fullmatch(text):
        raise ValueError(f"{text[:32]!r} is not four, two and two digits with dashes")
    return date.fromisoformat(text)


def moment_of(text: str) -> datetime:
    """
    Read a day, or a time in ISO 8601; in UTC if it has no zone.

    ``2026-11-20 10:00:00 UTC``, as BigQuery writes times, is one as well.

    Raises:
        ValueError: The text is neither.
    """
    try:
        match = _MOMENT.fullmatch(text.strip())
        if match is not None:
            day, time, _, offset = match.groups()
            moment = datetime.fromisoformat(f"{day}{time or 'T00'}{offset or 'Z'}")
            return moment.astimezone(UTC) if offset else moment
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"{text[:64]!r} is neither a day nor a time in ISO 8601")


def midnight(day: date) -> datetime:
    """Return the moment at which a day begins in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def days_of_data(rows: Mapping[date, int]) -> set[date]:
    """
    Return the days that have a tenth of a usual day's rows, or more.

    Args:
        rows: The rows of each day that has some.
    """
    usual = median(rows.values()) if rows else 0
    return {day for day, count in rows.items() if count >= STRAY * usual}


def open_weekdays(days: Collection[date]) -> set[int]:
    """
    Return the weekdays that have data more than half as often as the busiest.

    On the others nothing happens, as in a shop that closes on Saturdays.
    """
    counts = Counter(day.weekday() for day in days)
    return {day for day in counts if 2 * counts[day] > max(counts.values())}


def first_and_last(rows: Mapping[date, int]) -> tuple[date, date]:
    """
    Return between which days the bulk of a source's rows lies.

    What lies alone before and after, in no week that has half of a usual week's rows,
    is a test of the link, or of a clock that was wrong.

    Args:
        rows: The rows of each day that has some; of one day at least.
    """
    days = days_of_data(rows)

    def week(day: date, step: timedelta) -> int:
        return sum(rows.get(day + n * step, 0) for n in range(7))

    usual = BUSY_WEEK * median(week(day, -DAY) for day in rows)
    busy = {day for day in days if max(week(day, DAY), week(day, -DAY)) >= usual}
    return min(busy), max(busy)


@dataclass(frozen=True, kw_only=True)
class Timeframe:
    """Lookback, horizon and settle time of a use case, in whole days."""

    lookback_days: int
    horizon_days: int
    settle_days: int

    @property
    def horizon(self) -> timedelta:
        """The span after an as-of date in which a conversion makes the label 1."""
        return timedelta(days=self.horizon_days)

    def is_matured(self, as_of: date, *, today: date) -> bool:
        """Tell whether the label of ``as_of`` is final on ``today``."""
        return as_of <= self.newest_matured(today=today)

    def newest_matured(self, *, today: date) -> date:
        """Return the newest as-of date whose labels are final on ``today``."""
        return today - self.horizon - timedelta(days=self.settle_days)

    def is_covered(self, as_of: date, days: Collection[date]) -> bool:
        """
        Tell whether a lookback lacks a tenth of its days at most.

        Of a source that is closed on some weekdays it lacks no more than a fifth of
        the others.

        Args:
            days: All days of the source that have data.
        """
        weekdays = open_weekdays(days)
        lookback = (as_of - DAY * n for n in range(1, self.lookback_days + 1))
        is_open = {day for day in lookback if day.weekday() in weekdays}
        lacking = len(is_open - {*days})
        return 5 * lacking <= len(is_open) and 10 * lacking <= self.lookback_days

    def snapshots(
        self, *, today: date, days: Collection[date], at_most: int
    ) -> tuple[date, ...]:
        """
        Choose the as-of dates that training reads, oldest first.

        One horizon apart, so that the label windows do not overlap, ending with the
        newest matured one.

        Args:
            today: The run's as-of date; no label at or after it is read.
            days: All days of the source that have data: a snapshot needs nine tenths
                of its lookback, else users would look inactive.
            at_most: Number of snapshots.
        """
        newest = self.newest_matured(today=today)
        as_ofs = (newest - n * self.horizon for n in reversed(range(at_most)))
        return tuple(as_of for as_of in as_ofs if self.is_covered(as_of, days))

    def first_read(self, *, today: date, at_most: int) -> date:
        """Return the first day that ``at_most`` snapshots can read, less two days."""
        oldest = self.newest_matured(today=today) - (at_most - 1) * self.horizon
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

    A block is as a model would be used: trained on what was final at the first judged
    date, and then used for some weeks.
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
        snapshots: As-of dates, oldest first, one horizon or more apart, without those
            to hold out.
        timeframe: Says when labels are final.
    """
    blocks: list[Block] = []
    left = snapshots
    while len(blocks) < BLOCKS:
        judged = left[-BLOCK_SNAPSHOTS:]
        older = left[: -len(judged)] if judged else ()
        fitting = tuple(
            as_of for as_of in older if timeframe.is_matured(as_of, today=judged[0])
        )
        if len(fitting) < max(BLOCK_SNAPSHOTS, len(snapshots) // 3):
            break
        blocks.append(Block(fitting=fitting, judged=judged))
        left = older
    return tuple(reversed(blocks))


def first_shard(as_of: date, *, days: int) -> date:
    """
    Return the first day whose ``events_YYYYMMDD`` may hold events of a window.

    Shards are named by the property's local date, which differs from UTC's by one
    day at most.
    """
    return as_of - timedelta(days=days) - DAY


def first_suffix(as_of: date, *, days: int) -> str:
    """Return the suffix of ``first_shard``."""
    return first_shard(as_of, days=days).isoformat().replace("-", "")
