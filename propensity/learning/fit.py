"""
Training: fit the candidates, choose one, calibrate it, and measure it once.

What was measured is what serves; it is not fitted again on rows that measured it.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from propensity.errors import NotEnoughData, UseCaseError
from propensity.learning import bootstrap, calibration, metrics
from propensity.learning.data import Kind, Parts, Slice, floats, labels
from propensity.learning.importance import baseline_score, baselines, importance
from propensity.learning.preprocessor import default_preprocessor, fitted, transformed
from propensity.models.anomaly import AnomalyModel
from propensity.models.half_space_trees import HalfSpaceTrees
from propensity.models.scoring import MeanOfModels, Scorer
from propensity.settings import Settings
from propensity.timeframe import Split
from propensity.usecases import NUMBER, Candidate, UseCase

Floats = NDArray[np.float64]

# Below so many rows the threads of OpenMP and BLAS wait for each other longer than
# they work: one is as fast on an idle machine, and up to ten times on a shared one.
PARALLEL_ROWS = 200_000

# What a candidate is made with that does not say otherwise. A logistic regression is
# done when its mean probability is within ``tol`` of the base rate: scikit-learn's own
# 1e-4 is a tenth of a base rate of 0.1%.
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {"LogisticRegression": {"tol": 1e-7}}

# What usecase.toml calls the algorithm that needs no truth.
_FOREST = "HalfSpaceTrees"

_ALGORITHMS: Mapping[str, type] = {
    "LogisticRegression": LogisticRegression,
    "HistGradientBoostingClassifier": HistGradientBoostingClassifier,
    "RandomForestClassifier": RandomForestClassifier,
    "ExtraTreesClassifier": ExtraTreesClassifier,
}


# The figures that candidates are judged by.
_JUDGING: Mapping[str, Callable[[metrics.Outcomes], float | None]] = {
    "roc_auc": metrics.roc_auc,
    "pr_auc": metrics.pr_auc,
    "log_loss": metrics.log_loss,
    "brier": metrics.brier,
}


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
    Of a model that gives anomaly scores, ``is_anomaly``, ``probability`` holds these;
    they are NaN unless ``is_warm``. ``alerts`` and ``outcomes``, how many rows were
    known and how many were not, are of events. What could not be measured is empty.
    """

    kind: Kind
    split: Split
    preprocessor: Any
    model: Any
    chosen: Candidate
    calibration: str
    calibrations: Mapping[str, float]
    tried: Sequence[Tried]
    holdout: Slice
    rows: Mapping[str, int]
    train_base_rate: float | None
    sampling: Mapping[int, float]
    is_anomaly: bool = False
    is_warm: bool = True
    outcomes: Mapping[str, int] = field(default_factory=dict)
    quality: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, Any] = field(default_factory=dict)
    baselines: Mapping[str, float | None] = field(default_factory=dict)
    importance: Sequence[Mapping[str, Any]] = ()
    probability: Floats = field(default_factory=lambda: np.empty(0))
    baseline_score: Floats = field(default_factory=lambda: np.empty(0))
    is_measured: bool = False
    alerts: Sequence[Mapping[str, float | None]] = ()


@dataclass(frozen=True, kw_only=True)
class _Fitted:
    """A candidate, the preprocessor that it was fitted behind, and later rows of it."""

    tried: Tried
    encoder: Any
    later: Any


def train(
    parts: Parts, use_case: UseCase, *, preprocessor: Any | None, settings: Settings
) -> Trained:
    """
    Train, choose, calibrate and measure.

    Where labels are too few, what learns without them is all there is: Half-Space Trees
    learn all rows, and nothing may be measured.

    Args:
        parts: The rows, split by time: of ``data.of_users`` or ``data.of_events``.
        use_case: Its features, candidates, baseline and amount.
        preprocessor: Unfitted ColumnTransformer for the candidates that learn from
            labels; it is cloned, and fitted on the rows to fit only. None for the
            default.
        settings: The least conversions, what an alert costs, and the seed of all that
            is random.

    Raises:
        NotEnoughData: There are too few labels for the use case's candidates.
        SchemaError: The rows or the preprocessor do not fit the use case.
        UseCaseError: A candidate is wrong.
    """
    fitting, choosing = parts.fitting, parts.choosing
    fits = _forests(parts, use_case, seed=settings.seed)
    with threadpool_limits(None if len(fitting) > PARALLEL_ROWS else 1):
        if parts.has_labels:
            fits += _classifiers(parts, use_case, preprocessor, seed=settings.seed)
        if not fits:
            raise NotEnoughData(
                f"{fitting.conversions} events known to be label 1 to train on, and "
                f"{choosing.conversions} to choose on, are too few: PROPENSITY_MINIMUM_"
                f"CONVERSIONS is {settings.minimum_conversions}, and no candidate of "
                f"{use_case.name} does without"
            )
        best = max(fits, key=lambda fit: fit.tried.figures["roc_auc"] or 0.0)
        model, method, losses = best.tried.model, "none", {}
        is_anomaly = isinstance(model, AnomalyModel)
        if not is_anomaly:
            losses = calibration.losses(model, best.later, choosing, settings.seed)
            method = min(losses, key=lambda name: losses[name])
            model = calibration.calibrated(model, method, best.later, choosing)
    trained = Trained(
        kind=parts.kind,
        split=parts.split,
        preprocessor=best.encoder,
        model=model,
        chosen=best.tried.candidate,
        calibration=method,
        calibrations=losses,
        tried=[fit.tried for fit in fits],
        holdout=parts.holdout,
        rows={
            "train": len(parts.unlabelled)  # it has learned from those, too
            if is_anomaly and parts.unlabelled is not None
            else len(fitting),
            "calibrate": len(choosing),
            "holdout": len(parts.holdout),
        },
        train_base_rate=fitting.base_rate if len(fitting) else None,
        sampling=parts.sampling,
        is_anomaly=is_anomaly,
        is_warm=not is_anomaly or model.is_warm,
        outcomes=parts.outcomes,
    )
    return _measured(trained, use_case, settings)


def scores(scorer: Scorer, rows: pa.Table) -> Floats:
    """Return the probabilities of all rows of a table, in order."""
    found = [probability for _, probability in scorer.score(rows.to_batches())]
    return np.concatenate(found) if found else np.empty(0)


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


def _tried_out(
    candidate: Candidate,
    earlier: Sequence[Tried],
    encoded: Mapping[str, Any],
    fitting: Slice,
    choosing: Slice,
    *,
    seed: int,
) -> Tried:
    """Fit a candidate, and say what it achieves on the rows to choose on."""
    model = estimator(candidate, earlier, seed=seed)
    began = time.perf_counter()
    with warnings.catch_warnings():
        # A fit that stops at max_iter is judged by its figures like any other.
        warnings.simplefilter("ignore", ConvergenceWarning)
        _fit(model, encoded["fitting"], fitting, name=candidate.name)
    took = time.perf_counter() - began
    probability = model.predict_proba(encoded["choosing"])[:, 1]
    seen = metrics.outcomes(probability, choosing.label, weight=choosing.weight)
    figures = {name: measure(seen) for name, measure in _JUDGING.items()}
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
        model.fit(encoded, part.label, **part.sample_weight)
    except (ValueError, TypeError) as error:
        raise UseCaseError(f"candidate {name} cannot be fitted: {error}") from error
    if has_jobs:
        model.set_params(n_jobs=None)


def _classifiers(
    parts: Parts, use_case: UseCase, preprocessor: Any | None, *, seed: int
) -> list[_Fitted]:
    """Fit the candidates that learn from labels, and judge them on later rows."""
    features = dict(use_case.features)
    fitting, choosing = parts.fitting, parts.choosing
    if preprocessor is None:
        preprocessor = default_preprocessor(use_case)
    encoder = fitted(preprocessor, fitting, features)
    encoded = {
        name: transformed(encoder, part.rows, features)
        for name, part in (("fitting", fitting), ("choosing", choosing))
    }
    tried: list[Tried] = []
    for candidate in use_case.candidates:
        if parts.unlabelled is None or not _is_unsupervised(candidate):
            tried.append(
                _tried_out(candidate, tried, encoded, fitting, choosing, seed=seed)
            )
    return [
        _Fitted(tried=each, encoder=encoder, later=encoded["choosing"])
        for each in tried
    ]


def _is_unsupervised(candidate: Candidate) -> bool:
    return candidate.algorithm == _FOREST


def _forests(parts: Parts, use_case: UseCase, *, seed: int) -> list[_Fitted]:
    """Fit the candidates that need no label, where rows without one are there."""
    if parts.unlabelled is None:
        return []
    return [
        _forest(candidate, parts.unlabelled, parts.choosing, use_case, seed=seed)
        for candidate in use_case.candidates
        if _is_unsupervised(candidate)
    ]


def _forest(
    candidate: Candidate,
    rows: pa.Table,
    choosing: Slice,
    use_case: UseCase,
    *,
    seed: int,
) -> _Fitted:
    """Fit Half-Space Trees on all rows, in time order, and judge them on known ones."""
    numbers = [name for name, kind in use_case.features.items() if kind == NUMBER]
    features = dict.fromkeys(numbers, NUMBER)
    passing = ColumnTransformer([("numbers", "passthrough", numbers)])
    usual = _thinned(rows, seed)
    every = Slice(
        rows=usual, label=np.zeros(len(usual), np.int8), weight=np.ones(len(usual))
    )
    encoder = fitted(passing, every, features)
    encoded = transformed(encoder, usual, features)
    began = time.perf_counter()
    try:
        parameters = {"random_state": seed, **candidate.parameters}
        model = AnomalyModel(HalfSpaceTrees(**parameters)).fit(np.asarray(encoded))
    except (ValueError, TypeError) as error:
        raise UseCaseError(
            f"candidate {candidate.name} cannot be fitted: {error}"
        ) from error
    took = time.perf_counter() - began
    figures: dict[str, float | None] = dict.fromkeys(_JUDGING)
    later = None
    if model.is_warm and len(choosing):
        later = transformed(encoder, choosing.rows, features)
        score = model.predict_proba(np.asarray(later))[:, 1]
        seen = metrics.outcomes(score, choosing.label, weight=choosing.weight)
        figures["roc_auc"] = metrics.roc_auc(seen)
        figures["pr_auc"] = metrics.pr_auc(seen)
    tried = Tried(candidate=candidate, model=model, figures=figures, fit_s=took)
    return _Fitted(tried=tried, encoder=encoder, later=later)


def _thinned(rows: pa.Table, seed: int) -> pa.Table:
    """
    Return rows less those that are too many, by their weight among the others.

    Trees count rows and know no weights: where all frauds were kept of a sample, they
    would be taken for usual. What weighs as most rows of label 0 do, or more, stays.
    """
    weight, others = rows["weight"].to_numpy(), labels(rows) != 1
    chance = weight / np.median(weight[others]) if others.any() else weight
    if chance.min(initial=1.0) >= 1:
        return rows
    drawn = np.random.default_rng(seed).random(len(rows))
    return rows.filter(pa.array(drawn < chance))


def _measured(trained: Trained, use_case: UseCase, settings: Settings) -> Trained:
    """Return a model with its figures on the rows held out."""
    features: Any = dict(use_case.features)
    holdout, seed = trained.holdout, settings.seed
    if not len(holdout):
        return replace(trained, quality={"users": 0, "conversions": 0})
    scorer = Scorer.compile(trained.preprocessor, trained.model, features=features)
    score = scores(scorer, holdout.rows)
    if not trained.is_warm:
        unscored = {"users": 0, "conversions": 0}
        return replace(trained, probability=score, quality=unscored)
    observed = metrics.outcomes(score, holdout.label, weight=holdout.weight)
    curves = metrics.curves(observed)
    expansion = bootstrap.expansion(holdout.label, holdout.weight)
    if trained.is_anomaly:
        quality = bootstrap.ranking(observed, seed=seed, expansion=expansion)
        curves["calibration"] = []
    else:
        quality = bootstrap.quality(
            observed, threshold=use_case.threshold, seed=seed, expansion=expansion
        )
    return replace(
        trained,
        probability=score,
        quality=quality,
        curves=curves,
        alerts=_alerts(trained, score, use_case, settings),
        baselines=baselines(use_case, holdout),
        baseline_score=baseline_score(use_case, holdout),
        is_measured=observed.has_both_classes
        and holdout.conversions >= settings.minimum_conversions,
        importance=importance(
            lambda rows: scores(scorer, rows), features, holdout, seed=seed
        )
        if observed.has_both_classes
        else [],
    )


def _alerts(
    trained: Trained, score: Floats, use_case: UseCase, settings: Settings
) -> Sequence[Mapping[str, float | None]]:
    """Return what comes of looking at the rows that score highest, if anybody does."""
    if not trained.kind.has_alerts:
        return ()
    holdout = trained.holdout
    amount = (
        np.nan_to_num(floats(holdout.rows[use_case.amount]))
        if use_case.amount
        else np.zeros(len(holdout))
    )
    return metrics.alerts(
        score,
        holdout.label,
        amount,
        review_cost=settings.alert_review_cost,
        weight=holdout.weight,
    )
