"""Audiences: their members, what became of sending them, and what acting was worth."""

from __future__ import annotations

from propensity.schema import RUN, USE_CASE, Column, Table, structs
from propensity.tables.models import interval

_AUDIENCE = (
    USE_CASE,
    Column("audience", "STRING", "Name of the audience", required=True),
)

AUDIENCE_MEMBERS = Table(
    name="ma_audience_members",
    description="One row per audience, date and user: contacted or control",
    key=("use_case", "audience", "as_of", "user_id"),
    partition="as_of",
    clustering=("use_case", "audience", "user_id"),
    columns=(
        *_AUDIENCE,
        Column("as_of", "DATE", "Prediction date of the members", required=True),
        Column("user_id", "STRING", "The user", required=True),
        Column("probability", "FLOAT64", "As published for as_of", required=True),
        Column("is_control", "BOOL", "Whether in the control group", required=True),
        Column("control_group", "STRING", "Name that the control group is drawn by"),
        Column("control_share", "FLOAT64", "Share of the control group, 0 to 0.9"),
        Column("selection", "STRING", "How members were chosen, such as top 1000"),
        Column("selected_at", "TIMESTAMP", "When they were chosen"),
    ),
)

AUDIENCE_LEDGER = Table(
    name="ma_audience_ledger",
    description="One row per user who is sent: pending, then accepted or rejected",
    key=("use_case", "audience", "as_of", "destination", "action", "user_id"),
    partition="as_of",
    clustering=("use_case", "audience", "destination"),
    newest="""\
  ROW_NUMBER() OVER (
    PARTITION BY use_case, audience, as_of, destination, action, user_id
    ORDER BY status = 'pending', recorded_at DESC
  ) = 1""",
    columns=(
        *_AUDIENCE,
        Column("as_of", "DATE", "Prediction date of the members", required=True),
        Column("destination", "STRING", "Name of the destination", required=True),
        Column("action", "STRING", "add or remove", required=True),
        Column("user_id", "STRING", "The user", required=True),
        Column("request", "STRING", "Idempotency key of the request", required=True),
        Column("status", "STRING", "pending, accepted or rejected", required=True),
        Column("reason", "STRING", "Why it was rejected, by us or the receiver"),
        Column("recorded_at", "TIMESTAMP", "When the row was written", required=True),
    ),
)

_GROUP_SUMS = (
    Column("is_control", "BOOL", "Whether it is the control group"),
    Column("users", "INT64", "Users who became members in this week"),
    Column("conversions", "INT64", "Positives among them"),
    Column("revenue", "NUMERIC", "Sum of amounts; null where outcomes have none"),
    Column("revenue_squares", "FLOAT64", "Sum of the squares of users' amounts"),
)


def _effect(name: str, of: str) -> tuple[Column, ...]:
    return (
        Column(name, "FLOAT64", f"{of}, contacted minus control"),
        *interval(name, f"{of}, contacted minus control"),
    )


AUDIENCE_LIFT = Table(
    name="ma_audience_lift",
    description="One row per audience and week: contacted users against control",
    key=("use_case", "audience", "week"),
    partition="week",
    clustering=("use_case", "audience"),
    newest="""\
  ROW_NUMBER() OVER (
    PARTITION BY use_case, audience, week
    ORDER BY status = 'final' DESC, evaluated_at DESC, run_id
  ) = 1""",
    columns=(
        *_AUDIENCE,
        Column("week", "DATE", "Date of the newest members in it", required=True),
        Column("week_end", "DATE", "Day after the last of their outcomes"),
        Column("status", "STRING", "provisional, or final once labels are mature"),
        RUN,
        Column("evaluated_at", "TIMESTAMP", "When the run wrote this row"),
        Column("control_share", "FLOAT64", "Share of the control group"),
        structs("sums", "Sums of who became a member in this week", *_GROUP_SUMS),
        Column("treated_users", "INT64", "Contacted so far, each user once"),
        Column("control_users", "INT64", "Control group so far, each user once"),
        Column("treated_conversions", "INT64", "Contacted users with the outcome"),
        Column("control_conversions", "INT64", "Control users with the outcome"),
        Column("treated_revenue", "NUMERIC", "What they paid; null without amounts"),
        Column("control_revenue", "NUMERIC", "What they paid; null without amounts"),
        *_effect("conversion_difference", "Share of positives"),
        # Null without a conversion in the control group.
        Column("conversion_lift", "FLOAT64", "Ratio of the two shares, minus 1"),
        # What these users would show in 80% of cases.
        Column("detectable_difference", "FLOAT64", "Least difference they can show"),
        *_effect("revenue_difference", "Amount per user"),
        Column("sample_ratio_p", "FLOAT64", "p-value of sizes; ignore below 0.001"),
        # Also too_few, no_control or sample_ratio.
        Column("verdict", "STRING", "helps, harms or open; or why there is none"),
    ),
)
