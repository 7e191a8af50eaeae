"""
Training: fit the candidates, choose one, calibrate it, and measure it once.

The measured model serves: nothing is fitted again on the holdout rows.
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
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from propensity.errors import NotEnoughData, UseCaseError
from propensity.learning import bootstrap, calibration, metrics, of_events, trees
from propensity.learning.data import Kind, Parts, Slice
from propensity.learning.importance import baseline_score, baselines, importance
from propensity.learning.preprocessor import default_preprocessor, fitted, transformed
from propensity.models.anomaly import AnomalyModel
from propensity.models.scoring import MeanOfModels, Scorer
from propensity.settings import Settings
from propensity.timeframe import Split
from propensity.usecases import Candidate, UseCase, declaration

Floats = NDArray[np.float64]

# With fewer rows the threads of OpenMP and BLAS wait for each other longer than they
# work: one thread is as fast on an idle machine, and up to ten times as fast on a busy.
PARALLEL_ROWS = 200_000

# Defaults of ours, for parameters that a candidate leaves out. A logistic regression
# stops when its mean probability is within ``tol`` of the base rate: scikit-learn's
# default of 1e-4 is a tenth of a base rate of 0.1%.
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {"LogisticRegression": {"tol": 1e-7}}

_ALGORITHMS: Mapping[str, type] = {
    "LogisticRegression": LogisticRegression,
    "HistGradientBoostingClassifier": HistGradientBoostingClassifier,
    "RandomForestClassifier": RandomForestClassifier,
    "ExtraTreesClassifier": ExtraTreesClassifier,
}


# Figures that compare candidates.
_FIGURES: Mapping[str, Callable[[metrics.Outcomes], float | None]] = {
    "roc_auc": metrics.roc_auc,
    "pr_auc": metrics.pr_auc,
    "log_loss": metrics.log_loss,
    "brier": metrics.brier,
}


@dataclass(frozen=True, kw_only=True)
class FittedCandidate:
    """
    A fitted candidate, with its scores of the rows to choose on and their figures.

    Without labelled rows to choose on, or from trees that are not warm, there are none.
    """

    candidate: Candidate
    model: Any
    figures: Mapping[str, float | None]
    fit_s: float
    score: Floats | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """
    A model: chosen, calibrated and measured. Figures without data are empty.

    Attributes:
        holdout: The rows of all figures.
        probability: Scores of the holdout rows. With ``is_anomaly`` these are anomaly
            scores, NaN unless ``is_warm``.
        baseline_score: Scores of the use case's baseline for these rows, in [0, 1].
        is_measured: Whether these rows have enough labels to judge a first model.
        sampling: Share of the source's rows that were read, by label.
        alerts: Recall and cost by alert rate; of events only.
        costed: The cost of its alerts; of events with an amount only.
        choosing: The labelled rows on which a threshold of alerts is chosen.
        outcomes: Numbers of rows with and without a label; of events only.
    """

    kind: Kind
    split: Split
    preprocessor: Any
    model: Any
    chosen: Candidate
    calibration: str
    calibrations: Mapping[str, float]
    candidates: Sequence[FittedCandidate]
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
    costed: of_events.Costed | None = None
    choosing: Slice | None = None


@dataclass(frozen=True, kw_only=True)
class _Contender:
    """A fitted candidate, its preprocessor, and the encoded rows to choose on."""

    fit: FittedCandidate
    encoder: Any
    later: Any


def train(
    parts: Parts, use_case: UseCase, *, preprocessor: Any | None, settings: Settings
) -> Trained:
    """
    Train, choose, calibrate and measure.

    With too few labels only Half-Space Trees can be fitted, which learn from all rows;
    figures may then be missing.

    Args:
        parts: The rows, split by time: from ``data.of_users`` or ``data.of_events``.
        use_case: Its features, candidates, baseline and amount.
        preprocessor: Unfitted ColumnTransformer for candidates that learn from labels;
            a clone is fitted on the oldest rows only. None for the default.
        settings: The minimum of conversions, the cost of an alert, and the seed.

    Raises:
        NotEnoughData: There are too few labels for the use case's candidates.
        SchemaError: The rows or the preprocessor do not fit the use case.
        UseCaseError: A candidate is wrong.
    """
    fitting, choosing = parts.fitting, parts.choosing
    contenders = _forests(parts, use_case, seed=settings.seed)
    with threadpool_limits(None if len(fitting) > PARALLEL_ROWS else 1):
        if parts.has_labels:
            contenders += _classifiers(
                parts, use_case, preprocessor, seed=settings.seed
            )
        if not contenders:
            raise NotEnoughData(
                f"{fitting.conversions} events known to be label 1 to train on, and "
                f"{choosing.conversions} to choose on, are too few: PROPENSITY_MINIMUM_"
                f"CONVERSIONS is {settings.minimum_conversions}, and no candidate of "
                f"{use_case.name} does without"
            )
        best = (
            _best_of_events(contenders, parts, use_case, settings)
            if parts.kind.has_alerts
            else max(contenders, key=lambda each: each.fit.figures["roc_auc"] or 0.0)
        )
        model, method, losses = best.fit.model, "none", {}
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
        chosen=best.fit.candidate,
        calibration=method,
        calibrations=losses,
        candidates=[contender.fit for contender in contenders],
        holdout=parts.holdout,
        rows={
            "train": len(parts.unlabelled)  # it learns from these, too
            if is_anomaly and parts.unlabelled is not None
            else len(fitting),
            "calibrate": len(choosing),
            "holdout": len(parts.holdout),
        },
        train_base_rate=fitting.base_rate if len(fitting) else None,
        sampling=parts.sampling,
        is_anomaly=is_anomaly,
        is_warm=not is_anomaly or model.is_warm,
        choosing=of_events.threshold_rows(parts, is_anomaly=is_anomaly),
        outcomes=parts.outcomes,
    )
    return _measure(trained, use_case, settings)


def _best_of_events(
    contenders: list[_Contender], parts: Parts, use_case: UseCase, settings: Settings
) -> _Contender:
    """Return the contender to take, and put the cost of each beside its figures."""
    choice = of_events.choose(
        [each.fit.score for each in contenders],
        parts.choosing,
        of_events.stakes(parts.choosing, use_case, settings),
        trees=[
            place
            for place, each in enumerate(contenders)
            if isinstance(each.fit.model, AnomalyModel)
        ],
        seed=settings.seed,
    )
    for place, each in enumerate(contenders):
        figures = {**each.fit.figures, "cost": choice.costs[place]}
        contenders[place] = replace(each, fit=replace(each.fit, figures=figures))
    return contenders[choice.place]


def scores(scorer: Scorer, rows: pa.Table) -> Floats:
    """Return the probabilities of all rows of a table, in order."""
    parts = [probability for _, probability in scorer.score(rows.to_batches())]
    return np.concatenate(parts) if parts else np.empty(0)


def estimator(
    candidate: Candidate, earlier: Sequence[FittedCandidate], *, seed: int
) -> Any:
    """
    Return a candidate's unfitted classifier.

    A ``MeanOfModels`` has the fitted models ``of`` candidates listed before it.

    Raises:
        UseCaseError: Its algorithm or a parameter is unknown.
    """
    if candidate.algorithm == MeanOfModels.__name__:
        models = {fit.candidate.name: fit.model for fit in earlier}
        odd = sorted(set(candidate.parameters) - {"of"})
        if odd:
            raise UseCaseError(
                f"candidate {candidate.name}: a {candidate.algorithm} has no parameter "
                f"{', '.join(odd)}, only of"
            )
        members = list(candidate.parameters.get("of", ()))
        unknown = sorted(set(members) - set(models))
        if unknown or not members:
            raise UseCaseError(
                f"candidate {candidate.name} is the mean of {unknown or 'none'}, "
                f"but the candidates before it are {', '.join(models) or 'none'}"
            )
        return MeanOfModels([models[name] for name in members])
    algorithm = _ALGORITHMS.get(candidate.algorithm)
    if algorithm is None:
        raise UseCaseError(
            f"candidate {candidate.name}: unknown algorithm {candidate.algorithm!r}; "
            f"known are {', '.join(sorted(_ALGORITHMS))} and {MeanOfModels.__name__}"
        )
    try:
        parameters = {**_DEFAULTS.get(candidate.algorithm, {}), **candidate.parameters}
        model = algorithm().set_params(**{"random_state": seed, **parameters})
    except ValueError as error:
        raise UseCaseError(f"candidate {candidate.name}: {error}") from error
    return model


def _classifier(
    candidate: Candidate,
    earlier: Sequence[FittedCandidate],
    encoded: Mapping[str, Any],
    fitting: Slice,
    choosing: Slice,
    *,
    seed: int,
) -> FittedCandidate:
    """Fit a candidate, and compute its figures on the rows to choose on."""
    model = estimator(candidate, earlier, seed=seed)
    began = time.perf_counter()
    with warnings.catch_warnings():
        # A fit that stops at max_iter is judged by its figures like any other.
        warnings.simplefilter("ignore", ConvergenceWarning)
        _fit(model, encoded["fitting"], fitting, name=candidate.name)
    took = time.perf_counter() - began
    probability = model.predict_proba(encoded["choosing"])[:, 1]
    seen = metrics.outcomes(probability, choosing.label, weight=choosing.weight)
    figures = {name: measure(seen) for name, measure in _FIGURES.items()}
    return FittedCandidate(
        candidate=candidate,
        model=model,
        figures=figures,
        fit_s=took,
        score=probability,
    )


def _fit(model: Any, encoded: Any, part: Slice, *, name: str) -> None:
    """
    Fit a candidate on all processors; it predicts on one.

    A forest that predicts in threads adds its trees up in the order in which they
    finish, so that no two predictions agree to the last bit. Scoring has threads of
    its own anyway.
    """
    if isinstance(model, MeanOfModels):
        return  # its members are fitted
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
) -> list[_Contender]:
    """Fit the candidates that learn from labels."""
    features = dict(use_case.features)
    fitting, choosing = parts.fitting, parts.choosing
    if preprocessor is None:
        preprocessor = default_preprocessor(use_case)
    encoder = fitted(preprocessor, fitting, features)
    encoded = {
        name: transformed(encoder, part.rows, features)
        for name, part in (("fitting", fitting), ("choosing", choosing))
    }
    fits: list[FittedCandidate] = []
    for candidate in use_case.candidates:
        if parts.unlabelled is None or not _is_unsupervised(candidate):
            fits.append(
                _classifier(candidate, fits, encoded, fitting, choosing, seed=seed)
            )
    return [
        _Contender(fit=fit, encoder=encoder, later=encoded["choosing"]) for fit in fits
    ]


def _is_unsupervised(candidate: Candidate) -> bool:
    return candidate.algorithm == declaration.FOREST


def _forests(parts: Parts, use_case: UseCase, *, seed: int) -> list[_Contender]:
    """Fit the candidates that need no labels, if there are rows without."""
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
) -> _Contender:
    """Fit Half-Space Trees on all rows in time order; figures are of labelled rows."""
    model, encoder, took = trees.fitted_trees(candidate, rows, use_case, seed=seed)
    figures: dict[str, float | None] = dict.fromkeys(_FIGURES)
    later = score = None
    if model.is_warm and len(choosing):
        later = transformed(encoder, choosing.rows, trees.features_of(use_case))
        score = model.predict_proba(np.asarray(later))[:, 1]
        seen = metrics.outcomes(score, choosing.label, weight=choosing.weight)
        figures["roc_auc"] = metrics.roc_auc(seen)
        figures["pr_auc"] = metrics.pr_auc(seen)
    fit = FittedCandidate(
        candidate=candidate, model=model, figures=figures, fit_s=took, score=score
    )
    return _Contender(fit=fit, encoder=encoder, later=later)


def _measure(trained: Trained, use_case: UseCase, settings: Settings) -> Trained:
    """Return the model with its figures on the holdout rows."""
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
        **_alerts(trained, scorer, score, use_case, settings),
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
    trained: Trained,
    scorer: Scorer,
    score: Floats,
    use_case: UseCase,
    settings: Settings,
) -> dict[str, Any]:
    """Return the figures of alerts, for kinds that have some."""
    choosing, holdout = trained.choosing, trained.holdout
    if not trained.kind.has_alerts or choosing is None:
        return {}
    both = scores(scorer, choosing.rows), score
    return {
        "alerts": of_events.alerts(holdout, score, use_case, settings),
        "costed": of_events.costed(choosing, holdout, both, use_case, settings),
    }
