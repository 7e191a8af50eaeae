"""
The reference of tables and commands, written from the code that has them.

Columns are those of ``propensity/tables/``; who writes and reads a table is what
``deploy/functions.toml`` grants; commands describe themselves.
"""

from __future__ import annotations

import inspect
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click

from commands import cli
from commands.answers import MEANINGS
from local import billing
from propensity import usecases
from propensity.schema import Column, Table
from propensity.settings import Settings
from propensity.tables.every import GA_EVENTS, TABLES
from propensity.tables.models import IN_METRICS

Option = tuple[str, str]

# A table that has more columns of another one than these refers to it.
SHARED_COLUMNS = 4

RIGHTS = Path(__file__).resolve().parent.parent / "deploy" / "functions.toml"

TABLES_HEAD = """\
# Tables

For whoever queries the results: every table and view, who writes it, what a row is, and all its columns.

<!-- Written by `python -m docs`; edit propensity/tables/. -->

They are in the dataset `PROPENSITY_DATASET`. BigQuery does not enforce keys; the functions keep them.
Columns `…_low` and `…_high` are the ends of the 95% interval of the column before them.
"""  # noqa: E501

VIEWS_HEAD = """
## stream_features

The view of the [features of the stream](../04-StreamFeatures/README.md#features): one row per use case and user, as they are now.

## ma_predictions_history

The view of all publications: one row per use case, as-of date and user, in the columns of `ma_predictions_table`.
Bound `as_of` by constants in every query, or BigQuery reads all dates.

## ga_events

The view of the GA4 export: one row per event.

A day is read from one table: the first of `events_`, `events_fresh_`, `events_intraday_` and `events_fresh_intraday_` that it has.
Event parameters and user properties that a use case names are further columns, `param_NAME` and `property_NAME` ([use cases](usecase-reference.md#event-parameters-and-user-properties)).
Bound `table_suffix` by constants in every query, or BigQuery reads all days.
Unknown values, such as `(not set)`, are null.
"""  # noqa: E501

# What a reader of a table must know, and its columns do not say.
NOTES = {
    "suppressed_users": "`propensity forget` writes it.",
    "stream_events": "An event that was sent twice is here twice: "
    "take one row for each key. Days of arrival never change once they are over.",
    "postcode_index": "`propensity load postcodes` replaces it as a whole.",
    "inference_log": "A redelivery repeats `inference_id`: count each once. "
    "Version -1 means that nothing served.",
    "truth_events": "The latest `truth_time` counts, and of two at the same time "
    "label 1.",
    "ma_predictions_table": "Scored users are updated, all others kept. A rerun of an "
    "older date changes nobody who has a newer row.",
    "ma_predictions_runs": "Also rows of runs that died, or whose date was published "
    "again: read the view `ma_predictions_history`.",
    "ma_model_training_metadata": "`JSON_VALUE(card, '$.verdict.roc_auc_difference')` "
    "is one of what `card` has: `verdict`, `metrics`, `savings`, `value`, "
    "`candidates`, `importance`, `features`, `split`, `files`, `libraries` and more.",
    "ma_publications": "Of a date the newest publication counts.",
    "ma_model_evaluation": "Of the publication in force, final before provisional. "
    "A week without predictions has version -1. `metrics` has, where they are known: "
    + ", ".join(f"`{column.name}`" for column in IN_METRICS)
    + ".",
    "ma_audience_members": "`propensity audience send` writes it, once a date.",
    "ma_audience_ledger": "`propensity audience send` writes it: a user who was sent "
    "is accepted, or rejected with a reason.",
    "ma_audience_lift": "[Did it help?](audiences.md#did-it-help)",
    "ma_drift": "[What to do](operate.md#drift)",
    "ma_preprocessors": "`propensity build-preprocessor` writes it. The newest counts.",
}

COMMANDS_HEAD = """\
# Commands

For whoever runs something by hand: every command with its options, and the exit codes.

<!-- Written by `python -m docs`; edit commands/. -->

`propensity` is `.venv/bin/propensity` after `make setup`. It reads the same [settings](settings.md) as the functions; `make up` prints those of local mode.
The answer is on standard output, as JSON with `--json`; progress and errors are on standard error.

## Exit codes

| code | meaning |
|--:|---|
"""  # noqa: E501

SHARED_HEAD = """
## Options of many commands

| option | |
|---|---|
"""


def tables() -> str:
    """Return the page of all tables, as Markdown."""
    parts = [TABLES_HEAD]
    for table in TABLES:
        parts.append("\n".join(_table(table)))
    return "\n".join(parts) + VIEWS_HEAD + _columns(GA_EVENTS)


def _table(table: Table) -> Iterator[str]:
    yield f"## {table.name}\n"
    yield f"{table.description}."
    yield from _rights(table.stored)
    if table.newest:
        yield f"It is a view of `{table.stored}`, which has the rows of all runs."
    if note := NOTES.get(table.name):
        yield note
    kept = f"; kept {table.expiration_days} days" if table.expiration_days else ""
    yield f"\nKey: {_code(table.key)}. Partitioned by `{table.partition}`{kept}."
    if table.requires_filter:
        yield f"A query must filter on `{table.partition}`."
    shared: list[Column] = []
    for other in TABLES[: TABLES.index(table)]:
        same = [one for one in table.columns if one in other.columns]
        if len(same) > max(len(shared), SHARED_COLUMNS):
            shared, like = same, f"[{other.name}](#{other.name})"
    if shared:
        yield f"{_code(_shown(shared))} are as in {like}."
    yield _columns([one for one in table.columns if one not in shared])


def _rights(table: str) -> Iterator[str]:
    """Yield which functions write a table, and which only read it."""
    granted: dict[str, list[str]] = {"Written by": [], "Read by": []}
    for target, rights in tomllib.loads(RIGHTS.read_text("utf-8")).items():
        if table in [*rights.get("writes", ()), *rights.get("appends", ())]:
            granted["Written by"].append(target)
        elif table in rights.get("reads", ()):
            granted["Read by"].append(target)
    if said := [f"{how} {_code(who)}." for how, who in granted.items() if who]:
        yield " ".join(said)


def _columns(columns: Sequence[Column]) -> str:
    return "\n| column | type | |\n|---|---|---|\n" + "".join(_rows(columns))


def _shown(columns: Iterable[Column]) -> list[str]:
    """Return names of columns without the ends of their intervals."""
    names = [column.name for column in columns]
    ends = {f"{name}_{end}" for name in names for end in ("low", "high")}
    return [name for name in names if name not in ends]


def _rows(columns: Sequence[Column], prefix: str = "") -> Iterator[str]:
    """Yield a row for each column and its fields; an interval is in its column's."""
    names = {column.name for column in columns}
    for column in columns:
        if column.name not in _shown(columns):
            continue
        shown = [prefix + column.name]
        shown += ["…_low", "…_high"] if f"{column.name}_low" in names else []
        kind = f"ARRAY<{column.type}>" if column.repeated else column.type
        required = ", required" if column.required else ""
        yield f"| {_code(shown)} | `{kind}`{required} | {column.description} |\n"
        yield from _rows(column.fields, f"{prefix}{column.name}.")


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def commands() -> str:
    """Return the page of all commands, as Markdown."""
    codes = "".join(f"| {int(code)} | {text} |\n" for code, text in MEANINGS.items())
    every = [one for group in cli.GROUPS.values() for one in group]
    seen = Counter(option for command in every for option in _options(command))
    shared = [one for one, times in seen.items() if times > 2]
    parts = [COMMANDS_HEAD, codes, SHARED_HEAD, *_option_rows(shared)]
    for title, below in cli.GROUPS.items():
        parts.append(f"\n## {title}\n")
        parts += [_command(one, "propensity", "###", shared) for one in below]
    return "".join(parts)


def _command(
    command: click.Command, before: str, heading: str, shared: Sequence[Option]
) -> str:
    """Return the part of a command, and of those below it."""
    name = f"{before} {command.name}"
    usage = " ".join(command.collect_usage_pieces(click.Context(command))[1:])
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    text = "\n\n".join(" ".join(one.split()) for one in paragraphs)
    about = f"\n{heading} {name}\n\n" + text.replace("<", "&lt;") + "\n"
    if isinstance(command, click.Group):
        below = command.commands.values()
        parts = [_command(one, name, f"{heading}#", shared) for one in below]
        return about + "".join(parts)
    own = [option for option in _options(command) if option not in shared]
    also = [option[0].split()[0] for option in _options(command) if option in shared]
    about += f"\nIt takes `{usage}`.\n" if usage else ""
    about += f"\nAlso {_code(also)}.\n" if also else ""
    return (
        about
        + ("\n| option | |\n|---|---|\n" if own else "")
        + "".join(_option_rows(own))
    )


def _options(command: click.Command) -> Iterator[Option]:
    """Yield the options of a command and of those below it, with their meanings."""
    if isinstance(command, click.Group):
        for below in command.commands.values():
            yield from _options(below)
        return
    context = click.Context(command)
    for option in command.get_params(context):
        record = option.get_help_record(context)
        if record and record[1] and option.opts[-1] not in ("--help", "--json"):
            name, meaning = (part.replace("|", r"\|") for part in record)
            yield name, " ".join(meaning.split())


def _option_rows(options: Iterable[Option]) -> Iterator[str]:
    for name, meaning in options:
        yield f"| `{name}` | {meaning} |\n"


SHOPS = {
    "small": (50_000, 100_000),
    "mid-sized": (1_000_000, 2_000_000),
    "large": (10_000_000, 20_000_000),
}


def costs() -> str:
    """Return the table of what queries cost, by the size of a shop."""
    use_case, settings = usecases.load("ga4_purchase"), Settings(project="p")
    places = ("US", "europe-west1")
    lines = [
        "| shop | users | events a day | a training reads | a month reads |"
        + "".join(f" a month, {place} |" for place in places),
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for shop, (users, events) in SHOPS.items():
        month = billing.a_month(use_case, settings, a_day=events)
        prices = "".join(f" {month.usd(place):.0f} USD |" for place in places)
        lines.append(
            f"| {shop} | {users:,} | {events:,} | {month.training:.2f} TiB "
            f"| {month.total:.2f} TiB |{prices}"
        )
    return "\n".join(lines) + "\n"
