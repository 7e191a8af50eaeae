"""Publications beside the training of their model."""

from __future__ import annotations

from propensity.schema import Column, Table
from propensity.tables.figures import RUN

DRIFT = Table(
    name="ma_drift",
    description="One row per publication and feature, beside the training of its "
    "model; one of the scores, and one of the users",
    key=("use_case", "as_of", "kind", "name"),
    partition="as_of",
    clustering=("use_case", "kind"),
    newest="""\
  RANK() OVER (
    PARTITION BY use_case, as_of
    ORDER BY written_at DESC, run_id
  ) = 1""",
    columns=(
        Column("use_case", "STRING", "Use case", required=True),
        Column("as_of", "DATE", "As-of date of the publication", required=True),
        Column("kind", "STRING", "feature, score or users", required=True),
        Column(
            "name", "STRING", "The feature's; or probability, or users", required=True
        ),
        Column("model_version", "INT64", "Model that scored"),
        *RUN,
        Column("written_at", "TIMESTAMP", "When that run began"),
        Column("users", "INT64", "Users of the publication"),
        Column("users_before", "INT64", "Users of a snapshot of the training"),
        Column("missing", "FLOAT64", "Share of users without a value"),
        Column("missing_before", "FLOAT64", "That share in the training"),
        Column("psi", "FLOAT64", "Population stability index; null for users"),
        Column("bound", "FLOAT64", "psi above it is an alarm: more for few users"),
        Column(
            "bins",
            "STRUCT",
            "Shares by value, the scores' without the season's shift",
            repeated=True,
            fields=(
                Column("value", "STRING", "A value, or a range of numbers"),
                Column("expected", "FLOAT64", "Share in the training"),
                Column("observed", "FLOAT64", "Share of the publication"),
            ),
        ),
        Column("is_alarm", "BOOL", "Whether a person should look at it"),
        Column("cause", "STRING", "feature, missing values, score or users"),
        Column("message", "STRING", "What has changed, in a sentence"),
    ),
)
