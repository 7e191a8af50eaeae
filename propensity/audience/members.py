"""
The members of an audience: chosen once for an as-of date, and the same ever after.

Whoever was held out by an audience of a control group stays held out in all of them,
and so does who has the same address by now; also if that comes after the choice.

A user on the list of suppressed users is never chosen. The probabilities are the ones
of consenting users where the deployment demands consent.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from propensity import suppression
from propensity.audience.control import USER, Control, Draw, control_of, draw_of
from propensity.audience.declared import MOST_USERS, Declared, DeclaredAudience
from propensity.audience.spelling import coarsest, plain
from propensity.audience.values import entries_of, of_json
from propensity.errors import PropensityError, RequestError, UseCaseError
from propensity.ga4 import check_view
from propensity.registry.deployment import Deployment
from propensity.schema import rows_of
from propensity.statements import statement
from propensity.suppression import Suppressed
from propensity.usecases import UseCase

# Columns of candidates that are not the audience's own.
PUBLISHED = (
    "user_id",
    "probability",
    "percentile",
    "expected_value",
    "decile_value",
)
# Users whom a destination has; of some it says later what became.
RECEIVED = ("accepted", "waiting")
# What members may be put in order by, as files declare it.
EFFECT = "effect"
PROBABILITY = "probability"


@dataclass(frozen=True, slots=True)
class Member:
    """
    A user of an audience; without a probability, a user to be taken off a list.

    Attributes:
        percentile: Rank within the publication, 100 the highest.
        expected_value: Probability times amount; None where none is known.
        attributes: Further columns for the destination, as JSON; None without any.
        decile_value: Mean expected value of the user's tenth; None where none is known.
        effect: What contacting adds to the probability; None where it is not known.
        is_explored: Whether the user was drawn at random.
    """

    user_id: str
    probability: float | None = None
    percentile: int | None = None
    expected_value: float | None = None
    is_control: bool = False
    attributes: str | None = None
    decile_value: float | None = None
    effect: float | None = None
    is_explored: bool | None = False

    @property
    def values(self) -> dict[str, object]:
        """What a destination may be sent of the user, by name."""
        values: dict[str, object] = {}
        if self.attributes is not None:
            values = of_json(self.attributes)
        for name in PUBLISHED:
            values[name] = getattr(self, name)
        return values

    def score(self, order: str) -> float:
        """Return what members are put in order by; 0 where it is not known."""
        score: float | None = getattr(self, order)
        return 0.0 if score is None else score

    @property
    def key(self) -> str:
        """What tells it from the others of a request."""
        return self.user_id

    def known_by(self, column: str) -> str:
        """Return what a receiver knows the user by: the id, or a column's text."""
        return self.user_id if column == USER else plain(self.values.get(column))

    def drawn_by(self, column: str) -> str:
        """Return what the control group is drawn by: as ``known_by``, coarser."""
        return self.user_id if column == USER else coarsest(self.values.get(column))


@dataclass(frozen=True)
class Choice:
    """
    The statement by which the members of a date are chosen.

    Attributes:
        columns: Names of the further columns of the audience's own statement.
        entries: These columns in SQL, as of ``values.entries_of``.
    """

    use_case: UseCase
    named: DeclaredAudience
    parameters: Mapping[str, object]
    columns: Sequence[str]
    entries: str

    def statement(self, name: str) -> str:
        """Return a statement that reads the members of the choice."""
        by = self.named.declared.control_by
        return self.named.statement(
            name, self.use_case, drawn_by=by, own_columns=self.entries
        )


@dataclass(frozen=True, kw_only=True)
class Audience:
    """
    An audience of an as-of date.

    Attributes:
        selection: How members were chosen, in words.
        order: What they were put in order by: a column of predictions, or effect.
        order_reason: Why it is by effect, or is not yet; "" where nobody asks for that.
        suppressed: Number of users who are no members because they are suppressed, or
            not in the audience's own statement any more.
        columns: Names of the members' further columns.
        users: How many have a prediction of this date.
        last_size: Members as of the date before; None without one.
        sent_to: Destinations that have taken users of it, of this date or earlier.
        held_out: Members who were to be treated when they were chosen, and are in the
            control group by now.
    """

    use_case: str
    name: str
    as_of: date
    control: Control
    selection: str
    members: list[Member]
    suppressed: int
    is_stored: bool
    chosen_at: datetime
    columns: Sequence[str] = ()
    order: str = PROBABILITY
    order_reason: str = ""
    users: int = 0
    last_size: int | None = None
    sent_to: frozenset[str] = frozenset()
    held_out: frozenset[str] = frozenset()
    choice: Choice | None = None

    @property
    def key(self) -> dict[str, object]:
        """Use case, name and date, as tables have them."""
        return {"use_case": self.use_case, "audience": self.name, "as_of": self.as_of}

    @property
    def treated(self) -> list[Member]:
        """The members who are not held out."""
        return [member for member in self.members if not member.is_control]


def added_conversions(members: Iterable[Member]) -> float | None:
    """Return how many conversions contacting members should add; None if unknown."""
    effects = [member.effect for member in members if member.effect is not None]
    return sum(effects) if effects else None


def added_value(members: Iterable[Member]) -> float | None:
    """Return what contacting members should bring; None if that is not known."""
    added = list[float]()
    for member in members:
        value = member.expected_value
        if member.effect is not None and value is not None and member.probability:
            # So much is expected of a buyer.
            added.append(member.effect * value / member.probability)
    return sum(added) if added else None


def expected_conversions(members: Iterable[Member]) -> float:
    """Return how many members are expected to convert, by their probabilities."""
    chances = (member.probability for member in members)
    return sum(chance for chance in chances if chance is not None)


def find_or_choose(
    deployment: Deployment,
    named: DeclaredAudience,
    *,
    until: date | None,
    now: datetime,
) -> Audience:
    """
    Return the audience of the newest publication: stored members, or new ones.

    Nothing is written, but for the key of control groups.

    Args:
        until: The newest publication up to this date counts; None for today.

    Raises:
        RequestError: There is no publication, the audience was chosen or sent as of a
            newer date, or has ended; or as of ``control_of``.
        UseCaseError: Its own statement has a user twice, or nothing to draw the control
            group by, or BigQuery refuses it.
        ArtifactError, Conflict: As of ``control_of``.
        MissingTable, SettingsError, Unavailable: As named.
    """
    use_case = deployment.use_case
    warehouse = deployment.warehouse
    declared = named.declared
    day = now.date() if until is None else until
    if use_case.reads_export:
        check_view(warehouse, use_case)
    as_of, users = _publication(deployment, day)
    _check_not_over(named, day)
    # The newest date comes first.
    selections = deployment.rows("audience_selections", audience=named.name)
    sent = deployment.rows("audience_deliveries", audience=named.name)
    control = control_of(deployment, named)
    earlier = [row["as_of"] for row in list(selections) + list(sent)]
    _check_newest(named, as_of, earlier)
    stored = None
    if selections and selections[0]["as_of"] == as_of:
        stored = selections.pop(0)
    suppressed = suppression.read(warehouse)
    order, order_reason = _order(deployment, named, as_of)
    if stored is None:
        choice = _choice_of(
            deployment,
            named,
            as_of,
            control,
            order=order,
            users=users,
            suppressed=suppressed,
        )
        left_out = _checked(deployment, named, choice)["left_out"]
        chosen = deployment.warehouse.table(
            choice.statement("audience_chosen"), choice.parameters
        )
        members, held_out = _members_of(chosen)
        columns = choice.columns
    else:
        rows = _stored_rows(deployment, named, as_of, control)
        allowed = suppressed.without(rows, use_case.name)
        choice = None
        # A consent that the own statement reads may be withdrawn on a later day.
        if now.date() > stored["selected_at"].date() and named.sql_file.is_file():
            allowed = _still_eligible(allowed)
        members, held_out = _members_of(allowed)
        # Those of a member who may not be sent any more are known to the destination.
        columns = _columns_of(rows)
        left_out = len(rows) - len(allowed)
        order = order_of(members, declared.order)
    return Audience(
        use_case=use_case.name,
        name=named.name,
        as_of=as_of,
        control=control,
        selection=stored["selection"] if stored else declared.selection(order),
        order=order,
        order_reason=order_reason,
        members=members,
        suppressed=left_out,
        is_stored=stored is not None,
        chosen_at=stored["selected_at"] if stored else now,
        columns=columns,
        users=users,
        last_size=selections[0]["users"] if selections else None,
        sent_to=frozenset(
            row["destination"] for row in sent if row["status"] in RECEIVED
        ),
        held_out=held_out,
        choice=choice,
    )


def _check_newest(
    named: DeclaredAudience, as_of: date, earlier: Sequence[date]
) -> None:
    """Raise RequestError if the audience was chosen or sent for a later date."""
    newest = max(earlier, default=as_of)
    if newest > as_of:
        raise RequestError(
            f"{named.name} was already chosen or sent for {newest}, so it cannot "
            f"be chosen for the earlier {as_of}: that would add users again who have "
            "left, and distort the measured uplift",
            field="as_of",
        )


def order_of(members: Sequence[Member], declared: str) -> str:
    """Return what members were put in order by: by effect only if they have one."""
    has_effects = any(member.effect is not None for member in members)
    return PROBABILITY if declared == EFFECT and not has_effects else declared


def find_treated(
    deployment: Deployment, named: DeclaredAudience
) -> tuple[date, list[Member]]:
    """
    Return whom a delivery of the newest stored date would contact today.

    Raises:
        RequestError: No date is stored yet.
        MissingTable, SettingsError, Unavailable: As named.
    """
    use_case = deployment.use_case
    if use_case.reads_export:
        check_view(deployment.warehouse, use_case)
    selections = deployment.rows("audience_selections", audience=named.name)
    if not selections:
        words = f"{named.name} --use-case {use_case.name}"
        raise RequestError(
            f"{named.name} has no members yet",
            hint=f"Run `propensity audience send {words}`, which chooses them",
            field="audience",
        )
    as_of = selections[0]["as_of"]
    suppressed = suppression.read(deployment.warehouse)
    rows = _stored_rows(deployment, named, as_of, draw_of(named))
    allowed = suppressed.without(rows, use_case.name)
    if named.sql_file.is_file():
        allowed = _still_eligible(allowed)
    members, _ = _members_of(allowed)
    rejected = {
        row["user_id"]
        for row in deployment.rows("audience_rejected", audience=named.name)
    }
    treated = []
    for member in members:
        if not member.is_control and member.user_id not in rejected:
            treated.append(member)
    return as_of, treated


def further_columns(members: Iterable[Member]) -> list[str]:
    """Return the names of the members' further columns."""
    texts = (member.attributes for member in members if member.attributes)
    return list(json.loads(next(texts, "{}")))


def _stored_rows(
    deployment: Deployment, named: DeclaredAudience, as_of: date, draw: Draw
) -> pa.Table:
    """Read stored members, with what the statement knows of them by now."""
    sql = named.statement("audience_members", deployment.use_case, drawn_by=draw.by)
    return deployment.warehouse.table(sql, _parameters(deployment, named, as_of, draw))


def _parameters(
    deployment: Deployment, named: DeclaredAudience, as_of: date, draw: Draw
) -> dict[str, object]:
    return {
        **named.parameters(deployment.use_case, deployment.settings, as_of),
        "order": named.declared.order,
        "control_group": draw.group,
        "control_by": draw.by,
    }


class NewlyHeldOut:
    """Who was to be treated, and has got into the control group by now."""

    def __init__(
        self, deployment: Deployment, named: DeclaredAudience, as_of: date
    ) -> None:
        self._deployment = deployment
        self._named = named
        self._as_of = as_of
        self._group: dict[str, object] = {}
        self._users = frozenset[str]()

    def read(self) -> frozenset[str]:
        """Return them; the audience's own statement runs only if the group changed."""
        deployment = self._deployment
        draw = draw_of(self._named)
        [row] = deployment.warehouse.rows(
            statement("audience_group"), {"control_group": draw.group}
        )
        group = dict(row.items())
        if group != self._group:
            sql = self._named.statement(
                "audience_newly_held_out", deployment.use_case, drawn_by=draw.by
            )
            rows = deployment.warehouse.table(
                sql, _parameters(deployment, self._named, self._as_of, draw)
            )
            self._users = frozenset(rows["user_id"].to_pylist())
            self._group = group
        return self._users


def _still_eligible(rows: pa.Table) -> pa.Table:
    """Return the members whom the own statement still has, and the control group."""
    return rows.filter(pc.or_(rows["is_control"], rows["is_eligible"]))


def _members_of(rows: pa.Table) -> tuple[list[Member], frozenset[str]]:
    """Return members, and who of those to be treated is in the control group by now."""
    members = list[Member]()
    held_out = set[str]()
    for row in rows_of(rows):
        row.pop("is_eligible", None)
        if row.pop("is_newly_held_out"):
            row["is_control"] = True
            held_out.add(row["user_id"])
        members.append(Member(**row))
    return members, frozenset(held_out)


def _columns_of(rows: pa.Table) -> list[str]:
    """Return the names of the further columns of stored members."""
    texts = rows["attributes"].drop_null()
    return list(json.loads(texts[0].as_py())) if len(texts) else []


def _order(
    deployment: Deployment, named: DeclaredAudience, as_of: date
) -> tuple[str, str]:
    """
    Return what members are put in order by, and why it is by effect or not yet.

    Until the gate is open, and users have effects, the order is by probability.
    """
    order = named.declared.order
    if order != EFFECT:
        return order, ""
    looks = deployment.rows("audience_effect", audience=named.name, as_of=as_of)
    if not looks:
        return PROBABILITY, (
            "not looked at yet: 00-ModelTraining does so once outcomes of its members "
            "are final"
        )
    [look] = looks
    if look["is_published"]:
        return EFFECT, look["reason"]
    if look["is_open"]:
        return PROBABILITY, f"{look['reason']}, from the next predictions on"
    return PROBABILITY, look["reason"]


def most_candidates(
    declared: Declared, control: Control, *, users: int, suppressed: int
) -> int:
    """
    Return how many candidates to read: no more than are needed.

    Args:
        suppressed: How many users are left out after that.
    """
    limit = declared.limit(users)
    paid_for = declared.paid_for
    if paid_for is not None:
        # Too few by chance once in 10^18 times, whatever the budget and the share.
        limit = int(1.5 * paid_for / (1 - control.share)) + 1_000
    return MOST_USERS if limit is None else min(limit + suppressed, MOST_USERS)


def _places(declared: Declared, control: Control, users: int) -> int:
    """Return the largest number of members, of which some are drawn at random."""
    limit = declared.limit(users)
    if declared.paid_for is not None:
        limit = int(declared.paid_for / (1 - control.share))
    return MOST_USERS if limit is None else limit


def _choice_of(
    deployment: Deployment,
    named: DeclaredAudience,
    as_of: date,
    control: Control,
    *,
    order: str,
    users: int,
    suppressed: Suppressed,
) -> Choice:
    """
    Return the choice of a date's members.

    Args:
        users: How many the publication has.

    Raises:
        UseCaseError: BigQuery refuses the audience's own statement, or the control
            group cannot be drawn by its columns.
    """
    use_case = deployment.use_case
    declared = named.declared
    is_priced = declared.cost_per_contact is not None and declared.margin is not None
    parameters = {
        **named.parameters(use_case, deployment.settings, as_of),
        **control.parameters,
        "order": order,
    }
    sql = named.statement("audience_columns", use_case)
    with _told(named, use_case):
        fields = list(deployment.warehouse.table(sql, parameters).schema)
    # BigQuery takes User_ID for user_id, and keeps its spelling.
    own = [field for field in fields if field.name.lower() != USER]
    _check_drawable(named, own)
    limit = declared.limit(users)
    paid_for = declared.paid_for
    listed = suppressed_among(deployment, named, as_of, suppressed)
    parameters |= {
        "least": 0.0 if declared.threshold is None else declared.threshold,
        "most": MOST_USERS if limit is None else limit,
        "paid_for": MOST_USERS if paid_for is None else paid_for,
        "read": most_candidates(
            declared, control, users=users, suppressed=len(suppressed)
        ),
        "places": _places(declared, control, users),
        "explore": declared.explored,
        "cost": declared.cost_per_contact if is_priced else 0.0,
        "margin": declared.margin if is_priced else 0.0,
        "suppressed": listed,
    }
    columns = [field.name for field in own]
    return Choice(use_case, named, parameters, columns, entries_of(own))


@contextlib.contextmanager
def _told(named: DeclaredAudience, use_case: UseCase) -> Iterator[None]:
    """Say of an error that the audience's own statement may be at fault."""
    try:
        yield
    except PropensityError as error:
        if error.retryable or not named.sql_file.is_file():
            raise
        raise UseCaseError(
            f"{use_case.name}/audiences/{named.sql_file.name}: {error.problem}",
            hint="It needs a row for each user, with the column user_id and that of "
            "control_by, may read what features.sql reads, and has no column that is "
            "called as one of ours: docs/audiences-reference.md#who-may-be-a-member",
        ) from error


def suppressed_among(
    deployment: Deployment,
    named: DeclaredAudience,
    as_of: date,
    suppressed: Suppressed,
) -> list[str]:
    """
    Return the suppressed users that a publication, or members of its date, still have.

    They are hashed here, since no statement may have the key of their list.
    """
    name = deployment.use_case.name
    listed = list[str]()
    if suppressed:
        sql = statement("audience_users")
        key = {"use_case": name, "audience": named.name, "as_of": as_of}
        for batch in deployment.warehouse.batches(sql, key):
            for user in batch["user_id"].to_pylist():
                if suppressed.covers(user, name):
                    listed.append(user)
    # An empty list has no type, and nobody has an empty id.
    return listed if listed else [""]


def _checked(
    deployment: Deployment, named: DeclaredAudience, choice: Choice
) -> dict[str, Any]:
    """
    Return sums over the members that a choice would have.

    Raises:
        UseCaseError: The audience's own statement has a user twice, or nothing to draw
            the control group by.
        RequestError: Nothing is published that members are put in order by.
    """
    sql = choice.statement("members_sums")
    with _told(named, choice.use_case):
        [row] = deployment.warehouse.rows(sql, choice.parameters)
    sums = dict(row.items())
    file = f"{choice.use_case.name}/audiences/{named.sql_file.name}"
    if sums["repeated"]:
        raise UseCaseError(
            f"{file} has {sums['repeated']} rows of users that it has more than once: "
            "each user needs one row, for example by QUALIFY ROW_NUMBER() OVER "
            "(PARTITION BY user_id ORDER BY …) = 1"
        )
    if sums["users"] and not sums["scored"]:
        raise RequestError(
            f"{choice.use_case.name} publishes no {choice.parameters['order']} for "
            f"{choice.parameters['as_of']}",
            hint='Set order = "probability" in the audience\'s file',
            field="order",
        )
    if sums["nameless"]:
        column = named.declared.control_by
        raise UseCaseError(
            f"{named.sql_file.name} has {sums['nameless']} users without {column}, by "
            "which the control group is drawn",
            hint=f"Leave them out, for example with WHERE {column} != ''",
        )
    return sums


def _check_drawable(named: DeclaredAudience, fields: Iterable[pa.Field]) -> None:
    """Make sure that a control group can be drawn by a column."""
    column = named.declared.control_by
    if column == USER:
        return
    types = {field.name: field.type for field in fields}
    file = named.sql_file.name
    if column not in types:
        raise UseCaseError(
            f"{named.name} draws its control group by {column}, and {file} has no "
            "such column",
            hint="Correct control_by, or select the column",
        )
    if types[column] not in (pa.string(), pa.int64()):
        raise UseCaseError(
            f"{named.name} draws its control group by {column}, which is neither a "
            f"STRING nor an INT64 in {file}",
            hint=f"Select CAST({column} AS STRING) AS {column}, written as in your "
            "other audiences",
        )


def store(deployment: Deployment, audience: Audience) -> None:
    """Write the members of an audience, unless they are there: all of them or none."""
    choice = audience.choice
    if choice is None:
        return
    parameters = {
        **choice.parameters,
        "control_share": audience.control.share,
        "selection": audience.selection,
        "selected_at": audience.chosen_at,
    }
    deployment.warehouse.execute(choice.statement("audience_choose"), parameters)


def _check_not_over(named: DeclaredAudience, day: date) -> None:
    last = named.declared.until
    if last and day > last:
        raise RequestError(
            f"{named.name} ended with {last}, and {day} is later: to go on, change "
            f"until in audiences/{named.name}.toml",
            field="as_of",
        )


def _publication(deployment: Deployment, until: date) -> tuple[date, int]:
    """Return the date of the newest publication, and its number of users."""
    name = deployment.use_case.name
    if deployment.use_case.scores_events:
        raise RequestError(
            f"{name} scores events, and an audience consists of users", field="use_case"
        )
    ever = date(1970, 1, 1)
    rows = deployment.rows("newest_publication", since=ever, until=until)
    if not rows:
        raise RequestError(
            f"{name} has no predictions up to {until}",
            hint="Call 01-Predictions",
            field="as_of",
        )
    return rows[0]["as_of"], rows[0]["users"]
