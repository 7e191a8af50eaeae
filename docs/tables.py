"""
Write the reference of all tables from the one place where they are typed.

    python -m docs.tables > docs/tables.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from propensity.schema import Column, Table
from propensity.tables import GA_EVENTS, TABLES

OPENING = """\
# Tables

<!-- Written by `python -m docs.tables > docs/tables.md`; edit propensity/tables/. -->

Every table and view: who writes it, what a row is, and all its columns.
They are in the dataset `PROPENSITY_DATASET`, `propensity` by default.
`propensity/tables/` is the only place where a column is typed; this page is written from it.
BigQuery does not enforce keys: the statements that write do, and each can be run twice.
These views are beside the tables.
[`ga_events`](#ga_events) is the GA4 export in the types that use cases read, and the only statement that names the sharded export (`propensity/usecases/ga_events.sql`).
`stream_features` has the features of the stream, one row per use case and user, as they are now (`propensity/stream/stream_features.sql`).
[`ma_predictions_history`](#ma_predictions_history) has every probability published.
"""  # noqa: E501

HISTORY = """\
## ma_predictions_history

The view of all publications: one row per use case, as-of date and user, in the columns of `ma_predictions_table`.

It has the rows of `ma_predictions_runs` of the run that `ma_publications` names for their date.
Bound `as_of` by constants in every query, or BigQuery reads all dates.

"""  # noqa: E501

EXPORT = """\
## ga_events

The view of the GA4 export: one row per event.

A day is read from its daily table, or from its intraday table if there is no daily one; never from both.
Event parameters and user properties that a use case names are further columns, `param_NAME` and `property_NAME` ([use cases](use-cases.md)).
Bound `table_suffix` by constants in every query, or BigQuery reads all days.
Google's words for an unknown value, such as `(not set)`, are null here, and so is a value that is not a number or does not fit the type.
Money is `NUMERIC`, exact in sums: a feature must be cast, as in `CAST(SUM(purchase_revenue) AS FLOAT64)`.
If a shop takes several currencies, amounts in the event's currency do not add up; those in US dollars do.

| column | type | |
|---|---|---|
"""  # noqa: E501

# What a table is for and how it is written, which its columns do not say.
WRITTEN = {
    "suppressed_users": (
        "`propensity forget` adds the users of whom nothing may be kept.",
        "All functions leave these users out; no row has an id, and without "
        "`PROPENSITY_SUPPRESSION_KEY` nobody can tell who is here.",
    ),
    "stream_events": (
        "04-StreamFeatures appends every accepted event through the Storage Write API.",
        "It is never updated: an event that was sent twice is here twice, so take one "
        "row for each key when you read it.",
        "Partitions are days of arrival, which never change once they are over.",
        "An event that is more than `PROPENSITY_MAXIMUM_LATENESS_DAYS` late is marked "
        "`is_late`: it counts in the features from the next compaction on, and is in "
        "no export.",
    ),
    "stream_features_daily": (
        "04-StreamFeatures' compaction merges what has arrived since its watermark.",
        "A row, called a tile, lists the events that it has counted, so that none "
        "counts twice; partitions are months, and only those of new events are read.",
    ),
    "stream_users": (
        "04-StreamFeatures' compaction adds to a user's row what it adds to the tiles, "
        "in one transaction; a forced run computes all rows anew from the tiles.",
        "The view `stream_features`, training and scoring read a user's history here, "
        "so that what they read does not grow with its age.",
        "`user_bucket` is the first four bytes of SHA-256 of `user_id`, as a number, "
        "modulo 1,000: a query that names it as a constant, or as a parameter, reads "
        "the users of that bucket and no others "
        "(`propensity/stream/user_bucket.sql`, `tables.user_bucket`).",
    ),
    "postcode_index": (
        "`propensity load-postcodes` replaces it as a whole.",
        "04-StreamFeatures keeps it in memory.",
    ),
    "inference_log": (
        "04-StreamFeatures appends one row for every event that it scores, `score` of "
        "02-GetProba one for every instance.",
        "A redelivery repeats `inference_id`: count each once.",
        "Transactions that came while nothing served are here under version -1.",
    ),
    "truth_events": (
        "04-StreamFeatures appends the truths of earlier events.",
        "A truth may be here twice, and two may contradict each other: the latest "
        "`truth_time` counts, and of two at the same time label 1.",
    ),
    "dead_letters": (
        "04-StreamFeatures appends messages that it can never accept, and acknowledges "
        "them.",
        "Names, street addresses and birth dates are left out of it, unless personal "
        "fields are kept.",
        "A message that is delivered twice may be here twice, under one `message_id`.",
    ),
    "ma_model_training_metadata": (
        "00-ModelTraining appends one row after the version's files are stored.",
        "A model is loaded only if its bytes have the SHA-256 that is recorded here.",
    ),
    "ma_predictions_table": (
        "01-Predictions merges each publication: re-scored users are overwritten, new "
        "ones added, all others kept as they were.",
        "02-GetProba reads it.",
        "A rerun of an older date overwrites nobody who has a newer row.",
    ),
    "ma_predictions_runs": (
        "01-Predictions appends what it scores, and publishes it later: read the view "
        "`ma_predictions_history`, which has the rows of the run that "
        "`ma_publications` names for their date, in the columns of "
        "`ma_predictions_table`.",
        "Rows of a run that died, or whose date was published again, are in no view.",
    ),
    "ma_publications": (
        "01-Predictions replaces the row of a date in the transaction that publishes "
        "it.",
        "03-ModelEvaluation reads which probabilities were in force, the dashboard "
        "what the newest publication promises, and what each billed.",
    ),
    "ma_model_evaluation": (
        "03-ModelEvaluation replaces the rows of the weeks that it evaluates: "
        "provisional at first, final once labels are mature.",
        "A week without predictions has a row of version -1, which is removed when "
        "there are some.",
        "01-Predictions reads from it how far the odds have moved; `provisional_…` "
        "keeps what was known on the week's end.",
    ),
    "ma_model_evaluation_staging": (
        "A run of 03-ModelEvaluation loads its rows here, publishes them by one MERGE, "
        "and removes them.",
        "Rows of a run that died expire.",
    ),
    "ma_audience_members": (
        "`propensity audience send` adds the members of a date once, treated and held "
        "out.",
        "03-ModelEvaluation compares the two; a user counts in the first week as a "
        "member.",
    ),
    "ma_audience_ledger": (
        "`propensity audience send` adds a row for each user once a request is "
        "answered.",
        "A user who was sent is accepted, or rejected with a reason; held-out users "
        "have no row.",
    ),
    "ma_audience_lift": (
        "03-ModelEvaluation replaces the rows of the weeks that it evaluates, with "
        "the figures of all users up to that week.",
        "`…_low` and `…_high` are the ends of the 95% interval: see "
        "[audiences](audiences.md).",
        "`sums` has the sums that a later week adds up.",
    ),
    "ma_audience_lift_staging": (
        "A run of 03-ModelEvaluation loads its lifts here, publishes them by one "
        "MERGE, and removes them.",
        "Rows of a run that died expire.",
    ),
    "ma_drift": (
        "01-Predictions writes a row for each feature, for the scores and for the "
        "number of users, 03-ModelEvaluation one for the outcomes of a week.",
        "Both compare with the rows of the weeks before: see "
        "[operate](operate.md#drift).",
        "A run's rows take the place of those that an earlier run of the date wrote; "
        "between its two steps both are there, and the newest `written_at` counts.",
    ),
    "ma_preprocessors": (
        "`propensity build-preprocessor` appends a row for each upload.",
        "00-ModelTraining takes the newest, and unpickles it only if its bytes have "
        "the recorded SHA-256.",
    ),
}


def page(tables: Sequence[Table] = TABLES) -> str:
    """Return the reference as Markdown."""
    parts = [OPENING]
    for table in tables:
        parts.append("\n".join(section(table)))
    parts.append(HISTORY + EXPORT + "".join(f"{row}\n" for row in export_rows()))
    return "\n".join(parts)


def section(table: Table) -> Iterator[str]:
    """Yield one table's lines."""
    yield f"## {table.name}\n"
    yield f"{table.description}.\n"
    yield from WRITTEN[table.name]
    yield ""
    kept = f"; kept {table.expiration_days} days" if table.expiration_days else ""
    yield f"Key: {_code(table.key)}."
    yield (
        f"Partitioned by `{table.partitioning}`{kept}, clustered by "
        f"{_code(table.clustering)}."
    )
    if table.requires_filter:
        yield f"BigQuery refuses a query that does not filter on `{table.partition}`."
    yield ""
    yield "| column | type | |"
    yield "|---|---|---|"
    for column in table.columns:
        yield from rows(column)
    yield ""


def export_rows() -> list[str]:
    """Return a row for each column of the view ga_events."""
    return [row for column in GA_EVENTS for row in rows(column)]


def rows(column: Column, *, prefix: str = "") -> Iterator[str]:
    """Yield the row of a column, and those of its fields below it."""
    kind = f"ARRAY<{column.type}>" if column.repeated else column.type
    required = ", required" if column.required else ""
    yield f"| `{prefix}{column.name}` | `{kind}`{required} | {column.description} |"
    for field in column.fields:
        yield from rows(field, prefix=f"{prefix}{column.name}.")


def _code(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    sys.stdout.write(page())
