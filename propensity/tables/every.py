"""Every table, their views, and the days that they are kept."""

from __future__ import annotations

from dataclasses import replace

from propensity.errors import SettingsError
from propensity.ids import EVENT, USER
from propensity.schema import Table, kept_days
from propensity.statements import statement
from propensity.tables import audiences, export, models, stream
from propensity.tables.audiences import (
    AUDIENCE_LEDGER,
    AUDIENCE_LISTS,
    AUDIENCE_MEMBERS,
    AUDIENCE_PLANS,
    AUDIENCE_REQUESTS,
)
from propensity.tables.export import DIGEST
from propensity.tables.models import PREDICTIONS_HISTORY, PUBLICATIONS, SCORES
from propensity.tables.stream import STREAM_FEATURES, SUPPRESSED_USERS

TABLES = tuple(
    table
    for module in (models, audiences, stream, export)
    for table in vars(module).values()
    if isinstance(table, Table)
)

# A message whose bytes may name any user.
MESSAGE = "message_id"
# A list of users.
RECIPIENTS = "recipients"

# A verdict on an audience looks back a year.
LEAST_DAYS = {AUDIENCE_MEMBERS.stored: 400, AUDIENCE_REQUESTS.stored: 400}


def views(dataset: str) -> dict[str, str]:
    """Return the queries of the views of tables, by name."""
    # Views read tables alone: one of another view could only be created after it.
    tables = {table.name: f"`{dataset}.{table.stored}`" for table in TABLES}
    history = statement(
        "predictions_history",
        ma_predictions_runs=tables[SCORES.name],
        ma_publications=f"({PUBLICATIONS.view(dataset)})",
    )
    features = statement(STREAM_FEATURES, **tables)
    newest = {table.name: table.view(dataset) for table in TABLES if table.newest}
    return {
        PREDICTIONS_HISTORY: history,
        STREAM_FEATURES: features,
        AUDIENCE_LEDGER: statement(AUDIENCE_LEDGER, **tables),
        AUDIENCE_LISTS: statement(AUDIENCE_LISTS, **tables),
        **newest,
    }


def retention(text: str) -> dict[str, int]:
    """
    Return the days that partitions are kept, by table; 0 is for ever.

    Args:
        text: The setting: ``table=days`` for some tables, between spaces or commas.

    Raises:
        SettingsError: It names a table that there is not, or that never expires:
            without its entry in the list of suppressed users a user would come back,
            without its plans an audience may contact its control group, and a day
            without its digest would look like one without events. Or the days
            are fewer than ``LEAST_DAYS``, or requests of audiences outlive members.
    """
    days_by_table = kept_days(text)
    variable = "PROPENSITY_RETENTION_DAYS"
    kept = {SUPPRESSED_USERS.stored, AUDIENCE_PLANS.stored}
    kept.update(table.stored for table in DIGEST)
    allowed = {table.stored for table in TABLES} - kept
    unknown = sorted(set(days_by_table) - allowed)
    if unknown:
        raise SettingsError(
            f"{variable} names {', '.join(unknown)}, which cannot expire",
            hint=f"Name tables of {', '.join(sorted(allowed))}",
            field=variable,
        )
    for name, minimum in LEAST_DAYS.items():
        number = days_by_table.get(name, 0)
        if 0 < number < minimum:
            raise SettingsError(
                f"{variable} keeps {name} for {number} days alone. Users who leave an "
                "audience and come back later would count twice in its measured lift, "
                "and some would stay on a destination's list",
                hint=f"Use {minimum} or more, or 0 for ever",
                field=variable,
            )
    log = AUDIENCE_REQUESTS
    members = AUDIENCE_MEMBERS
    log_days = days_by_table.get(log.stored, log.expiration_days)
    members_days = days_by_table.get(members.stored, members.expiration_days)
    if members_days and (log_days == 0 or log_days > members_days):
        raise SettingsError(
            f"{variable} keeps {log.stored} longer than {members.stored}. A removal "
            "would not have the user's address any more, so users would stay on a "
            "destination's list",
            hint=f"Keep {members.stored} as long, or longer",
            field=variable,
        )
    return days_by_table


def retained(text: str) -> tuple[Table, ...]:
    """Return all tables, with the days of ``retention`` where it names one."""
    days = retention(text)
    return tuple(
        replace(table, expiration_days=days.get(table.stored, table.expiration_days))
        for table in TABLES
    )


def holding_users() -> dict[Table, str]:
    """
    Return the tables with rows about users, and the column with the user in each.

    Truths come after events, which say whose a truth is.
    """
    holders = dict[Table, str]()
    for column in (USER, RECIPIENTS, EVENT, MESSAGE):
        for table in TABLES:
            if column in table.types:
                holders.setdefault(table, column)
    return holders
