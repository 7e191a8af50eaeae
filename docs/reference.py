"""
What the reference of tables and commands has from the code; the pages have the rest.

Columns are those of ``propensity/tables/``; commands describe themselves.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby

import click

from commands import cli
from propensity.cli.answers import MEANINGS
from propensity.ga4.view import GA_EVENTS
from propensity.schema import Column, Table
from propensity.tables.every import TABLES

# A table that has columns of another one refers to it, and says what these are.
LIKE = {
    "ma_model_evaluation": ("metrics", "ma_model_training_metadata"),
    "ma_programme_lift": ("comparison", "ma_audience_lift"),
}

# Columns that only runs read, or that a query rarely needs.
UNREAD = {
    "budget",
    "bytes_billed",
    "compared_version",
    "evaluated_at",
    "event_digest",
    "is_warm",
    "message_id",
    "model_object",
    "model_sha256",
    "preprocessor_object",
    "prediction_scored_at",
    "preprocessor_sha256",
    "run_id",
    "seconds",
    "selected_at",
    "selection",
    "sums",
    "trained_at",
    "variance_explained",
    "written_at",
}

# Columns that a name has beside its own: an interval, and the amount in US dollars.
ENDS = ("low", "high", "in_usd")

# Types that a query need not know, or that the column's name says.
PLAIN = {"STRING", "INT64", "FLOAT64", "NUMERIC", "BOOL", "DATE", "TIMESTAMP"}

# Tables that people rarely query, or that the page describes in a sentence: it has no
# columns of them.
INTERNAL = {
    "dead_letters",
    "ga_digested_days",
    "ga_refusals",
    "inference_log",
    "ma_audience_effects",
    "ma_audience_plans",
    "ma_audience_requests",
    "ma_drift",
    "ma_publications",
    "ma_predictions_runs",
    "ma_preprocessors",
    "stream_features_daily",
    "stream_compactions",
    "postcode_index",
    "stream_events",
    "suppressed_users",
    "truth_events",
}

# A reader of a table must know this, and its columns do not say it.
NOTES = {
    "ma_predictions_table": "Each run updates the users that it scored, and keeps all "
    "others.",
    "ma_model_training_metadata": "`card` has everything else as JSON: "
    "`JSON_VALUE(card, '$.verdict.roc_auc_difference')`. Its entries are `verdict`, "
    "`metrics`, `savings`, `value`, `candidates`, `importance`, `features`, `split`, "
    "`files`, `libraries` and more.",
    "ma_model_evaluation": "Each week is evaluated against the predictions in force "
    "at its start; a final result replaces the provisional one. `metrics` is a struct: "
    "query `metrics.pr_auc_low`.",
    "ma_audience_members": "`propensity audience send` also writes it, once a date.",
    "ma_audience_lift": "[How to read it](audiences.md#4-see-whether-it-helped).",
    "ma_programme_lift": "[How to read it]"
    "(audiences-reference.md#all-audiences-together).",
    "ga_user_days": "[Further properties](deploy-reference.md#several-properties) have "
    "tables of their own.",
}


def shared_columns() -> str:
    """Return the columns that several tables have."""
    return "".join(_lines(list(_shared().values())))


def tables() -> str:
    """Return the tables that people query, with their columns."""
    text = ""
    for table in _queried():
        text += f"\n## {table.name}\n\n{table.description}.\n"
        if table.name in NOTES:
            text += f"{NOTES[table.name]}\n"
        text += f"Partition column: `{table.partition}`"
        if table.expiration_days:
            text += f"; kept for {table.expiration_days} days"
        text += ".\n" + _columns(table.name, table.columns)
    return text


def events_columns() -> str:
    """Return the columns of the view of the export."""
    return _columns("ga_events", GA_EVENTS)


def _queried() -> list[Table]:
    return [table for table in TABLES if table.name not in INTERNAL]


def _text(column: Column) -> tuple[str, str]:
    return column.name, column.description


def _same(name: str) -> set[tuple[str, str]]:
    """Return the columns for which a table refers to another one."""
    _, like = LIKE.get(name, ("", ""))
    others = [table.columns for table in TABLES if table.name == like]
    return {_text(column) for columns in others for column in columns}


@cache
def _shared() -> dict[str, Column]:
    """Return the columns that several tables have alike, by name, commonest first."""
    columns = list(GA_EVENTS)
    for table in _queried():
        same = _same(table.name)
        columns += [column for column in table.columns if _text(column) not in same]
    by_text = {_text(column): column for column in columns}
    shared = dict[str, Column]()
    for text, times in Counter(_text(column) for column in columns).most_common():
        if times > 1:
            # A name means one thing; where it means another, the table says so.
            shared.setdefault(text[0], by_text[text])
    return shared


def _columns(name: str, columns: Sequence[Column]) -> str:
    """Return a table's columns: the names of shared ones, and a line for each other."""
    shared = {_text(column) for column in _shared().values()}
    besides = _code(_shown(column for column in columns if _text(column) in shared))
    if name in LIKE:
        what, like = LIKE[name]
        besides += f", and the {what} of [{like}](#{like})"
        shared |= _same(name)
    own = [column for column in columns if _text(column) not in shared]
    if not own:
        return f"\nColumns: {besides}.\n"
    return f"\nColumns, besides {besides}:\n\n" + "".join(_lines(own))


def _shown(columns: Iterable[Column]) -> list[str]:
    """Return names of columns without those that a name has beside it."""
    names = [column.name for column in columns]
    hidden = {f"{name}_{end}" for name in names for end in ENDS} | UNREAD
    return [name for name in names if name not in hidden]


def _lines(columns: Sequence[Column]) -> Iterator[str]:
    """Yield a line for each column, or for neighbours of one description."""
    by_name = {column.name: column for column in columns}
    shown = [by_name[name] for name in _shown(columns)]
    for description, neighbours in groupby(
        shown, key=lambda column: column.description
    ):
        names = list[str]()
        for column in neighbours:
            names.append(column.name)
            ends = [end for end in ENDS if f"{column.name}_{end}" in by_name]
            names += [f"…_{end}" for end in ends]
        kind = f"ARRAY<{column.type}>" if column.repeated else column.type
        type_text = "" if kind in PLAIN else f" (`{kind}`)"
        fields = _code(_shown(column.fields))
        fields_text = f" ({fields})" if fields else ""
        yield f"- {_code(names)}{type_text}: {description}{fields_text}\n"


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def exit_codes() -> str:
    return "".join(f"- {int(code)}: {text}\n" for code, text in MEANINGS.items())


def commands() -> str:
    """Return every command: an example, and what it does."""
    parts = list[str]()
    for title, below in cli.SECTIONS.items():
        every = dict[str, click.Command]()
        for command in below:
            every |= _leaves(command)
        parts.append(f"\n## {title}\n\n")
        parts += [_about_command(command) for command in every.values()]
    return "".join(parts)


def _leaves(command: click.Command, before: str = "") -> dict[str, click.Command]:
    """Return a command, or those below it, by their whole names."""
    name = f"{before} {command.name}".strip()
    if not isinstance(command, click.Group):
        return {name: command}
    leaves = dict[str, click.Command]()
    for below in command.commands.values():
        leaves |= _leaves(below, name)
    return leaves


def _about_command(command: click.Command) -> str:
    text = " ".join(_clean(command.help).partition("\n\n")[0].split())
    return f"- `{_example(command)}`: {text}\n"


def _example(command: click.Command) -> str:
    return _clean(_clean(command.epilog).partition("Example:\n")[2]).splitlines()[0]


def _clean(text: str | None) -> str:
    return "" if text is None else inspect.cleandoc(text)
