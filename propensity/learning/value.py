"""
Expected value: what a user pays on average, whether they buy or not.

It is the probability times the amount of a buyer like them. The amount is learned from
the buyers of the snapshots that the classifier learns from, by candidates that are
judged forward in time as classifiers are (``rolling``): the mean of all buyers, or
boosted trees. Amounts have a heavy tail, so their error counts relative to what was
expected (gamma deviance), and no buyer weighs more than a share of a fit.

Source:
    Frees, Lee and Yang, "Multivariate Frequency-Severity Regression Models in
    Insurance", Risks 4, 2016: how many and how much, as two models. McCullagh and
    Nelder, "Generalized Linear Models", 1989, chapter 8: gamma deviance with a
    logarithmic link, for positive amounts whose spread grows with their mean.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.special import chdtri
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from propensity.learning import gini
from propensity.learning.bootstrap import rows_per_row
from propensity.learning.candidates import PARALLEL_ROWS
from propensity.learning.choice import Judged, Pick, pick
from propensity.learning.cost import amounts as payable
from propensity.learning.data import Parts, Slice, floats, slice_of
from propensity.learning.preprocessor import transformed
from propensity.learning.sample import sampled
from propensity.models.value import Uncertainty, ValueModel, Z, chance
from propensity.usecases import UseCase

if TYPE_CHECKING:
    from propensity.learning.fit import Trained

Floats = NDArray[np.float64]

# Column of a training's rows with what a buyer paid; null for the others.
AMOUNT = "amount"

MEAN, TREES = "mean", "boosted_trees"

# Slow and shallow: a few thousand buyers of one shop.
_TREES: Mapping[str, Any] = {
    "loss": "gamma",
    "learning_rate": 0.05,
    "max_iter": 100,
    "max_leaf_nodes": 6,
    "min_samples_leaf": 50,
    "l2_regularization": 1.0,
    "early_stopping": False,
}

# A single buyer's share of all amounts in a fit, at most; of few buyers, so many equal
# shares. What is above is cut off: it is in no promise.
_LARGEST_SHARE = 0.02
_EQUAL_SHARES = 3.0

# The gamma deviance needs amounts above zero; this is a share of the mean.
_LEAST = 1e-3

# How far the amounts of some weeks are from those before, in log: the standard
# deviation that is expected before these weeks are seen.
_LEVEL_PRIOR = 0.05

# Users of a week by expected value, in so many groups of one size.
GROUPS = 20

_CONFIDENCE = 0.9

# The variance is found when no halving changes it by more.
_HALVINGS = 60


@dataclass(frozen=True, kw_only=True)
class Valued:
    """
    A model of expected values, and what it has shown.

    Attributes:
        model: It serves: fitted on all rows.
        picked: Between the candidates, by gamma deviance of the buyers' amounts.
        figures: Of the holdout rows, by a model that has not seen them, by column name.
        coverage: Share of the holdout's groups of users whose amounts were within what
            their intervals and chance allow; None without any.
        plain: The Gini index of probability times the mean amount, on the same rows.
        buyers: Rows fitted on.
        without_amount: Of these, those that paid nothing that is known.
    """

    model: ValueModel
    picked: Pick
    figures: Mapping[str, Any]
    coverage: float | None
    plain: float | None
    buyers: int
    without_amount: int


def with_amounts(rows: pa.Table, paid: Iterable[pa.RecordBatch]) -> pa.Table:
    """
    Return rows with what their buyers paid; the same rows where no amount is known.

    Args:
        rows: ``as_of``, ``user_id`` and ``label``.
        paid: The result of ``converter_amounts.sql``: ``as_of``, ``user_id`` and
            ``amount``, once each. It may be of many more users, and is read once.
    """
    buyers = np.flatnonzero(rows["label"].to_numpy() == 1)
    wanted = _keys(rows.select(["as_of", "user_id"]).take(pa.array(buyers)))
    found, amounts = [np.empty(0, np.int64)], []
    for batch in paid:
        place = pc.index_in(_keys(pa.Table.from_batches([batch])), value_set=wanted)
        known = pc.and_(pc.is_valid(place), pc.is_valid(batch[AMOUNT]))
        found.append(place.filter(known).to_numpy().astype(np.int64))
        amounts.append(batch[AMOUNT].filter(known))
    places = np.concatenate(found)
    if not len(places):
        return rows
    at = np.full(len(rows), -1)
    at[buyers[places]] = np.arange(len(places))
    money = pa.concat_arrays(amounts).take(pa.array(at, mask=at < 0))
    return rows.append_column(AMOUNT, money)


def _keys(rows: pa.Table) -> pa.Array:
    joined = pc.binary_join_element_wise(
        pc.cast(rows["as_of"], pa.string()), pc.cast(rows["user_id"], pa.string()), " "
    )
    return joined.combine_chunks()


def train(
    parts: Parts, trained: Trained, use_case: UseCase, *, seed: int
) -> Valued | None:
    """
    Learn what buyers pay, beside a classifier and from its rows.

    Args:
        parts: The rows, split by time, with ``AMOUNT`` where any is known.
        trained: The classifier, measured.
        use_case: Its features.
        seed: Of a sample, where there are very many rows.

    Returns:
        None where there is nothing to learn: no amounts, or none above zero in the
        first rows that are fitted on; and for use cases of events.
    """
    if (
        parts.every is None
        or AMOUNT not in parts.every.rows.column_names
        or trained.choice is None
        or trained.measured is None
    ):
        return None
    features = dict(use_case.features)
    with threadpool_limits(1 if len(parts.every) <= PARALLEL_ROWS else None):
        fits = _Fits(features=features, seed=seed)
        forward = _forward(parts, parts.every, trained.choice.encoder, fits)
        if forward is None:
            return None
        probability = trained.choice.probability
        rows = parts.choosing
        picked = _picked(forward, rows)
        amount = forward[picked.name]
        level, unsure = _level(rows, probability, amount)
        uncertainty = _uncertainty(rows, probability, amount * level, unsure=unsure)
        served, measured = (
            fits.model(picked.name, part, encoder, level=level, uncertainty=uncertainty)
            for part, encoder in (
                (parts.every, trained.preprocessor),
                (parts.fitting, trained.measured[0]),
            )
        )
        if served is None or measured is None:
            return None
        held = parts.holdout
        expected = measured.amounts_of(held.rows)
    plain = gini.normalised(_paid(held, trained.probability))
    bought = parts.every.label == 1
    return Valued(
        model=served,
        picked=picked,
        figures=gini.figures(_paid(held, trained.probability * expected)),
        coverage=coverage(held, trained.probability, expected, uncertainty=uncertainty),
        plain=plain.estimate if plain else None,
        buyers=int(bought.sum()),
        without_amount=int((bought & (_amounts(parts.every) == 0)).sum()),
    )


def card(valued: Valued | None) -> dict[str, Any]:
    """Return what the card says of expected values; nothing without any."""
    if valued is None:
        return {}
    model, uncertainty = valued.model, valued.model.uncertainty
    figures = {
        name: float(figure) if name in _MONEY else figure
        for name, figure in valued.figures.items()
    }
    return {
        "value": {
            "algorithm": valued.picked.name,
            "losses": dict(valued.picked.losses),
            "mean_amount": model.mean,
            "level": model.level,
            "spread": uncertainty.spread,
            "error": uncertainty.error,
            "week_error": uncertainty.week_error,
            "buyers": valued.buyers,
            "without_amount": valued.without_amount,
            "coverage": valued.coverage,
            "gini_by_probability": valued.plain,
            **figures,
        }
    }


def row(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a version's row; null without amounts."""
    known = card.get("value") or {}
    figures = {name: one for name, one in known.items() if name.startswith(_FIGURE)}
    described = {name: one for name, one in known.items() if name not in figures}
    return {**figures, "value": json.dumps(described) if known else None}


_MONEY = ("value_promised", "value_observed")
_FIGURE = "value_"


@dataclass(frozen=True, kw_only=True)
class _Fits:
    """Fits of what buyers pay."""

    features: dict[str, str]
    seed: int

    def model(
        self,
        name: str,
        part: Slice,
        encoder: Any,
        *,
        level: float = 1.0,
        uncertainty: Uncertainty | None = None,
    ) -> ValueModel | None:
        """Return a model of the buyers among rows; None where they paid nothing."""
        is_buyer = part.label == 1
        rows = part.rows.filter(pa.array(is_buyer))
        weight = part.weight[is_buyer]
        buyers = sampled(
            Slice(rows=rows, label=part.label[is_buyer], weight=weight), seed=self.seed
        )
        amount = capped(_amounts(buyers), buyers.weight)
        total = float((amount * buyers.weight).sum())
        if not total > 0:
            return None
        mean = total / float(buyers.weight.sum())
        regressor = None
        if name == TREES:
            encoded = transformed(encoder, buyers.rows, self.features)
            regressor = _trees(encoded, amount / mean, buyers, seed=self.seed)
            # Trees keep the mean of each leaf nearly; a promise keeps the sum.
            again = regressor.predict(encoded)
            mean = total / float((again * buyers.weight).sum())
        kinds: Any = self.features
        return ValueModel(
            kinds,
            preprocessor=None if regressor is None else encoder,
            regressor=regressor,
            mean=mean,
            level=level,
            uncertainty=uncertainty
            or Uncertainty(spread=0.0, error=0.0, week_error=0.0),
        )


def _trees(encoded: Any, relative: Floats, buyers: Slice, *, seed: int) -> Any:
    """Return boosted trees of amounts over their mean."""
    trees = HistGradientBoostingRegressor(**_TREES, random_state=seed)
    # Weights make the binning slow, so none are given where all are equal.
    return trees.fit(encoded, np.maximum(relative, _LEAST), **buyers.sample_weight)


def capped(amount: Floats, weight: Floats) -> Floats:
    """
    Return amounts of which none is more than a fiftieth of their sum, (rows,).

    Of fewer than 150 buyers none is more than three equal shares. Amounts that are all
    below stay as they are.

    Args:
        amount: From 0 on, (rows,).
        weight: (rows,), positive.
    """
    if not len(amount):
        return amount
    rows = float(weight.sum()) / rows_per_row(weight)
    share = max(_LARGEST_SHARE, _EQUAL_SHARES / rows)
    if share >= 1:
        return amount
    order = np.argsort(-amount, kind="stable")
    each, so_many = amount[order], weight[order] / weight.sum() * rows
    # With the first k cut to a cap, it is the share of the sum that they then make.
    above = np.cumsum(so_many)
    below = (each * so_many).sum() - np.cumsum(each * so_many)
    with np.errstate(divide="ignore", invalid="ignore"):
        cap = np.where(above * share < 1, share * below / (1 - share * above), 0.0)
    following = np.append(each[1:], 0.0)
    if each[0] <= share * float((each * so_many).sum()):
        return amount
    place = int(np.argmax((cap <= each) & (cap >= following)))
    return np.asarray(np.minimum(amount, cap[place]))


def _forward(
    parts: Parts, every: Slice, encoder: Any, fits: _Fits
) -> dict[str, Floats] | None:
    """Return the judged rows' amounts by candidate, each fitted before its block."""
    found: dict[str, list[Floats]] = {MEAN: [], TREES: []}
    for block in parts.blocks:
        known = slice_of(every.rows, block.fitting)
        judged = slice_of(every.rows, block.judged)
        for name, amounts in found.items():
            model = fits.model(name, known, encoder)
            if model is None:
                return None
            amounts.append(model.amounts_of(judged.rows))
    return {name: np.concatenate(amounts) for name, amounts in found.items()}


def _picked(forward: Mapping[str, Floats], rows: Slice) -> Pick:
    """Choose the mean of all, unless trees are shown to be better."""
    is_buyer = rows.label == 1
    paid = _amounts(rows)[is_buyer]
    judged = Judged(
        label=rows.label[is_buyer],
        weight=rows.weight[is_buyer],
        user=_users(rows)[is_buyer],
    )
    losses = {
        name: np.log(expected[is_buyer]) + paid / expected[is_buyer]
        for name, expected in forward.items()
    }
    return pick(losses, judged)


def _level(rows: Slice, probability: Floats, amount: Floats) -> tuple[float, float]:
    """
    Return the factor after which sums of expected values are those that came.

    What came over what was promised, of amounts, is divided by the same of conversions:
    the level of probabilities is no matter of this one, and the season follows it. What
    chance makes of it is shrunk towards 1.

    Returns:
        The factor, and the standard deviation of its logarithm: the posterior mean and
        deviation of a normal.
    """
    weight, paid = rows.weight, _amounts(rows)
    terms = [paid, rows.label.astype(np.float64), probability * amount, probability]
    sums = [float((weight * term).sum()) for term in terms]
    if min(sums) <= 0:
        return 1.0, _LEVEL_PRIOR
    signs = (1.0, -1.0, -1.0, 1.0)
    log_ratio, part = 0.0, np.zeros(len(rows))
    for sign, term, total in zip(signs, terms, sums, strict=True):
        log_ratio += sign * float(np.log(total))
        part += sign * weight * term / total
    # Rows of one user are alike, so the error is of the users' sums.
    variance = float((np.bincount(_users(rows), part) ** 2).sum())
    kept = _LEVEL_PRIOR**2 / (_LEVEL_PRIOR**2 + variance)
    return float(np.exp(kept * log_ratio)), float(np.sqrt(kept * variance))


def _users(rows: Slice) -> NDArray[np.int64]:
    """Return the number of each row's user, (rows,)."""
    users = pc.dictionary_encode(rows.rows["user_id"].combine_chunks()).indices
    return np.asarray(users.to_numpy(), dtype=np.int64)


def _uncertainty(
    rows: Slice, probability: Floats, amount: Floats, *, unsure: float
) -> Uncertainty:
    """
    Return how far amounts and sums were from what was expected of them.

    Args:
        rows: Scored forward in time.
        probability, amount: Of these, (rows,).
        unsure: Standard deviation of the logarithm of the level.
    """
    weight, paid, is_buyer = rows.weight, _amounts(rows), rows.label == 1
    squares = weight[is_buyer] * (paid - amount)[is_buyer] ** 2
    expected = weight[is_buyer] * amount[is_buyer] ** 2
    spread = float(squares.sum() / expected.sum()) if expected.sum() > 0 else 0.0
    error, week_error = (
        relative_error(grouped(rows, probability, amount, spread, count))
        for count in (GROUPS, 1)
    )
    # A week's error is in all of its groups, which tell it less well than their sum.
    return Uncertainty(
        spread=spread,
        error=float(np.hypot(max(error, week_error), unsure)),
        week_error=float(np.hypot(week_error, unsure)),
    )


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Sums of users of a week with like expected values; all (groups,)."""

    promised: Floats
    observed: Floats
    variance: Floats


def grouped(
    rows: Slice, probability: Floats, amount: Floats, spread: float, count: int
) -> Groups:
    """Return sums of each week's users, in so many groups by expected value."""
    value, paid, weight = probability * amount, _amounts(rows), rows.weight
    by_chance = weight**2 * chance(probability, amount, spread)
    as_of = rows.rows["as_of"].to_numpy()
    sums: list[tuple[float, float, float]] = []
    for week in np.unique(as_of):
        places = np.flatnonzero(as_of == week)
        places = places[np.argsort(value[places], kind="stable")]
        for part in np.array_split(places, count):
            promised = float((weight[part] * value[part]).sum())
            if promised > 0:
                observed = float((weight[part] * paid[part]).sum())
                sums.append((promised, observed, float(by_chance[part].sum())))
    table = np.array(sums).reshape(len(sums), 3)
    return Groups(promised=table[:, 0], observed=table[:, 1], variance=table[:, 2])


def relative_error(groups: Groups) -> float:
    """
    Return the standard deviation of promises' errors, as a share of them.

    That is what is left of the differences when chance is taken out. Few groups tell it
    badly, so it is the upper end of its one-sided 90% interval: 0 where chance alone
    would seldom make as small differences.

    Source:
        Viechtbauer, "Confidence intervals for the amount of heterogeneity in
        meta-analysis", Statistics in Medicine 26, 2007: the Q-profile.
    """
    squares = (groups.observed - groups.promised) ** 2
    count = len(squares)
    least = float(chdtri(count, _CONFIDENCE)) / count if count else 1.0

    def excess(variance: float) -> float:
        whole = groups.variance + variance * groups.promised**2
        scaled = squares / np.maximum(whole, np.finfo(float).tiny)
        return float(scaled.mean()) - least

    if not count or excess(0.0) <= 0:
        return 0.0
    low, high = 0.0, 1.0
    while excess(high) > 0:
        high *= 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return float(np.sqrt(high))


def coverage(
    rows: Slice, probability: Floats, amount: Floats, *, uncertainty: Uncertainty
) -> float | None:
    """Return the share of groups whose sums were within interval and chance."""
    groups = grouped(rows, probability, amount, uncertainty.spread, GROUPS)
    if not len(groups.promised):
        return None
    whole = groups.variance + (uncertainty.error * groups.promised) ** 2
    inside = np.abs(groups.observed - groups.promised) <= Z * np.sqrt(whole)
    return float(inside.mean())


def _paid(rows: Slice, value: Floats) -> gini.Paid:
    return gini.Paid(
        value,
        _amounts(rows),
        rows.weight,
        expansion=rows_per_row(rows.weight),
    )


def _amounts(rows: Slice) -> Floats:
    """Return what each row's user paid; nothing where that is not known, (rows,)."""
    return payable(floats(rows.rows[AMOUNT]))
