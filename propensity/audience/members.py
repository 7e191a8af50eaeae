"""
The members of an audience: chosen once for an as-of date, and the same ever after.

They are chosen, or read again, by one statement, into temporary tables of a session of
BigQuery, which all other statements read: ``scored``, who may be members, and
``chosen``. Here are sums of them, and of those who are sent a page at a time
(``requests``). The audience's own statement runs once, so members are those of one
choice, though it would give other rows when it runs again.

Whoever was held out by an audience of a control group stays held out in all of them,
and so does who has the same address by now; also if that comes after the choice.

A user on the list of suppressed users is never chosen. The probabilities are the ones
of consenting users where the deployment demands consent.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from typing import Any

import pyarrow as pa

from propensity import statements, suppression
from propensity.audience.control import Control, control_of
from propensity.audience.declared import MOST_USERS, DeclaredAudience
from propensity.audience.destinations.values import known_as, of_json
from propensity.errors import Conflict, PropensityError, RequestError, UseCaseError
from propensity.ga4.view import check_view
from propensity.gcp.session import Session, session_of
from propensity.ids import USER
from propensity.measures.statistic import Statistic
from propensity.registry.deployment import Deployment
from propensity.statements import Line, statement

# What is published of a user, and may be sent.
PUBLISHED = ("user_id", "probability", "percentile", "expected_value", "decile_value")
# What members are put in order by, unless a file declares another column.
PROBABILITY = "probability"
# Rows of a stream that are in Python at once.
PAGE = 1_000


@dataclass(frozen=True)
class Member:
    """
    A user of a request; without a probability, a user to be taken off a list.

    Attributes:
        attributes: Further columns for the destination, as JSON; None without any.
        address: The fingerprint of the address that the list has, or is to have; None
            where a destination knows users by their ids. Who is taken off may be there
            by several.
    """

    user_id: str
    probability: float | None = None
    percentile: int | None = None
    expected_value: float | None = None
    attributes: str | None = None
    decile_value: float | None = None
    address: str | None = None

    @cached_property
    def values(self) -> dict[str, object]:
        """What a destination may be sent of the user, by name."""
        values: dict[str, object] = {}
        if self.attributes is not None:
            values = of_json(self.attributes)
        for name in PUBLISHED:
            values[name] = getattr(self, name)
        return values

    @cached_property
    def key(self) -> str:
        """What tells it from the others of a request."""
        if self.address is None or self.probability is not None:
            return self.user_id
        return f"{self.user_id} {self.address}"

    def known_by(self, column: str) -> str:
        """Return what a receiver knows the user by: the id, or a column's text."""
        return self.user_id if column == USER else known_as(self.values.get(column))


@dataclass(frozen=True)
class Sums:
    """
    Sums over the members of an audience.

    Attributes:
        users: How many were looked at: ``left_out`` of them are suppressed, or not in
            the audience's own statement any more; ``scored`` have what members are put
            in order by; ``repeated`` and ``nameless`` are rows at fault.
        expected: How many of those who are treated are expected to convert.
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
    probability: float = 0.0
    probability_squares: float = 0.0
    valued: int = 0
    expected: float = 0.0

    @property
    def chances(self) -> Statistic:
        squares = self.probability_squares
        return Statistic(users=self.members, total=self.probability, squares=squares)

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
        order: The column of predictions that they were put in order by.
        last_size: Members as of the date before; None without one.
        chosen_alike: The date before, if its members were chosen by the same rule.
        sent_to: Destinations that have taken users of it, of this date or earlier.
        model_version: Whose predictions they are.
        suppressed: Users of the date who are suppressed by now.
    """

    use_case: str
    name: str
    as_of: date
    control: Control
    selection: str
    is_stored: bool
    chosen_at: datetime
    sums: Sums = field(default_factory=Sums)
    columns: Sequence[str] = ()
    order: str = PROBABILITY
    last_size: int | None = None
    chosen_alike: date | None = None
    sent_to: frozenset[str] = frozenset()
    model_version: int = 0
    suppressed: Sequence[str] = ()

    @property
    def key(self) -> dict[str, object]:
        return {"use_case": self.use_case, "audience": self.name, "as_of": self.as_of}


def find_or_choose(
    deployment: Deployment,
    session: Session,
    named: DeclaredAudience,
    *,
    until: date | None,
    now: datetime,
    is_planned: bool = False,
) -> Audience:
    """
    Return the audience of the newest publication: stored members, or new ones.

    The session has them. Nothing is written, but for the key of control groups.

    Args:
        until: The newest publication up to this date counts; None for today.
        is_planned: Whether a plan is asked for, though the members are stored.
    """
    use_case = deployment.use_case
    declared = named.declared
    day = now.date() if until is None else until
    publication = _publication(deployment, day)
    as_of = publication["as_of"]
    if declared.until and day > declared.until:
        raise RequestError(
            f"{named.name} ended with {declared.until}, and {day} is later: to go on, "
            f"change until in audiences/{named.name}.toml",
            field="as_of",
        )
    # The newest date comes first.
    selections = deployment.rows("audience_selections", audience=named.name)
    sent = deployment.rows("requests_taken", audience=named.name)
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
    stored = [row for row in selections if row["as_of"] == as_of]
    before = [row for row in selections if row["as_of"] < as_of]
    chosen_alike = None
    if before and before[0]["selection"] == declared.selection():
        chosen_alike = before[0]["as_of"]
    reading = Reading(deployment, session, named, as_of)
    if stored:
        reading.read_stored(is_planned=is_planned)
    else:
        reading.choose(control, users=publication["users"])
    sent_to = [row["destination"] for row in sent if row["is_taken"]]
    return Audience(
        use_case=use_case.name,
        name=named.name,
        as_of=as_of,
        control=control,
        selection=stored[0]["selection"] if stored else declared.selection(),
        is_stored=bool(stored),
        chosen_at=stored[0]["selected_at"] if stored else now,
        sums=reading.sums,
        columns=reading.columns,
        order=reading.order,
        last_size=before[0]["users"] if before else None,
        chosen_alike=chosen_alike,
        sent_to=frozenset(sent_to),
        model_version=publication["model_version"],
        suppressed=reading.suppressed,
    )


def nobody(
    deployment: Deployment,
    session: Session,
    name: str,
    as_of: date,
    chosen_at: datetime,
) -> Audience:
    """Return an audience that has ended, whose file may be gone."""
    session.execute(statement("nobody"), {"as_of": as_of})
    return Audience(
        use_case=deployment.use_case.name,
        name=name,
        as_of=as_of,
        control=Control(key=b"", group=name, share=0.0),
        selection="nobody, because the audience has ended",
        is_stored=True,
        chosen_at=chosen_at,
    )


@contextlib.contextmanager
def find_treated(
    deployment: Deployment, named: DeclaredAudience
) -> Iterator[tuple[Reading, Iterator[list[Member]]]]:
    """
    Hold whom a delivery of the newest stored date would contact today.

    Yields:
        The reading of its members, and pages of those who are treated, the best first.
    """
    name = deployment.use_case.name
    selections = deployment.rows("audience_selections", audience=named.name)
    if not selections:
        raise no_members(deployment, named.name)
    with session_of(deployment.warehouse) as session:
        reading = Reading(deployment, session, named, selections[0]["as_of"])
        reading.read_stored()
        sql = statement("members_listed", order=reading.order)
        rows = session.batches(sql, {"use_case": name, "audience": named.name})
        pages = ([Member(**row) for row in page] for page in pages_of_batches(rows))
        yield reading, pages


def no_members(deployment: Deployment, audience: str) -> RequestError:
    words = f"{audience} --use-case {deployment.use_case.name}"
    return RequestError(
        f"{audience} has no members yet",
        hint=f"Run `propensity audience send {words}`, which chooses them",
        field="audience",
    )


def pages_of_batches(
    batches: Iterable[pa.RecordBatch],
) -> Iterator[list[dict[str, Any]]]:
    """Yield rows as values by column, of which a page is held at once."""
    for batch in batches:
        for start in range(0, batch.num_rows, PAGE):
            yield batch.slice(start, PAGE).to_pylist()


class Reading:
    """
    How a session gets its tables ``scored`` and ``chosen`` of an audience's date.

    Attributes:
        sums: Over the members.
        columns: Names of their further columns.
        order: The column of predictions that they are put in order by.
        suppressed: Users of the date who are suppressed, by then.
    """

    def __init__(
        self,
        deployment: Deployment,
        session: Session,
        named: DeclaredAudience,
        as_of: date,
    ) -> None:
        self.as_of = as_of
        self.sums = Sums()
        self.columns: list[str] = []
        self.order: str = named.declared.order
        self.suppressed: list[str] = []
        self._deployment = deployment
        self._session = session
        self._named = named
        self._use_case = deployment.use_case
        self._parameters: dict[str, object] = {
            **named.parameters(self._use_case, deployment.settings, as_of),
            "use_case": self._use_case.name,
            "control_group": named.group,
            "control_by": named.declared.control_by,
        }

    def choose(self, control: Control, *, users: int) -> None:
        """Choose the members of the date, of so many users."""
        declared = self._named.declared
        self._read_suppressed()
        most = declared.most(users)
        # All who are looked at, the control group among them.
        paid_for = declared.paid_for / (1 - control.share)
        # Too few by chance once in 10^18 times, whatever the budget and the share.
        read = min(most, int(1.5 * paid_for) + 1_000) + len(self.suppressed)
        self._read(
            "chosen_anew",
            {
                **control.parameters,
                "least": declared.threshold,
                "most": most,
                "paid_for": declared.paid_for,
                "read": min(read, MOST_USERS),
                "places": min(most, int(paid_for)),
                "explore": declared.explored,
            },
        )
        self._check()

    def read_stored(self, *, is_planned: bool = False) -> None:
        """
        Read the members as they are stored, with what is known of them by now.

        A consent that the own statement reads may be withdrawn since, so it is asked
        who is in it still, with the consent that a destination is told of. Without a
        statement no features are read again, but for a plan.
        """
        self._read_suppressed()
        has_sql = self._named.sql_file.is_file()
        parts = dict[str, Sequence[Line]]()
        if not has_sql and not is_planned:
            parts["audience_who"] = statements.lines_of("audience_who")
        self._read("chosen_before", {"asks_again": has_sql}, **parts)

    def _read(
        self, part: str, parameters: Mapping[str, object], **parts: Sequence[Line]
    ) -> None:
        """Have the session's tables by a part; the own statement runs this once."""
        if self._use_case.reads_export:
            check_view(self._deployment.warehouse, self._use_case)
        named = self._named
        try:
            own_columns = self._entries() if named.sql_file.is_file() else "''"
            sql = named.statement(
                "audience_members",
                self._use_case,
                drawn_by=named.declared.control_by,
                own_columns=own_columns,
                chosen=statements.lines_of(
                    part, consent=self._consent(), order=self.order
                ),
                **parts,
            )
            given = {"suppressed": self.suppressed, **self._parameters, **parameters}
            [row] = self._session.rows(sql, given)
        except PropensityError as error:
            if error.retryable or not named.sql_file.is_file():
                raise
            raise UseCaseError(
                f"{self._use_case.name}/audiences/{named.sql_file.name}: "
                f"{error.problem}",
                hint="It needs a row for each user, with the column user_id, which is "
                "a STRING, and that of control_by, may read what features.sql reads, "
                "and has no column that is called as one of ours: "
                "docs/audiences-reference.md#who-may-be-a-member",
            ) from error
        self.sums = Sums(**dict(row.items()))
        # None are stored of the control group, which all may be in.
        if self.sums.example or self.sums.treated:
            self.columns = list(json.loads(self.sums.example or "{}"))

    def _consent(self) -> str:
        """Return the consent that a destination is told of, in SQL; "" without one."""
        column = self._named.destination_entries.get("consent_by")
        return text_of(str(column)) if column else "''"

    def _entries(self) -> str:
        """Return the further columns as the entries of a JSON object, in SQL."""
        named = self._named
        by = named.declared.control_by
        sql = named.statement(
            "audience_columns", self._use_case, drawn_by=USER, own_columns="''"
        )
        types = self._deployment.warehouse.types_of_query(sql, self._parameters)
        # BigQuery takes User_ID for user_id, and keeps its spelling.
        further = {name: types[name] for name in types if name.lower() != USER}
        if by != USER and further.get(by) not in ("STRING", "INT64"):
            raise UseCaseError(
                f"{named.name} draws its control group by {by}, which is neither a "
                f"STRING nor an INT64 of {named.sql_file.name}",
                hint=f"Select CAST({by} AS STRING) AS {by}, written as in your other "
                "audiences",
            )
        self.columns = list(further)
        return _entries_of(further)

    def _read_suppressed(self) -> None:
        """Read who is suppressed: hashed here, as no statement has the key."""
        name = self._use_case.name
        suppressed = suppression.read_suppressed(self._deployment.warehouse)
        if not suppressed:
            return
        sql = statement("audience_users")
        for batch in self._deployment.warehouse.batches(sql, self._parameters):
            for user in batch["user_id"].to_pylist():
                if suppressed.covers(user, name):
                    self.suppressed.append(user)

    def _check(self) -> None:
        """Make sure that members can be chosen of those who were looked at."""
        file = self._named.sql_file.name
        sums = self.sums
        if sums.repeated:
            raise UseCaseError(
                f"{self._use_case.name}/audiences/{file} has {sums.repeated} rows of "
                "users that it has more than once: each user needs one row, for "
                "example by QUALIFY ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY "
                "…) = 1"
            )
        if sums.users and not sums.scored:
            raise RequestError(
                f"{self._use_case.name} publishes no {self.order} for {self.as_of}",
                hint='Set order = "probability" in the audience\'s file',
                field="order",
            )
        if sums.nameless:
            column = self._named.declared.control_by
            raise UseCaseError(
                f"{file} has {sums.nameless} users without {column}, by which the "
                "control group is drawn",
                hint=f"Leave them out, for example with WHERE {column} != ''",
            )


def text_of(column: str) -> str:
    """Return a member's further column as a text, "" for null, in SQL."""
    path = f"'$.{json.dumps(column, ensure_ascii=False)}'"
    # JSON_VALUE has no STRUCT or list. Local mode's JSON_QUERY is JSON, also of null.
    entries = f"NULLIF(CAST(JSON_QUERY(attributes, {path}) AS STRING), 'null')"
    return f"COALESCE(JSON_VALUE(attributes, {path}), {entries}, '')"


def _entries_of(types: Mapping[str, str]) -> str:
    """
    Return the entries of a JSON object with columns, as an expression of SQL.

    BigQuery writes a NUMERIC and a long whole number as a text of JSON, and the entries
    of a STRUCT in another order: so numbers are written by CAST, one by one.
    """
    parts = list[str]()
    for column, kind in types.items():
        name = json.dumps(json.dumps(column) + ":", ensure_ascii=False)
        value = f"TO_JSON_STRING(`{column}`)"
        if kind == "NUMERIC":
            value = f"CAST(CAST(`{column}` AS NUMERIC) AS STRING)"
        elif kind in ("INT64", "BIGNUMERIC"):
            value = f"CAST(`{column}` AS STRING)"
        elif kind in ("a list", "STRUCT"):
            value = f"TO_JSON_STRING(TO_JSON(`{column}`))"
        comma = "',', " if parts else ""
        # Such as "\"city\":", IFNULL(TO_JSON_STRING(`city`), 'null').
        parts.append(f"{comma}{name}, IFNULL({value}, 'null')")
    return ", ".join(parts) if parts else "''"


def store(session: Session, audience: Audience) -> None:
    """
    Write the members that are chosen: all or none.

    Raises:
        Conflict: There are some of the date already, by another choice.
    """
    control = audience.control
    parameters = {
        **audience.key,
        "control_group": control.group,
        "control_share": control.share,
        "selection": audience.selection,
        "selected_at": audience.chosen_at,
    }
    written = session.execute(statement("members_store"), parameters)
    if written != audience.sums.members:
        raise Conflict(
            f"another run chose the members of {audience.name} for {audience.as_of}",
            hint="Run the same again",
        )


def _publication(deployment: Deployment, until: date) -> Mapping[str, Any]:
    """Return the newest publication: its date, users and version."""
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
    newest: Mapping[str, Any] = rows[0]
    return newest
