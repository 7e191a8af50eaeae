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
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from benchmarks.report import Line, beside, finish
from benchmarks.shops import Floats, Loaded, Score, fitted, shops, trained
from local.progress import showing, step
from propensity import usecases
from propensity.learning import metrics, season
from propensity.learning import rows as learning_rows
from propensity.learning.rows import Slice

WEEKS, RESAMPLES = 13, 200
PUBLISHED, PLAIN = "published", "plain boosted trees"
# Figures, and whether more is better.
COMPARED: Mapping[str, tuple[Callable[..., float], bool]] = {
    "ROC AUC": (roc_auc_score, True),
    "PR AUC": (average_precision_score, True),
    "log loss": (log_loss, False),
}


def played(shop: Loaded) -> tuple[Slice, dict[str, Floats]]:
    """Train each month, score each week; return its rows and scores by name."""
    weeks: list[season.EvaluatedWeek] = []
    levels: list[season.LevelDifference] = []
    serving: tuple[int, Score] | None = None
    parts: list[Slice] = []
    scores: dict[str, list[Floats]] = {PUBLISHED: [], PLAIN: []}
    with step("trainings and weeks", total=len(shop.weeks)) as bar:
        for number, as_of in enumerate(shop.weeks):
            if as_of in shop.snapshots:
                known = learning_rows.slice_of(shop.rows, shop.snapshots[as_of])
                serving = trained(shop, known, number, serving, levels)
                plain = fitted(known, shop.settings.seed)
            if serving is not None:
                version, score = serving
                part = learning_rows.slice_of(shop.rows, [as_of])
                probability = score(part.rows)
                shift = season.shift(
                    season.of_version(weeks, levels, version=version),
                    horizon_days=shop.use_case.horizon_days,
                    minimum_conversions=shop.settings.minimum_conversions,
                )
                seen = metrics.outcomes(probability, part.label)
                if (lacked := season.residual(seen)) is not None:
                    positives = int(part.label.sum())
                    week = season.EvaluatedWeek(
                        week=as_of,
                        model_version=version,
                        log_odds=lacked[0],
                        standard_error=lacked[1],
                        conversions=positives,
                        others=len(part) - positives,
                    )
                    weeks.append(week)
                parts.append(part)
                scores[PUBLISHED].append(season.apply(probability, shift))
                scores[PLAIN].append(plain(part.rows))
            bar.update()
    whole = Slice(
        rows=pa.concat_tables([part.rows.select(["user_id"]) for part in parts]),
        label=np.concatenate([part.label for part in parts]),
        weight=np.concatenate([part.weight for part in parts]),
    )
    return whole, {name: np.concatenate(each) for name, each in scores.items()}


def compared(name: str, rows: Slice, scores: Mapping[str, Floats]) -> Iterator[Line]:
    """
    Yield each figure beside the rival's, and the end of an interval of the difference.

    A user counts a Poisson(1) number of times in a resample, with all of its weeks.
    """
    random = np.random.default_rng(1)
    users = rows.rows["user_id"].combine_chunks()
    user = pc.dictionary_encode(users).indices.to_numpy()
    drawn = [random.poisson(1.0, user.max() + 1)[user] for _ in range(RESAMPLES)]
    for figure, (of, is_more_better) in COMPARED.items():
        whole = {rival: [of(rows.label, score)] for rival, score in scores.items()}
        yield beside(f"{name}: {figure}", "", whole)
        ours, theirs = (
            np.array([of(rows.label, scores[one], sample_weight=w) for w in drawn])
            for one in (PUBLISHED, PLAIN)
        )
        bound = float(np.quantile(ours - theirs, 0.975 if is_more_better else 0.025))
        yield Line(
            what=f"{name}: {figure} less that of {PLAIN}, the bound of 95%",
            ours=[bound],
            least=0.0 if is_more_better else None,
            most=None if is_more_better else 0.0,
        )


def main() -> int:
    """Run the benchmark; return the exit status."""
    warnings.simplefilter("ignore")
    lines: list[Line] = []
    with showing():
        for shop in shops(usecases.load("ga4_purchase"), count=WEEKS):
            rows, scores = played(shop)
            lines += compared(shop.name, rows, scores)
    return finish(lines)


if __name__ == "__main__":
    sys.exit(main())
