"""
Half-Space Trees: anomaly scores for a stream, without labels, in constant memory.

Random trees halve the space of the features again and again. They are drawn before any
row is counted and never change; they learn the mass of each node, which is the number
of its rows in the last full window. A row is anomalous where mass is low.

Within a window the scores of leaves are fixed, so a chunk is scored at once: all rows
go down all trees together, depth by depth, and a score is a gather and a sum. Masses
are integers below 2**53, so that neither the order of a sum nor the size of a chunk
changes a bit of a score.

Source:
    S. C. Tan, K. M. Ting and T. F. Liu, "Fast Anomaly Detection for Streaming Data",
    IJCAI 2011, pages 1511-1516; as implemented in river 0.26, to the last bit, with
    its deviations from the paper:

    - the limits of a feature are given or learned, not drawn around its values;
    - a node splits a feature drawn in proportion to the width left of it, at a
      threshold drawn from the middle 70 % of that (paper: any feature, half-way);
    - a score sums mass times 2**depth over all nodes down to the one where the search
      stops (paper: that one alone), and is scaled to [0, 1] and turned over;
    - a row without a node's feature follows the child that is heavier so far in the
      current window (paper: nothing is missing).

    ``HalfSpaceTrees`` lists our deviations from river.
"""

from __future__ import annotations

import itertools
import math
import operator
import random
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from propensity.models.forest import Floats, Forest
from propensity.models.limits import (
    draw_nodes,
    named_limits,
    robust_limits,
    scale,
)

Limits = Literal["robust", "minmax"] | Mapping[Any, tuple[float, float]] | None


_EXACT_INTEGER = 2**53
_FLOAT64 = np.dtype(np.float64)
# Up to so many pairs of a row and a tree, plain Python is faster than calls of numpy.
_FEW = 100


class HalfSpaceTrees(OutlierMixin, BaseEstimator):  # type: ignore[misc]
    """
    Score rows by the emptiness of the space around them.

    Like ``IsolationForest``, but for rows that arrive over time: ``fit`` on the past,
    then ``score_and_learn`` new rows. Rows are an array or a frame (n, F), or a
    sequence of mappings from names to numbers. The first mapping to be learned names
    the features; keys that it lacks are ignored. NaN, None and an absent key all mean
    that a feature is missing. Infinity is refused.

    With the same parameters, and ``warm_up_score=0.0``, scores are river 0.26's to the
    last bit, in chunks of any size: those of ``HalfSpaceTrees(limits=...)`` for a
    mapping or None, those of ``MinMaxScaler() | HalfSpaceTrees()`` for ``"minmax"``.
    Two things differ: river takes an explicit NaN for a value above any threshold, and
    accepts limits that are equal or of unknown features.

    Args:
        height: Number of splits on the way to a leaf; a tree has 2**height leaves.
        window_size: Rows in a window. Scores refer to the last full window, so that
            ``fit``, too, remembers only its last rows.
        limits: The range of thresholds in a feature. Values beyond count as the limit.

            - ``"robust"``: between the 5 % and 95 % quantiles, and as much again on
              either side if there are values; of the rows of ``fit``, else of the
              first window. Later rows never change them.
            - ``"minmax"``: between the least and the greatest value, without a row for
              its score, with it for its mass. One absurd value ruins them.
            - None: between 0 and 1.
            - A mapping from names (or numbers of columns) to pairs, else 0 and 1.
        contamination: Share of the rows of ``fit`` that ``predict`` flags.
        warm_up_score: Anomaly score until the first window is full.
        random_state: Seed of the trees.

    Attributes:
        limits_: Least and greatest value of each feature, (F, 2); NaN while unknown.
        offset_: Threshold of ``score_samples``, from ``fit``.
        n_features_in_, feature_names_in_: As in scikit-learn.

    Raises:
        ValueError: From all methods, for an invalid parameter or row; the call then
            learns no row.
    """

    def __init__(
        self,
        n_trees: int = 25,
        height: int = 8,
        window_size: int = 250,
        *,
        limits: Limits = "robust",
        contamination: float = 0.01,
        warm_up_score: float = np.nan,
        random_state: int | None = None,
    ) -> None:
        self.n_trees = n_trees
        self.height = height
        self.window_size = window_size
        self.limits = limits
        self.contamination = contamination
        self.warm_up_score = warm_up_score
        self.random_state = random_state

    @property
    def is_warm(self) -> bool:
        """Whether a window has been full; before that, no score means anything."""
        forest: Forest | None = getattr(self, "_forest", None)
        return forest is not None and forest.is_warm

    def fit(self, x: Any, y: Any = None) -> Self:
        """Forget all, then learn rows (n, F) in their order; ``y`` is ignored."""
        rows = self._rows(x, reset=True)
        self._begin(rows)
        if self._forest is None:
            self._plant(robust_limits(rows))
        self._learn(rows)
        self.offset_ = float(np.quantile(-self._score(rows), self.contamination))
        return self

    def partial_fit(self, x: Any, y: Any = None) -> Self:
        """Learn more rows (n, F) in their order; ``y`` is ignored."""
        self._learn(self._next(x))
        return self

    def score_and_learn(self, x: Any) -> Floats:
        """
        Score each row by the rows before it, then learn it.

        Args:
            x: Rows (n, F), in their order: a chunk of a stream, or nothing. How it is
                cut into chunks changes no score; a few hundred rows each are fastest.

        Returns:
            Anomaly scores (n,) from 0 to 1, most anomalous, as river's; within the
            first window ``warm_up_score``.
        """
        if len(x) == 0:
            return np.empty(0)
        walked = self._walked(x, learn=True)
        return self._learn(self._next(x)) if walked is None else walked

    def anomaly_score(self, x: Any) -> Floats:
        """Score rows (n, F) as ``score_and_learn`` does, but learn none of them."""
        walked = self._walked(x, learn=False)
        if walked is not None:
            return walked
        check_is_fitted(self)
        return self._score(self._rows(x))

    def score_samples(self, x: Any) -> Floats:
        """
        Return minus the anomaly scores of rows (n, F), from -1, most abnormal, to 0.

        That is scikit-learn's convention, and ``IsolationForest``'s range.
        """
        check_is_fitted(self)
        return -self._score(self._rows(x))

    def decision_function(self, x: Any) -> Floats:
        """Return ``score_samples`` less its threshold, so that outliers are below 0."""
        check_is_fitted(
            self,
            "offset_",
            msg="This %(name)s has no threshold: only fit learns one, partial_fit and "
            "score_and_learn do not. Call fit, or compare scores with your own.",
        )
        scores: Floats = self.score_samples(x) - self.offset_
        return scores

    def predict(self, x: Any) -> NDArray[np.int_]:
        """Return -1 for outliers and 1 for others; only 1 until ``is_warm``."""
        return np.where(self.decision_function(x) < 0, -1, 1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _next(self, x: Any) -> Floats:
        """Return rows to learn; the first rows set the trees up."""
        is_first = not hasattr(self, "_forest")
        rows = self._rows(x, reset=is_first)
        if is_first:
            self._begin(rows)
        return rows

    def _begin(self, rows: Floats) -> None:
        """Check the parameters, and plant the trees if the limits are known."""
        self._check_parameters()
        pairs = self.limits if isinstance(self.limits, Mapping) else {}
        limits = named_limits(pairs, self._names())
        self._forest: Forest | None = None
        # Rows of the first window, until robust limits are known.
        self._pending = rows[:0]
        self._pick = _picker(self._names())
        if self.limits == "robust":
            self.limits_ = np.full_like(limits, np.nan)
            return
        self._plant(limits)
        if self.limits == "minmax":
            self.limits_ = np.tile([np.inf, -np.inf], (len(limits), 1))

    def _has_names(self) -> bool:
        return hasattr(self, "feature_names_in_")

    def _names(self) -> Sequence[Any]:
        """Return the names of the features, or their numbers if rows had no names."""
        if self._has_names():
            names: list[str] = self.feature_names_in_.tolist()
            return names
        return range(self.n_features_in_)

    def _check_parameters(self) -> None:
        for name in ("n_trees", "height", "window_size"):
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < 1:
                raise ValueError(f"{name} must be an integer above 0, got {value!r}")
        if self.n_trees * self.window_size * (2 << self.height) > _EXACT_INTEGER:
            raise ValueError(
                "n_trees * window_size * 2**(height + 1) must be at most 2**53, or "
                f"scores are not exact; got {self.n_trees} * {self.window_size} * "
                f"2**{self.height + 1}"
            )
        if not 0 < self.contamination <= 0.5:
            raise ValueError(
                f"contamination must be in (0, 0.5], got {self.contamination!r}"
            )
        if not (
            self.limits is None
            or isinstance(self.limits, Mapping)
            or self.limits in ("robust", "minmax")
        ):
            raise ValueError(
                "limits must be 'robust', 'minmax', a mapping or None, got "
                f"{self.limits!r}"
            )
        seed: Any = self.random_state
        if not (seed is None or isinstance(seed, Integral)):
            raise ValueError(f"random_state must be an integer or None, got {seed!r}")

    def _plant(self, limits: Floats) -> None:
        """Draw the trees with river's random numbers, in its order."""
        names = self._names()
        is_robust = self.limits == "robust"
        features, thresholds = draw_nodes(
            random.Random(
                None if self.random_state is None else int(self.random_state)
            ),
            # Robust limits weigh all features alike, whatever their units.
            named_limits({}, names) if is_robust else limits,
            columns=sorted(range(len(names)), key=names.__getitem__),
            n_trees=self.n_trees,
            height=self.height,
        )
        if is_robust:
            # Scale the thresholds once, and not all values.
            low, high = limits[features].T
            thresholds = (1 - thresholds) * low + thresholds * high
        self.limits_ = limits
        self._forest = Forest(
            features,
            thresholds,
            n_trees=self.n_trees,
            height=self.height,
            window_size=self.window_size,
            warm_up_score=float(self.warm_up_score),
        )

    def _score(self, rows: Floats) -> Floats:
        """Score rows without learning them."""
        if self._forest is None:
            return np.full(len(rows), self.warm_up_score)
        if self.limits == "minmax":
            rows = scale(rows, *self.limits_.T)
        return self._forest.score(rows)

    def _learn(self, rows: Floats) -> Floats:
        """Score rows and learn them."""
        if self._forest is None:
            return self._learn_pending(rows)
        if self.limits == "minmax":
            return self._learn_moving(self._forest, rows)
        return self._forest.score_and_learn(rows)

    def _learn_pending(self, rows: Floats) -> Floats:
        """Collect the first window, learn robust limits from it, then all rows."""
        n_before = len(self._pending)
        self._pending = np.concatenate([self._pending, rows])
        if len(self._pending) < self.window_size:
            return np.full(len(rows), self.warm_up_score)
        pending, self._pending = self._pending, rows[:0]
        self._plant(robust_limits(pending[: self.window_size]))
        return self._learn(pending)[n_before:]

    def _learn_moving(self, forest: Forest, rows: Floats) -> Floats:
        """Learn the limits of ``"minmax"`` and the rows, each with its own limits."""
        low = np.fmin.accumulate(np.vstack([self.limits_[:, 0], rows]))
        high = np.fmax.accumulate(np.vstack([self.limits_[:, 1], rows]))
        self.limits_ = np.column_stack([low[-1], high[-1]])
        return forest.score_and_learn(
            scale(rows, low[1:], high[1:]),
            before=scale(rows, low[:-1], high[:-1]),
            moves=((low[1:] != low[:-1]) | (high[1:] != high[:-1])).any(axis=1),
        )

    def _walked(self, x: Any, *, learn: bool) -> Floats | None:
        """
        Score rows in plain Python, where that is faster; the result is the same.

        Returns:
            Scores; or None, without learning, if there are many rows, if they move the
            limits, or if they need the full checks.
        """
        forest: Forest | None = getattr(self, "_forest", None)
        if forest is None or not 0 < len(x) * self.n_trees <= _FEW:
            return None
        if self._is_plain(x):
            rows: list[Sequence[Any]] = x.tolist()
        elif type(x) is list and type(x[0]) is dict and self._has_names():
            try:
                rows = list(map(self._pick, x))
            except KeyError:
                names = self._names()
                rows = [[row.get(name, math.nan) for name in names] for row in x]
        else:
            return None
        try:
            is_finite = math.isfinite(sum(map(sum, rows)))
        except TypeError:
            return None
        if not is_finite and any(map(math.isinf, itertools.chain.from_iterable(rows))):
            return None
        if self.limits == "minmax":
            values = np.array(rows, dtype=np.float64)[:, : self.n_features_in_]
            low, high = self.limits_.T
            if ((values < low) | (values > high)).any():
                return None
            rows = scale(values, low, high).tolist()
        if not is_finite:
            rows = [
                [None if math.isnan(value) else value for value in row] for row in rows
            ]
        return forest.walk(rows, learn=learn)

    def _is_plain(self, x: Any) -> bool:
        """Tell whether rows are an array that needs no conversion."""
        return (
            type(x) is np.ndarray
            and x.dtype == _FLOAT64
            and x.shape[1:] == (self.n_features_in_,)
        )

    def _rows(self, x: Any, *, reset: bool = False) -> Floats:
        """Return rows as floats, NaN for missing, in the order of features."""
        if isinstance(x, Sequence) and len(x) and isinstance(x[0], Mapping):
            rows = self._named_rows(x, reset=reset)
        elif not reset and self._is_plain(x):
            rows = x
        else:
            rows = validate_data(
                self, x, reset=reset, dtype=np.float64, ensure_all_finite="allow-nan"
            )
        infinite = np.isinf(rows)
        if infinite.any():
            row, column = np.argwhere(infinite)[0].tolist()
            raise ValueError(
                f"row {row} has infinity as feature {self._names()[column]!r}; leave "
                "the feature out, or give NaN, if it is missing"
            )
        return rows

    def _named_rows(self, x: Sequence[Mapping[str, Any]], *, reset: bool) -> Floats:
        """Return rows that are mappings as floats."""
        if reset:
            if not x[0]:
                raise ValueError("the first row names the features, but it is empty")
            self.feature_names_in_ = np.array(sorted(x[0]), dtype=object)
            self.n_features_in_ = len(x[0])
        if not self._has_names():
            raise ValueError(
                f"the trees know {self.n_features_in_} features by number, from an "
                "array, so that rows must be arrays, too"
            )
        names = self._names()
        try:
            values = itertools.chain.from_iterable(map(_picker(names), x))
            width = len(names) + 1
            rows = np.fromiter(values, np.float64, count=len(x) * width)
            rows = rows.reshape(len(x), width)[:, :-1]
        except KeyError:
            # As a float None is NaN.
            lists = [[row.get(name) for name in names] for row in x]
            rows = np.array(lists, dtype=np.float64)
        return rows


def _picker(names: Sequence[Any]) -> Callable[[Mapping[Any, Any]], tuple[Any, ...]]:
    """Return a getter of a tuple of values by name; the last value comes twice."""
    # With a single name the getter would return no tuple.
    return operator.itemgetter(*names, names[-1])
