"""
What a ``usecase.toml`` may say: the types of its entries.

``usecases.UseCase`` has the entries. msgspec reads them, and names the first that is
unknown, missing or of another type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from propensity.ids import NAME, NAME_RULE

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
TABLE_FORM = "project.dataset.table or dataset.table"
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

Text = Annotated[str, Meta(pattern=r"\S", description="a text that is not blank")]
Days = Annotated[int, Meta(ge=1, le=MAXIMUM_DAYS)]
DaysOrNone = Annotated[int, Meta(ge=0, le=MAXIMUM_DAYS)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Currency = Annotated[
    str, Meta(pattern=r"^[A-Z]{3}\Z", description="three capitals, for example EUR")
]
# Of a use case's folder, an event type, or a source.
Name = Annotated[str, Meta(pattern=rf"^{NAME.pattern}\Z", description=NAME_RULE)]
# A column of BigQuery, or a parameter of a statement.
Column = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}\Z",
        description="letters, digits and underscores",
    ),
]
# Google's rule for the names of parameters and properties:
# https://support.google.com/analytics/answer/13316687, event naming rules
Key = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,39}\Z",
        description="40 letters, digits and underscores",
    ),
]


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
