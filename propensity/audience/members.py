"""
The members of an audience: chosen once for an as-of date, and the same ever after.

They are chosen by a statement and stay in BigQuery: of all of them there are sums here,
and of those who are sent a page at a time (``requests``).

Whoever was held out by an audience of a control group stays held out in all of them,
and so does who has the same address by now; also if that comes after the choice.

A user on the list of suppressed users is never chosen. The probabilities are the ones
of consenting users where the deployment demands consent.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from propensity import suppression
from propensity.audience.control import USER, Control, Draw, control_of, draw_of
from propensity.audience.declared import (
    BUCKET,
    MOST_USERS,
    Declared,
    DeclaredAudience,
    folder_of,
)
from propensity.audience.destinations.values import of_json, plain
from propensity.errors import PropensityError, RequestError, UseCaseError
from propensity.ga4.view import check_view
from propensity.measures.statistic import Statistic
from propensity.registry.deployment import Deployment
from propensity.statements import statement
from propensity.usecases import UseCase

# What is published of a user, and may be sent.
PUBLISHED = ("user_id", "probability", "percentile", "expected_value", "decile_value")
# What members may be put in order by, as files declare it.
EFFECT = "effect"
PROBABILITY = "probability"
# Rows of a stream that are in Python at once.
PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Member:
    """
    A user of a request; without a probability, a user to be taken off a list.

    Attributes:
        attributes: Further columns for the destination, as JSON; None without any.
        address: Of who is taken off, the fingerprint of the address that the list has,
            since a user may be there by several; None where it has none.
    """

    user_id: str
    probability: float | None = None
    percentile: int | None = None
    expected_value: float | None = None
    attributes: str | None = None
    decile_value: float | None = None
    effect: float | None = None
    address: str | None = None

    @property
    def values(self) -> dict[str, object]:
        """What a destination may be sent of the user, by name."""
        values: dict[str, object] = {}
        if self.attributes is not None:
            values = of_json(self.attributes)
        for name in PUBLISHED:
            values[name] = getattr(self, name)
        return values

    @property
    def key(self) -> str:
        """What tells it from the others of a request."""
        if self.address is None:
            return self.user_id
        return f"{self.user_id} {self.address}"

    def known_by(self, column: str) -> str:
        """Return what a receiver knows the user by: the id, or a column's text."""
        return self.user_id if column == USER else plain(self.values.get(column))


@dataclass(frozen=True)
class Source:
    """
    Where the members of an audience are read: a part of statements, with parameters.

    The part has them as they are chosen, as they are stored, or nobody; entries are of
    ``_entries_of``. A consent is asked again by ``consent_by``, a column; "" for none.
    """

    named: DeclaredAudience
    use_case: UseCase
    part: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    entries: str = ""
    consent_by: str = ""

    def statement(self, name: str, **more: str) -> str:
        """Return a statement that reads the members, with more parts of its own."""
        named = self.named
        by = named.declared.control_by
        parts = {"drawn_by": by, "own_columns": self.entries}
        parts |= {"consent": "'null'", "stored_consent": "NULL"}
        if self.consent_by:
            path = json.dumps(self.consent_by, ensure_ascii=False)
            parts["consent"] = f"TO_JSON_STRING(`{self.consent_by}`)"
            parts["stored_consent"] = f"JSON_VALUE(m.attributes, '$.{path}')"
        members = named.lines(self.part, self.use_case, **parts)
        parts |= more
        return named.statement(name, self.use_case, members=members, **parts)


@dataclass(frozen=True)
class Sums:
    """
    Sums over the members of an audience.

    Attributes:
        users: How many were looked at: ``left_out`` of them are suppressed, or not in
            the audience's own statement any more; ``scored`` have what members are put
            in order by; ``repeated`` and ``nameless`` are rows at fault.
        expected, added_conversions, added_value: Of those who are treated: how many are
            expected to convert, how many more by contacting them, and what that brings;
            None where it is not known.
        example: Further columns of one of them, as JSON; None without any.
    """

    users: int = 0
    repeated: int = 0
    scored: int = 0
    nameless: int = 0
    left_out: int = 0
    example: str | None = None
    members: int = 0
    control_members: int = 0
    explored: int = 0
    probability: float | None = None
    probability_squares: float | None = None
    valued: int = 0
    with_effect: int = 0
    expected: float | None = None
    added_conversions: float | None = None
    added_value: float | None = None

    @property
    def chances(self) -> Statistic:
        probability = 0.0 if self.probability is None else self.probability
        squares = 0.0 if self.probability_squares is None else self.probability_squares
        return Statistic(users=self.members, total=probability, squares=squares)

    @property
    def treated(self) -> int:
        return self.members - self.control_members


@dataclass(frozen=True, kw_only=True)
class Audience:
    """
    An audience of an as-of date.

    Attributes:
        selection: How members were chosen, in words.
        columns: Names of the members' further columns.
        order: What they were put in order by: a column of predictions, or effect.
        order_reason: Why it is by effect, or is not yet; "" where nobody asks for that.
        last_size: Members as of the date before; None without one.
        sent_to: Destinations that have taken users of it, of this date or earlier.
    """

    use_case: str
    name: str
    as_of: date
    control: Control
    selection: str
    is_stored: bool
    chosen_at: datetime
    source: Source
    sums: Sums = field(default_factory=Sums)
    columns: Sequence[str] = ()
    order: str = PROBABILITY
    order_reason: str = ""
    last_size: int | None = None
    sent_to: frozenset[str] = frozenset()

    @property
    def key(self) -> dict[str, object]:
        return {"use_case": self.use_case, "audience": self.name, "as_of": self.as_of}


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
    """
    use_case = deployment.use_case
    declared = named.declared
    day = now.date() if until is None else until
    if use_case.reads_export:
        check_view(deployment.warehouse, use_case)
    as_of, users = _publication(deployment, day)
    if declared.until and day > declared.until:
        raise RequestError(
            f"{named.name} ended with {declared.until}, and {day} is later: to go on, "
            f"change until in audiences/{named.name}.toml",
            field="as_of",
        )
    # The newest date comes first.
    selections = deployment.rows("audience_selections", audience=named.name)
    sent = deployment.rows("audience_deliveries", audience=named.name)
    control = control_of(deployment, named)
    earlier = [row["as_of"] for row in list(selections) + list(sent)]
    newest = max(earlier, default=as_of)
    if newest > as_of:
        what = f"was already chosen or sent for {newest}"
        if not selections or selections[0]["as_of"] < newest:
            what = f"was ended, or had no members, after {as_of}"
        raise RequestError(
            f"{named.name} {what}, so it cannot be chosen for the earlier {as_of}: "
            "that would add users again who have left, and distort the measured uplift",
            hint="It is sent again with the next predictions",
            field="as_of",
        )
    order, order_reason = _order(deployment, named, as_of)
    stored = None
    if selections and selections[0]["as_of"] == as_of:
        stored = selections.pop(0)
    if stored is None:
        source, columns = _choice(
            deployment, named, as_of, control, order=order, users=users
        )
        with _told(named, use_case):
            sums = sums_of(deployment, source)
        _check(source, sums)
    else:
        # A consent that the own statement reads may be withdrawn since.
        source = stored_members(deployment, named, as_of, asks_again=True)
        with _told(named, use_case):
            sums = sums_of(deployment, source)
            columns = _columns_of(deployment, source, sums)
        order = order_of(sums, declared.order)
    # Of some it says later what became.
    sent_to = [r["destination"] for r in sent if r["status"] in ("accepted", "waiting")]
    return Audience(
        use_case=use_case.name,
        name=named.name,
        as_of=as_of,
        control=control,
        selection=stored["selection"] if stored else declared.selection(order),
        is_stored=stored is not None,
        chosen_at=stored["selected_at"] if stored else now,
        source=source,
        sums=sums,
        columns=columns,
        order=order,
        order_reason=order_reason,
        last_size=selections[0]["users"] if selections else None,
        sent_to=frozenset(sent_to),
    )


def nobody(
    deployment: Deployment, name: str, as_of: date, chosen_at: datetime
) -> Audience:
    """Return an audience that has ended; its file may be gone."""
    use_case = deployment.use_case
    # Nobody is chosen, drawn or sent by these.
    file = Declared(destination=BUCKET, top=1)
    named = DeclaredAudience(name, folder_of(use_case), file)
    return Audience(
        use_case=use_case.name,
        name=name,
        as_of=as_of,
        control=Control(key=b"", group=name, share=0.0),
        selection="nobody, because the audience has ended",
        is_stored=True,
        chosen_at=chosen_at,
        # Nobody has an empty id.
        source=Source(named, use_case, "nobody", {"suppressed": [""]}),
    )


def order_of(sums: Sums, declared: str) -> str:
    """Return what members were put in order by: by effect only if they have one."""
    return PROBABILITY if declared == EFFECT and not sums.with_effect else declared


def find_treated(
    deployment: Deployment, named: DeclaredAudience
) -> tuple[date, Sums, list[str], Iterator[list[Member]]]:
    """
    Return whom a delivery of the newest stored date would contact today.

    Returns:
        The date, sums over its members, the names of their further columns, and pages
        of those who are treated, the best first.
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
    source = stored_members(deployment, named, as_of, asks_again=True)
    sums = sums_of(deployment, source)
    order = order_of(sums, named.declared.order)
    rows = deployment.warehouse.batches(
        source.statement("members_listed"), {**source.parameters, "best_first": order}
    )
    pages = ([Member(**row) for row in page] for page in pages_of_batches(rows))
    return as_of, sums, _columns_of(deployment, source, sums), pages


def _columns_of(deployment: Deployment, source: Source, sums: Sums) -> list[str]:
    """Return the names of the further columns of stored members."""
    if sums.example:
        return list(json.loads(sums.example))
    if sums.treated or not source.named.sql_file.is_file():
        return []
    # None are stored of the control group, which all may be in.
    fields = _further_columns(deployment, source.named, source.parameters)
    return [field.name for field in fields]


def pages_of_batches(
    batches: Iterable[pa.RecordBatch],
) -> Iterator[list[dict[str, Any]]]:
    """Yield rows as values by column, of which a page is held at once."""
    for batch in batches:
        for start in range(0, batch.num_rows, PAGE):
            yield batch.slice(start, PAGE).to_pylist()


def stored_members(
    deployment: Deployment, named: DeclaredAudience, as_of: date, *, asks_again: bool
) -> Source:
    """
    Return where the members of a stored date are read.

    Where it is asked again, those who left the audience's own statement are none, and
    nor are those whose consent is another one there.
    """
    draw = draw_of(named)
    use_case = deployment.use_case
    parameters = {
        **_parameters(deployment, named, as_of, draw),
        "suppressed": _suppressed_among(deployment, named, as_of),
        "asks_again": asks_again and named.sql_file.is_file(),
    }
    consent_by = named.destination_entries.get("consent_by", "")
    return Source(named, use_case, "members", parameters, consent_by=str(consent_by))


def sums_of(deployment: Deployment, source: Source) -> Sums:
    sql = source.statement("members_sums")
    [row] = deployment.warehouse.rows(sql, source.parameters)
    return Sums(**dict(row.items()))


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
    """Who was to be treated, and has got into the control group when it was read."""

    def __init__(self, deployment: Deployment, audience: Audience) -> None:
        self.users = frozenset[str]()
        self._deployment = deployment
        self._audience = audience
        self._group: dict[str, object] = {}

    def read(self) -> None:
        """Read them; the audience's own statement runs only if the group changed."""
        deployment = self._deployment
        named = self._audience.source.named
        draw = draw_of(named)
        [row] = deployment.warehouse.rows(
            statement("audience_group"), {"control_group": draw.group}
        )
        group = dict(row.items())
        if group == self._group:
            return
        sql = named.statement(
            "audience_newly_held_out", deployment.use_case, drawn_by=draw.by
        )
        given = _parameters(deployment, named, self._audience.as_of, draw)
        rows = deployment.warehouse.table(sql, given)
        self.users = frozenset(rows["user_id"].to_pylist())
        self._group = group


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
    reason = look["reason"]
    if look["is_published"]:
        return EFFECT, reason
    if look["is_open"]:
        reason += ", from the next predictions on"
    return PROBABILITY, reason


# -- the choice -----------------------------------------------------------------------


def _choice(
    deployment: Deployment,
    named: DeclaredAudience,
    as_of: date,
    control: Control,
    *,
    order: str,
    users: int,
) -> tuple[Source, list[str]]:
    """Return the choice of a date's members, and names of their further columns."""
    use_case = deployment.use_case
    declared = named.declared
    is_priced = declared.cost_per_contact is not None and declared.margin is not None
    parameters = _parameters(deployment, named, as_of, control)
    parameters |= {"order": order, **control.parameters}
    with _told(named, use_case):
        further = _further_columns(deployment, named, parameters)
    by = declared.control_by
    drawn = [field for field in further if field.name == by]
    if by != USER and (not drawn or drawn[0].type not in (pa.string(), pa.int64())):
        raise UseCaseError(
            f"{named.name} draws its control group by {by}, which is neither a STRING "
            f"nor an INT64 of {named.sql_file.name}",
            hint=f"Select CAST({by} AS STRING) AS {by}, written as in your other "
            "audiences",
        )
    suppressed = _suppressed_among(deployment, named, as_of)
    most = declared.most(users)
    # All who are looked at, the control group among them.
    paid_for = declared.paid_for / (1 - control.share)
    # Too few by chance once in 10^18 times, whatever the budget and the share.
    read = min(most, int(1.5 * paid_for) + 1_000) + len(suppressed)
    parameters |= {
        "least": 0.0 if declared.threshold is None else declared.threshold,
        "most": most,
        "paid_for": declared.paid_for,
        "read": min(read, MOST_USERS),
        "places": min(most, int(paid_for)),
        "explore": declared.explored,
        "cost": declared.cost_per_contact if is_priced else 0.0,
        "margin": declared.margin if is_priced else 0.0,
        "suppressed": suppressed,
    }
    source = Source(
        named, use_case, "audience_choice", parameters, _entries_of(further)
    )
    return source, [field.name for field in further]


def _further_columns(
    deployment: Deployment, named: DeclaredAudience, parameters: Mapping[str, object]
) -> list[pa.Field]:
    """Return the columns of an audience's own statement but for the user's id."""
    sql = named.statement("audience_columns", deployment.use_case)
    fields = deployment.warehouse.table(sql, parameters).schema
    # BigQuery takes User_ID for user_id, and keeps its spelling.
    return [field for field in fields if field.name.lower() != USER]


def _entries_of(fields: Iterable[pa.Field]) -> str:
    """
    Return the entries of a JSON object with columns, as an expression of SQL.

    BigQuery writes a NUMERIC and a long whole number as a text of JSON, and the entries
    of a STRUCT in another order: so numbers are written by CAST, one by one.
    """
    parts = list[str]()
    for entry in fields:
        name = json.dumps(json.dumps(entry.name) + ":", ensure_ascii=False)
        column = f"`{entry.name}`"
        value = f"TO_JSON_STRING({column})"
        if pa.types.is_decimal128(entry.type):
            value = f"CAST(CAST({column} AS NUMERIC) AS STRING)"
        elif pa.types.is_decimal(entry.type) or pa.types.is_integer(entry.type):
            value = f"CAST({column} AS STRING)"
        elif pa.types.is_nested(entry.type):
            value = f"TO_JSON_STRING(TO_JSON({column}))"
        comma = "',', " if parts else ""
        parts.append(f"{comma}{name}, IFNULL({value}, 'null')")
    return ", ".join(parts) if parts else "''"


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


def _suppressed_among(
    deployment: Deployment, named: DeclaredAudience, as_of: date
) -> list[str]:
    """Return suppressed users of a date, hashed here: no statement has their key."""
    name = deployment.use_case.name
    suppressed = suppression.read_suppressed(deployment.warehouse)
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


def _check(source: Source, sums: Sums) -> None:
    """Make sure that members can be chosen of those who were looked at."""
    file = source.named.sql_file.name
    if sums.repeated:
        raise UseCaseError(
            f"{source.use_case.name}/audiences/{file} has {sums.repeated} rows of "
            "users that it has more than once: each user needs one row, for example "
            "by QUALIFY ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY …) = 1"
        )
    if sums.users and not sums.scored:
        raise RequestError(
            f"{source.use_case.name} publishes no {source.parameters['order']} for "
            f"{source.parameters['as_of']}",
            hint='Set order = "probability" in the audience\'s file',
            field="order",
        )
    if sums.nameless:
        column = source.named.declared.control_by
        raise UseCaseError(
            f"{file} has {sums.nameless} users without {column}, by which the control "
            "group is drawn",
            hint=f"Leave them out, for example with WHERE {column} != ''",
        )


def store(deployment: Deployment, audience: Audience) -> Audience:
    """Write the members that are chosen, unless they are there: all or none."""
    source = audience.source
    parameters = {
        **source.parameters,
        "control_share": audience.control.share,
        "selection": audience.selection,
        "selected_at": audience.chosen_at,
    }
    deployment.warehouse.execute(source.statement("audience_choose"), parameters)
    stored = stored_members(deployment, source.named, audience.as_of, asks_again=False)
    return replace(audience, source=stored, is_stored=True)


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
