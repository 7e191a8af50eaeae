"""What is watched for drift, by publication."""

from __future__ import annotations

from propensity.schema import Column, Table
from propensity.tables.figures import RUN

DRIFT = Table(
    name="ma_drift",
    description="One row per publication and thing that is watched for drift: a "
    "feature, the scores, the users, and later the outcomes",
    key=("use_case", "as_of", "thing", "name"),
    partition="as_of",
    clustering=("use_case", "thing"),
    newest="""\
  RANK() OVER (
    PARTITION BY use_case, as_of, thing
    ORDER BY written_at DESC, run_id
  ) = 1""",
    columns=(
        Column("use_case", "STRING", "Use case", required=True),
        Column("as_of", "DATE", "As-of date of the publication", required=True),
        Column("thing", "STRING", "feature, score, users or outcome", required=True),
        Column("name", "STRING", "Its name, such as the feature's", required=True),
        Column("model_version", "INT64", "Model that scored"),
        *RUN,
        Column("written_at", "TIMESTAMP", "When that run began"),
        Column("kind", "STRING", "number or category; null where there is one value"),
        Column("users", "INT64", "Users of the publication"),
        Column("missing", "INT64", "Users without a value"),
        Column(
            "counts",
            "STRUCT",
            "Users by value",
            repeated=True,
            fields=(
                Column(
                    "value",
                    "STRING",
                    "Of a number the end of its bucket nearer to 0; null for all "
                    "values of a category that under ten users have",
                ),
                Column("users", "INT64", "Users with it"),
            ),
        ),
        Column(
            "value",
            "FLOAT64",
            "Where there is one value: logarithm of users or of the mean probability, "
            "log-odds that were lacking",
        ),
        Column("error", "FLOAT64", "Standard error of value"),
        Column("distance", "FLOAT64", "From the publications before; null if too few"),
        Column("noise", "FLOAT64", "What chance may add to distance"),
        Column("threshold", "FLOAT64", "The distance that matters"),
        Column("is_alarm", "BOOL", "Whether distance less noise is above threshold"),
        Column(
            "cause",
            "STRING",
            "feature, missing values, source, users, score or season",
        ),
        Column("message", "STRING", "What has changed, in a sentence"),
    ),
)
