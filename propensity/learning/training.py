"""
From labelled snapshots to one tested model: fit, choose, calibrate, hold out, compare.

Pure functions on Arrow tables. Time orders everything: candidates are fitted on the
oldest snapshots, chosen and calibrated on a later slice, and measured once on the
newest, which nothing before has seen (``timeframe.temporal_split``).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from propensity.errors import NotEnoughData, SchemaError, UseCaseError
from propensity.learning import evaluation
from propensity.models.encoding import to_frame
from propensity.models.scoring import MeanOfModels, Scorer
from propensity.settings import Settings
from propensity.timeframe import Split, Timeframe, temporal_split
from propensity.usecases import CATEGORY, NUMBER, Candidate, UseCase

Floats = NDArray[np.float64]

CALIBRATIONS = ("none", "sigmoid", "isotonic", "temperature")

# Rows and repeats behind the importance of a feature: enough to rank them, few enough
# to cost less than a candidate.
_IMPORTANCE_ROWS = 1_000
_IMPORTANCE_REPEATS = 3

_FOLDS = 5

# Below so many rows the threads of OpenMP and BLAS wait for each other longer than
# they work: one is as fast on an idle machine, and up to ten times on a shared one.
PARALLEL_ROWS = 200_000

# A fall of ROC AUC beyond this is worse even where the rows are too few to prove it.
_TOLERATED = 0.01

# Values rarer than this share of the training rows are one value together.
_RARE = 0.01

# What a candidate is made with that does not say otherwise. A logistic regression is
# done when its mean probability is within ``tol`` of the base rate: scikit-learn's own
# 1e-4 is a tenth of a base rate of 0.1%.
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {"LogisticRegression": {"tol": 1e-7}}

# How a version comes to serve that training has not promoted.
BY_HAND = "promote it by hand: propensity promote VERSION --force"

_ALGORITHMS: Mapping[str, type] = {
    "LogisticRegression": LogisticRegression,
    "HistGradientBoostingClassifier": HistGradientBoostingClassifier,
    "RandomForestClassifier": RandomForestClassifier,
    "ExtraTreesClassifier": ExtraTreesClassifier,
}


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Rows of some as-of dates: features as they came, label and weight."""

    rows: pa.Table
    label: NDArray[np.int8]
    weight: Floats

    def __len__(self) -> int:
        return len(self.label)

    @property
    def conversions(self) -> int:
        """Rows with label 1."""
        return int(self.label.sum())

    @property
    def base_rate(self) -> float:
        """Weighted share of label 1."""
        return float(np.average(self.label, weights=self.weight))


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One candidate, fitted, and what it achieved on the slice it was chosen on."""

    candidate: Candidate
    model: Any
    figures: Mapping[str, float | None]
    fit_s: float


@dataclass(frozen=True, kw_only=True)
class Trained:
    """
    A model that has been chosen, calibrated and measured, and how.

    ``sampling`` has by label the share of its rows that were read, ``baseline_score``
    what the use case's baseline gives the rows held out, in [0, 1]. ``is_measured``
    says whether these rows hold truths enough to judge a first model by.
    Of one that gives anomaly scores, ``is_anomaly``, ``probability`` holds these; they
    are NaN unless ``is_warm``. ``alerts`` and ``outcomes``, how many rows were known
    and how many were not, are of events.
    """

    split: Split
    preprocessor: Any
    model: Any
    chosen: Candidate
    calibration: str
    calibrations: Mapping[str, float]
    tried: Sequence[Tried]
    quality: Mapping[str, Any]
    curves: Mapping[str, Any]
    baselines: Mapping[str, float | None]
    importance: Sequence[Mapping[str, Any]]
    holdout: Slice
    probability: Floats
    rows: Mapping[str, int]
    train_base_rate: float | None
    sampling: Mapping[int, float]
    baseline_score: Floats
    is_measured: bool = True
    is_anomaly: bool = False
    is_warm: bool = True
    alerts: Sequence[Mapping[str, float | None]] = ()
    outcomes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether the challenger becomes champion, and why."""

    promoted: bool
    reason: str
    compared_version: int | None = None
    differences: Mapping[str, evaluation.Difference] = field(default_factory=dict)


def train(
    rows: pa.Table,
    use_case: UseCase,
    timeframe: Timeframe,
    *,
    preprocessor: Any | None,
    settings: Settings,
) -> Trained:
    """
    Train, choose, calibrate and measure.

    Args:
        rows: One row per user and as-of date: ``as_of``, ``user_id``, the use case's
            features, ``label`` 0 or 1 and ``weight``.
        use_case: Its features, candidates and baseline.
        timeframe: The spans that the rows were made with.
        preprocessor: Unfitted ColumnTransformer; it is cloned, and fitted on the
            training slice only. None for the default.
        settings: The least rows and conversions, and the seed of all that is random.

    Raises:
        NotEnoughData: Too few snapshots, rows or conversions, or one class only.
        SchemaError: The rows or the preprocessor do not fit the use case.
    """
    rows = rows.sort_by([("as_of", "ascending"), ("user_id", "ascending")])
    split = _split(rows, timeframe, minimum_conversions=settings.minimum_conversions)
    fitting, choosing, holdout = (
        slice_of(rows, as_ofs)
        for as_ofs in (split.train, split.calibrate, split.holdout)
    )
    _check_enough(
        {"train on": fitting, "choose on": choosing, "hold out": holdout},
        use_case,
        settings,
    )
    seed = settings.seed

    features = dict(use_case.features)
    if preprocessor is None:
        preprocessor = default_preprocessor(use_case)
    encoder = fitted(preprocessor, fitting, features)
    encoded = {
        name: transformed(encoder, part.rows, features)
        for name, part in (("fitting", fitting), ("choosing", choosing))
    }
    tried: list[Tried] = []
    with threadpool_limits(None if len(fitting) > PARALLEL_ROWS else 1):
        for one in use_case.candidates:
            tried.append(tried_out(one, tried, encoded, fitting, choosing, seed=seed))
        best = max(tried, key=lambda one: one.figures["roc_auc"] or 0.0)
        later = encoded["choosing"]
        calibrations = calibration_losses(best.model, later, choosing, seed)
        calibration = min(calibrations, key=lambda name: calibrations[name])
        model = calibrated_model(best.model, calibration, later, choosing)

    scorer = Scorer.compile(encoder, model, features=_kinds(features))
    probability = scores(scorer, holdout.rows)
    observed = evaluation.outcomes(probability, holdout.label, weight=holdout.weight)
    return Trained(
        split=split,
        preprocessor=encoder,
        model=model,
        chosen=best.candidate,
        calibration=calibration,
        calibrations=calibrations,
        tried=tried,
        quality=evaluation.quality(
            observed,
            threshold=use_case.threshold,
            seed=seed,
            expansion=evaluation.expansion(holdout.label, holdout.weight),
        ),
        curves=evaluation.curves(observed),
        baselines=baselines(use_case, holdout),
        importance=importance(scorer, features, holdout, seed=seed),
        holdout=holdout,
        probability=probability,
        rows={
            "train": len(fitting),
            "calibrate": len(choosing),
            "holdout": len(holdout),
        },
        train_base_rate=fitting.base_rate,
        sampling=sampling(rows),
        baseline_score=baseline_score(use_case, holdout),
    )


def compare(
    trained: Trained, champion: Floats | None, *, version: int | None, seed: int
) -> Verdict:
    """
    Decide whether a challenger becomes champion.

    Where nothing serves ``first_verdict`` decides. Else it does unless it is worse: the
    95% interval of the difference in ROC AUC or in log loss lies wholly on the wrong
    side, or ROC AUC falls by more than a hundredth, however wide the interval. A
    difference within the noise goes to the challenger, which has seen newer data.
    Comparing on the same rows takes out what made the week easy or hard for both.

    Args:
        trained: The challenger.
        champion: The champion's probabilities of the challenger's holdout rows; None
            where there is no champion, or none that can score today's features.
        version: The champion's; None without one.
        seed: Of the resampling.
    """
    if version is None:
        return first_verdict(trained, seed=seed)
    if champion is None:
        return Verdict(
            promoted=True,
            reason=f"version {version} cannot score today's features",
            compared_version=version,
        )
    found = evaluation.paired_differences(
        trained.probability,
        champion,
        trained.holdout.label,
        weight=trained.holdout.weight,
        seed=seed,
    )
    area, loss = found["roc_auc"], found["log_loss"]
    told = (
        f"ROC AUC {area.estimate:+.4f} ({area.low:+.4f} to {area.high:+.4f}), "
        f"log loss {loss.estimate:+.4f} ({loss.low:+.4f} to {loss.high:+.4f}) "
        f"against version {version} on the same {len(trained.holdout)} rows"
    )
    is_worse = area.high < 0 or loss.low > 0 or area.estimate < -_TOLERATED
    return Verdict(
        promoted=not is_worse,
        reason=("worse: " if is_worse else "not worse: ") + told,
        compared_version=version,
        differences=found,
    )


def first_verdict(trained: Trained, *, seed: int) -> Verdict:
    """
    Decide whether a model serves where nothing does yet.

    It must rank better than chance, and better than the use case's baseline: the 95%
    intervals of both differences in ROC AUC lie above zero, on the rows held out, which
    have both classes. Log loss decides nothing here: a baseline gives no probability.

    Args:
        trained: The model.
        seed: Of the resampling.
    """
    holdout = trained.holdout
    [baseline] = trained.baselines
    rivals = {
        "chance": np.full(len(holdout), 0.5),
        baseline: trained.baseline_score,
    }
    compared, beaten_by = [], []
    for name, rival in rivals.items():
        area = evaluation.paired_differences(
            trained.probability,
            rival,
            holdout.label,
            weight=holdout.weight,
            seed=seed,
        )["roc_auc"]
        compared.append(
            f"{area.estimate:+.4f} ({area.low:+.4f} to {area.high:+.4f}) against {name}"
        )
        if area.low <= 0:
            beaten_by.append(name)
    told = f"ROC AUC {', '.join(compared)}, on {len(holdout)} rows held out"
    if beaten_by:
        return Verdict(
            promoted=False,
            reason=f"not shown to be better than {' and '.join(beaten_by)}: {told}. "
            "Nothing serves before a model is: wait for more data, give it features "
            f"that tell more, or {BY_HAND}",
        )
    return Verdict(
        promoted=True,
        reason=f"the first model of this use case, and better than chance and "
        f"{baseline}: {told}",
    )


def scores(scorer: Scorer, rows: pa.Table) -> Floats:
    """Return the probabilities of all rows of a table, in order."""
    found = [probability for _, probability in scorer.score(rows.to_batches())]
    return np.concatenate(found) if found else np.empty(0)


def default_preprocessor(use_case: UseCase) -> ColumnTransformer:
    """
    Return the unfitted preprocessor that a use case has without one of its own.

    Numbers: missing ones take the median and say so in a column of their own; arcsinh,
    a logarithm that knows zero and negative numbers, then unit variance. Categories:
    one column a value, the rare ones pooled, unseen ones counted among these.
    """
    model = use_case.model
    if model is not None and hasattr(model, "preprocessor"):
        return model.preprocessor(use_case)
    numbers = [name for name, kind in use_case.features.items() if kind == NUMBER]
    categories = [name for name, kind in use_case.features.items() if kind == CATEGORY]
    return ColumnTransformer(
        [
            (
                "numbers",
                make_pipeline(
                    SimpleImputer(
                        strategy="median", add_indicator=True, keep_empty_features=True
                    ),
                    FunctionTransformer(np.arcsinh),
                    StandardScaler(),
                ),
                numbers,
            ),
            (
                "categories",
                make_pipeline(
                    SimpleImputer(
                        strategy="constant",
                        fill_value="(missing)",
                        keep_empty_features=True,
                    ),
                    OneHotEncoder(
                        handle_unknown="infrequent_if_exist",
                        min_frequency=_RARE,
                        sparse_output=False,
                    ),
                ),
                categories,
            ),
        ],
        sparse_threshold=0.0,
    )


def check_preprocessor(preprocessor: Any, use_case: UseCase) -> None:
    """
    Raise SchemaError unless a preprocessor can be fitted on the use case's features.

    It is cloned and fitted on a handful of made-up rows of the right types, with gaps,
    and must also encode a category that it has not been fitted on: next week has some.
    """
    if not isinstance(preprocessor, ColumnTransformer):
        raise SchemaError(
            "a preprocessor is an unfitted sklearn ColumnTransformer, "
            f"not {type(preprocessor).__name__}"
        )
    count = 40
    columns: dict[str, pa.Array] = {}
    for place, (name, kind) in enumerate(use_case.features.items()):
        if kind == NUMBER:
            numbers = [
                None if (row + place) % 7 == 0 else float((row * (place + 3)) % 11)
                for row in range(count)
            ]
            columns[name] = pa.array(numbers, pa.float64())
        else:
            texts = [None if row % 9 == 0 else f"v{row % 4}" for row in range(count)]
            columns[name] = pa.array(texts, pa.string())
    label = np.arange(count) % 2
    rows = pa.table(columns)
    part = Slice(rows=rows, label=label.astype(np.int8), weight=np.ones(count))
    features = dict(use_case.features)
    fit = fitted(preprocessor, part, features)
    encoded = np.asarray(transformed(fit, rows, features))
    if encoded.ndim != 2 or encoded.shape[0] != count or encoded.shape[1] < 1:
        raise SchemaError(
            f"the preprocessor made {encoded.shape} of {count} rows; it must keep the "
            "rows and give a column or more"
        )
    if encoded.dtype.kind not in "biuf":
        raise SchemaError(
            f"the preprocessor gives {encoded.dtype}, but models read numbers: encode "
            "every category, and mind what remainder='passthrough' lets through"
        )
    unseen = {
        name: pa.array(["never seen"] * count)
        for name, kind in features.items()
        if kind == CATEGORY
    }
    transformed(fit, pa.table({**columns, **unseen}), features)


def fitted(preprocessor: Any, part: Slice, features: dict[str, str]) -> Any:
    """
    Return a clone of a preprocessor, fitted on a slice.

    Raises:
        SchemaError: It does not fit the features.
    """
    frame = _frame(part.rows, features)
    try:
        fit = clone(preprocessor).fit(frame, part.label)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SchemaError(
            f"the preprocessor does not fit the use case's features: {error}"
        ) from error
    if not hasattr(fit, "transform"):
        raise SchemaError(
            f"a preprocessor transforms features; {type(fit).__name__} does not"
        )
    return fit


def transformed(encoder: Any, rows: pa.Table, features: dict[str, str]) -> Any:
    """Return what a fitted preprocessor makes of rows, dense as all models read it."""
    frame = _frame(rows, features)
    try:
        made = encoder.transform(frame)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SchemaError(
            f"the preprocessor cannot encode rows that it was not fitted on: {error}. "
            "Encoders of categories must know what to do with a new one "
            "(handle_unknown)"
        ) from error
    return made.toarray() if hasattr(made, "toarray") else made


def _split(rows: pa.Table, timeframe: Timeframe, *, minimum_conversions: int) -> Split:
    """
    Split by time, holding out the newest snapshot, or as many as have conversions.

    Where purchases are rare one week of them says little: up to a quarter of the
    snapshots are then held out, until they have the conversions that are asked for.
    """
    converted = rows.filter(pc.equal(rows["label"], 1))
    counts = converted.group_by("as_of").aggregate([("label", "count")]).to_pylist()
    conversions = {row["as_of"]: row["label_count"] for row in counts}
    as_ofs: list[date] = sorted(pc.unique(rows["as_of"]).to_pylist())
    held = 1
    while (
        sum(conversions.get(as_of, 0) for as_of in as_ofs[-held:]) < minimum_conversions
        and held < len(as_ofs) // 4
    ):
        held += 1
    try:
        return temporal_split(tuple(as_ofs), timeframe, held=held)
    except ValueError as error:
        raise NotEnoughData(
            f"{error}; the data give snapshots on "
            f"{', '.join(map(str, as_ofs)) or 'no day at all'}. Each needs a lookback "
            f"of {timeframe.lookback_days} days before it and {timeframe.horizon_days} "
            f"+ {timeframe.settle_days} days after it"
        ) from error


def slice_of(rows: pa.Table, as_ofs: Sequence[date]) -> Slice:
    """Return the rows of some as-of dates."""
    wanted = pa.array(as_ofs, pa.date32())
    part = rows.filter(pc.is_in(rows["as_of"], value_set=wanted))
    return Slice(
        rows=part,
        label=part["label"].to_numpy().astype(np.int8),
        weight=part["weight"].to_numpy().astype(np.float64),
    )


def sampling(rows: pa.Table) -> dict[int, float]:
    """
    Return by label, 0 and 1, the share of its rows that were read.

    Args:
        rows: ``label`` (0, 1 or null) and ``weight``, the rows that one stands for.
    """
    label = pc.cast(rows["label"], pa.float64()).to_numpy()
    weight = rows["weight"].to_numpy()
    found = {}
    for value in (0, 1):
        chosen = weight[label == value]
        found[value] = float(len(chosen) / chosen.sum()) if len(chosen) else 1.0
    return found


def _check_enough(
    parts: Mapping[str, Slice], use_case: UseCase, settings: Settings
) -> None:
    """Raise NotEnoughData for a class that is missing first: it is the worse fault."""
    for name, part in parts.items():
        if part.conversions in (0, len(part)):
            raise NotEnoughData(_one_class(name, part, use_case))
    least = settings.minimum_training_rows
    if (count := len(parts["train on"])) < least:
        raise NotEnoughData(
            f"{count} rows to train on are too few: PROPENSITY_MINIMUM_TRAINING_"
            f"ROWS is {least}. Wait for more weeks of events, or lower it"
        )
    least = settings.minimum_conversions
    for name, part in parts.items():
        if part.conversions < least:
            more = (
                ", choose a more frequent PROPENSITY_LABEL_EVENT"
                if "label_event" in use_case.parameters
                else ""
            )
            raise NotEnoughData(
                f"{part.conversions} of the {len(part)} rows to {name} are of users "
                f"who {use_case.outcome} (label 1), which is too few: PROPENSITY_"
                f"MINIMUM_CONVERSIONS is {least}. Wait for more weeks of "
                f"events{more}, or lower it"
            )


def _one_class(name: str, part: Slice, use_case: UseCase) -> str:
    """Say which class a slice lacks, how many rows it has, and what may be why."""
    if not len(part):
        return f"there are no rows to {name}"
    dates = sorted(pc.unique(part.rows["as_of"]).to_pylist())
    days = f"{dates[0]}" if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    missing = 0 if part.conversions else 1
    of = f"{'none is' if missing else 'all are'} of users who {use_case.outcome}"
    counts = f"{part.conversions} of label 1, {len(part) - part.conversions} of label 0"
    if part.weight.max() > 1:
        advice = (
            "They are a sample of more rows: raise PROPENSITY_MAXIMUM_TRAINING_ROWS"
        )
    elif missing and "label_event" in use_case.parameters:
        advice = "Is PROPENSITY_LABEL_EVENT the event that the source has?"
    else:
        advice = "Wait for more weeks of events"
    return (
        f"the rows to {name} ({days}) lack one class, label {missing}, {of}: {counts}, "
        f"of {len(part)}. {advice}"
    )


def _frame(rows: pa.Table, features: dict[str, str]) -> Any:
    merged = rows.combine_chunks().to_batches()
    batch = merged[0] if merged else pa.RecordBatch.from_pylist([], rows.schema)
    return to_frame(batch, _kinds(features))


def _kinds(features: dict[str, str]) -> Any:
    return features


def estimator(candidate: Candidate, earlier: Sequence[Tried], *, seed: int) -> Any:
    """
    Return a candidate's unfitted classifier.

    A ``MeanOfModels`` is the mean probability ``of`` candidates named before it, as
    they were fitted.

    Raises:
        UseCaseError: Its algorithm or a parameter is unknown.
    """
    if candidate.algorithm == MeanOfModels.__name__:
        fits = {one.candidate.name: one.model for one in earlier}
        odd = sorted(set(candidate.parameters) - {"of"})
        if odd:
            raise UseCaseError(
                f"candidate {candidate.name}: a {candidate.algorithm} has no parameter "
                f"{', '.join(odd)}, only of"
            )
        members = list(candidate.parameters.get("of", ()))
        unknown = sorted(set(members) - set(fits))
        if unknown or not members:
            raise UseCaseError(
                f"candidate {candidate.name} is the mean of {unknown or 'none'}, "
                f"but the candidates before it are {', '.join(fits) or 'none'}"
            )
        return MeanOfModels([fits[name] for name in members])
    algorithm = _ALGORITHMS.get(candidate.algorithm)
    if algorithm is None:
        raise UseCaseError(
            f"candidate {candidate.name}: unknown algorithm {candidate.algorithm!r}; "
            f"known are {', '.join(sorted(_ALGORITHMS))} and {MeanOfModels.__name__}"
        )
    try:
        given = {**_DEFAULTS.get(candidate.algorithm, {}), **candidate.parameters}
        model = algorithm().set_params(**{"random_state": seed, **given})
    except ValueError as error:
        raise UseCaseError(f"candidate {candidate.name}: {error}") from error
    return model


def tried_out(
    candidate: Candidate,
    earlier: Sequence[Tried],
    encoded: Mapping[str, Any],
    fitting: Slice,
    choosing: Slice,
    *,
    seed: int,
) -> Tried:
    model = estimator(candidate, earlier, seed=seed)
    began = time.perf_counter()
    with warnings.catch_warnings():
        # A fit that stops at max_iter is judged by its figures like any other.
        warnings.simplefilter("ignore", ConvergenceWarning)
        _fit(model, encoded["fitting"], fitting, name=candidate.name)
    took = time.perf_counter() - began
    probability = model.predict_proba(encoded["choosing"])[:, 1]
    seen = evaluation.outcomes(probability, choosing.label, weight=choosing.weight)
    figures = {
        "roc_auc": evaluation.roc_auc(seen),
        "pr_auc": evaluation.pr_auc(seen),
        "log_loss": evaluation.log_loss(seen),
        "brier": evaluation.brier(seen),
    }
    return Tried(candidate=candidate, model=model, figures=figures, fit_s=took)


def _fit(model: Any, encoded: Any, part: Slice, *, name: str) -> None:
    """
    Fit a candidate on all processors; it predicts on one.

    A forest that predicts in threads adds its trees up in the order in which they
    finish, so that no two predictions agree to the last bit; and scoring has threads
    of its own.
    """
    if isinstance(model, MeanOfModels):
        return  # of models that are fitted
    has_jobs = "n_jobs" in model.get_params() and not isinstance(
        model, LogisticRegression
    )
    if has_jobs:
        model.set_params(n_jobs=-1)
    try:
        model.fit(encoded, part.label, **_weights(part))
    except (ValueError, TypeError) as error:
        raise UseCaseError(f"candidate {name} cannot be fitted: {error}") from error
    if has_jobs:
        model.set_params(n_jobs=None)


def _weights(part: Slice) -> dict[str, Floats]:
    """Return fit's sample weights, or none where all rows weigh the same."""
    return {} if np.ptp(part.weight) == 0 else {"sample_weight": part.weight}


def calibration_losses(
    model: Any, encoded: Any, part: Slice, seed: int
) -> dict[str, float]:
    """
    Return each calibration's log loss on the slice, cross-fitted.

    Folds are of users, since one user's rows of several weeks are alike; what would be
    fitted and judged on the same users would prefer the most flexible.
    """
    users = pc.unique(part.rows["user_id"])
    place = pc.index_in(part.rows["user_id"], value_set=users).to_numpy()
    fold = np.random.default_rng(seed).integers(0, _FOLDS, len(users))[place]
    # The model predicts once; what is fitted in each fold reads only its decisions.
    decided, decisions = _decided(model), LogisticRegression()
    decisions.classes_, decisions.n_features_in_ = np.array([0, 1]), 1
    decisions.coef_, decisions.intercept_ = np.ones((1, 1)), np.zeros(1)
    decision = decided.decision_function(encoded)[:, np.newaxis]
    as_it_is = model.predict_proba(encoded)[:, 1]
    seen = evaluation.outcomes(as_it_is, part.label, weight=part.weight)
    losses = {"none": float(evaluation.log_loss(seen) or 0.0)}
    for method in CALIBRATIONS[1:]:
        probability = np.empty(len(part))
        for number in range(_FOLDS):
            inside = fold == number
            if not inside.any():
                continue
            outside = Slice(
                rows=part.rows, label=part.label[~inside], weight=part.weight[~inside]
            )
            if outside.conversions in (0, len(outside)):
                break
            calibrated = calibrated_model(decisions, method, decision[~inside], outside)
            probability[inside] = calibrated.predict_proba(decision[inside])[:, 1]
        else:
            seen = evaluation.outcomes(probability, part.label, weight=part.weight)
            losses[method] = float(evaluation.log_loss(seen) or 0.0)
    return losses


def _decided(model: Any) -> Any:
    """Return a model as one that has a decision: log-odds where it has none."""
    return model if hasattr(model, "decision_function") else MeanOfModels([model])


def calibrated_model(model: Any, method: str, encoded: Any, part: Slice) -> Any:
    if method == "none":
        return model
    calibrator = CalibratedClassifierCV(FrozenEstimator(_decided(model)), method=method)
    with warnings.catch_warnings():
        # Neither matters to a model that is frozen: that it ignores weights (the
        # calibration reads them), and that a fold of its predictions has one class.
        for about in ("Since FrozenEstimator", "The least populated class"):
            warnings.filterwarnings("ignore", f"{about} .*", UserWarning)
        return calibrator.fit(encoded, part.label, **_weights(part))


def baseline_score(use_case: UseCase, holdout: Slice) -> Floats:
    """Return ranks in [0, 1] by the baseline's feature; a missing value is last."""
    baseline = use_case.baseline
    values = pc.cast(holdout.rows[baseline.feature], pa.float64()).to_numpy()
    order = -values if baseline.ascending else values
    order = np.where(np.isnan(order), -np.inf, order)
    _, rank = np.unique(order, return_inverse=True)
    return np.asarray(rank / max(1, rank.max(initial=0)), dtype=np.float64)


def baselines(use_case: UseCase, holdout: Slice) -> dict[str, float | None]:
    """Return the ROC AUC of simpler rankings of the rows held out, by name."""
    score = baseline_score(use_case, holdout)
    seen = evaluation.outcomes(score, holdout.label, weight=holdout.weight)
    return {f"{use_case.baseline.feature} alone": evaluation.roc_auc(seen)}


def importance(
    scorer: Scorer, features: dict[str, str], holdout: Slice, *, seed: int
) -> list[dict[str, Any]]:
    """
    Return how much ROC AUC falls when one feature is shuffled, greatest fall first.

    Source:
        Breiman, "Random Forests", Machine Learning 45, 2001, section 10.
    """
    generator = np.random.default_rng(seed)
    count = min(_IMPORTANCE_ROWS, len(holdout))
    # Label 1 is rare: half the sample is of it. ROC AUC does not depend on it.
    chosen = _balanced(holdout.label, count, generator)
    rows = holdout.rows.select(list(features)).take(pa.array(chosen)).combine_chunks()
    label, weight = holdout.label[chosen], holdout.weight[chosen]
    whole = _area(scores(scorer, rows), label, weight)
    repeated = pa.concat_tables([rows] * _IMPORTANCE_REPEATS).combine_chunks()
    found = []
    for place, name in enumerate(repeated.column_names):
        shuffled = pa.array(
            np.concatenate(
                [
                    generator.permutation(len(chosen)) + turn * len(chosen)
                    for turn in range(_IMPORTANCE_REPEATS)
                ]
            )
        )
        column = repeated[name]
        if column.null_count == len(column) or len(pc.unique(column)) == 1:
            found.append({"feature": name, "mean": 0.0, "std": 0.0})
            continue
        changed = repeated.set_column(place, name, column.take(shuffled))
        probability = scores(scorer, changed)
        falls = [
            whole - _area(part, label, weight)
            for part in np.split(probability, _IMPORTANCE_REPEATS)
        ]
        found.append(
            {
                "feature": name,
                "mean": float(np.mean(falls)),
                "std": float(np.std(falls)),
            }
        )
    return sorted(found, key=lambda entry: -entry["mean"])


def _balanced(
    label: NDArray[Any], count: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    parts = []
    for value in (0, 1):
        rows = np.flatnonzero(label == value)
        parts.append(generator.permutation(rows)[: max(1, count // 2)])
    return np.sort(np.concatenate(parts))


def _area(probability: Floats, label: NDArray[Any], weight: Floats) -> float:
    seen = evaluation.outcomes(probability, label, weight=weight)
    return evaluation.roc_auc(seen) or 0.0
