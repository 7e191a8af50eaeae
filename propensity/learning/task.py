"""
What is learned, and within which limits: all that a training knows of its rows.

A use case makes a task (``UseCase.task``), and so does a labelled table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from propensity.budget import Budget
from propensity.ids import PRESENCE

NUMBER = "number"
CATEGORY = "category"
FeatureKind = Literal["number", "category"]

# The mean probability of candidates listed before it.
MEAN = "VotingClassifier"
# Needs no labels, and scores single events.
FOREST = "HalfSpaceTrees"
# Those that need no module before their name.
ALGORITHMS = (
    "LogisticRegression",
    "HistGradientBoostingClassifier",
    "RandomForestClassifier",
    "ExtraTreesClassifier",
    MEAN,
    FOREST,
)
Algorithm = Annotated[
    str,
    Meta(
        pattern=rf"^(?:{'|'.join(ALGORITHMS)}|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)\Z",
        description=f"{', '.join(ALGORITHMS)}, or a class with its module, for example "
        "lightgbm.LGBMClassifier",
    ),
]

Text = Annotated[str, Meta(pattern=r"\S", description="a text that is not blank")]

# Columns of the rows of a training beside the features. A model with one of them would
# know the answer, or whose row it is.
RESERVED = frozenset(
    {
        "as_of",
        "user_id",
        "label",
        "weight",
        "label_amount",
        "sampled_by",
        "has_positive",
        "bucket",
        "is_quiet",
        PRESENCE,
        "state",
        "truth_time",
        "is_conflicting",
    }
)


class Candidate(Struct, frozen=True, forbid_unknown_fields=True):
    """An algorithm with its parameters, for training to try."""

    name: Text
    algorithm: Algorithm
    parameters: Mapping[str, Any] = {}


class Baseline(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    A number whose ranking a first model must beat.

    Of users on an export it may be a column of ``features.sql`` that is no feature,
    such as another company's prediction.
    """

    feature: Text
    ascending: bool


class Task(Struct, frozen=True, kw_only=True):
    """
    What is learned.

    Attributes:
        name: Of the use case or the table.
        title, outcome: What is predicted, in words: rows of label 1 *outcome*.
        entity: The column that says what a row is about.
        features: number or category by column, in the order of the model's input.
        baseline: The ranking that a model must beat.
        threshold: Least probability of a positive prediction.
        budget: How many of the best rows a team can act on, or which share.
        preprocessor: Unfitted, of the use case's own; None for the default.
        elapsed: The feature that says how long a row's moment is after its user's
            start; empty for one row per user and date.
        amount: The feature with what a row may cost; empty without costs.
        lookback_days, horizon_days: Of features and of labels; a table's rows need not
            have any.
        span: What the outcome is predicted from, in words; empty for the lookback.
        currency: Of amounts, such as EUR; empty where it is not known.
        other_outcome: What to do where too few rows have the outcome, but to wait.
    """

    name: str
    title: str
    outcome: str
    features: Mapping[str, str]
    candidates: Sequence[Candidate]
    baseline: Baseline
    threshold: float
    budget: Budget
    entity: str = "user_id"
    preprocessor: Any | None = None
    elapsed: str = ""
    amount: str = ""
    lookback_days: int = 0
    horizon_days: int | None = None
    span: str = ""
    currency: str = ""
    other_outcome: str = ""


class Limits(Struct, frozen=True, kw_only=True):
    """
    The limits of a training.

    Attributes:
        rows, conversions: The fewest to train on, and the fewest of label 1 in each
            part of the rows.
        seed: Of all that is drawn.
        review_cost: What the review of one alert costs, in the currency of amounts.
    """

    rows: int
    conversions: int
    seed: int
    review_cost: float = 0.0
