"""
The card of a model version: its data, its training and its metrics.

``card.json`` is the complete card; the metadata row, the page and the answer of
00-ModelTraining show parts of it. A card is of users or of events, and its ``kind`` in
the JSON says of which.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from itertools import chain
from pathlib import PurePath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct, to_builtins

from propensity.budget import Budget
from propensity.ids import PRESENCE
from propensity.learning import gate
from propensity.learning.gate import Verdict
from propensity.learning.importance import Importance
from propensity.learning.model import libraries
from propensity.learning.profile import Distribution, distributions
from propensity.learning.rows import Slice
from propensity.learning.task import Task
from propensity.learning.trained import Trained
from propensity.learning.value import Valued
from propensity.measures.drift import Reference, reference
from propensity.measures.metrics import Curves
from propensity.measures.presence import by_presence
from propensity.models.encoding import floats_of
from propensity.tables.models import Category, Metrics, TrainedVersion
from propensity.timeframe import Split

MODEL = "model.joblib"
PREPROCESSOR = "preprocessor.joblib"
VALUE = "value.joblib"
DATASET = "dataset/rows.parquet"
CARD = "card.json"
REPORT = "report.html"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """
    Where a training and its rows come from.

    Attributes:
        rows: All rows of its training and test.
        version: None for a trial, which has no number.
        data_until: End of the days read from the export; None for another source.
        settle_days: Days waited for late rows.
        statement_parameters: Values of the use case's own parameters.
        names: Of dates, in the words of a table; none are days.
        is_random: Whether the parts were drawn at random, since rows have no time.
    """

    rows: pa.Table
    as_of: date
    trained_at: datetime
    version: int | None = None
    data_until: date | None = None
    settle_days: int = 0
    statement_parameters: Mapping[str, Any] = field(default_factory=dict)
    bytes_billed: int = 0
    names: Mapping[date, str] = field(default_factory=dict)
    is_random: bool = False

    def name(self, day: date) -> str:
        """Return what a date is called."""
        return self.names.get(day, str(day))


class PartSizes(Struct, frozen=True, kw_only=True):
    """Numbers of rows by their use."""

    train: int
    calibrate: int
    holdout: int


class CandidateCard(Struct, frozen=True, kw_only=True):
    """
    A candidate that was judged.

    Attributes:
        cost: Of its alerts; None of users.
        chosen: Whether it was the best.
    """

    name: str
    algorithm: str
    parameters: Mapping[str, Any]
    roc_auc: float | None
    pr_auc: float | None
    log_loss: float | None
    brier: float | None
    cost: float | None = None
    chosen: bool


class BaselineRanking(Struct, frozen=True, kw_only=True):
    """The ranking that a model must beat, and in words how far it does."""

    name: str
    roc_auc: float | None
    words: str = ""


class Direction(Struct, frozen=True, kw_only=True):
    """Mean probabilities of rows by the value of a feature, the least number first."""

    feature: str
    values: Sequence[str]
    probabilities: Sequence[float]


class Card(Struct, frozen=True, kw_only=True, tag_field="kind"):
    """
    What the cards of users' and of events' versions have in common.

    Attributes:
        heading: Of the page; empty for whether the version went live.
        span: Of the outcomes, in words; empty where ``horizon_days`` says it.
        unit: The currency of amounts, such as EUR; empty where it is not known.
        as_of, split: Dates as texts, or the times of a table in the words that it has.
        is_random: Whether the parts were drawn at random, since rows have no time.
        trained_until: The newest date that the live model has learned from.
        negative_sampling_rate, positive_sampling_rate: Several rows of a user weigh
            less than one together.
        calibration: "none": models are published as they are fitted.
        metrics, curves, importance: Of the holdout.
        verdict: As ``Verdict.entry`` has it.
        profile: Of the rows, as ``described`` has it.
        distributions: Of the features; None in a card of an earlier release.
    """

    use_case: str
    title: str
    outcome: str
    span: str
    entity: str
    unit: str = ""
    heading: str = ""
    model_version: int | None
    trained_at: datetime
    as_of: str
    data_until: date | None
    lookback_days: int
    horizon_days: int | None
    settle_days: int
    statement_parameters: Mapping[str, Any]
    split: Mapping[str, Sequence[str]]
    trained_until: date | None
    is_random: bool = False
    rows: PartSizes
    negative_sampling_rate: float
    positive_sampling_rate: float
    algorithm: str
    parameters: Mapping[str, Any]
    members: Sequence[str]
    calibration: str = "none"
    candidates: Sequence[CandidateCard]
    blocks: int
    metrics: Metrics
    curves: Curves
    baseline: BaselineRanking
    importance: Sequence[Importance]
    verdict: Mapping[str, Any]
    features: Mapping[str, str]
    profile: Mapping[str, int]
    distributions: Sequence[Distribution] | None = None
    libraries: Mapping[str, str]
    bytes_billed: int

    def plain(self) -> dict[str, Any]:
        """Return it in the values that JSON has: days are texts, money is numbers."""
        # Python's own JSON keeps an infinite parameter of a candidate.
        values = to_builtins(self, builtin_types=(Decimal,))
        plain: dict[str, Any] = json.loads(json.dumps(values, default=float))
        return plain

    def to_json(self) -> bytes:
        return json.dumps(self.plain(), indent=1).encode()

    def row(
        self,
        objects: Mapping[str, str],
        checksums: Mapping[str, str],
        *,
        run_id: str,
        seconds: float,
    ) -> TrainedVersion:
        """
        Return the row of a version.

        Args:
            objects, checksums: The version's objects and their SHA-256, by file name.
            seconds: Since the request.
        """
        assert self.model_version is not None
        entries = self.plain()
        for name in ("profile", "distributions", "curves"):
            del entries[name]
        files = {}
        for name in objects:
            kind = PurePath(name).parts[0].partition(".")[0]
            files[kind] = {"object": objects[name], "sha256": checksums[name]}
        return TrainedVersion(
            use_case=self.use_case,
            model_version=self.model_version,
            training_date=self.trained_at.date(),
            run_id=run_id,
            trained_at=self.trained_at,
            as_of=date.fromisoformat(self.as_of),
            algorithm=self.algorithm,
            is_warm=True,
            metrics=self.metrics,
            alert_threshold=None,
            saved=None,
            promoted=self.verdict["promoted"],
            verdict=self.verdict["reason"],
            compared_version=self.verdict["compared_version"],
            model_object=objects[MODEL],
            model_sha256=checksums[MODEL],
            preprocessor_object=objects[PREPROCESSOR],
            preprocessor_sha256=checksums[PREPROCESSOR],
            bytes_billed=self.bytes_billed,
            seconds=seconds,
            card=json.dumps({**entries, "files": files}),
        )

    def answer(self, objects: Mapping[str, str]) -> dict[str, Any]:
        """Return the answer of 00-ModelTraining about the version."""
        plain = self.plain()
        holdout = plain["metrics"]
        del holdout["lift"]
        return {
            "model_version": self.model_version,
            "promoted": self.verdict["promoted"],
            "verdict": self.verdict["reason"],
            "algorithm": self.algorithm,
            "calibration": self.calibration,
            "rows": plain["rows"],
            "split": plain["split"],
            "holdout": holdout,
            "value": plain.get("value"),
            "objects": dict(objects),
        }


class ValueCard(Struct, frozen=True, kw_only=True):
    """A model of amounts, as ``value.Valued`` has it, with its mean."""

    algorithm: str
    losses: Mapping[str, float]
    predicted: Decimal
    observed: Decimal
    buyers: int
    mean_amount: float


class UserCard(Card, frozen=True, kw_only=True, tag="users"):
    """
    The card of a version that scores users.

    Attributes:
        drift: What publications are compared with.
        value: The model of amounts; None without amounts.
        presence: Active and away users of the holdout; empty where features don't say.
        claim: What the page says first; empty for how many of the best have the label.
        directions: Of a table's features.
    """

    claim: str = ""
    directions: Sequence[Direction] = ()
    drift: Reference | None = None
    value: ValueCard | None = None
    presence: Sequence[Category] = ()


def user_card(
    task: Task,
    trained: Trained,
    verdict: Verdict,
    origin: Origin,
    *,
    valued: Valued | None = None,
    heading: str = "",
    claim: str = "",
    directions: Sequence[Direction] = (),
) -> UserCard:
    """Return the card of a version that scores users; arguments are its fields."""
    parts = trained.parts
    split = parts.split
    value = None
    if valued is not None:
        value = ValueCard(
            algorithm=valued.algorithm,
            losses=valued.losses,
            predicted=valued.predicted,
            observed=valued.observed,
            buyers=valued.buyers,
            mean_amount=valued.model.mean,
        )
    return UserCard(
        **common(task, trained, verdict, origin, learned=parts.every),
        heading=heading,
        claim=claim,
        directions=directions,
        trained_until=max(chain(split.train, split.calibrate, split.holdout)),
        rows=PartSizes(
            train=parts.blocks[0].first,
            calibrate=len(parts.choosing),
            holdout=len(parts.holdout),
        ),
        drift=_reference(trained, task),
        value=value,
        presence=_presence(trained),
    )


def _presence(trained: Trained) -> list[Category]:
    """Return the active and the away users of the holdout, each kind measured."""
    holdout = trained.holdout
    rows = holdout.rows
    if PRESENCE not in rows.rows.column_names:
        return []
    assert holdout.metrics.budget is not None
    presence = rows.rows[PRESENCE].to_pylist()
    conversions = rows.weight * rows.label
    return by_presence(
        presence,
        holdout.probability,
        rows.weight,
        conversions,
        budget=Budget.parse(holdout.metrics.budget),
        dates=len(trained.parts.split.holdout),
    )


def common(
    task: Task,
    trained: Trained,
    verdict: Verdict,
    origin: Origin,
    *,
    learned: Slice,
) -> dict[str, Any]:
    """
    Return the fields that all cards have.

    Args:
        learned: The labelled rows that the live model has learned from.
    """
    holdout = trained.holdout
    baseline = f"{task.baseline.feature} alone"
    candidates = []
    for result in trained.candidates:
        entry = CandidateCard(
            name=result.candidate.name,
            algorithm=result.candidate.algorithm,
            parameters=result.candidate.parameters,
            chosen=result.candidate.name == trained.chosen.name,
            **result.metrics,
        )
        candidates.append(entry)
    return {
        "use_case": task.name,
        "title": task.title,
        "outcome": task.outcome,
        "span": task.span,
        "entity": task.entity,
        "unit": task.currency,
        "model_version": origin.version,
        "trained_at": origin.trained_at.replace(microsecond=0),
        "as_of": origin.name(origin.as_of),
        "data_until": origin.data_until,
        "lookback_days": task.lookback_days,
        "horizon_days": task.horizon_days,
        "settle_days": origin.settle_days,
        "statement_parameters": dict(origin.statement_parameters),
        "split": _as_texts(trained.parts.split, origin),
        "is_random": origin.is_random,
        "negative_sampling_rate": min(1.0, 1 / learned.row_weight(0)),
        "positive_sampling_rate": min(1.0, 1 / learned.row_weight(1)),
        "algorithm": trained.chosen.algorithm,
        "parameters": trained.chosen.parameters,
        "members": [member.name for member in trained.members],
        "candidates": candidates,
        "blocks": len(trained.parts.blocks),
        "metrics": holdout.metrics,
        "curves": holdout.curves,
        "baseline": BaselineRanking(
            name=baseline,
            roc_auc=holdout.baseline_roc_auc,
            words=gate.beside_baseline(trained, baseline),
        ),
        "importance": holdout.importance,
        "verdict": verdict.entry(),
        "features": task.features,
        "profile": described(origin.rows),
        "distributions": distributions(learned, task.features),
        "libraries": libraries(),
        "bytes_billed": origin.bytes_billed,
    }


def _as_texts(split: Split, origin: Origin) -> dict[str, list[str]]:
    return {
        "train": list(map(origin.name, split.train)),
        "calibrate": list(map(origin.name, split.calibrate)),
        "holdout": list(map(origin.name, split.holdout)),
    }


def _reference(trained: Trained, task: Task) -> Reference:
    """
    Return what publications are compared with.

    Where a user has rows of several moments, a publication has those of the last one
    alone, which so stands for all.
    """
    every = trained.parts.every
    score = trained.holdout.probability
    rows = every.rows
    features = dict(task.features)
    elapsed = task.elapsed
    if elapsed:
        del features[elapsed]
        hours = floats_of(rows[elapsed])
        is_last = hours == hours.max()
        weight = every.weight / every.weight[is_last].sum() * every.weight.sum()
        column_index = rows.column_names.index("weight")
        rows = rows.set_column(column_index, "weight", pa.array(weight))
        rows = rows.filter(pa.array(is_last))
        score = score[is_last[len(every) - len(score) :]]
    newest = len(trained.parts.split.holdout)
    return reference(rows, features, score=score, snapshots=newest)


def described(rows: pa.Table) -> dict[str, int]:
    """Return counts of a training's rows; ``stand_for`` is the sum of weights."""
    return {
        "rows": len(rows),
        "users": pc.count_distinct(rows["user_id"]).as_py(),
        "conversions": int(np.nansum(floats_of(rows["label"]))),
        "stand_for": round(float(floats_of(rows["weight"]).sum())),
    }
