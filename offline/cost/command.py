"""
The figures of a size on a command line, and the command of Python alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from offline.cost.page import Estimate
from offline.limits import QUERY_USERS
from offline.partitions import Size
from propensity.numbers import real_of, whole_within
from propensity.tables import MAXIMUM_RETENTION_DAYS


@dataclass(frozen=True)
class Option:
    """A figure of a size on the command line; required without a default."""

    name: str
    read: Callable[[str], float]
    default: float | None
    meaning: str


def _share(text: str) -> float:
    value = real_of(text, 0, 1)
    if value is None:
        raise ValueError(f"{text!r} is not a share from 0 to 1")
    return value


_LEAST = Size(users=0, events_a_day=0)
OPTIONS = (
    Option("users", whole_within(0), None, "users with an event in the lookback"),
    Option(
        "events-a-day",
        whole_within(0),
        None,
        "events a day of the GA4 export; 0 for none",
    ),
    Option(
        "lookups", whole_within(0), 0, "lookups a month, without those from a cache"
    ),
    Option(
        "scorings",
        whole_within(0),
        0,
        "online scorings a month; instances of score are billed while they are up, "
        "idle or not, and without scorings none is up",
    ),
    Option("stream-events-a-day", whole_within(0), 0, "events a day of the stream"),
    Option(
        "use-cases", whole_within(1), _LEAST.use_cases, "use cases on the GA4 export"
    ),
    Option(
        "days-kept",
        whole_within(1, MAXIMUM_RETENTION_DAYS),
        _LEAST.days_kept,
        "age of the history, where nothing expires",
    ),
    Option(
        "late-days",
        whole_within(0, MAXIMUM_RETENTION_DAYS),
        _LEAST.late_days,
        "how many days after it happened an event of the stream may come",
    ),
    Option(
        "returning",
        _share,
        _LEAST.returning,
        "share of a lookback's users who are there in the next one, 0 to 1; the others "
        "stay in the table of predictions",
    ),
    Option(
        "lookups-a-query",
        whole_within(1, QUERY_USERS),
        _LEAST.lookups_a_query,
        f"users of one POST, up to {QUERY_USERS:,}",
    ),
)
BY_QUERY = "lookups ask BigQuery (PROPENSITY_LOOKUP_SOURCE=bigquery), not the index"
SCORES_EVENTS = "events are scored by their own fields, without a query, online as well"


def size_of(options: Mapping[str, Any]) -> Size:
    """Return the size that a command line describes, by the names of its options."""
    options = dict(options)
    scores_users = not options.pop("stream_scores_events")
    has_index = not options.pop("lookups_by_query")
    return Size(scores_users=scores_users, has_index=has_index, **options)


MEANING = """
What a deployment costs a month, before there is one. It reads no environment, calls no
service and needs no package: Python 3.11 alone runs it, before any set-up. Afterwards
`propensity cost` does the same.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command by Python alone; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python3 -m offline.cost",
        description=MEANING,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for option in OPTIONS:
        parser.add_argument(
            f"--{option.name}",
            type=_argument(option.read),
            required=option.default is None,
            default=option.default,
            help=option.meaning,
        )
    parser.add_argument(
        "--stream-scores-events", action="store_true", help=SCORES_EVENTS
    )
    parser.add_argument("--lookups-by-query", action="store_true", help=BY_QUERY)
    parser.add_argument("--json", action="store_true", help="print all figures as JSON")
    options = vars(parser.parse_args(arguments))
    is_json = options.pop("json")
    estimate = Estimate(size_of(options))
    print(json.dumps(estimate.fields(), indent=2) if is_json else estimate)
    return 0


def _argument(read: Callable[[str], float]) -> Callable[[str], float]:
    """Return a reader of a figure for argparse, with its kind of error."""

    def argument(text: str) -> float:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return argument
