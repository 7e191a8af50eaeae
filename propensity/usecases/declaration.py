"""
What a ``usecase.toml`` may say: the types of its entries, and how they fit together.

``usecases.UseCase`` has the entries. msgspec reads them, and names the first that is
unknown, missing or of another type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct

from propensity.budget import Budget
from propensity.ids import NAME

if TYPE_CHECKING:
    from propensity.usecases import UseCase

FILE = "usecase.toml"
# What entries of [events] become that are no types of events.
OWN_EVENTS = "[events]"

NUMBER = "number"
CATEGORY = "category"
FeatureKind = Literal["number", "category"]

# The mean probability of candidates listed before it.
MEAN = "VotingClassifier"
# Needs no labels, and scores single events.
FOREST = "HalfSpaceTrees"
Algorithm = Literal[
    "LogisticRegression",
    "HistGradientBoostingClassifier",
    "RandomForestClassifier",
    "ExtraTreesClassifier",
    "VotingClassifier",
    "HalfSpaceTrees",
]

# Kinds of the fields of an event; ``propensity/events.toml`` says what each means.
EventKind = Literal[
    "text",
    "text or null",
    "personal",
    "birth date",
    "amount",
    "number",
    "label",
    "identity",
    "numeral",
    "instant",
    "truth",
    "truth time",
]

# Tables of usecase.toml that name values of the export, and the prefix of the columns
# of ``ga_events`` that hold them: parameters and properties may have the same names.
VALUES = {"event_params": "param_", "user_properties": "property_"}
# Types of these columns.
ValueType = Literal["STRING", "INT64", "NUMERIC"]

# Types of columns of a source; of moments, and of all.
MOMENTS = ("TIMESTAMP", "DATETIME", "DATE")
SourceType = Literal[
    "STRING", "INT64", "FLOAT64", "NUMERIC", "BOOL", "TIMESTAMP", "DATETIME", "DATE"
]
_TABLE_FORM = "project.dataset.table or dataset.table"
SOURCE_TABLE = re.compile(r"(?:([a-z0-9.:-]+)\.)?([A-Za-z0-9_]+)\.([A-Za-z0-9_-]+)")

# Parameters that runs set, in all statements or in some.
RUN_PARAMETERS = frozenset(
    {
        *("as_ofs", "today", "earliest", "known_before", "lookback_days"),
        *("horizon_days", "first_suffix", "first_repeat_suffix", "last_suffix"),
        *("first_label_suffix", "last_label_suffix", "maximum_rows", "use_case"),
        *("prediction_as_of", "user_ids", "first_event_day"),
    }
)

# Columns of the rows of a training beside the features. A model with one of them would
# know the answer, or whose row it is.
RESERVED = frozenset(
    {
        *("as_of", "user_id", "label", "weight", "label_amount"),
        *("sampled_by", "has_positive", "bucket"),
        *("state", "truth_time", "is_conflicting"),
    }
)

# Of a use case that states none.
BUDGET = "10%"

# Of a lookback and a horizon: ten years, more than Google Analytics has existed for.
MAXIMUM_DAYS = 3_650

Text = Annotated[str, Meta(pattern=r"\S")]
Days = Annotated[int, Meta(ge=1, le=MAXIMUM_DAYS)]
DaysOrNone = Annotated[int, Meta(ge=0, le=MAXIMUM_DAYS)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z")]
# Of a use case's folder, an event type, or a source.
Name = Annotated[str, Meta(pattern=rf"^{NAME.pattern}\Z")]
# A column of BigQuery, or a parameter of a statement.
Column = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}\Z")]
# Google's rule for the names of parameters and properties:
# https://support.google.com/analytics/answer/13316687, event naming rules
Key = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,39}\Z")]


class Candidate(Struct, frozen=True, forbid_unknown_fields=True):
    """An algorithm with its parameters, for training to try."""

    name: Text
    algorithm: Algorithm
    parameters: Mapping[str, Any] = {}


class Baseline(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    A number whose ranking a first model must beat.

    Of users on an export it may be a column of ``features.sql`` that is no feature,
    such as a prediction of somebody else.
    """

    feature: Text
    ascending: bool


class Stream(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    The events of the stream that a use case takes.

    Attributes:
        events: Their types.
        scored: Types whose own fields are the features: a row is then an event, and not
            a user.
        elapsed: The feature with the hours since a user's ``scored_from``; empty where
            ``stream_rows`` has no such time.
        amount: The feature with the money that a missed event costs; empty for none.
        currency: Of the amount, such as EUR; empty where the use case does not say.
    """

    events: Sequence[str] = ()
    scored: Sequence[str] = ()
    elapsed: Text = ""
    amount: Text = ""
    currency: Currency = ""


def tell_events_apart(entries: dict[str, Any]) -> None:
    """Move what [events] says of a table: the types of events in it are tables, too."""
    types = entries.get("events")
    if isinstance(types, dict):
        table = {key: one for key, one in types.items() if not isinstance(one, dict)}
        if table:
            entries[OWN_EVENTS] = table
            entries["events"] = {key: types[key] for key in types.keys() - table.keys()}


def contradictions(use_case: UseCase) -> Iterator[str]:
    """Yield mistakes among entries that are right by themselves."""
    features, stream = use_case.features, use_case.stream
    try:
        Budget.parse(use_case.budget)
    except ValueError as error:
        yield f"budget {error}"
    for name in features:
        if name.lower() in RESERVED:
            yield f"features.{name}: training has a column of this name"
    for name in sorted({*use_case.parameters} & RUN_PARAMETERS):
        yield f"parameters.{name}: every run sets @{name}; name it otherwise"
    baseline = use_case.baseline.feature
    # That of users may be a column of features.sql that no model reads.
    is_feature = baseline in features or bool(stream.events)
    numbers = {"baseline.feature": baseline} if is_feature else {}
    for name in ("amount", "elapsed"):
        if feature := getattr(stream, name):
            numbers[f"stream.{name}"] = feature
    for at, name in numbers.items():
        if features.get(name) != NUMBER:
            yield f"{at}: {name} is not a numeric feature"
    earlier: list[str] = []
    for candidate in use_case.candidates:
        name, algorithm = candidate.name, candidate.algorithm
        if name in earlier:
            yield f"candidates: two are named {name}"
        if algorithm == FOREST and not stream.scored:
            yield f"candidates: {name} is of {FOREST}, which scores events, not users"
        if algorithm == MEAN and not _is_mean_of(candidate.parameters, earlier):
            yield (
                f"candidates: {name} has one parameter, of, a list of candidates "
                f"before it, each once: {', '.join(earlier) or 'none'}"
            )
        earlier.append(name)
    yield from _wrong_tables(use_case)


def _is_mean_of(parameters: Mapping[str, Any], earlier: Sequence[str]) -> bool:
    of = parameters.get("of")
    if parameters.keys() != {"of"} or not isinstance(of, list):
        return False
    return 0 < sum(name in of for name in earlier) == len(of)


def _wrong_tables(use_case: UseCase) -> Iterator[str]:
    if own := use_case.own_events:
        if not SOURCE_TABLE.fullmatch(own.table):
            yield f"events.table is {_TABLE_FORM}, not {own.table!r}"
        if use_case.stream.events or "events" in use_case.sources:
            yield "events: a use case has one source of events, a table or the stream"
    for name, source in use_case.sources.items():
        if name == "ga_events" or name.startswith(("ma_", "stream_")):
            yield f"sources.{name}: a deployment has a table of this name"
        if not SOURCE_TABLE.fullmatch(source.table):
            yield f"sources.{name}.table is {_TABLE_FORM}, not {source.table!r}"
        for column in sorted({*source.plans} - {*source.columns}):
            yield f"sources.{name}.plans: {column} is not among its columns"
