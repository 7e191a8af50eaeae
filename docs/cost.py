"""
Write what a deployment costs, for three sizes, by the calculator.

    python -m docs.cost > docs/cost.md
"""

from __future__ import annotations

import math
import sys

from offline import cost
from offline.cost import Size

OPENING = """\
# Cost

<!-- Written by `python -m docs.cost > docs/cost.md`; edit docs/cost.py. -->

What a month costs at list price, in USD, by `offline/cost.py`.
It is computed, not billed: nothing here has run on Google Cloud.
For a size of your own:

```
.venv/bin/python -m offline.cost --users 50000 --events-a-day 200000 --lookups 100000
.venv/bin/python -m offline.cost --help
```

Where it has to guess it guesses high: every lookup pays a query of its own, every \
request a tenth of a second of an instance of its own, and every event of the stream \
four requests of Pub/Sub.
`score` works behind its answers, so an instance of it is billed as long as it is up, \
idle or not: [{idle} minutes at most]({idle_source}) after its last request.
It is taken to stay that long, with requests spread evenly over the month: from \
{requests:,} a month on one is always up, which alone costs {always:,.0f} USD.
That is for who uses `score`: without scorings nothing is up.
Bytes scanned follow from the statements: the daily tables between a use case's \
bounds, times the bytes of the columns that are read, which on real rows of GA4 are \
{features} bytes an event for features and {labels} for labels.
A shop whose events carry more parameters pays more: `bytes_billed` in a run's answer \
is what it really was.
A query of lookups is taken to bill the least that BigQuery bills, ten MiB: the table \
is clustered by user, and BigQuery promises no more than to read few of its blocks.
The free tiers are those of a billing account: where it has other projects, they may \
be used up.
The default limits on bytes are for a small site: below each size stands which of them \
must be raised, and to what.
Left out are taxes, discounts, builds, what GA4's export itself stores, and data that \
leave the region.
"""

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

AUTOSCALING = "https://cloud.google.com/run/docs/about-instance-autoscaling"

CLOSING = """\
## What to do about it

- Lookups: ask for many users by one POST (`--lookups-a-query 1000`); a thousand cost as much as one.
- Training: fewer snapshots (`PROPENSITY_TRAINING_SNAPSHOTS`) read fewer days of the export.
- Every query stops at `PROPENSITY_MAXIMUM_BYTES_BILLED` (for lookups `PROPENSITY_LOOKUP_MAXIMUM_BYTES_BILLED`), and alerts fire above the bounds of the deployment's settings; the calculator says which are too low for a size.
- Scorings online: what is scored on the stream needs no `score`; a few requests an hour keep an instance up as well as many do.
- The stream: events published many to a request count their own bytes and not 1,000 each; `max_instances` in `deploy/functions.toml` bounds what scoring queries can cost.
- Keep less: partition expiry is the cheapest saving where history is not needed.
"""  # noqa: E501


def page() -> str:
    """Return the page as Markdown."""
    opening = OPENING.format(
        features=cost.FEATURE_BYTES,
        labels=cost.LABEL_BYTES,
        idle=cost.IDLE_S // 60,
        idle_source=AUTOSCALING,
        requests=always_up(),
        always=usd_up(always_up()),
    )
    parts = [opening]
    for title, about, size in SIZES:
        parts.append(f"## {title}\n\n{about}\n\n{cost.told(size)}\n")
    parts.append(CLOSING)
    parts.append("\n".join(["## Prices", "", *prices()]))
    return "\n".join(parts) + "\n"


def always_up() -> int:
    """Return the scorings a month from which an instance is always up."""
    return math.ceil(cost.MONTH_S / (cost.START_S + cost.IDLE_S))


def usd_up(scorings: int) -> float:
    """Return what the instances of scorings cost a month."""
    found = cost.charges(cost.usage(Size(users=0, events_a_day=0, scorings=scorings)))
    return sum(one.usd for one in found if one.price.startswith("kept_"))


def prices() -> list[str]:
    """Return the table of prices, each with its date and source."""
    rows = [
        "US regions, from `offline/prices.toml`.",
        "",
        "| service | USD | free a month | of what | seen | source |",
        "|---|--:|--:|---|---|---|",
    ]
    for price in cost.prices().values():
        links = [f"[list]({price.source})"]
        if price.seen_at:
            links.append(f"[seen]({price.seen_at})")
        rows.append(
            f"| {price.service} | {price.usd:.10g} | {cost.shown(price.free)} "
            f"| {price.note} | {price.checked} | {', '.join(links)} |"
        )
    return rows


if __name__ == "__main__":
    sys.stdout.write(page())
