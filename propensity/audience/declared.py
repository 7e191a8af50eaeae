"""
Declared audiences: ``audiences/NAME.toml`` in the folder of a use case.

Beside it may be ``NAME.sql``: one row per user who may be a member, with further
columns for the destination. ``audiences/destinations/`` has the files of destinations.
"""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, convert
from msgspec.structs import replace

from propensity import folders, statements, usecases
from propensity.entries import explain
from propensity.errors import PropensityError, RequestError, UseCaseError
from propensity.ids import NAME, PRESENCE
from propensity.settings import Settings
from propensity.statements import Line
from propensity.suggestions import nearest
from propensity.timeframe import Weekday
from propensity.usecases import UseCase, declaration
from propensity.usecases.use_case import BROWSER

FOLDER = "audiences"
# The kind of the leases of runs that send what is due.
RUNS = "audiences"
# The destinations that are files of the deployment, and need none of a person's:
# Parquet keeps the types of values, and CSV opens in a spreadsheet.
BUCKET = "bucket"
CSV = "csv"
FILES = (BUCKET, CSV)
# The largest audience.
MOST_USERS = 1_000_000_000
RULES = ("top", "deciles", "threshold", "budget")
Amount = Annotated[float, Meta(ge=0, le=1e12)]
Day = Annotated[date, Meta(description="a day, such as 2027-06-30")]
Share = Annotated[
    str,
    Meta(
        pattern=r"^([0-8]?\d(\.\d+)?|90(\.0+)?)%\Z",
        description='a share of "0%" to "90%"',
    ),
]
Column = Annotated[
    str, Meta(pattern=r"^[A-Za-z_]\w{0,299}\Z", description="the name of a column")
]


class Declared(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    What a file says of an audience: docs/audiences-reference.md has the entries.

    Attributes:
        away_days: By default those of the lookback of the use case.
        bought_days: By default those of its history.
        explore: Share of the members that is drawn at random from all who may be one.
        control_by: What the control group is drawn by: the user id, or a column by
            which the destination knows people.
    """

    destination: declaration.Name
    top: Annotated[int, Meta(ge=1, le=MOST_USERS)] | None = None
    deciles: Annotated[int, Meta(ge=1, le=10)] | None = None
    threshold: declaration.Probability | None = None
    budget: Annotated[float, Meta(gt=0, le=1e12)] | None = None
    cost_per_contact: Amount | None = None
    margin: Annotated[float, Meta(gt=0, le=1)] | None = None
    effect: Annotated[float, Meta(gt=0, le=100)] | None = None
    who: Literal["all", "active", "away"] = "all"
    away_days: declaration.Days | None = None
    bought_days: declaration.Days | None = None
    order: Literal["probability", "expected_value"] = "probability"
    explore: Share = "0%"
    control: Share = "10%"
    control_by: Column = "user_id"
    control_group: declaration.Name | None = None
    days: Annotated[Sequence[Weekday], Meta(min_length=1)] = ("monday",)
    until: Day | None = None

    def check(self, use_case: UseCase) -> None:
        """Raise ValueError where entries contradict, or the use case knows them not."""
        given = [name for name in RULES if getattr(self, name) is not None]
        if len(given) != 1:
            rules = " and ".join(given) if given else "none"
            raise ValueError(
                f"say how many with exactly one of {', '.join(RULES)}, not with {rules}"
            )
        if given == ["budget"] and not self.cost_per_contact:
            raise ValueError("budget needs cost_per_contact, above 0")
        if self.has_days and self.who != "away":
            raise ValueError(
                "away_days and bought_days are about customers who were away: set who "
                '= "away"'
            )

        if self.who != "all" and not use_case.knows_presence:
            raise ValueError(
                f'who is "{self.who}", but features.sql has no column {PRESENCE}, '
                "which says who was away; remove who"
            )
        history_days = use_case.history_days
        for name in ("away_days", "bought_days"):
            days = getattr(self, name)
            if days is not None and days > history_days:
                raise ValueError(
                    f"{name} is {days}, and purchases are known of {history_days} "
                    "days: history_days in usecase.toml"
                )

    @property
    def has_days(self) -> bool:
        return self.away_days is not None or self.bought_days is not None

    def selection(self) -> str:
        """Return how members are chosen, in words."""
        [by] = [name for name in RULES if getattr(self, name) is not None]
        text = f"{by} {getattr(self, by)}"
        if by == "budget":
            text += f" at {self.cost}"
        if self.who != "all":
            text += f" of {self.who} users"
        if self.away_days is not None:
            text += f", away for {self.away_days} days"
        if self.bought_days is not None:
            text += f", who bought in {self.bought_days} days"
        if self.order != "probability":
            text += f" by {self.order.replace('_', ' ')}"
        if self.explored:
            text += f", {self.explore} at random"
        return text

    @property
    def cost(self) -> Decimal | None:
        """What it costs to contact a user: exactly, as sums of it are money."""
        cost = self.cost_per_contact
        return None if cost is None else Decimal(str(cost))

    def most(self, users: int) -> int:
        if self.deciles is not None:
            return users * self.deciles // 10
        return MOST_USERS if self.top is None else self.top

    @property
    def paid_for(self) -> int:
        if self.budget is None or not self.cost:
            return MOST_USERS
        return min(int(Decimal(str(self.budget)) / self.cost), MOST_USERS)

    @property
    def explored(self) -> float:
        """The share of the members who are drawn at random, 0 to 0.9."""
        return float(self.explore[:-1]) / 100

    @property
    def share(self) -> float:
        return float(self.control[:-1]) / 100


class DeclaredAudience(Struct, frozen=True):
    """A declared audience by its name, and the folder of its files."""

    name: str
    folder: Path
    declared: Declared

    @property
    def group(self) -> str:
        """The name that its control group is drawn by."""
        group = self.declared.control_group
        return self.name if group is None else group

    @property
    def sql_file(self) -> Path:
        """The statement of who may be a member; it may be missing."""
        return self.folder / f"{self.name}.sql"

    @property
    def destination_entries(self) -> Mapping[str, object]:
        """The entries of its destination's file; none where a delivery tells why."""
        folder = self.folder / "destinations"
        try:
            text = statements.read_text(folder, f"{self.declared.destination}.toml")
            return tomllib.loads(text)
        except (OSError, ValueError, UseCaseError):
            return {}

    def leaves_out(self, audience: str, use_case: str, *, is_own: bool) -> bool:
        """Return whether its statement names an audience of a use case."""
        if not self.sql_file.is_file():
            return False
        text = statements.read_text(self.folder, self.sql_file.name)
        if f"'{use_case}/{audience}'" in text:
            return True
        return f"'{audience}'" in text and (is_own or f"'{use_case}'" in text)

    def statement(
        self, name: str, use_case: UseCase, **parts: str | Sequence[Line]
    ) -> str:
        """Return a statement about all who may be members, as far as its SQL lets."""
        includes = dict[str, Sequence[Line]]()
        if self.declared.has_days:
            features = use_case.lines("features")
            includes["audience_who"] = statements.lines_of(
                "audience_away", features=features
            )
        if self.sql_file.is_file():
            lines = statements.lines_of(self.name, folder=self.folder)
            includes["eligible"] = declaration.reading(
                lines, use_case.tables("features")
            )
        parts = {**includes, **parts}
        return statements.statement(name, **parts)

    def parameters(
        self, use_case: UseCase, settings: Settings, as_of: date
    ) -> dict[str, object]:
        """
        Return the parameters of ``statement``.

        An audience with days of its own asks the features who was away, with these
        days as their lookback.
        """
        away_days = self.declared.away_days
        asked = (
            use_case
            if away_days is None
            else replace(use_case, lookback_days=away_days)
        )
        window = asked.window(settings, [as_of])
        if self.declared.bought_days is not None:
            window["bought_days"] = self.declared.bought_days
        return {
            **window,
            "as_of": as_of,
            "audience": self.name,
            "who": self.declared.who,
        }


def folder_of(use_case: UseCase) -> Path:
    """
    Return the folder of a use case's audiences; it may be missing.

    One in the folder of your own use cases comes first: so a use case that ships can
    have audiences.
    """
    folder = folders.own() / use_case.name / FOLDER
    return folder if folder.is_dir() else folders.place(use_case.name) / FOLDER


def audience_names(use_case: UseCase) -> list[str]:
    """Return the names of a use case's audiences, right or wrong."""
    files = folder_of(use_case).glob("*.toml")
    return sorted(file.stem for file in files if file.is_file())


def check_name(use_case: UseCase, name: str) -> None:
    """Raise RequestError if no file has the name of an audience."""
    names = audience_names(use_case)
    if name not in names:
        near = nearest(name, names)
        file = folder_of(use_case) / f"{name}.toml"
        raise RequestError(
            f"{use_case.name} has no audience {name[:64]!r}",
            hint=f"Did you mean {near!r}?" if near else f"Create {file}",
            field="audience",
        )


def load_audience(use_case: UseCase, name: str) -> DeclaredAudience:
    check_name(use_case, name)
    folder = folder_of(use_case)
    file = f"{name}.toml"
    entries: dict[str, object] = {}
    try:
        if not NAME.fullmatch(name):
            raise ValueError(
                "begin its name with a letter, and use only a-z, 0-9 and _"
            )
        text = statements.read_text(folder, file)
        entries = tomllib.loads(text)
        declared = convert(entries, Declared)
        declared.check(use_case)
    except ValueError as error:
        problem = explain(error, entries, Declared)
        raise UseCaseError(f"{use_case.name}/audiences/{file}: {problem}") from error
    return DeclaredAudience(name, folder, declared)


def all_audiences() -> Iterator[tuple[UseCase, DeclaredAudience]]:
    """Yield the audiences of all use cases; those whose files are wrong aren't sent."""
    use_cases, _ = usecases.load_all()
    for use_case in use_cases.values():
        for name in audience_names(use_case):
            with contextlib.suppress(PropensityError):
                yield use_case, load_audience(use_case, name)


def audiences_of_users(
    settings: Settings, use_case: UseCase
) -> Iterator[tuple[str, UseCase, DeclaredAudience]]:
    """
    Yield the audiences that may have the users of a use case, with what to call them.

    An id is one user in all use cases; but the id of a browser is of one property.
    """
    column = use_case.user_column(settings)
    for other, audience in all_audiences():
        if other.name == use_case.name:
            yield audience.name, other, audience
            continue
        is_same = other.user_column(settings) == column
        if column == BROWSER and other.ga4_property != use_case.ga4_property:
            is_same = False
        if is_same:
            yield f"{audience.name} of {other.name}", other, audience
