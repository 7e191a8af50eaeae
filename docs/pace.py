"""
Events a second, and runs at the same minute; a part of the page of scale.

How many requests an instance has at once and how many instances there may be are read
from the scripts that deploy, so that the page follows them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil

from deploy import functions
from offline.partitions import Size
from propensity.settings import Settings

DAY_S = 86_400
# Of the busiest hour, over the day's mean.
BUSY = 2
# Seconds that a push waits for its group to be stored, and of a query about its users.
STORED_S = 1
QUERIED_S = 2

OPENING = """\
## Events a second

Pub/Sub pushes an event at a time, and an instance has as many requests at once as its `--concurrency`: their number, divided by the seconds that one waits, is what an instance takes at most.
A wait is assumed to be {stored} s for what is stored, and {queried} s where a group's users are queried first; `archive_events` also waits for `PROPENSITY_ARCHIVE_LINGER_S`. The busiest hour is assumed to have {busy} times the mean. None of this has been measured on Google Cloud.
"""  # noqa: E501

REST = """\
What an instance has no room for is refused and pushed again, with longer and longer pauses: it waits in Pub/Sub, for seven days.
But each refusal is a delivery: after {attempts} of them the message is in the dead-letter topic, from which `propensity replay` takes it. So raise `--max-instances` in the function's script before a size that exceeds it, and [the quota](deploy.md#quotas) before that.

## Use cases

The clock calls a function for all use cases at the same minute, and a run has its instance for itself. A use case that finds none is refused, and called again with the scheduler's next attempt, 10 minutes later at first:
"""  # noqa: E501

RUNS = """\
The set-up refuses more use cases than all attempts can answer. Where runs take more than 10 minutes, the last attempts find instances that are taken still: keep to the first column, or raise `--max-instances`.
Publications of two use cases change the same tables. BigQuery aborts one of two transactions that do: the run tries again, for as long as a query may take. Single statements wait in BigQuery's own queue, up to 20 for a table.
"""  # noqa: E501


def rates(settings: Settings) -> dict[str, tuple[str, float]]:
    """Return the events a second that all instances take, and of which function."""
    waits = {
        "`stream_features`": ("stream_features", STORED_S),
        "`score_stream`, by fields of the event": ("score_stream", STORED_S),
        "`score_stream`, by features of users": ("score_stream", QUERIED_S),
        "`archive_events`": ("archive_events", STORED_S + settings.archive_linger_s),
    }
    every = {function.target: function for function in functions.load()}
    return {
        what: (target, every[target].concurrency / wait)
        for what, (target, wait) in waits.items()
    }


def lines(sizes: Mapping[str, Size]) -> Iterator[str]:
    """Yield the lines of both parts."""
    every = {function.target: function for function in functions.load()}
    yield OPENING.format(stored=STORED_S, queried=QUERIED_S, busy=BUSY)
    yield f"| events a second | of an instance | of all | {' | '.join(sizes)} |"
    yield "| --- | --: | --: " + "| --: " * len(sizes) + "|"
    means = [size.stream_events_a_day / DAY_S for size in sizes.values()]
    for what, of in (("mean", 1), (f"in the busiest hour, {BUSY} times that", BUSY)):
        cells = (f"{of * mean:,.0f}" for mean in means)
        yield f"| {what} |  |  | {' | '.join(cells)} |"
    for what, (target, rate) in rates(Settings(project="p")).items():
        most = every[target].max_instances
        needed = [ceil(BUSY * mean / rate) for mean in means]
        cells = (
            f"{n} instance{'s' * (n > 1)}" if n <= most else f"**{n} instances**"
            for n in needed
        )
        yield (
            f"| {what}, {most} instances | {rate:,.0f} | {most * rate:,.0f} "
            f"| {' | '.join(cells)} |"
        )
    yield ""
    [attempts] = {
        subscription.attempts for subscription in every["stream_features"].subscriptions
    }
    yield REST.format(attempts=attempts)
    yield "| function | use cases at once | at all attempts |"
    yield "| --- | --: | --: |"
    for one in every.values():
        if one.schedule is not None and one.schedule.per_use_case:
            attempts = 1 + one.schedule.retries
            yield (
                f"| `{one.target}` | {one.max_instances} "
                f"| {one.max_instances * attempts} |"
            )
    yield ""
    yield RUNS
