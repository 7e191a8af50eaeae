"""
What published probabilities are worth, forward in time. Gates.

    python -m benchmarks.quality

Plays months of a shop: features and labels by the use case's own statements on the
emulator, a training each month on what was final then, with its gate, and a publication
each week, which follows the season as the weeks before it showed. All weeks together
are compared, on the same users and labels, with each candidate of the use case, fitted
on the same rows, and with a plain model: trees that scikit-learn boosts on twelve
columns of recency, frequency and money.

It plays a generated shop and, with PROPENSITY_DATA, the real shop of that folder.

Exit code 1 if ROC AUC, PR AUC or log loss of what was published is worse than a rival's
by more than the noise of the comparison: a 95% interval, resampled by user.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from benchmarks import shops
from benchmarks.report import Line, finish
from benchmarks.weeks import PUBLISHED, UNSHIFTED, Played, report
from local import sandbox
from local.exports import ga4_export
from local.progress import Progress, say, step
from propensity import usecases
from propensity.gcp.warehouse import Warehouse
from propensity.learning import alerts, candidates, fit, gate, metrics, season
from propensity.learning import rows as learning_rows
from propensity.learning.gate import Rival
from propensity.learning.preprocessor import default_preprocessor, fitted, transformed
from propensity.learning.rows import Slice
from propensity.learning.trained import Model, Trained
from propensity.privacy import consent
from propensity.settings import Settings
from propensity.usecases import UseCase

Floats = NDArray[np.float64]
Score = Callable[[pa.Table], Floats]

USE_CASE = "ga4_purchase"
WEEKS = 13
PLAIN = "plain boosted trees"

# Columns of the plain model: recency, frequency and money.
RFM = (
    "recency_days", "purchase_recency_days", "days_since_first_seen", "mean_gap_days",
    "purchases", "purchases_7d", "purchases_28d", "purchase_days", "revenue",
    "revenue_7d", "largest_day_revenue", "mean_order_value",
)  # fmt: skip

# As-of dates a query: the emulator's memory grows with them.
_AS_OFS = 24


def main() -> int:
    """Run the benchmark; return the exit status."""
    warnings.simplefilter("ignore")
    lines: list[Line] = []
    with Progress():
        for source in shops.sources():
            played = _published(loaded(source, count=WEEKS))
            text, judged = report(source.name, played)
            say(text)
            lines += judged
    return finish(lines)


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A shop's labelled rows, its last weeks, and what each month trains on."""

    use_case: UseCase
    settings: Settings
    weeks: Sequence[date]
    snapshots: Mapping[date, Sequence[date]]
    rows: pa.Table


def loaded(source: shops.Source, *, count: int) -> Loaded:
    """Load a shop; return its last weeks, with features and labels."""
    use_case = usecases.load(USE_CASE)
    with sandbox.opened() as opened:
        warehouse = opened.warehouse
        settings = warehouse.settings
        with step(f"loading {source.name}"):
            days, last = source.load(warehouse)
        view = consent.events_view(settings.export, require="false")
        warehouse.replace_view(usecases.EXPORT_VIEW, view)
        weeks = ga4_export.weeks_allowed(
            days,
            last,
            lookback_days=use_case.lookback_days,
            horizon_days=use_case.horizon_days,
        )[-count:]
        snapshots = {
            week: use_case.timeframe(settings).snapshots(
                today=week, days=days, at_most=settings.training_snapshots
            )
            for week in months(weeks)
        }
        rows = _labelled(
            warehouse, use_case, sorted({*weeks, *sum(snapshots.values(), ())})
        )
    return Loaded(
        use_case=use_case,
        settings=settings,
        weeks=weeks,
        snapshots=snapshots,
        rows=rows,
    )


def months(weeks: Sequence[date]) -> list[date]:
    """Return the first week of each month: those that train."""
    first: dict[tuple[int, int], date] = {}
    for week in weeks:
        first.setdefault((week.year, week.month), week)
    return list(first.values())


def _labelled(
    warehouse: Warehouse, use_case: UseCase, as_ofs: Sequence[date]
) -> pa.Table:
    """Return features and labels of all users, as training reads them."""
    parts: list[pa.Table] = []
    with step("features", total=len(as_ofs), unit=" dates") as bar:
        for start in range(0, len(as_ofs), _AS_OFS):
            some = as_ofs[start : start + _AS_OFS]
            window = use_case.window(warehouse.settings, some)
            parts.append(
                warehouse.table(
                    use_case.statement("training_rows"),
                    {**window, "maximum_rows": 10**9},
                )
            )
            bar.update(len(some))
    return pa.concat_tables(parts).sort_by(
        [("as_of", "ascending"), ("user_id", "ascending")]
    )


def _published(shop: Loaded) -> Played:
    """Train each month, score each week by what serves then and by its rivals."""
    use_case, settings = shop.use_case, shop.settings
    followed = Season(settings, use_case.horizon_days)
    score: Score | None = None
    champion, versions = None, 0
    scorers: dict[str, Score] = {}
    scores: dict[str, list[Floats]] = {}
    trainings: list[str] = []
    weeks: list[date] = []
    parts: list[Slice] = []
    for as_of in shop.weeks:
        if as_of in shop.snapshots:
            known = learning_rows.slice_of(shop.rows, shop.snapshots[as_of])
            trained, verdict = trained_on(
                known.rows, use_case, settings, score, champion
            )
            versions += 1
            followed.compare(versions, verdict)
            promoted = "promoted" if verdict.promoted else "not promoted"
            trainings.append(f"{as_of}: {trained.chosen.name}, {promoted}")
            scorers.update(rivals(known, use_case, settings))
            if verdict.promoted:
                champion = versions
                score = scorer_of(use_case, trained.served)
        if champion is None or score is None:
            continue
        part = learning_rows.slice_of(shop.rows, [as_of])
        unshifted = score(part.rows)
        shift = followed.shift(as_of, version=champion)
        published = season.apply(unshifted, shift)
        followed.evaluate(as_of, champion, metrics.outcomes(unshifted, part.label))
        weeks.append(as_of)
        parts.append(part)
        scores.setdefault(PUBLISHED, []).append(published)
        scores.setdefault(UNSHIFTED, []).append(unshifted)
        for name, scorer in scorers.items():
            scores.setdefault(name, []).append(scorer(part.rows))
    users = pa.chunked_array(
        [chunk for part in parts for chunk in part.rows["user_id"].chunks]
    )
    return Played(
        weeks=weeks,
        label=np.concatenate([part.label for part in parts]),
        user=pc.dictionary_encode(users.combine_chunks()).indices.to_numpy(),
        scores={name: np.concatenate(each) for name, each in scores.items()},
        trainings=trainings,
    )


class Season:
    """What evaluations and trainings tell about the season, for the next week."""

    def __init__(self, settings: Settings, horizon_days: int) -> None:
        self._settings = settings
        self._horizon_days = horizon_days
        self._weeks: list[season.EvaluatedWeek] = []
        self._differences: list[season.LevelDifference] = []

    def compare(self, version: int, verdict: gate.Verdict) -> None:
        """Keep how much higher a new version's log-odds are than the champion's."""
        if verdict.level_difference is not None:
            assert verdict.compared_version is not None
            self._differences.append(
                season.LevelDifference(
                    model_version=version,
                    compared_version=verdict.compared_version,
                    log_odds=verdict.level_difference,
                )
            )

    def evaluate(self, week: date, version: int, seen: metrics.Outcomes) -> None:
        """Keep what a week's probabilities lacked; an export has no late labels."""
        lacked = season.residual(seen)
        if lacked is not None:
            conversions = int(seen.conversions.sum())
            self._weeks.append(
                season.EvaluatedWeek(
                    week=week,
                    model_version=version,
                    log_odds=lacked.log_odds,
                    standard_error=lacked.standard_error,
                    conversions=conversions,
                    others=int(seen.users.sum()) - conversions,
                )
            )

    def shift(self, week: date, *, version: int) -> float | None:
        """Return the shift of a week's log-odds, as 01-Predictions takes it."""
        return season.shift(
            season.of_version(self._weeks, self._differences, version=version),
            week=week,
            horizon_days=self._horizon_days,
            minimum_conversions=self._settings.minimum_conversions,
        )


def trained_on(
    rows: pa.Table,
    use_case: UseCase,
    settings: Settings,
    score: Score | None,
    champion: int | None,
) -> tuple[Trained, gate.Verdict]:
    """Train on rows, and compare with the champion."""
    timeframe = use_case.timeframe(settings)
    parts = learning_rows.of_users(rows, use_case, timeframe, settings=settings)
    trained = fit.train(parts, use_case, preprocessor=None, settings=settings)
    rival = None
    if champion is not None and score is not None:
        rival = Rival(version=champion, score=score(trained.holdout.rows.rows))
    verdict = gate.compare(trained, rival, seed=settings.seed)
    return trained, verdict


def rivals(known: Slice, use_case: UseCase, settings: Settings) -> dict[str, Score]:
    """Return what scores rows by each candidate alone, and by the plain model."""
    features = dict(use_case.features)
    encoder = fitted(default_preprocessor(use_case), known, features)
    encoded = transformed(encoder, known.rows, features)
    alone: dict[str, Score] = {}
    for candidate in use_case.candidates:
        if candidates.is_mean(candidate):
            names = candidates.members(candidate, alone)
            alone[candidate.name] = _mean_scorer([alone[name] for name in names])
            continue
        model = candidates.fit(candidate, encoded, known, seed=settings.seed)
        alone[candidate.name] = scorer_of(
            use_case, Model(preprocessor=encoder, classifier=model)
        )
    return {**alone, PLAIN: _plain(known, settings)}


def scorer_of(use_case: UseCase, model: Model) -> Score:
    """Return what scores rows by a fitted model."""
    return lambda rows: model.scores(rows, use_case)


def _mean_scorer(each: Sequence[Score]) -> Score:
    return lambda rows: np.asarray(np.mean([score(rows) for score in each], axis=0))


def _plain(known: Slice, settings: Settings) -> Score:
    """Fit the plain model on all weeks that are known."""
    model = HistGradientBoostingClassifier(
        max_iter=80,
        max_leaf_nodes=15,
        learning_rate=0.05,
        early_stopping=False,
        random_state=settings.seed,
    )

    def columns(rows: pa.Table) -> Floats:
        return np.column_stack([alerts.floats(rows[name]) for name in RFM])

    model.fit(columns(known.rows), known.label)
    return lambda rows: np.asarray(model.predict_proba(columns(rows))[:, 1])


if __name__ == "__main__":
    sys.exit(main())
