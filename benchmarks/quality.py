"""
What published probabilities are worth, forward in time. Gates.

    python -m benchmarks.quality

Plays months of a shop: features and labels by the use case's own statements on the
emulator, a training each month on what was final then, with its gate, and a publication
each week, which follows the season as the weeks before it showed. All weeks together
are compared, on the same users and labels, with a plain model, fitted on the same rows:
trees that scikit-learn boosts on twelve columns of recency, frequency and money.

It plays a generated shop and, with PROPENSITY_DATA, the real shop of that folder.

Exit code 1 if ROC AUC, PR AUC or log loss of what was published is worse than the plain
model's by more than the noise of the comparison: a 95% interval, resampled by user.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from benchmarks import shops
from benchmarks.report import Line, finish
from local import sandbox
from local.demos.source import weeks_allowed
from local.progress import Progress, say, step
from propensity import usecases
from propensity.gcp.warehouse import Warehouse
from propensity.learning import alerts, fit, gate, metrics, season
from propensity.learning import rows as learning_rows
from propensity.learning.gate import Rival
from propensity.learning.rows import Slice
from propensity.learning.trained import Trained
from propensity.privacy import consent
from propensity.settings import Settings
from propensity.usecases import UseCase

Floats = NDArray[np.float64]
Score = Callable[[pa.Table], Floats]

USE_CASE = "ga4_purchase"
WEEKS, RESAMPLES = 13, 200
PUBLISHED, PLAIN = "published", "plain boosted trees"
# No rival: it shows what following the season costs and brings.
UNSHIFTED = "published, season not followed"

# Figures, and whether more is better.
COMPARED: Mapping[str, tuple[Callable[..., float], bool]] = {
    "ROC AUC": (roc_auc_score, True),
    "PR AUC": (average_precision_score, True),
    "log loss": (log_loss, False),
}

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
            say("\n".join(table(source.name, played)))
            lines += compared(source.name, played)
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
        weeks = weeks_allowed(
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


def steps(label: str, of: Sequence[date]) -> Iterator[date]:
    """Yield dates, and show how many are done."""
    with step(label, total=len(of)) as bar:
        for one in of:
            yield one
            bar.update()


def _published(shop: Loaded) -> Played:
    """Train each month, score each week by what serves then and by its rivals."""
    use_case, settings = shop.use_case, shop.settings
    followed = Season(settings, use_case.horizon_days)
    score: Score | None = None
    champion, versions = None, 0
    plain: Score | None = None
    scores: dict[str, list[Floats]] = {PUBLISHED: [], UNSHIFTED: [], PLAIN: []}
    trainings: list[str] = []
    weeks: list[date] = []
    parts: list[Slice] = []
    for as_of in steps("trainings and weeks", shop.weeks):
        if as_of in shop.snapshots:
            known = learning_rows.slice_of(shop.rows, shop.snapshots[as_of])
            trained, verdict = trained_on(
                known.rows, use_case, settings, score, champion
            )
            versions += 1
            followed.compare(versions, verdict)
            promoted = "promoted" if verdict.promoted else "not promoted"
            trainings.append(f"{as_of}: {trained.chosen.name}, {promoted}")
            plain = _plain(known, settings)
            if verdict.promoted:
                champion = versions
                score = partial(trained.served.scores, use_case=use_case)
        if champion is None or score is None or plain is None:
            continue
        part = learning_rows.slice_of(shop.rows, [as_of])
        unshifted = score(part.rows)
        shift = followed.shift(champion)
        published = season.apply(unshifted, shift)
        followed.evaluate(as_of, champion, metrics.outcomes(unshifted, part.label))
        weeks.append(as_of)
        parts.append(part)
        for name, these in zip(
            scores, (published, unshifted, plain(part.rows)), strict=True
        ):
            scores[name].append(these)
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
                    log_odds=lacked[0],
                    standard_error=lacked[1],
                    conversions=conversions,
                    others=int(seen.users.sum()) - conversions,
                )
            )

    def shift(self, version: int) -> float | None:
        """Return the shift of the next week's log-odds, as 01-Predictions takes it."""
        return season.shift(
            season.of_version(self._weeks, self._differences, version=version),
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


def table(name: str, played: Played) -> Iterator[str]:
    """Yield the trainings of a shop, and a row for each kind of probabilities."""
    yield from ("", *played.trainings, "")
    span = f"{name}, {len(played.weeks)} weeks from {played.weeks[0]}"
    yield f"| {span} | {' | '.join(COMPARED)} | calibration error | mean / base |"
    yield "|---|--:|--:|--:|--:|--:|"
    for rival, probability in played.scores.items():
        error = metrics.calibration_error(metrics.outcomes(probability, played.label))
        cells = [
            *(f"{of(played.label, probability):.4f}" for of, _ in COMPARED.values()),
            f"{error or 0.0:.4f}",
            f"{probability.mean():.4f} / {played.label.mean():.4f}",
        ]
        yield f"| {rival} | {' | '.join(cells)} |"


def compared(name: str, played: Played) -> Iterator[Line]:
    """
    Yield the end of an interval of what was published less a rival.

    A user counts a Poisson(1) number of times in a resample, with all of its weeks.
    """
    random = np.random.default_rng(1)
    count = int(played.user.max()) + 1
    drawn = [random.poisson(1.0, count)[played.user] for _ in range(RESAMPLES)]
    for figure, (of, is_more_better) in COMPARED.items():
        figures = {
            rival: np.array(
                [of(played.label, score, sample_weight=weight) for weight in drawn]
            )
            for rival, score in played.scores.items()
        }
        for rival in (UNSHIFTED, PLAIN):
            gaps = figures[PUBLISHED] - figures[rival]
            bound = float(np.quantile(gaps, 0.975 if is_more_better else 0.025))
            yield Line(
                what=f"{name}: {figure} less that of {rival}, the bound of 95%",
                ours=[bound],
                least=0.0 if rival == PLAIN and is_more_better else None,
                most=0.0 if rival == PLAIN and not is_more_better else None,
            )


if __name__ == "__main__":
    sys.exit(main())
