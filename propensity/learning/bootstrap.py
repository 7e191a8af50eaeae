"""
95% intervals of metrics, and of the difference between two models.

By the Poisson bootstrap: each row counts a Poisson(1) number of times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from propensity.learning import thresholds
from propensity.learning.metrics import (
    Outcomes,
    brier,
    calibration_error,
    confusion,
    grouped,
    lift_by_decile,
    log_loss,
    pr_auc,
    rate_interval,
    ratio,
    roc_auc,
    summed,
)
from propensity.learning.thresholds import Selection

Floats = NDArray[np.float64]
Limits = tuple[float, float]

RESAMPLES = 200

LEVEL = 0.95

# Rows of a label: of fewer, resampled intervals hold the truth in too few weeks.
FEW = 20

# Resampling merges finer groups: an interval needs no more.
_RESAMPLED_GROUPS = 20_000

_INTERVALS: Mapping[str, Callable[[Outcomes], float | None]] = {
    "roc_auc": roc_auc,
    "pr_auc": pr_auc,
    "brier": brier,
    "log_loss": log_loss,
    "calibration_error": calibration_error,
}

# Figures by which two scores of the same rows are compared.
_PAIRED = ("roc_auc", "log_loss", "pr_auc")

# Figures of calls, whose intervals are not resampled.
_CALLS = ("precision", "recall", "f1")


@dataclass(frozen=True)
class Expansion:
    """The number of source rows per sampled row, on average, by label."""

    positive: float = 1.0
    negative: float = 1.0


UNSAMPLED = Expansion()


def expansion(label: NDArray[Any], weight: Floats) -> Expansion:
    """Return the number of source rows per row, by label, for resampling."""
    positive = np.asarray(label) == 1
    return Expansion(rows_per_row(weight[positive]), rows_per_row(weight[~positive]))


def rows_per_row(weight: Floats) -> float:
    """
    Return the number of source rows that a row stands for; 1 without rows.

    If the weights differ, it is the sum of their squares over their sum: rows of this
    equal weight give a sum of weights the same variance.

    Source:
        Kish, "Survey Sampling", 1965, section 11.7: the effective number of rows.
    """
    total = float(weight.sum())
    return float((weight**2).sum()) / total if total > 0 else 1.0


def quality(
    observed: Outcomes,
    *,
    threshold: float,
    seed: int,
    expansion: Expansion = UNSAMPLED,
    selection: Selection | None = None,
) -> dict[str, Any]:
    """
    Return all figures of scores, by column name.

    The 95% intervals of precision, recall and F1 at a threshold are those of rates
    (Wilson). The others are of the Poisson bootstrap: each row counts a
    Poisson(1) number of times, in 200 resamples. They are percentiles of the resampled
    figures, except for the calibration error: resampling adds noise, and noise adds to
    that error. Its interval is therefore mirrored at the figure (the basic bootstrap),
    and begins at 0 unless calibrated probabilities would seldom have so large an error.
    Where a label has fewer than 20 rows there are too few to say: these intervals are
    None. Each interval has its figure in it.

    Args:
        expansion: Number of users per sampled row. Fewer rows make wider intervals.
        selection: Adds the figures at its threshold and of its budget.

    Source:
        Hanley and MacGibbon, "Creating non-parametric bootstrap samples using Poisson
        frequencies", Computer Methods and Programs in Biomedicine 83, 2006. Davison and
        Hinkley, "Bootstrap Methods and their Application", 1997, section 5.2. Broecker
        and Smith, "Increasing the Reliability of Reliability Diagrams", Weather and
        Forecasting 22, 2007: the error of calibrated probabilities.
    """
    users, conversions = observed.users.sum(), observed.conversions.sum()
    mass = (observed.probability * observed.users).sum()
    figures: dict[str, Any] = {
        "users": round(float(users)),
        "conversions": round(float(conversions)),
        "base_rate": ratio(conversions, users),
        "mean_probability": ratio(float(mass), users),
        "threshold": threshold,
        **confusion(observed, threshold=threshold),
        "lift": lift_by_decile(observed),
    }
    for count in ("positives", "negatives"):
        for call in ("true", "false"):
            figures[f"{call}_{count}"] = round(figures[f"{call}_{count}"])
    figures.update({name: measure(observed) for name, measure in _INTERVALS.items()})
    if selection is not None:
        figures.update(_selected(observed, selection))
    drawn, if_calibrated = _resampled(
        observed, seed=seed, expansion=expansion, selection=selection
    )
    is_few = _few(observed, expansion)
    for name, resamples in drawn.items():
        low, high = (None, None) if is_few else _interval(resamples)
        if name == "calibration_error" and low is not None and high is not None:
            low, high = _mirrored(figures[name], low, high)
            if figures[name] <= np.quantile(if_calibrated, (1 + LEVEL) / 2):
                low = 0.0
        elif figures[name] is not None and low is not None and high is not None:
            # A figure at its best, such as the F1 of a perfect ranking, may be above
            # nearly all of its resamples.
            low, high = min(low, figures[name]), max(high, figures[name])
        figures[f"{name}_low"], figures[f"{name}_high"] = low, high
    for name, limits in _of_calls(observed, threshold, expansion, selection).items():
        figures[f"{name}_low"], figures[f"{name}_high"] = limits or (None, None)
    return figures


def _few(observed: Outcomes, expansion: Expansion) -> bool:
    """Return whether a label has too few rows for a resampled interval."""
    users, conversions = observed.users.sum(), observed.conversions.sum()
    positives = float(conversions) / expansion.positive
    negatives = float(users - conversions) / expansion.negative
    return min(positives, negatives) < FEW


def _of_calls(
    observed: Outcomes,
    threshold: float,
    expansion: Expansion,
    selection: Selection | None,
) -> dict[str, Limits | None]:
    """Return the intervals of calls at the threshold, and at the selection's."""
    limits = calls(confusion(observed, threshold=threshold), expansion)
    if selection is None:
        return limits
    at_best: Mapping[str, Limits | None] = dict.fromkeys(_CALLS)
    if selection.threshold is not None:
        counts = confusion(observed, threshold=selection.threshold)
        at_best = calls(counts, expansion)
    return limits | {f"{name}_at_best": ends for name, ends in at_best.items()}


def calls(
    counts: Mapping[str, float | None], expansion: Expansion
) -> dict[str, Limits | None]:
    """
    Return the intervals of ``precision``, ``recall`` and ``f1`` of calls.

    Each is that of a rate. F1 grows with the share of hits among calls and misses.

    Args:
        counts: ``true_positives``, ``false_positives`` and ``false_negatives``.
        expansion: Number of users per row.

    Returns:
        Both ends in [0, 1], around the figure; None where it divides by zero.
    """
    hits, false_alarms, misses = (
        counts[name] or 0.0
        for name in ("true_positives", "false_positives", "false_negatives")
    )
    common = _share(hits, hits + misses, false_alarms, expansion)
    return {
        "precision": _share(hits, hits, false_alarms, expansion),
        "recall": _share(hits, hits + misses, 0.0, expansion),
        "f1": common and (_f1(common[0]), _f1(common[1])),
    }


def _share(
    hits: float, positives: float, negatives: float, expansion: Expansion
) -> Limits | None:
    """Return the interval of hits among rows of both labels; None without any."""
    users = positives + negatives
    if users <= 0:
        return None
    # Kish: rows of one weight that tell as much.
    per_row = (positives * expansion.positive + negatives * expansion.negative) / users
    rows = users / per_row
    return rate_interval(float(np.clip(hits / users, 0.0, 1.0)) * rows, rows)


def _f1(share: float) -> float:
    """Return the F1 of a share of hits among calls and misses."""
    return 2 * share / (1 + share)


def _selected(observed: Outcomes, selection: Selection) -> dict[str, Any]:
    """Return the columns of a selection, without intervals."""
    selected: dict[str, Any] = dict(thresholds.figures(observed, selection))
    for name in ("users_at_best", "true_positives_at_best"):
        if selected[name] is not None:
            selected[name] = round(selected[name])
    return {
        "best_threshold": selection.threshold,
        "best_threshold_source": selection.source,
        "budget": str(selection.budget),
        **selected,
    }


# Figures that need only a ranking.
_RANKING = frozenset(
    {
        "users", "conversions", "base_rate", "lift",
        "roc_auc", "roc_auc_low", "roc_auc_high",
        "pr_auc", "pr_auc_low", "pr_auc_high",
    }
)  # fmt: skip


def ranking(
    observed: Outcomes,
    *,
    seed: int,
    expansion: Expansion = UNSAMPLED,
    selection: Selection | None = None,
) -> dict[str, Any]:
    """
    Return the figures of a score that is not a probability, as ``quality`` does.

    Without those of probabilities: calibration, Brier score, log loss, means, and
    figures at a threshold that holds for all models.
    """
    figures = quality(
        observed, threshold=1.0, seed=seed, expansion=expansion, selection=selection
    )
    kept = _RANKING | thresholds.COLUMNS
    return {
        **{name: figure for name, figure in figures.items() if name in kept},
        "lift": [{**part, "mean_probability": None} for part in figures["lift"]],
    }


def _resampled(
    observed: Outcomes,
    *,
    seed: int,
    expansion: Expansion,
    selection: Selection | None = None,
) -> tuple[dict[str, list[float]], list[float]]:
    """
    Return figures of resamples, and calibration errors of calibrated resamples.

    The latter draw their conversions from the probabilities themselves.
    """
    coarse = _coarse(observed)
    generator = np.random.default_rng(seed)

    def sample(conversions: Floats, negatives: Floats) -> Outcomes:
        drawn_positive = generator.poisson(conversions / expansion.positive)
        positive = expansion.positive * drawn_positive.astype(np.float64)
        rest = expansion.negative * generator.poisson(negatives / expansion.negative)
        return Outcomes(coarse.probability, positive + rest, positive)

    drawn: dict[str, list[float]] = {name: [] for name in _INTERVALS}
    if selection is not None:
        drawn |= {f"{name}_at_budget": [] for name in thresholds.OF_BUDGET}
    if_calibrated = []
    expected = coarse.users * coarse.probability
    for _ in range(RESAMPLES):
        resample = sample(coarse.conversions, coarse.users - coarse.conversions)
        figures = {name: measure(resample) for name, measure in _INTERVALS.items()}
        if selection is not None:
            figures |= thresholds.figures_at_budget(resample, selection)
        for name, values in drawn.items():
            figure = figures[name]
            if figure is not None:
                values.append(figure)
        error = calibration_error(sample(expected, coarse.users - expected))
        if_calibrated.append(error or 0.0)
    return drawn, if_calibrated


def _mirrored(figure: float, low: float, high: float) -> tuple[float, float]:
    """Return the interval of the basic bootstrap in [0, 1]; it contains the figure."""
    return (
        float(np.clip(2 * figure - high, 0.0, figure)),
        float(np.clip(2 * figure - low, figure, 1.0)),
    )


def _coarse(observed: Outcomes) -> Outcomes:
    """Merge neighbouring probabilities until resampling is quick."""
    groups = len(observed.probability)
    if groups <= _RESAMPLED_GROUPS:
        return observed
    bucket = np.arange(groups) * _RESAMPLED_GROUPS // groups
    count = _RESAMPLED_GROUPS
    users = summed(bucket, observed.users, count)
    mass = summed(bucket, observed.users * observed.probability, count)
    conversions = summed(bucket, observed.conversions, count)
    return grouped(np.minimum(mass / users, 1.0), users, conversions)


def _interval(figures: list[float]) -> tuple[float | None, float | None]:
    if len(figures) < RESAMPLES // 2:
        return None, None
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(figures, [tail, 1 - tail])
    return float(low), float(high)


@dataclass(frozen=True)
class Difference:
    """A challenger's figure less the champion's on the same rows, with its interval."""

    estimate: float
    low: float
    high: float

    def columns(self, name: str) -> dict[str, float]:
        """Return the figure and the ends of its interval, by column name."""
        ends = {f"{name}_low": self.low, f"{name}_high": self.high}
        return {name: self.estimate, **ends}


def paired_differences(
    challenger: Floats,
    champion: Floats,
    label: NDArray[Any],
    *,
    weight: Floats | None = None,
    seed: int,
) -> dict[str, Difference]:
    """
    Compare two scores of the same rows: ``roc_auc``, ``log_loss`` and ``pr_auc``.

    Both are resampled together, so that what is common to them cancels out.

    Args:
        challenger, champion: Probabilities, (rows,).
        label: 0 or 1, both present, (rows,).
        weight: (rows,); one each when None.
    """
    generator = np.random.default_rng(seed)
    weights = np.ones(len(label)) if weight is None else weight
    sides = [np.unique(score, return_inverse=True) for score in (challenger, champion)]
    positive = np.asarray(label) == 1

    def figures(drawn: Floats) -> tuple[float, ...] | None:
        each = []
        for distinct, group in sides:
            users = summed(group, drawn, len(distinct))
            conversions = summed(group, np.where(positive, drawn, 0.0), len(distinct))
            observed = Outcomes(distinct, users, np.minimum(conversions, users))
            each.append([_INTERVALS[name](observed) for name in _PAIRED])
        gaps = [
            figure - other
            for figure, other in zip(*each, strict=True)
            if figure is not None and other is not None
        ]
        return tuple(gaps) if len(gaps) == len(_PAIRED) else None

    whole = figures(weights)
    if whole is None:
        raise ValueError("a comparison needs rows of both classes")
    resamples = []
    for _ in range(RESAMPLES):
        drawn = figures(weights * generator.poisson(1.0, len(weights)))
        if drawn is not None:
            resamples.append(drawn)
    differences = {}
    for place, name in enumerate(_PAIRED):
        low, high = _interval([figure[place] for figure in resamples])
        differences[name] = Difference(
            whole[place],
            whole[place] if low is None else low,
            whole[place] if high is None else high,
        )
    return differences
