"""
Every table that the functions share: columns, key, partitioning, clustering.

The only place where a column is typed. ``schema`` says what a column and a table are.
This is the list of the tables; they are declared in

- ``training``: model versions, preprocessors
- ``predictions``: the newest probabilities, all of them by run, and publications
- ``evaluation``: evaluated weeks
- ``drift``: publications beside the training of their model
- ``audiences``: members, the ledger of what was sent, what acting was worth
- ``export``: the GA4 export's view, and the sums of its days
- ``stream``: events, sums of them, postcodes, dead letters
- ``inference``: scores as they were given, and what came of their events
- ``privacy``: suppressed users

``figures`` has the columns that several of them share.
"""

from __future__ import annotations

from dataclasses import replace

from propensity.schema import Table
from propensity.statements import statement
from propensity.tables.audiences import (
    AUDIENCE_LEDGER,
    AUDIENCE_LIFT,
    AUDIENCE_MEMBERS,
)
from propensity.tables.drift import DRIFT
from propensity.tables.evaluation import EVALUATION
from propensity.tables.export import GA_EVENTS
from propensity.tables.figures import COST, VALUE
from propensity.tables.inference import INFERENCE_LOG, TRUTH_EVENTS
from propensity.tables.predictions import (
    PREDICTIONS,
    PREDICTIONS_HISTORY,
    PUBLICATIONS,
    SCORES,
)
from propensity.tables.privacy import SUPPRESSED_USERS
from propensity.tables.stream import (
    DEAD_LETTERS,
    MEASURES,
    POSTCODE_INDEX,
    STREAM_COMPACTIONS,
    STREAM_EVENTS,
    STREAM_FEATURES_DAILY,
)
from propensity.tables.training import PREPROCESSORS, TRAINING_METADATA

__all__ = (
    "AUDIENCE_LEDGER",
    "AUDIENCE_LIFT",
    "AUDIENCE_MEMBERS",
    "COST",
    "DEAD_LETTERS",
    "DRIFT",
    "EVALUATION",
    "EVENT",
    "GA_EVENTS",
    "INFERENCE_LOG",
    "MAXIMUM_RETENTION_DAYS",
    "MEASURES",
    "POSTCODE_INDEX",
    "PREDICTIONS",
    "PREDICTIONS_HISTORY",
    "PREPROCESSORS",
    "PUBLICATIONS",
    "RAW",
    "SCORES",
    "STREAM_COMPACTIONS",
    "STREAM_EVENTS",
    "STREAM_FEATURES_DAILY",
    "SUPPRESSED_USERS",
    "TABLES",
    "TRAINING_METADATA",
    "TRUTH_EVENTS",
    "USER",
    "VALUE",
    "holding_users",
    "retained",
    "retention",
    "views",
)

TABLES = (
    TRAINING_METADATA,
    PREDICTIONS,
    SCORES,
    PUBLICATIONS,
    EVALUATION,
    DRIFT,
    AUDIENCE_MEMBERS,
    AUDIENCE_LEDGER,
    AUDIENCE_LIFT,
    PREPROCESSORS,
    STREAM_EVENTS,
    STREAM_FEATURES_DAILY,
    STREAM_COMPACTIONS,
    POSTCODE_INDEX,
    INFERENCE_LOG,
    TRUTH_EVENTS,
    DEAD_LETTERS,
    SUPPRESSED_USERS,
)


def views(dataset: str) -> dict[str, str]:
    """Return the queries of the views of what runs have written, by name."""
    history = statement("predictions_history").replace("`ma_", f"`{dataset}.ma_")
    newest = {table.name: table.view(dataset) for table in TABLES if table.newest}
    return {PREDICTIONS_HISTORY: history, **newest}


MAXIMUM_RETENTION_DAYS = 36_500


def retention(text: str) -> dict[str, int]:
    """
    Return the days that partitions are kept, by table; 0 is for ever.

    Args:
        text: ``table=days`` for each of some tables, between spaces or commas.

    Raises:
        ValueError: It is not, or names a table that never expires: without its entry
            in the list of suppressed users a user would come back.
    """
    allowed = {table.stored for table in TABLES}
    allowed.remove(SUPPRESSED_USERS.name)
    days_by_table: dict[str, int] = {}
    for part in text.replace(",", " ").split():
        name, _, days = part.partition("=")
        if name not in allowed:
            raise ValueError(
                f"names {name!r}; it must be like stream_events=400 dead_letters=90, "
                f"with tables of {', '.join(sorted(allowed))}"
            )
        if name in days_by_table:
            raise ValueError(f"must name {name} once")
        try:
            number = int(days)
        except ValueError:
            number = -1
        if not 0 <= number <= MAXIMUM_RETENTION_DAYS:
            raise ValueError(
                f"must give {name} a whole number of days up to "
                f"{MAXIMUM_RETENTION_DAYS}, such as {name}=400; 0 is for ever"
            )
        days_by_table[name] = number
    return days_by_table


def retained(text: str) -> tuple[Table, ...]:
    """Return all tables, with the days of ``retention`` where it names one."""
    days = retention(text)
    return tuple(
        replace(table, expiration_days=days.get(table.stored, table.expiration_days))
        for table in TABLES
    )


# Columns that connect a row with a user: the user's id; where there is none, the id of
# an event of the user; or bytes that may hold anything.
USER, EVENT, RAW = "user_id", "event_id", "raw"


def holding_users() -> dict[Table, str]:
    """Return the tables with rows about users, and the column with the user in each."""
    column_of = {}
    for table in TABLES:
        names = {column.name for column in table.columns}
        column = next((name for name in (USER, EVENT, RAW) if name in names), None)
        if column is not None:
            column_of[table] = column
    return column_of
