"""
Training: fit the candidates, choose one, calibrate it, and measure it once.

Of users, a recipe is chosen on blocks of weeks (``rolling``). It is measured on the
holdout rows, by a model that has not seen them, and then fitted again on all rows: that
model serves. Of events, the measured model serves.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from propensity.errors import NotEnoughData
from propensity.learning import (
    bootstrap,
    calibration,
    metrics,
    of_events,
    rolling,
    sample,
    thresholds,
    trees,
)
from propensity.learning.candidates import (
    PARALLEL_ROWS,
    FittedCandidate,
    estimator,
    figures,
    fit_on,
    is_mean,
    side_by_side,
)
from propensity.learning.data import Kind, Parts, Slice
from propensity.learning.importance import baseline_score, importance
from propensity.learning.preprocessor import default_preprocessor, fitted, transformed
from propensity.learning.rolling import Choice
from propensity.learning.thresholds import TRAINING, Selection
from propensity.models.anomaly import AnomalyModel
from propensity.models.scoring import Pools, Scorer
from propensity.settings import Settings
from propensity.timeframe import Block, Split
from propensity.usecases import Candidate, UseCase, declaration

if TYPE_CHECKING:
    from propensity.learning.value import Valued

Floats = NDArray[np.float64]


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
        best_threshold: The one with the best F1 on the rows to choose on, if any.
        alerts: Recall and cost by alert rate; of events only.
        costed: The cost of its alerts; of events with an amount only.
        choosing: The labelled rows on which a threshold of alerts is chosen.
        outcomes: Numbers of rows with and without a label; of events only.
        blocks: The as-of dates that candidates were fitted and judged on; none of
            events.
        choice: What they have shown; None for events.
        measured: Preprocessor and model behind all figures, if other ones serve: fitted
            by the same recipe, without the holdout rows. None if they serve themselves.
        served_probability: Scores of the holdout rows by the model that serves; None if
            that is the measured one.
        fits: Number of fits of the whole training; of users only.
        fit_rows: Rows of the largest fit, where it read a sample; None where all.
        valued: Expected values, beside the probabilities; None without amounts.
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
    best_threshold: float | None = None
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
    blocks: Sequence[Block] = ()
    choice: Choice | None = None
    measured: tuple[Any, Any] | None = None
    served_probability: Floats | None = None
    fits: int = 0
    fit_rows: int | None = None
    valued: Valued | None = None


@dataclass(frozen=True, kw_only=True)
class _Contender:
    """
    A fitted candidate and its preprocessor.

    ``later`` are the encoded rows to choose on; None for Half-Space Trees, which need
    no calibration.
    """

    fit: FittedCandidate
    encoder: Any
    later: Any


def train(
    parts: Parts,
    use_case: UseCase,
    *,
    preprocessor: Any | None,
    settings: Settings,
    pools: Pools | None = None,
) -> Trained:
    """
    Train, choose, calibrate and measure.

    With too few labels only Half-Space Trees can be fitted, which learn from all rows;
    figures may then be missing.

    Args:
        parts: The rows, split by time: from ``data.of_users`` or ``data.of_events``.
        use_case: Its features, candidates, baseline and amount.
        preprocessor: Unfitted ColumnTransformer for candidates that learn from labels;
            clones are fitted. None for the default.
        settings: The minimum of conversions, the cost of an alert, and the seed.
        pools: Opens threads to fit and to score in; without, all is done in turn.

    Raises:
        NotEnoughData: There are too few labels for the use case's candidates.
        SchemaError: The rows or the preprocessor do not fit the use case.
        UseCaseError: A candidate is wrong.
    """
    if preprocessor is None:
        preprocessor = default_preprocessor(use_case)
    if parts.every is not None:
        return _of_users(
            parts, parts.every, use_case, preprocessor, settings, pools=pools
        )
    fitting, choosing = parts.fitting, parts.choosing
    contenders = _forests(parts, use_case, seed=settings.seed)
    with threadpool_limits(None if len(fitting) > PARALLEL_ROWS else 1):
        if parts.has_labels:
            contenders += _classifiers(
                parts, use_case, preprocessor, seed=settings.seed, pools=pools
            )
        if not contenders:
            raise NotEnoughData(
                f"{fitting.conversions} events known to be label 1 to train on, and "
                f"{choosing.conversions} to choose on, are too few: at least "
                f"{settings.minimum_conversions} are needed, and no candidate of "
                f"{use_case.name} does without"
            )
        best = _best(contenders, parts, use_case, settings)
        model, score, method, losses = best.fit.model, best.fit.score, "none", {}
        is_anomaly = isinstance(model, AnomalyModel)
        if not is_anomaly:
            crossed = calibration.out_of_sample(
                model, best.later, choosing, settings.seed
            )
            losses = calibration.losses(crossed, choosing)
            method = min(losses, key=lambda name: losses[name])
            score = crossed[method]
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
        best_threshold=None
        if score is None
        else thresholds.best_threshold(choosing.outcomes(score)),
        is_anomaly=is_anomaly,
        is_warm=not is_anomaly or model.is_warm,
        choosing=of_events.threshold_rows(parts, is_anomaly=is_anomaly),
        outcomes=parts.outcomes,
        fit_rows=None if is_anomaly else sample.rows_of(len(fitting)),
    )
    return _measure(trained, use_case, settings, pools)


def _best(
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
        compared = {**each.fit.figures, "cost": choice.costs[place]}
        contenders[place] = replace(each, fit=replace(each.fit, figures=compared))
    return contenders[choice.place]


def _of_users(
    parts: Parts,
    every: Slice,
    use_case: UseCase,
    preprocessor: Any,
    settings: Settings,
    *,
    pools: Pools | None,
) -> Trained:
    """Choose a recipe, measure it on the holdout rows, and fit it on all rows."""
    seed = settings.seed
    with threadpool_limits(None if len(every) > PARALLEL_ROWS else 1):
        options: Any = {"preprocessor": preprocessor, "seed": seed, "pools": pools}
        choice = rolling.choose(parts, use_case, **options)
        measured, served = choice.recipe.models(
            [parts.fitting, every], use_case, **options
        )
    trained = Trained(
        kind=parts.kind,
        split=parts.split,
        preprocessor=measured[0],
        model=measured[1],
        chosen=choice.recipe.candidate,
        calibration=choice.calibration,
        calibrations=choice.calibrations,
        candidates=choice.candidates,
        holdout=parts.holdout,
        rows={
            "train": len(every) - len(choice.rows) - len(parts.holdout),
            "calibrate": len(choice.rows),
            "holdout": len(parts.holdout),
        },
        train_base_rate=every.base_rate,
        sampling=parts.sampling,
        best_threshold=thresholds.best_threshold(
            choice.rows.outcomes(choice.probability)
        ),
        blocks=parts.blocks,
        choice=choice,
        measured=measured,
        fits=choice.fits + 2 * len(choice.recipe.members),
        fit_rows=sample.rows_of(len(every)),
    )
    trained = _measure(trained, use_case, settings, pools)
    features: Any = dict(use_case.features)
    scorer = Scorer.compile(*served, features=features, pools=pools)
    return replace(
        trained,
        preprocessor=served[0],
        model=served[1],
        served_probability=scores(scorer, parts.holdout.rows),
    )


def scores(scorer: Scorer, rows: pa.Table) -> Floats:
    """Return the probabilities of all rows of a table, in order."""
    parts = [probability for _, probability in scorer.score(rows.to_batches())]
    return np.concatenate(parts) if parts else np.empty(0)


def _classifiers(
    parts: Parts,
    use_case: UseCase,
    preprocessor: Any,
    *,
    seed: int,
    pools: Pools | None,
) -> list[_Contender]:
    """Fit the candidates that learn from labels."""
    features = dict(use_case.features)
    fitting, choosing = sample.sampled(parts.fitting, seed=seed), parts.choosing
    encoder = fitted(preprocessor, fitting, features)
    encoded = transformed(encoder, fitting.rows, features)
    later = transformed(encoder, choosing.rows, features)

    def fit(candidate: Candidate) -> tuple[Any, float]:
        began = time.perf_counter()
        unfitted = estimator(candidate, {}, seed=seed)
        model = fit_on(unfitted, encoded, fitting, name=candidate.name)
        return model, time.perf_counter() - began

    learning = [c for c in use_case.candidates if not _is_unsupervised(c)]
    alone = [c for c in learning if not is_mean(c)]
    fits = [partial(fit, candidate) for candidate in alone]
    results = side_by_side(fits, rows=len(fitting), pools=pools)
    models = {c.name: result for c, result in zip(alone, results, strict=True)}
    contenders: dict[str, _Contender] = {}
    for candidate in learning:
        if is_mean(candidate):
            earlier = {name: each.fit.model for name, each in contenders.items()}
            models[candidate.name] = estimator(candidate, earlier, seed=seed), 0.0
        model, seconds = models[candidate.name]
        score = model.predict_proba(later)[:, 1]
        fitted_candidate = FittedCandidate(
            candidate=candidate,
            model=model,
            figures=figures(score, choosing),
            fit_s=seconds,
            score=score,
        )
        contenders[candidate.name] = _Contender(
            fit=fitted_candidate, encoder=encoder, later=later
        )
    return list(contenders.values())


def _is_unsupervised(candidate: Candidate) -> bool:
    return candidate.algorithm == declaration.FOREST


def _forests(parts: Parts, use_case: UseCase, *, seed: int) -> list[_Contender]:
    """Fit the candidates that need no labels, if there are rows without."""
    if parts.unlabelled is None:
        return []
    contenders = []
    for candidate in filter(_is_unsupervised, use_case.candidates):
        fit, encoder = trees.fitted_trees(
            candidate, parts.unlabelled, parts.choosing, use_case, seed=seed
        )
        contenders.append(_Contender(fit=fit, encoder=encoder, later=None))
    return contenders


def _measure(
    trained: Trained, use_case: UseCase, settings: Settings, pools: Pools | None
) -> Trained:
    """Return the model with its figures on the holdout rows."""
    features: Any = dict(use_case.features)
    holdout, seed = trained.holdout, settings.seed
    unscored = {"users": 0, "conversions": 0}
    if not len(holdout):
        return replace(trained, quality=unscored)
    scorer = Scorer.compile(
        trained.preprocessor, trained.model, features=features, pools=pools
    )
    score = scores(scorer, holdout.rows)
    if not trained.is_warm:
        return replace(trained, probability=score, quality=unscored)
    observed = holdout.outcomes(score)
    curves = metrics.curves(observed)
    options: dict[str, Any] = {
        "seed": seed,
        "expansion": bootstrap.expansion(holdout.label, holdout.weight),
        "selection": Selection(
            budget=use_case.chosen_budget(settings),
            dates=len(trained.split.holdout),
            threshold=trained.best_threshold,
            source=None if trained.best_threshold is None else TRAINING,
        ),
    }
    if trained.is_anomaly:
        quality = bootstrap.ranking(observed, **options)
        curves["calibration"] = []
    else:
        quality = bootstrap.quality(observed, threshold=use_case.threshold, **options)
    baseline = baseline_score(use_case, holdout)
    area = metrics.roc_auc(holdout.outcomes(baseline))
    return replace(
        trained,
        probability=score,
        quality=quality,
        curves=curves,
        **_alerts(trained, scorer, score, use_case, settings),
        baselines={f"{use_case.baseline.feature} alone": area},
        baseline_score=baseline,
        is_measured=observed.has_both_classes
        and holdout.conversions >= settings.minimum_conversions,
        importance=importance(
            lambda batches: (scores for _, scores in scorer.score(batches)),
            features,
            holdout,
            seed=seed,
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
