"""Audiences: their members, what became of sending them, and what acting was worth."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated

from propensity.schema import (
    NULLABLE,
    Money,
    Number,
    Part,
    Row,
    RunId,
    Table,
    UseCaseName,
)

_EFFECT = "contacted minus control"
_ORDERS = "by effect minus by probability"
# Members have columns of the audience's own SQL, for example addresses.
EXPIRATION_DAYS = 400
Audience = Annotated[str, "Name of the audience"]


class MemberRow(Row):
    """One row per audience, date and user: contacted or control."""

    use_case: UseCaseName
    audience: Audience
    as_of: Annotated[date, "Prediction date"]
    user_id: Annotated[str, "The user"]
    probability: Annotated[float, "As published for as_of"]
    percentile: Annotated[int | None, "Rank within as_of, 1 to 100 highest"]
    expected_value: Annotated[float | None, "As published for as_of"]
    is_control: Annotated[bool, "Whether in the control group"]
    attributes: Annotated[str | None, "Further columns, JSON; null for control"]
    control_group: Annotated[str | None, "Name of the control group"]
    control_share: Annotated[float | None, "Share of the control group, 0 to 0.9"]
    selection: Annotated[str | None, "Rule, for example top 1000"]
    selected_at: Annotated[datetime | None, "When they were chosen"]
    decile_value: Annotated[float | None, "As published for as_of"]
    effect: Annotated[float | None, "Null in newer rows"]
    is_explored: Annotated[bool | None, "Whether drawn at random, by explore"]


AUDIENCE_MEMBERS = Table(
    name="ma_audience_members",
    row=MemberRow,
    key=("use_case", "audience", "as_of", "user_id"),
    partition="as_of",
    expiration_days=EXPIRATION_DAYS,
    clustering=("use_case", "audience", "user_id"),
)


class Effect(Row):
    """One row per audience and look: whether it may be ordered by effect."""

    use_case: UseCaseName
    audience: Audience
    as_of: Annotated[date, "Date of the look"]
    run_id: RunId
    looked_at: Annotated[datetime, "When the run began"]
    users: Annotated[int, "Members with final outcomes, each user once"]
    control_users: Annotated[int, "Of these, the control group"]
    gain: Annotated[Number, f"Positives per member, {_ORDERS}"]
    gain_low: Annotated[Number, f"Lower end: positives per member, {_ORDERS}"]
    gain_high: Annotated[Number, f"Upper end: positives per member, {_ORDERS}"]
    users_needed: Annotated[int | None, "Members who would show this gain"]
    is_open: Annotated[bool, "Whether it may be ordered by effect"]
    reason: Annotated[str, "Why, or why not"]
    model_object: Annotated[str | None, "Object name of the effect's model"]
    model_sha256: Annotated[str | None, "SHA-256 of its bytes"]


AUDIENCE_EFFECTS = Table(
    name="ma_audience_effects",
    row=Effect,
    key=("use_case", "audience", "as_of"),
    partition="as_of",
    clustering=("use_case", "audience"),
    newest="""\
  ROW_NUMBER() OVER (
    PARTITION BY use_case, audience, as_of
    ORDER BY looked_at DESC, run_id
  ) = 1""",
)


class Decile(Row):
    """A tenth of the users who may be members."""

    decile: Annotated[int, "1 for the best users, to 10"]
    users: Annotated[float, "Users in it"]
    conversions: Annotated[float, "Positives who are expected among them"]
    value: Annotated[Number, "What they are expected to pay"] = None
    cost: Annotated[Number, "What it costs to contact them"] = None
    pays_from: Annotated[Number, "Uplift from which contacting them pays"] = None


class Power(Row):
    """What an audience can show after some weeks."""

    weeks: Annotated[int, "Weeks from the prediction date on"]
    members: Annotated[int, "Members up to then, each user once"]
    smallest_lift: Annotated[Number, "Least effect that a weekly verdict finds"] = None


class Plan(Row):
    """One row per audience and date: what it may bring and can prove."""

    use_case: UseCaseName
    audience: Audience
    as_of: Annotated[date, "Prediction date"]
    planned_at: Annotated[datetime, "When the members were chosen"]
    control_group: Annotated[str, "Name of the control group"]
    control_share: Annotated[float, "Share of the control group, 0 to 0.9"]
    control_by: Annotated[str, "What it is drawn by: user_id, or a column"]
    control_key: Annotated[str, "Fingerprint of the key that draws it"]
    new_members_a_week: Annotated[Number, "Users who become members each week"] = None
    cost_per_contact: Annotated[Money, "What a contact costs, as declared"] = None
    margin: Annotated[Number, "Share of revenue that is left, as declared"] = None
    until: Annotated[date | None, "Last day on which it is sent, as declared"] = None
    declared_order: Annotated[str | None, "Order as declared"] = None
    used_order: Annotated[str | None, "Order in use"] = None
    order_reason: Annotated[str | None, "Null in newer rows"] = None
    explored: Annotated[int | None, "Members drawn at random"] = None
    added_conversions: Annotated[Number, "Null in newer rows"] = None
    added_value: Annotated[Number, "Null in newer rows"] = None
    power: Annotated[Sequence[Power], "Smallest effects after some weeks"] = ()
    deciles: Annotated[Sequence[Decile], "Possible members, in tenths"] = ()


AUDIENCE_PLANS = Table(
    name="ma_audience_plans",
    row=Plan,
    key=("use_case", "audience", "as_of"),
    partition="as_of",
    clustering=("use_case", "audience"),
)


class Recipient(Row):
    """A user of a request."""

    user_id: Annotated[str, "The user"]
    address: Annotated[str | None, "Fingerprint of the address; null for user ids"]


class Logged(Row):
    """One row per request, before it is sent and after it is answered."""

    use_case: UseCaseName
    audience: Audience
    as_of: Annotated[date, "Prediction date"]
    destination: Annotated[str, "Name of the destination"]
    action: Annotated[str, "add or remove"]
    request: Annotated[str, "Idempotency key of the request"]
    status: Annotated[str, "pending, accepted or rejected"]
    reason: Annotated[str | None, "Why it was rejected, or what the receiver said"]
    may_have_arrived: Annotated[bool | None, "Whether an earlier try may have arrived"]
    receipt: Annotated[str | None, "The receiver's request id, to ask later"]
    recorded_at: Annotated[datetime, "When the row was written"]
    recipients: Annotated[Sequence[Recipient], "Its users who have this status"]


AUDIENCE_REQUESTS = Table(
    name="ma_audience_requests",
    row=Logged,
    key=("use_case", "audience", "as_of", "destination", "action", "request"),
    partition="as_of",
    expiration_days=EXPIRATION_DAYS,
    clustering=("use_case", "audience", "destination"),
)
# Views of it: what is known of each user, and who is on a list, or may be.
AUDIENCE_LEDGER = "ma_audience_ledger"
AUDIENCE_LISTS = "ma_audience_lists"


class GroupSums(Row):
    """Sums of the users of a group who became members in a week."""

    is_control: Annotated[bool, "Whether it is the control group"]
    users: Annotated[int, "Users who became members in this week"] = 0
    conversions: Annotated[int, "Positives among them"] = 0
    revenue: Annotated[Money, "Sum of amounts; null where outcomes have none"] = None
    revenue_squares: Annotated[Number, "Sum of the squares of users' amounts"] = None
    probability: Annotated[float, "Sum of published probabilities"] = 0.0
    probability_squares: Annotated[float, "Sum of their squares"] = 0.0
    probability_conversions: Annotated[float, "Sum of those of the positives"] = 0.0
    probability_revenue: Annotated[Number, "Sum of probability times amount"] = None
    cost: Annotated[Money, "Cost of their contacts of that week"] = None
    margins: Annotated[Number, "Sum of the margins of their audiences"] = None


class Revenue(Part):
    """What members have paid; outcomes without amounts have none of it."""

    treated_revenue: Annotated[Money, "What the group paid"]
    control_revenue: Annotated[Money, "What the group paid"]
    revenue_difference: Annotated[Number, f"Amount per user, {_EFFECT}"]
    revenue_difference_low: Annotated[Number, f"Lower end: amount per user, {_EFFECT}"]
    revenue_difference_high: Annotated[Number, f"Upper end: amount per user, {_EFFECT}"]


class Figures(Part):
    """Contacted users against the control group, all members so far."""

    treated_users: Annotated[int, "Users of the group so far, each once", NULLABLE]
    control_users: Annotated[int, "Users of the group so far, each once", NULLABLE]
    treated_conversions: Annotated[int, "Those of them with the outcome", NULLABLE]
    control_conversions: Annotated[int, "Those of them with the outcome", NULLABLE]
    conversion_difference: Annotated[Number, f"Share of positives, {_EFFECT}"]
    conversion_difference_low: Annotated[Number, f"Lower end: positives, {_EFFECT}"]
    conversion_difference_high: Annotated[Number, f"Upper end: positives, {_EFFECT}"]
    variance_explained: Annotated[Number, "Chance that probabilities explain"]
    # Null without a conversion in the control group.
    conversion_lift: Annotated[Number, "Ratio of the two shares, minus 1"]
    # These users would show this difference in 80% of cases.
    detectable_difference: Annotated[Number, "Smallest difference to be seen"]
    sample_ratio_p: Annotated[float, "p-value of sizes; ignore below 0.001", NULLABLE]
    # Also too_few, no_control or sample_ratio.
    verdict: Annotated[str, "helps, harms or open; or why there is none", NULLABLE]
    revenue: Revenue | None = None


class Earned(Part):
    """What contacting brought, and what is left of it."""

    added_buyers: Annotated[Number, "Outcomes that contacting added"]
    added_buyers_low: Annotated[Number, "Lower end of its interval"]
    added_buyers_high: Annotated[Number, "Upper end of its interval"]
    brought: Annotated[Number, "Amount that contacting added"]
    brought_low: Annotated[Number, "Lower end: what contacting brought"]
    brought_high: Annotated[Number, "Upper end: what contacting brought"]
    cost: Annotated[Money, "Cost of first contacts"]
    margin: Annotated[Number, "Mean margin"]
    profit: Annotated[Number, "Margin of brought minus cost"]
    profit_low: Annotated[Number, "Lower end of the profit"]
    profit_high: Annotated[Number, "Upper end of the profit"]


class UpliftRow(Row):
    """
    A week of an audience, or of all audiences of a control group: contacted users
    against control.
    """

    use_case: UseCaseName
    week: Annotated[date, "Date of its newest members"]
    week_end: Annotated[date, "Day after the outcomes", NULLABLE]
    status: Annotated[str, "provisional or final", NULLABLE]
    run_id: RunId
    evaluated_at: Annotated[datetime, "When the run began", NULLABLE]
    control_share: Annotated[float, "Share of the control group, 0 to 0.9", NULLABLE]
    sums: Annotated[Sequence[GroupSums], "Sums over the week's new members"]
    figures: Figures
    earned: Earned


class Uplift(UpliftRow):
    """One row per audience and week: contacted users against control."""

    audience: Audience
    planned_until: Annotated[date | None, "Last day planned; null for a year"]


AUDIENCE_LIFT = Table(
    name="ma_audience_lift",
    row=Uplift,
    key=("use_case", "audience", "week"),
    partition="week",
    clustering=("use_case", "audience"),
    newest="""\
  ROW_NUMBER() OVER (
    PARTITION BY use_case, audience, week
    ORDER BY status = 'final' DESC, evaluated_at DESC, run_id
  ) = 1""",
)


class Programme(UpliftRow):
    """One row per control group, period and week: all its audiences together."""

    control_group: Annotated[str, "Name of the control group"]
    period: Annotated[str, "all, or a quarter such as 2026-Q1"]
    audiences: Annotated[Sequence[str], "Audiences with members so far"]


PROGRAMME_LIFT = Table(
    name="ma_programme_lift",
    row=Programme,
    key=("use_case", "control_group", "period", "week"),
    partition="week",
    clustering=("use_case", "control_group"),
    newest="""\
  ROW_NUMBER() OVER (
    PARTITION BY use_case, control_group, period, week
    ORDER BY status = 'final' DESC, evaluated_at DESC, run_id
  ) = 1""",
)
