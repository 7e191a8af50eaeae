"""What a deployment costs a month, before there is one."""

from __future__ import annotations

from typing import Any

import click

from commands import flags
from commands.answers import show
from offline.limits import QUERY_USERS
from offline.partitions import Size
from propensity.tables import MAXIMUM_RETENTION_DAYS

_LEAST = Size(users=0, events_a_day=0)


@click.command
@click.option(
    "--users",
    type=flags.whole(0),
    required=True,
    help="Users with an event in the lookback.",
)
@click.option(
    "--events-a-day",
    type=flags.whole(0),
    required=True,
    help="Events a day of the GA4 export; 0 for none.",
)
@click.option(
    "--lookups",
    type=flags.whole(0),
    default=0,
    show_default=True,
    help="Lookups a month, without those from a cache.",
)
@click.option(
    "--scorings",
    type=flags.whole(0),
    default=0,
    show_default=True,
    help="Online scorings a month; instances of score are billed while they are up, "
    "idle or not, and without scorings none is up.",
)
@click.option(
    "--stream-events-a-day",
    type=flags.whole(0),
    default=0,
    show_default=True,
    help="Events a day of the stream.",
)
@click.option(
    "--use-cases",
    type=flags.whole(1),
    default=_LEAST.use_cases,
    show_default=True,
    help="Use cases on the GA4 export.",
)
@click.option(
    "--days-kept",
    type=flags.whole(1, MAXIMUM_RETENTION_DAYS),
    default=_LEAST.days_kept,
    show_default=True,
    help="Age of the history, where nothing expires.",
)
@click.option(
    "--late-days",
    type=flags.whole(0, MAXIMUM_RETENTION_DAYS),
    default=_LEAST.late_days,
    show_default=True,
    help="How many days after it happened an event of the stream may come.",
)
@click.option(
    "--returning",
    type=flags.fraction("N", "share"),
    default=_LEAST.returning,
    show_default=True,
    help="Share of a lookback's users who are there in the next one, 0 to 1; the "
    "others stay in the table of predictions.",
)
@click.option(
    "--lookups-a-query",
    type=flags.whole(1, QUERY_USERS),
    default=_LEAST.lookups_a_query,
    show_default=True,
    help=f"Users of one POST, up to {QUERY_USERS:,}.",
)
@click.option(
    "--stream-scores-events",
    is_flag=True,
    help="Events are scored by their own fields, without a query, online as well.",
)
@click.option(
    "--lookups-by-query",
    is_flag=True,
    help="Lookups ask BigQuery (PROPENSITY_LOOKUP_SOURCE=bigquery), not the index.",
)
@flags.as_json
def cost(
    *, stream_scores_events: bool, lookups_by_query: bool, as_json: bool, **options: Any
) -> None:
    """
    Say what a deployment costs a month, before there is one.

    Where it has to guess, the estimate is on the high side. After the tables it says
    which default limits are too low for the size, and what to set. It reads no
    environment and calls no service.
    """
    from offline.cost.page import Estimate

    size = Size(
        scores_users=not stream_scores_events, has_index=not lookups_by_query, **options
    )
    show(Estimate(size), as_json=as_json)
