"""
What the reference of tables and commands has from the code; the pages have the rest.

Columns are those of ``propensity/tables/``; who writes a table is what
``deploy/functions.toml`` grants; commands describe themselves.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, product

import click

from commands import cli
from deploy import functions
from local import billing
from propensity import usecases
from propensity.cli.answers import MEANINGS
from propensity.findings import meanings
from propensity.ga4 import GA_EVENTS
from propensity.runs import digest
from propensity.schema import Column, Table
from propensity.settings import Settings
from propensity.tables.every import TABLES

# A column that at least so many tables have is described once.
SHARED_BY = 3

# A table that has most columns of another one refers to it.
LIKE = {"ma_model_evaluation": "ma_model_training_metadata"}

# Types that a query need not know, or that the column's name says.
PLAIN = {"STRING", "INT64", "FLOAT64", "NUMERIC", "BOOL", "DATE", "TIMESTAMP"}

# Tables that people rarely query: the page has no columns of them.
INTERNAL = {
    "ma_publications",
    "ma_predictions_runs",
    "ma_preprocessors",
    "stream_features_daily",
    "stream_compactions",
    "postcode_index",
    "suppressed_users",
}

# A reader of a table must know this, and its columns do not say it.
NOTES = {
    "stream_events": "Take one row for each `use_case`, `user_id`, `event_date` and "
    "`event_id`.",
    "inference_log": "Version -1 means that no version was live.",
    "truth_events": "Of two at the same time, label 1 counts.",
    "ma_predictions_table": "Each run updates the users that it scored, and keeps all "
    "others.",
    "ma_model_training_metadata": "`card` has everything else as JSON: "
    "`JSON_VALUE(card, '$.verdict.roc_auc_difference')`. Its entries are `verdict`, "
    "`metrics`, `savings`, `value`, `candidates`, `importance`, `features`, `split`, "
    "`files`, `libraries` and more.",
    "ma_model_evaluation": "Each week is evaluated against the predictions in force "
    "at its start; a final result replaces the provisional one. `metrics` is a struct: "
    "query `metrics.pr_auc_low`.",
    "ma_audience_members": "So does `propensity audience send`, once a date.",
    "ma_audience_plans": "[How to read it](audiences-reference.md#the-plan).",
    "ma_audience_requests": "So does `propensity audience send`. Query "
    "[`ma_audience_ledger`](#ma_audience_ledger), which has the users.",
    "ma_audience_lift": "[How to read it](audiences.md#4-see-whether-it-helped).",
    "ma_programme_lift": "[How to read it]"
    "(audiences-reference.md#all-audiences-together).",
    "ma_drift": "[What to do](operate.md#drift).",
    "ga_user_days": "[Further properties](deploy-reference.md#several-properties) have "
    "tables of their own.",
}


def shared_columns() -> str:
    """Return the columns that many tables have."""
    return "".join(_lines(_shared()))


def tables() -> str:
    """Return the tables that people query, with their columns."""
    shared = _shared()
    parts = list[str]()
    columns_of = {table.name: table.columns for table in TABLES}
    for table in (table for table in TABLES if table.name not in INTERNAL):
        columns = [column for column in table.columns if column not in shared]
        also = [column for column in table.columns if column in shared]
        parts += _about(table)
        parts.append(f"\nColumns, besides {_code(_shown(also))}")
        if like := LIKE.get(table.name):
            same = [column for column in columns if column in columns_of[like]]
            columns = [column for column in columns if column not in same]
            parts.append(f", and {_code(_shown(same))} of [{like}](#{like})")
        parts.append(":\n\n")
        parts += _lines(columns)
    return "".join(parts)


def internal_tables() -> str:
    """Return the tables that people rarely query."""
    internal = [table for table in TABLES if table.name in INTERNAL]
    return "".join(f"- `{table.name}`: {table.description}\n" for table in internal)


def events_columns() -> str:
    """Return the columns of the view of the export."""
    return "".join(_lines(GA_EVENTS))


def _shared() -> list[Column]:
    """Return the columns that many tables have, most common first."""
    counted = Counter(column for table in TABLES for column in table.columns)
    return [column for column, times in counted.most_common() if times >= SHARED_BY]


def _about(table: Table) -> Iterator[str]:
    """Yield what a table is, who writes it, and how to filter it."""
    yield f"\n## {table.name}\n\n{table.description}.\n"
    if writers := _writers(table.stored):
        yield f"Written by {_code(writers)}.\n"
    if note := NOTES.get(table.name):
        yield f"{note}\n"
    kept = f"; kept for {table.expiration_days} days" if table.expiration_days else ""
    yield f"\nPartition column: `{table.partition}`{kept}.\n"


def _writers(table: str) -> list[str]:
    """Return which functions write a table."""
    writers = []
    for function in functions.load():
        if table in function.writes or table in function.appends:
            writers.append(function.target)
    return writers


def _shown(columns: Iterable[Column]) -> list[str]:
    """Return names of columns without the ends of their intervals."""
    names = [column.name for column in columns]
    ends = {f"{name}_{end}" for name in names for end in ("low", "high")}
    return [name for name in names if name not in ends]


def _lines(columns: Sequence[Column]) -> Iterator[str]:
    """Yield a line for each column, or for neighbours of one description."""
    by_name = {column.name: column for column in columns}
    shown = [by_name[name] for name in _shown(columns)]
    for description, neighbours in groupby(
        shown, key=lambda column: column.description
    ):
        names = list[str]()
        for column in neighbours:
            interval = f"{column.name}_low" in by_name
            names.append(column.name)
            if interval:
                names += ["…_low", "…_high"]
        kind = f"ARRAY<{column.type}>" if column.repeated else column.type
        type_text = "" if kind in PLAIN else f" (`{kind}`)"
        fields = _code(_shown(column.fields))
        fields_text = f" ({fields})" if fields else ""
        yield f"- {_code(names)}{type_text}: {description}{fields_text}\n"


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def exit_codes() -> str:
    lines = [f"| {int(code)} | {text} |" for code, text in MEANINGS.items()]
    return "\n".join(["| code | meaning |", "|--:|---|"] + lines + [""])


def commands() -> str:
    """Return every command, with an example and what it takes."""
    parts = list[str]()
    for title, below in cli.SECTIONS.items():
        parts.append(f"\n## {title}\n")
        parts += [_command(command, "", "###") for command in below]
    return "".join(parts)


def _clean(text: str | None) -> str:
    return "" if text is None else inspect.cleandoc(text)


def _command(command: click.Command, before: str, heading: str) -> str:
    """Return the part of a command, and of those below it."""
    name = f"{before} {command.name}".strip()
    text = _clean(command.help).partition("\n\n")[0]
    about = f"\n{heading} {name}\n\n" + " ".join(text.split()) + "\n"
    if isinstance(command, click.Group):
        below = command.commands.values()
        parts = [_command(part, name, f"{heading}#") for part in below]
        return about + "".join(parts)
    epilog = "" if command.epilog is None else command.epilog
    example = _clean(epilog.partition("Example:\n")[2])
    taken = _code(_options(command))
    return f"{about}\n```\n{example}\n```\n" + (f"\nTakes {taken}.\n" if taken else "")


def _options(command: click.Command) -> Iterator[str]:
    """Yield the names of a command's arguments and options."""
    context = click.Context(command, **cli.root.context_settings)
    for parameter in command.get_params(context):
        name = parameter.opts[-1]
        if name not in ("--help", "--json"):
            yield name if name.startswith("-") else name.upper()


COSTING = ("ga4_purchase", "ga4_value")
# Events a day; docs/operate.md says how many users these shops have.
SHOPS = {
    "small": 100_000,
    "mid-sized": 2_000_000,
    "large": 20_000_000,
    "very large": 200_000_000,
}
# A limit of a statement with which the largest of them trains in one.
LIMIT = 4 * 1024**4


def costs() -> str:
    """Return the table of what queries cost, by use case and size of a shop."""
    settings = Settings(project="p", maximum_bytes_billed=LIMIT)
    locations = ("US", "europe-west1")
    kept = digest.reach(settings).days
    lines = [
        "| use case | shop | the first days | the digest stores "
        "| a training reads | a prediction reads "
        "| a month reads |"
        + "".join(f" a month, {location} |" for location in locations)
        + " audiences add | daily predictions add |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, (shop, events) in product(COSTING, SHOPS.items()):
        stored = kept * billing.stored_a_day(events) / digest.TIB
        month = billing.a_month(usecases.load(name), settings, a_day=events)
        prices = "".join(f" {month.usd(location):.0f} USD |" for location in locations)
        lines.append(
            f"| `{name}` | {shop} | {month.first:.2f} TiB | {stored:.3f} TiB "
            f"| {month.training:.3f} TiB | {month.prediction:.4f} TiB "
            f"| {month.total:.2f} TiB |{prices}"
            f" {month.for_audiences:.2f} TiB | {month.for_daily:.2f} TiB |"
        )
    return "\n".join(lines) + "\n"


def findings() -> str:
    """Return what each finding means, as a table."""
    lines = [
        "| finding | weight | for Monday's list | who does what, and when |",
        "|---|---|---|---|",
    ]
    for word, meaning in meanings().items():
        cells = f"`{word}` | {meaning.weight} | {meaning.monday} | {meaning.todo}"
        lines.append(f"| {cells} |")
    return "\n".join(lines) + "\n"
