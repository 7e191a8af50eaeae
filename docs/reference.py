"""
The reference of tables and commands, written from the code that has them.

Columns are those of ``propensity/tables/``; who writes a table is what
``deploy/functions.toml`` grants; commands describe themselves.
"""

from __future__ import annotations

import inspect
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path

import click

from commands import cli
from commands.answers import MEANINGS
from local import billing
from propensity import usecases
from propensity.ga4.view import GA_EVENTS
from propensity.schema import Column, Table
from propensity.settings import Settings
from propensity.tables.every import EVALUATION, TABLES

Option = tuple[str, str]

# A column that at least so many tables have is described once.
SHARED_BY = 3

# A table that has more columns of another one than these refers to it.
SHARED_COLUMNS = 4

# Types that a query need not know.
PLAIN = {"STRING", "INT64", "FLOAT64", "NUMERIC", "BOOL"}

# Tables that people rarely query: the page has no columns of them.
INTERNAL = {
    "ma_predictions_runs",
    "ma_preprocessors",
    "stream_features_daily",
    "stream_compactions",
    "postcode_index",
    "suppressed_users",
}

RIGHTS = Path(__file__).resolve().parent.parent / "deploy" / "functions.toml"

TABLES_HEAD = """\
# Tables

Find the table that answers your question, and what its columns mean.

<!-- Written by `python -m docs`; edit propensity/tables/ and docs/reference.py. -->

## Which table do I need?

| question | table |
|---|---|
| Who are my best users this week? | [`ma_predictions_table`](#ma_predictions_table) |
| What was predicted in an earlier week? | [`ma_predictions_history`](#ma_predictions_history) |
| How good were the predictions? | [`ma_model_evaluation`](#ma_model_evaluation) |
| Which model is live, and why? | [`ma_model_training_metadata`](#ma_model_training_metadata) |
| What has changed in my users? | [`ma_drift`](#ma_drift) |
| Did my campaign help? | [`ma_audience_lift`](#ma_audience_lift) |
| Who was in it, and what was delivered? | [`ma_audience_members`](#ma_audience_members), [`ma_audience_ledger`](#ma_audience_ledger) |
| Which events arrived, and which were rejected? | [`stream_events`](#stream_events), [`dead_letters`](#dead_letters) |
| Which scores were given, and what came out? | [`inference_log`](#inference_log), [`truth_events`](#truth_events) |
| What does the GA4 export say? | [`ga_events`](#ga_events) |

The tables are in the dataset `PROPENSITY_DATASET`, by default `propensity`. Filter on the partition column, with constants: otherwise BigQuery reads, and bills, all dates.

The top 100 users of the newest predictions:

```sql
SELECT user_id, probability, percentile, expected_value
FROM propensity.ma_predictions_table
WHERE use_case = 'ga4_purchase' AND as_of >= DATE_SUB(CURRENT_DATE(), INTERVAL 7 DAY)
ORDER BY probability DESC
LIMIT 100
```

The metrics of each week. Predictions are good if `expected` and `actual` are close:

```sql
SELECT week, status, model_version, users, mean_probability AS expected, base_rate AS actual, roc_auc, lift_at_budget
FROM propensity.ma_model_evaluation
WHERE use_case = 'ga4_purchase' AND week >= DATE_SUB(CURRENT_DATE(), INTERVAL 90 DAY)
ORDER BY week DESC
```

The drift warnings of the last month:

```sql
SELECT as_of, cause, message
FROM propensity.ma_drift
WHERE use_case = 'ga4_purchase' AND is_alarm AND as_of >= DATE_SUB(CURRENT_DATE(), INTERVAL 30 DAY)
```

The effect of each audience:

```sql
SELECT audience, week, verdict, conversion_difference, conversion_difference_low, conversion_difference_high
FROM propensity.ma_audience_lift
WHERE use_case = 'ga4_purchase' AND week >= DATE_SUB(CURRENT_DATE(), INTERVAL 90 DAY)
QUALIFY ROW_NUMBER() OVER (PARTITION BY audience ORDER BY week DESC) = 1
```

Why messages were rejected yesterday:

```sql
SELECT reason, field, COUNT(*) AS messages
FROM propensity.dead_letters
WHERE received_on = DATE_SUB(CURRENT_DATE(), INTERVAL 1 DAY)
GROUP BY reason, field
ORDER BY messages DESC
```

## How to read the columns

- The [glossary](glossary.md) explains the metrics. Columns `…_low` and `…_high` are the ends of the 95% interval of the column before them.
- *Positives* are users, or events, with the outcome. *Contacted* are an audience's members outside the control group.
- Types are shown where a query depends on them: days, times, arrays and bytes.
- Amounts of `ga4_purchase` are in US dollars, or in the event's currency if the export has no dollars; those of other use cases in the currency of their events.
- Some tables are views of a table `…_runs`, which has the rows of all runs. Query the view.
- These columns mean the same in every table that has them:

"""  # noqa: E501

VIEWS = """
## ma_predictions_history

A view of all predictions: one row per use case, prediction date and user, in the columns of `ma_predictions_table`.

## stream_features

A view of the [features of the stream](../04-StreamFeatures/README.md#features): one row per use case and user, as they are now.

## ga_events

A view of the GA4 export: one row per event. Always filter on `table_suffix`, with constants.

A day is read from one table: the first of `events_`, `events_fresh_`, `events_intraday_` and `events_fresh_intraday_` that it has.
Event parameters and user properties that a use case names are further columns, `param_NAME` and `property_NAME` ([how to add them](usecase-reference.md#event-parameters-and-user-properties)).
Unknown values, for example `(not set)`, are null.

"""  # noqa: E501

INTERNAL_HEAD = """
## Internal tables

You will rarely query these tables. The BigQuery console shows their columns.

"""

# What a reader of a table must know, and its columns do not say.
NOTES = {
    "stream_events": "Take one row for each `use_case`, `user_id`, `event_date` and "
    "`event_id`.",
    "inference_log": "Version -1 means that no version was live.",
    "truth_events": "Of two at the same time, label 1 counts.",
    "ma_predictions_table": "Each run updates the users that it scored, and keeps all "
    "others. A run for an earlier date does not change users with a newer row.",
    "ma_model_training_metadata": "`card` has everything else as JSON: "
    "`JSON_VALUE(card, '$.verdict.roc_auc_difference')`. Its entries are `verdict`, "
    "`metrics`, `savings`, `value`, `candidates`, `importance`, `features`, `split`, "
    "`files`, `libraries` and more.",
    "ma_publications": "If a date was published twice, the newest row counts.",
    "ma_model_evaluation": "Each week is evaluated against the predictions that were "
    "in force at its start; a final result replaces the provisional one. Version -1 "
    "means that there were no predictions. `metrics` has, where they are known: "
    + ", ".join(f"`{column.name}`" for column in EVALUATION.in_json)
    + ".",
    "ma_audience_members": "So does `propensity audience send`, once a date.",
    "ma_audience_ledger": "So does `propensity audience send`.",
    "ma_audience_lift": "[How to read it](audiences.md#4-see-whether-it-helped).",
    "ma_drift": "[What to do](operate.md#drift).",
}

COMMANDS_HEAD = """\
# Commands

Look up what a command does, its options, and the exit codes.

<!-- Written by `python -m docs`; edit commands/. -->

`propensity` is `.venv/bin/propensity` after `make setup`. It reads the same [settings](settings.md) as the functions: paste the `export` lines of `make up`, or, for a deployment, run `eval "$(.venv/bin/python -m deploy environment)"`.
The answer is on standard output, as JSON with `--json`; progress and errors are on standard error. `--help` explains each command in more words.

## Exit codes

| code | meaning |
|--:|---|
"""  # noqa: E501

SHARED_HEAD = """
## Options of many commands

"""


def tables() -> str:
    """Return the page of all tables, as Markdown."""
    shared = _shared()
    shown = [table for table in TABLES if table.name not in INTERNAL]
    internal = [table for table in TABLES if table.name in INTERNAL]
    parts = [TABLES_HEAD, *_lines(shared)]
    for number, table in enumerate(shown):
        own = [column for column in table.columns if column not in shared]
        also = [column for column in table.columns if column in shared]
        parts += [*_about(table), f"\nColumns, besides {_code(_shown(also))}"]
        like = max(shown[:number], default=table, key=_same_as(own))
        same = [column for column in own if column in like.columns and like != table]
        if len(same) > SHARED_COLUMNS:
            own = [column for column in own if column not in same]
            parts.append(f", and {_code(_shown(same))} of [{like.name}](#{like.name})")
        parts += [":\n\n", *_lines(own)]
    parts += [VIEWS, *_lines(GA_EVENTS), INTERNAL_HEAD]
    parts += [f"- `{table.name}`: {table.description}\n" for table in internal]
    return "".join(parts)


def _same_as(columns: Sequence[Column]) -> Callable[[Table], int]:
    """Return how many of these columns a table has, as a function."""
    return lambda table: sum(column in table.columns for column in columns)


def _shared() -> list[Column]:
    """Return the columns that many tables have, most common first."""
    counted = Counter(column for table in TABLES for column in table.columns)
    return [one for one, times in counted.most_common() if times >= SHARED_BY]


def _about(table: Table) -> Iterator[str]:
    """Yield what a table is, who writes it, and how to filter it."""
    yield f"\n## {table.name}\n\n{table.description}.\n"
    if writers := _writers(table.stored):
        yield f"Written by {_code(writers)}.\n"
    if note := NOTES.get(table.name):
        yield f"{note}\n"
    must = ", on which a query must filter" if table.requires_filter else ""
    kept = f"; kept for {table.expiration_days} days" if table.expiration_days else ""
    yield f"\nPartition column: `{table.partition}`{must}{kept}.\n"


def _writers(table: str) -> list[str]:
    """Return which functions write a table."""
    rights_by_target = tomllib.loads(RIGHTS.read_text("utf-8")).items()
    return [
        target
        for target, rights in rights_by_target
        if table in [*rights.get("writes", ()), *rights.get("appends", ())]
    ]


def _shown(columns: Iterable[Column]) -> list[str]:
    """Return names of columns without the ends of their intervals."""
    names = [column.name for column in columns]
    ends = {f"{name}_{end}" for name in names for end in ("low", "high")}
    return [name for name in names if name not in ends]


def _lines(columns: Sequence[Column]) -> Iterator[str]:
    """Yield a line for each column; its fields and its interval are in it."""
    names = {column.name for column in columns}
    for column in columns:
        if column.name not in _shown(columns):
            continue
        shown = [column.name]
        shown += ["…_low", "…_high"] if f"{column.name}_low" in names else []
        kind = f"ARRAY<{column.type}>" if column.repeated else column.type
        known = "" if kind in PLAIN else f" (`{kind}`)"
        fields = _code(field.name for field in column.fields)
        of = f" ({fields})" if fields else ""
        yield f"- {_code(shown)}{known}: {column.description}{of}\n"


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def commands() -> str:
    """Return the page of all commands, as Markdown."""
    codes = "".join(f"| {int(code)} | {text} |\n" for code, text in MEANINGS.items())
    every = [command for section in cli.SECTIONS.values() for command in section]
    seen = Counter(option for command in every for option in _options(command))
    shared = [option for option, times in seen.items() if times > 2]
    parts = [COMMANDS_HEAD, codes, SHARED_HEAD, *_option_lines(shared)]
    for title, below in cli.SECTIONS.items():
        parts.append(f"\n## {title}\n")
        parts += [_command(one, "propensity", "###", shared) for one in below]
    return "".join(parts)


def _command(
    command: click.Command, before: str, heading: str, shared: Sequence[Option]
) -> str:
    """Return the part of a command, and of those below it."""
    name = f"{before} {command.name}"
    text = inspect.cleandoc(command.help or "").partition("\n\n")[0]
    about = f"\n{heading} {name}\n\n" + " ".join(text.split()) + "\n"
    if isinstance(command, click.Group):
        below = command.commands.values()
        parts = [_command(one, name, f"{heading}#", shared) for one in below]
        return about + "".join(parts)
    example = inspect.cleandoc((command.epilog or "").partition("Example:\n")[2])
    about += f"\n```\n{example}\n```\n"
    own = [option for option in _options(command) if option not in shared]
    also = [option[0].split()[0] for option in _options(command) if option in shared]
    about += f"\nAlso {_code(also)}.\n" if also else ""
    return about + ("\n" if own else "") + "".join(_option_lines(own))


def _context(command: click.Command) -> click.Context:
    """Return a context in which help shows the defaults, as the command line does."""
    return click.Context(command, **cli.root.context_settings)


def _options(command: click.Command) -> Iterator[Option]:
    """Yield what a command and those below it take, with the meanings."""
    if isinstance(command, click.Group):
        for below in command.commands.values():
            yield from _options(below)
        return
    context = _context(command)
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record and record[1] and parameter.opts[-1] not in ("--help", "--json"):
            yield record[0], " ".join(record[1].split())


def _option_lines(options: Iterable[Option]) -> Iterator[str]:
    for name, meaning in options:
        yield f"- `{name}`: {meaning}\n"


COSTING = ("ga4_purchase", "ga4_value")
# Events a day; docs/operate.md says how many users these shops have.
SHOPS = {"small": 100_000, "mid-sized": 2_000_000, "large": 20_000_000}


def costs() -> str:
    """Return the table of what queries cost, by use case and size of a shop."""
    settings, places = Settings(project="p"), ("US", "europe-west1")
    lines = [
        "| use case | shop | a training reads | a prediction reads | a month reads |"
        + "".join(f" a month, {place} |" for place in places),
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for name, (shop, events) in product(COSTING, SHOPS.items()):
        month = billing.a_month(usecases.load(name), settings, a_day=events)
        prices = "".join(f" {month.usd(place):.0f} USD |" for place in places)
        lines.append(
            f"| `{name}` | {shop} | {month.training:.2f} TiB "
            f"| {month.prediction:.3f} TiB | {month.total:.2f} TiB |{prices}"
        )
    return "\n".join(lines) + "\n"
