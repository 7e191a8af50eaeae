"""
Write what a deployment costs, for three sizes, by the calculator.

    python -m docs.cost > docs/cost.md
"""

from __future__ import annotations

import math
import sys

from offline import limits
from offline.cost.lookups import INDEX_MEMORY, INDEX_USER_BYTES
from offline.cost.page import shown, summary
from offline.cost.prices import MIB, charges, prices
from offline.cost.usage import IDLE_S, START_S, conditions, days_retained, usage
from offline.partitions import Size

OPENING = """\
# Cost

<!-- Written by `python -m docs.cost > docs/cost.md`; edit docs/cost.py. -->

What a month of a deployment costs at list price, in USD, and what to do about it.
The figures are computed by `offline/cost/`, not billed: nothing here has run on Google Cloud.
For a size of your own:

```
.venv/bin/propensity cost --users 50000 --events-a-day 200000 --lookups 100000
.venv/bin/propensity cost --help
```

Bytes scanned are those of every statement of every function, by [offline/volumes.py](scale.md), times how often the code runs it.
A shop whose events carry more parameters pays more: `bytes_billed` in a run's answer is the real figure.
Lookups are answered from the prediction index and pay for no query, but for its files of {user_bytes} bytes a user, for the requests that look for a newer one and, if it is larger than {index_mib:.0f} MiB, for one read of the bucket a user.
With `--lookups-by-query` (`PROPENSITY_LOOKUP_SOURCE=bigquery`) each lookup reads the table.
Such lookups, and scorings by user, pay for queries. A request that comes alone pays for a query of its own; if many come, an instance has {get_proba} (`get_proba`), {score} (`score`) or {score_stream} (`score_stream`) queries under way at once, each of about a second, and all requests that wait share the next one.
A query for a few users bills the blocks of a clustered table in which they lie: all of it if the table or a partition is under 64 MB, where clusters cannot help; above that, by assumption, since it is not documented, a block of 64 MB for each user and partition.
So where that matters two sums are given: the lower one takes the least that BigQuery bills, 10 MiB a table.
Real bills lie between the two; a dry run does not say where, `total_bytes_billed` of a job does.

Other estimates are high as well: every request pays for a tenth of a second of an instance of its own, and every event of the stream for four requests of Pub/Sub.
Every push writes a line of the platform's log, three an event; topics keep what was published for {days} days; each alert condition and the images of functions are counted.
`score` works on after it has answered, so an instance of it is billed as long as it is up, idle or not: [{idle} minutes at most]({idle_source}) after its last request.
It is assumed to stay up that long, with requests spread evenly over the month: from {requests:,} a month on one is always up, which alone costs {always:,.0f} USD.
You pay that only if you use `score`: without scorings nothing is up.
The free tiers are those of a billing account: if it has other projects, they may be used up.
The default limits on bytes are for a small site: each size below lists which of them must be raised, and to what.
Left out are taxes, discounts, builds, what GA4's export itself stores, and data that leave the region.
"""  # noqa: E501

SIZES = (
    (
        "A small shop",
        "Fifty thousand users, 100,000 events a day, a lookup at every tenth visit.",
        Size(users=50_000, events_a_day=100_000, lookups=30_000),
    ),
    (
        "A mid-sized shop",
        "Two million users, five million events a day, two use cases, two million "
        "lookups a month, asked for ten at a time.",
        Size(
            users=2_000_000,
            events_a_day=5_000_000,
            lookups=2_000_000,
            lookups_a_query=10,
            use_cases=2,
        ),
    ),
    (
        "A large game",
        "Five million players, twenty million events a day on the stream, each of "
        "them scored, a million scorings online, and no GA4 export.",
        Size(
            users=5_000_000,
            events_a_day=0,
            scorings=1_000_000,
            stream_events_a_day=20_000_000,
        ),
    ),
)

EXAMPLE = """\
## By hand

Some lines of the large game, computed by hand; a test checks them.
"""

# Of the third size: what is computed, how, and the price that it is charged at.
BY_HAND = (
    ("days of a month", "365.25 / 12", ""),
    ("log: a line of 600 bytes a push, GiB", "20e6 * 30.4375 * 3 * 600 / 2**30", ""),
    (
        "log: that, and of a million scorings and of the counts that three functions "
        "write, every 10 s an instance: 1, 1 and 2 of the stream, 1 of `score`, GiB",
        "(20e6 * 30.4375 * 3 + 1e6 + 5 * 30.4375 * 86400 / 10) * 600 / 2**30",
        "log_gib",
    ),
    (
        "messages: 4 alone of 1,000 bytes and 2 together of 500 an event, TiB",
        "20e6 * 30.4375 * (4 * 1000 + 2 * 500) / 2**40",
        "message_tib",
    ),
    (
        "messages kept: 3 of 500 bytes an event, 7 days, GiB",
        "20e6 * 7 * 3 * 500 / 2**30",
        "kept_message_gib_month",
    ),
    ("requests: 3 pushes an event, millions", "20e6 * 30.4375 * 3 / 1e6", ""),
    (
        "requests: those, one compaction a day, weekly runs and a training, millions",
        "(20e6 * 30.4375 * 3 + 30.4375) / 1e6",
        "request_million",
    ),
    ("`score`, always up on 2 processors, s", "30.4375 * 86400 * 2", "kept_vcpu_s"),
    ("events a second", "20e6 / 86400", ""),
    (
        "`score_stream`: 2 instances, each with 2 queries a second, queries a month",
        "2 * 2 * 30.4375 * 86400",
        "",
    ),
    (
        "alert conditions, of the policies that the set-up makes",
        f"{len(conditions(is_streaming=True))} * 1",
        "condition_month",
    ),
)

AUTOSCALING = "https://cloud.google.com/run/docs/about-instance-autoscaling"

CLOSING = """\
## What to do about it

- Lookups: leave them to the index. With `--lookups-by-query`, ask for many users by one POST (`--lookups-a-query 1000`); in a table under 64 MB a thousand cost as much as one.
  Let old rows expire (`PROPENSITY_RETENTION_DAYS="ma_predictions_table=90"`): each week that is kept is a partition that a lookup reads.
- Training: fewer snapshots (`PROPENSITY_TRAINING_SNAPSHOTS`) read fewer days of the export.
- Every query stops at `PROPENSITY_MAXIMUM_BYTES_BILLED` (for lookups `PROPENSITY_LOOKUP_MAXIMUM_BYTES_BILLED`), and alerts fire above the bounds of the deployment's settings; the calculator says which are too low for a size.
- Scorings online: what is scored on the stream needs no `score`; a few requests an hour keep an instance up just as many do.
- Scoring the stream by features of users: from some ten thousand events a day on it costs more than everything else; score events by their own fields (`--stream-scores-events`), or buy [capacity](https://cloud.google.com/bigquery/docs/reservations-intro), which bills no bytes.
- The stream: exclude the platform's lines of requests from the log (an exclusion filter of the sink `_Default`); events published many to a request count their own bytes and not 1,000 each; `--max-instances` in `deploy_score_stream.sh` bounds what scoring queries can cost.
- Keep less: partition expiry is the cheapest saving where history is not needed.
"""  # noqa: E501


def page() -> str:
    """Return the page as Markdown."""
    opening = OPENING.format(
        days=days_retained(),
        user_bytes=INDEX_USER_BYTES,
        index_mib=INDEX_MEMORY / MIB,
        **limits.WRITERS,
        idle=IDLE_S // 60,
        idle_source=AUTOSCALING,
        requests=always_up(),
        always=usd_up(always_up()),
    )
    parts = [opening]
    for title, about, size in SIZES:
        parts.append(f"## {title}\n\n{about}\n\n{summary(size)}\n")
    parts.append("\n".join([EXAMPLE, *_example(), ""]))
    parts.append(CLOSING)
    parts.append("\n".join(["## Prices", "", *price_table()]))
    return "\n".join(parts) + "\n"


def _example() -> list[str]:
    """Return the example as a table: expression, value, and what it costs."""
    rows = ["| what | by hand | | USD |", "|---|---|--:|--:|"]
    for what, expression, name in BY_HAND:
        value = computed(expression)
        usd = ""
        if name:
            price = prices()[name]
            charged = max(0.0, value - price.free) * price.usd
            free = f" - {shown(price.free)}" if price.free else ""
            usd = f"({shown(value)}{free}) × {price.usd:.10g} = {charged:,.2f}"
        rows.append(f"| {what} | `{expression}` | {shown(value)} | {usd} |")
    return rows


def computed(expression: str) -> float:
    """Return the value of an expression of numbers."""
    value: float = eval(expression, {"__builtins__": {}})  # noqa: S307 - our own
    return value


def always_up() -> int:
    """Return the scorings a month from which an instance is always up."""
    return math.ceil(limits.MONTH_S / (START_S + IDLE_S))


def usd_up(scorings: int) -> float:
    """Return what the instances of scorings cost a month."""
    charged = charges(usage(Size(users=0, events_a_day=0, scorings=scorings)))
    return sum(charge.usd for charge in charged if charge.price.startswith("kept_"))


def price_table() -> list[str]:
    """Return the table of prices, each with its date and source."""
    rows = [
        "US regions, from `offline/prices.toml`.",
        "",
        "| service | USD | free a month | of what | seen | source |",
        "|---|--:|--:|---|---|---|",
    ]
    for price in prices().values():
        links = [f"[list]({price.source})"]
        if price.seen_at:
            links.append(f"[seen]({price.seen_at})")
        rows.append(
            f"| {price.service} | {price.usd:.10g} | {shown(price.free)} "
            f"| {price.note} | {price.checked} | {', '.join(links)} |"
        )
    return rows


if __name__ == "__main__":
    sys.stdout.write(page())
