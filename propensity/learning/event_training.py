"""
From scored events and their truths to one tested model: fit, choose, hold out, compare.

Pure functions on Arrow tables, for use cases whose rows are events. Most events have no
truth yet, and some never get one, so that the first candidate needs none: Half-Space
Trees learn what is usual from all rows. Those that learn from truths join in once there
are enough of both classes. Time orders everything: candidates are fitted on the oldest
events, chosen on later ones, and measured once on the newest whose truth is known. What
was measured is what serves; it is not fitted again on rows that measured it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import json
from sklearn.compose import ColumnTransformer
from threadpoolctl import threadpool_limits

from propensity.errors import NotEnoughData, SchemaError, UseCaseError
from propensity.learning import evaluation, training
from propensity.learning.training import Slice, Trained, Tried, Verdict
from propensity.models.anomaly import AnomalyModel
from propensity.models.half_space_trees import HalfSpaceTrees
from propensity.models.scoring import Scorer
from propensity.settings import Settings
from propensity.timeframe import Split
from propensity.usecases import NUMBER, Candidate, UseCase

Floats = NDArray[np.float64]

STATES = ("known", "unknown", "pending")

# Share of the rows with a truth that is held out, the newest: more where they have too
# few frauds; and of those before them, the share to choose on.
_HELD = (0.2, 0.25, 0.3)
_CHOSEN_ON = 0.25

# What usecase.toml calls the algorithm that needs no truth.
_FOREST = "HalfSpaceTrees"

# A fall of ROC AUC beyond this is worse even where the rows are too few to prove it.
_TOLERATED = 0.01


def dataset(joined: pa.Table, use_case: UseCase) -> pa.Table:
    """
    Return the data set of a training: rows in time order, features in columns.

    Args:
        joined: What ``event_training_rows.sql`` gives: ``event_id``, ``user_id``,
            ``event_time``, ``as_of`` (the event's day), ``features`` as JSON, ``label``
            (0, 1 or null), ``truth_time``, ``is_conflicting``, ``state`` and
            ``weight``.
        use_case: Which features are read of the JSON; what it lacks is null.

    Raises:
        NotEnoughData: There is no row.
        SchemaError: A feature is of another type than the use case's.
    """
    if not len(joined):
        raise NotEnoughData(
            "no event was scored or loaded that happened before the as-of date: "
            "send some to the stream, or load some (offline/load_transactions.py)"
        )
    order = [("event_time", "ascending"), ("event_id", "ascending")]
    joined = joined.sort_by(order)
    found = joined.drop_columns(["features"])
    given = _parsed(joined["features"], use_case.features)
    for name in use_case.features:
        found = found.append_column(name, given[name])
    return found


def _parsed(texts: pa.ChunkedArray, features: Mapping[str, str]) -> pa.Table:
    """Return features, one column each, of JSON objects."""
    schema = pa.schema(
        [
            (name, pa.float64() if kind == NUMBER else pa.string())
            for name, kind in features.items()
        ]
    )
    lines = pc.replace_substring(pc.fill_null(texts, "{}"), "\n", " ").to_pylist()
    try:
        found = json.read_json(
            BytesIO("\n".join(lines).encode()),
            parse_options=json.ParseOptions(
                explicit_schema=schema, unexpected_field_behavior="ignore"
            ),
        )
    except pa.ArrowInvalid as error:
        raise SchemaError(f"inference_log holds other features: {error}") from error
    if len(found) != len(texts):
        raise SchemaError(
            f"inference_log holds {len(texts) - len(found)} rows of features that are "
            "no JSON object"
        )
    return found


@dataclass(frozen=True, kw_only=True)
class _Fitted:
    """A candidate, and the preprocessor that it was fitted behind."""

    tried: Tried
    encoder: Any


def train(
    rows: pa.Table,
    use_case: UseCase,
    *,
    preprocessor: Any | None,
    settings: Settings,
) -> Trained:
    """
    Train, choose, calibrate and measure.

    Where no row is known, or all of them are of one class, nothing can be measured, and
    Half-Space Trees learn all rows.

    Args:
        rows: As ``dataset`` returns them.
        use_case: Its features, candidates, baseline and amount.
        preprocessor: Unfitted ColumnTransformer for the candidates that learn from
            truths; None for the default.
        settings: The least rows and frauds to learn from truths, the share of frauds
            where the rows have others, what an alert costs, and the seed of all that
            is random.

    Raises:
        NotEnoughData: There are too few truths for the use case's candidates.
        SchemaError: The rows or the preprocessor do not fit the use case.
        UseCaseError: A candidate is wrong.
    """
    sampling = training.sampling(rows)
    rows = with_prior(rows, settings.fraud_prior)
    choose, hold = _split(rows, minimum=settings.minimum_conversions)
    fitting, choosing, holding = (
        rows.slice(0, choose),
        rows.slice(choose, hold - choose),
        rows.slice(hold),
    )
    learning, judging, holdout = map(_known, (fitting, choosing, holding))
    found = [
        _forest(one, fitting, judging, use_case, seed=settings.seed)
        for one in use_case.candidates
        if _is_unsupervised(one)
    ]
    if _suffices(learning, judging, settings):
        found += _classifiers(learning, judging, use_case, preprocessor, settings)
    if not found:
        raise NotEnoughData(
            f"{learning.conversions} events known to be label 1 to train on, and "
            f"{judging.conversions} to choose on, are too few: PROPENSITY_MINIMUM_"
            f"CONVERSIONS is {settings.minimum_conversions}, and no candidate of "
            f"{use_case.name} does without"
        )
    best = max(found, key=lambda one: one.tried.figures["roc_auc"] or 0.0)
    model, calibration, losses = best.tried.model, "none", {}
    is_anomaly = isinstance(model, AnomalyModel)
    if not is_anomaly:
        features = dict(use_case.features)
        later = training.transformed(best.encoder, judging.rows, features)
        losses = training.calibration_losses(model, later, judging, settings.seed)
        calibration = min(losses, key=lambda name: losses[name])
        model = training.calibrated_model(model, calibration, later, judging)
    trained = Trained(
        split=Split(
            train=_days(fitting), calibrate=_days(choosing), holdout=_days(holding)
        ),
        preprocessor=best.encoder,
        model=model,
        chosen=best.tried.candidate,
        calibration=calibration,
        calibrations=losses,
        tried=[one.tried for one in found],
        quality={},
        curves={},
        baselines={},
        importance=[],
        holdout=holdout,
        probability=np.empty(0),
        rows={
            "train": len(fitting if is_anomaly else learning),
            "calibrate": len(judging),
            "holdout": len(holdout),
        },
        train_base_rate=learning.base_rate if len(learning) else None,
        sampling=sampling,
        baseline_score=np.empty(0),
        is_measured=False,
        is_anomaly=is_anomaly,
        is_warm=not is_anomaly or model.is_warm,
        outcomes=counts(rows),
    )
    return _measured(trained, use_case, settings)


def compare(
    trained: Trained, champion: Floats | None, *, version: int | None, seed: int
) -> Verdict:
    """
    Decide whether a challenger becomes champion, by ROC AUC alone.

    Where nothing serves ``_first_verdict`` decides. Else it does unless it is worse:
    the 95% interval of the difference lies wholly below zero, or ROC AUC falls by more
    than a hundredth. An anomaly score has no log loss. Where the held-out rows are of
    one class nothing can be compared, and the champion stays. But where nothing gives
    scores, anything that is warm is better.

    Args:
        trained: The challenger.
        champion: The champion's scores of the challenger's holdout rows; None where
            there is no champion, or none that can score.
        version: The champion's; None without one.
        seed: Of the resampling.
    """
    if version is None:
        return _first_verdict(trained, seed=seed)
    if not trained.is_warm:
        return Verdict(
            promoted=False,
            reason=f"it is not warm: {trained.rows['train']} rows fill no window of "
            "its trees",
            compared_version=version,
        )
    if champion is None:
        return Verdict(
            promoted=True,
            reason=f"version {version} gives no scores of today's features",
            compared_version=version,
        )
    holdout = trained.holdout
    if holdout.conversions in (0, len(holdout)):
        of = f"label {1 if holdout.conversions else 0}" if len(holdout) else "no label"
        return Verdict(
            promoted=False,
            reason=f"the {len(holdout)} known rows held out are of {of} alone: nothing "
            f"to compare with version {version} by",
            compared_version=version,
        )
    area = evaluation.paired_differences(
        trained.probability,
        champion,
        holdout.label,
        weight=holdout.weight,
        seed=seed,
    )["roc_auc"]
    is_worse = area.high < 0 or area.estimate < -_TOLERATED
    return Verdict(
        promoted=not is_worse,
        reason=("worse: " if is_worse else "not worse: ")
        + f"ROC AUC {area.estimate:+.4f} ({area.low:+.4f} to {area.high:+.4f}) against "
        f"version {version} on the same {len(holdout)} events",
        compared_version=version,
        differences={"roc_auc": area},
    )


def _first_verdict(trained: Trained, *, seed: int) -> Verdict:
    """
    Decide whether a model serves where nothing does yet.

    It must be better than chance and than the use case's baseline, where that can be
    measured. Half-Space Trees need no truth, so that they can serve before one is
    known: they do where the rows held out have fewer truths of label 1 than
    ``PROPENSITY_MINIMUM_CONVERSIONS``, and the reason says that nothing is proved yet.
    A model that has learned from truths does not serve unproved.
    """
    if not trained.is_warm:
        return Verdict(
            promoted=True,
            reason="the first model of this use case; it is not warm yet, and gives no "
            "scores",
        )
    holdout = trained.holdout
    has_both = 0 < holdout.conversions < len(holdout)
    if has_both and (trained.is_measured or not trained.is_anomaly):
        return training.first_verdict(trained, seed=seed)
    known = (
        f"{holdout.conversions} of the {len(holdout)} rows held out whose truth is "
        "known are label 1"
    )
    if not trained.is_anomaly:
        return Verdict(
            promoted=False,
            reason=f"not shown to be better than chance: {known}, which measures "
            f"nothing. Nothing serves before a model is: wait for more truths, or "
            f"{training.BY_HAND}",
        )
    return Verdict(
        promoted=True,
        reason="the first model of this use case; it has learned without truths, and "
        f"too few are known to say what it is worth: {known}",
    )


def counts(rows: pa.Table) -> dict[str, int]:
    """Return how many rows are known, unknown and pending, and how many conflicted."""
    found = pc.value_counts(rows["state"]).to_pylist()
    by_state = {entry["values"]: entry["counts"] for entry in found}
    conflicts = pc.sum(pc.cast(rows["is_conflicting"], pa.int64())).as_py()
    return {
        **{state: by_state.get(state, 0) for state in STATES},
        "conflicting": conflicts or 0,
    }


def with_prior(rows: pa.Table, prior: float) -> pa.Table:
    """
    Return rows weighted so that a share ``prior`` of the known ones is label 1.

    For data sets that hold more frauds than there are; 0 leaves rows as they are. So
    do rows of one class.
    """
    known = _known(rows)
    if not prior or known.conversions in (0, len(known)):
        return rows
    odds = known.base_rate / (1 - known.base_rate)
    factor = prior / (1 - prior) / odds
    is_fraud = pc.fill_null(pc.equal(rows["label"], 1), False)
    weight = pc.if_else(is_fraud, pc.multiply(rows["weight"], factor), rows["weight"])
    place = rows.column_names.index("weight")
    return rows.set_column(place, "weight", weight)


def _split(rows: pa.Table, *, minimum: int) -> tuple[int, int]:
    """
    Return the rows from which on rows are chosen on, and are held out.

    The newest rows seldom have a truth yet: shares are of those that have one. Rows of
    one moment stay together.
    """
    label, at = _labels(rows), rows["event_time"].cast(pa.int64()).to_numpy()
    known = np.flatnonzero(~np.isnan(label))
    if len(np.unique(label[known])) < 2:
        return len(rows), len(rows)

    def first(place: int) -> int:
        return int(np.searchsorted(at, at[known[place]]))

    hold = len(rows)
    for share in _HELD:
        hold = first(int(len(known) * (1 - share)))
        if np.sum(label[hold:] == 1) >= minimum:
            break
    before = int(np.searchsorted(known, hold))
    choose = first(int(before * (1 - _CHOSEN_ON))) if before else 0
    if not hold:
        return len(rows), len(rows)
    return choose or hold, hold


def _suffices(learning: Slice, judging: Slice, settings: Settings) -> bool:
    """Say whether there are truths enough, of both classes, to learn and to choose."""
    least = settings.minimum_conversions
    return len(learning) >= settings.minimum_training_rows and all(
        least <= part.conversions < len(part) for part in (learning, judging)
    )


def _is_unsupervised(candidate: Candidate) -> bool:
    return candidate.algorithm == _FOREST


def _forest(
    candidate: Candidate,
    fitting: pa.Table,
    judging: Slice,
    use_case: UseCase,
    *,
    seed: int,
) -> _Fitted:
    """Fit Half-Space Trees on all rows, in time order, and judge them on known ones."""
    numbers = [name for name, kind in use_case.features.items() if kind == NUMBER]
    features = dict.fromkeys(numbers, NUMBER)
    passing = ColumnTransformer([("numbers", "passthrough", numbers)])
    usual = _thinned(fitting, seed)
    every = Slice(
        rows=usual, label=np.zeros(len(usual), np.int8), weight=np.ones(len(usual))
    )
    encoder = training.fitted(passing, every, features)
    encoded = training.transformed(encoder, usual, features)
    began = time.perf_counter()
    try:
        parameters = {"random_state": seed, **candidate.parameters}
        model = AnomalyModel(HalfSpaceTrees(**parameters)).fit(np.asarray(encoded))
    except (ValueError, TypeError) as error:
        raise UseCaseError(
            f"candidate {candidate.name} cannot be fitted: {error}"
        ) from error
    took = time.perf_counter() - began
    figures: dict[str, float | None] = dict.fromkeys(
        ("roc_auc", "pr_auc", "log_loss", "brier")
    )
    if model.is_warm and len(judging):
        encoded = training.transformed(encoder, judging.rows, features)
        score = model.predict_proba(np.asarray(encoded))[:, 1]
        seen = evaluation.outcomes(score, judging.label, weight=judging.weight)
        figures["roc_auc"] = evaluation.roc_auc(seen)
        figures["pr_auc"] = evaluation.pr_auc(seen)
    tried = Tried(candidate=candidate, model=model, figures=figures, fit_s=took)
    return _Fitted(tried=tried, encoder=encoder)


def _thinned(rows: pa.Table, seed: int) -> pa.Table:
    """
    Return rows less those that are too many, by their weight among the others.

    Trees count rows and know no weights: where all frauds were kept of a sample, they
    would be taken for usual. What weighs as most rows of label 0 do, or more, stays.
    """
    weight, others = rows["weight"].to_numpy(), _labels(rows) != 1
    chance = weight / np.median(weight[others]) if others.any() else weight
    if chance.min(initial=1.0) >= 1:
        return rows
    drawn = np.random.default_rng(seed).random(len(rows))
    return rows.filter(pa.array(drawn < chance))


def _classifiers(
    learning: Slice,
    judging: Slice,
    use_case: UseCase,
    preprocessor: Any | None,
    settings: Settings,
) -> list[_Fitted]:
    """Fit the candidates that learn from truths, and judge them on later ones."""
    features = dict(use_case.features)
    if preprocessor is None:
        preprocessor = training.default_preprocessor(use_case)
    encoder = training.fitted(preprocessor, learning, features)
    encoded = {
        name: training.transformed(encoder, part.rows, features)
        for name, part in (("fitting", learning), ("choosing", judging))
    }
    tried: list[Tried] = []
    with threadpool_limits(None if len(learning) > training.PARALLEL_ROWS else 1):
        for one in use_case.candidates:
            if not _is_unsupervised(one):
                tried.append(
                    training.tried_out(
                        one, tried, encoded, learning, judging, seed=settings.seed
                    )
                )
    return [_Fitted(tried=one, encoder=encoder) for one in tried]


def _measured(trained: Trained, use_case: UseCase, settings: Settings) -> Trained:
    """Return a model with its figures on the rows held out."""
    features: Any = dict(use_case.features)
    holdout, seed = trained.holdout, settings.seed
    if not len(holdout):
        return replace(trained, quality={"users": 0, "conversions": 0})
    scorer = Scorer.compile(trained.preprocessor, trained.model, features=features)
    score = training.scores(scorer, holdout.rows)
    if not trained.is_warm:
        unscored = {"users": 0, "conversions": 0}
        return replace(trained, probability=score, quality=unscored)
    observed = evaluation.outcomes(score, holdout.label, weight=holdout.weight)
    curves = evaluation.curves(observed)
    expansion = evaluation.expansion(holdout.label, holdout.weight)
    if trained.is_anomaly:
        quality = evaluation.ranking(observed, seed=seed, expansion=expansion)
        curves["calibration"] = []
    else:
        quality = evaluation.quality(
            observed, threshold=use_case.threshold, seed=seed, expansion=expansion
        )
    amount = (
        np.nan_to_num(_floats(holdout.rows[use_case.amount]))
        if use_case.amount
        else np.zeros(len(holdout))
    )
    return replace(
        trained,
        probability=score,
        quality=quality,
        curves=curves,
        alerts=evaluation.alerts(
            score,
            holdout.label,
            amount,
            review_cost=settings.alert_review_cost,
            weight=holdout.weight,
        ),
        baselines=training.baselines(use_case, holdout),
        baseline_score=training.baseline_score(use_case, holdout),
        is_measured=observed.has_both_classes
        and holdout.conversions >= settings.minimum_conversions,
        importance=training.importance(scorer, features, holdout, seed=seed)
        if observed.has_both_classes
        else [],
    )


def _known(rows: pa.Table) -> Slice:
    """Return the rows whose truth is known."""
    part = rows.filter(pc.is_valid(rows["label"]))
    return Slice(
        rows=part,
        label=part["label"].to_numpy().astype(np.int8),
        weight=part["weight"].to_numpy().astype(np.float64),
    )


def _labels(rows: pa.Table) -> Floats:
    """Return labels, NaN where there is none."""
    return _floats(rows["label"])


def _floats(column: pa.ChunkedArray) -> Floats:
    floats: Floats = pc.cast(column, pa.float64()).to_numpy()
    return floats


def _days(rows: pa.Table) -> tuple[date, ...]:
    return tuple(sorted(pc.unique(rows["as_of"]).to_pylist()))
