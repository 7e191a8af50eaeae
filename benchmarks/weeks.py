"""
Weeks of publications, pooled: figures of what was published beside its rivals.

Differences have 95% intervals, resampled by user.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Line
from propensity.learning import metrics

Floats = NDArray[np.float64]

PUBLISHED = "published"
# No rival: it shows what following the season costs and brings.
UNSHIFTED = "published, season not followed"
RESAMPLES = 200
LEVEL = 0.95

# Figures, and whether more is better.
COMPARED: Mapping[str, tuple[Callable[[metrics.Outcomes], float | None], bool]] = {
    "ROC AUC": (metrics.roc_auc, True),
    "PR AUC": (metrics.pr_auc, True),
    "log loss": (metrics.log_loss, False),
}


@dataclass(frozen=True, kw_only=True)
class Played:
    """
    All weeks together.

    Attributes:
        weeks: As-of dates of the publications.
        label: 0 or 1, (rows,).
        user: Number of the row's user, (rows,).
        scores: Probabilities by name, (rows,); the published first.
        trainings: A line on each.
    """

    weeks: Sequence[date]
    label: NDArray[np.int8]
    user: NDArray[np.int64]
    scores: Mapping[str, Floats]
    trainings: Sequence[str]


def report(name: str, played: Played) -> tuple[str, list[Line]]:
    """Return the tables of a shop, and a line for each figure and rival."""
    rate = played.label.mean()
    span = f"{name}, {len(played.weeks)} weeks from {played.weeks[0]}"
    lines = [
        "",
        *played.trainings,
        "",
        f"| {span} | rows | ROC AUC | PR AUC | log loss | calibration error "
        "| mean / base |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for rival, probability in played.scores.items():
        seen = metrics.outcomes(probability, played.label)
        figures = [measure(seen) or 0.0 for measure, _ in COMPARED.values()]
        cells = [f"{figure:.4f}" for figure in figures]
        cells += [
            f"{metrics.calibration_error(seen) or 0.0:.4f}",
            f"{probability.mean():.4f} / {rate:.4f}",
        ]
        lines.append(f"| {rival} | {len(probability):,} | {' | '.join(cells)} |")
    lines += [
        "",
        f"| published less | {' | '.join(COMPARED)} |",
        "|---|--:|--:|--:|",
    ]
    judged = []
    for rival, differences in compared(played).items():
        lines.append(f"| {rival} | {' | '.join(map(_interval, differences))} |")
        for (figure, (_, is_more_better)), (_, low, high) in zip(
            COMPARED.items(), differences, strict=True
        ):
            is_held = rival != UNSHIFTED
            judged.append(
                Line(
                    what=f"{name}: {figure} less that of {rival}, the 95% bound that "
                    "favours it",
                    ours=[high if is_more_better else low],
                    least=0.0 if is_held and is_more_better else None,
                    most=0.0 if is_held and not is_more_better else None,
                )
            )
    return "\n".join(lines), judged


def _interval(difference: tuple[float, float, float]) -> str:
    return "{:+.4f} ({:+.4f} to {:+.4f})".format(*difference)


def compared(played: Played) -> dict[str, list[tuple[float, float, float]]]:
    """
    Return what was published less each rival, with 95% intervals.

    A user counts a Poisson(1) number of times in a resample, with all of its weeks.

    Returns:
        By rival, for each figure: the difference, and its lower and upper bound.
    """
    random = np.random.default_rng(1)
    groups = {
        name: np.unique(probability, return_inverse=True)
        for name, probability in played.scores.items()
    }

    def figures(weight: Floats) -> dict[str, Floats]:
        measures = {}
        for name, (distinct, group) in groups.items():
            users = metrics.summed(group, weight, len(distinct))
            positive = np.where(played.label == 1, weight, 0.0)
            conversions = metrics.summed(group, positive, len(distinct))
            seen = metrics.Outcomes(distinct, users, np.minimum(conversions, users))
            measures[name] = np.array(
                [measure(seen) or np.nan for measure, _ in COMPARED.values()]
            )
        return measures

    whole = figures(np.ones(len(played.label)))
    count = int(played.user.max()) + 1
    drawn = [
        figures(random.poisson(1.0, count)[played.user].astype(np.float64))
        for _ in range(RESAMPLES)
    ]
    tail = (1 - LEVEL) / 2
    differences = {}
    for rival in [name for name in groups if name != PUBLISHED]:
        gaps = np.array([figures[PUBLISHED] - figures[rival] for figures in drawn])
        low, high = np.nanquantile(gaps, [tail, 1 - tail], axis=0)
        here = whole[PUBLISHED] - whole[rival]
        differences[rival] = [
            (float(here[place]), float(low[place]), float(high[place]))
            for place in range(len(COMPARED))
        ]
    return differences
