"""
Half-Space Trees: anomaly scores for a stream, without labels, in constant memory.

Random trees halve the space of the features again and again. They are drawn before any
row is counted and never change; what is learned is the mass of each node, the number of
rows of the last full window that came through it. A row is anomalous where mass is low.

Within a window the scores of leaves are fixed, so a chunk is scored at once: all rows
go down all trees together, a depth at a time, and a score is a gather and a sum. Masses
are integers below 2**53, so that neither the order of a sum nor the size of a chunk
changes a bit of a score.

Source:
    S. C. Tan, K. M. Ting and T. F. Liu, "Fast Anomaly Detection for Streaming Data",
    IJCAI 2011, pages 1511-1516; by way of river 0.26's implementation, which is
    followed to the last bit, and so in where it deviates from the paper:

    - the limits of a feature are given or learned, not drawn around its values;
    - a node splits a feature drawn in proportion to the width left of it, at a
      threshold drawn from the middle 70 % of that (paper: any feature, half-way);
    - a score sums mass times 2**depth over all nodes down to the one where the search
      stops (paper: that one alone), and is scaled to [0, 1] and turned over;
    - a row without a node's feature follows the child that is heavier so far in the
      current window (paper: nothing is missing).

    Where we deviate from river, ``HalfSpaceTrees`` says so.
"""

from __future__ import annotations

import itertools
import math
import operator
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from propensity.errors import SchemaError

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]
Booleans = NDArray[np.bool_]
Limits = Literal["robust", "minmax"] | Mapping[Any, tuple[float, float]] | None

# Of a window: below a node of less mass the search stops (the paper's sizeLimit).
_SIZE_LIMIT = 0.1
# Of a node's width, at either end: no threshold is drawn there (river's padding).
_PADDING = 0.15
# Robust limits: the quantiles that bound the bulk of a feature, and how many widths of
# the bulk they leave on either side for what is rare.
_BULK = (0.05, 0.95)
_MARGIN = 1.0

_EXACT_INTEGER = 2**53
_FLOAT64 = np.dtype(np.float64)
# Up to so many pairs of a row and a tree, plain Python is faster than calls of numpy.
_FEW = 100
# Rows that go down the trees together: what they need then stays in the cache.
_BLOCK = 1_024
# Of pickles. One with a higher number was written by a newer version of this module.
_FORMAT = 1


class HalfSpaceTrees(OutlierMixin, BaseEstimator):  # type: ignore[misc]
    """
    Score rows by how empty the parts of the space are that they lie in.

    Like ``IsolationForest``, but for rows that arrive one after the other: ``fit`` on
    what there is, then ``score_and_learn`` what comes. Rows are an array or a frame
    (n, F), or a sequence of mappings from names to numbers, of which the first one ever
    learned says which features there are; keys that it lacks are ignored. NaN, None and
    an absent key all mean that a feature is missing. Infinity is refused.

    With the same parameters, and ``warm_up_score=0.0``, scores are river 0.26's to the
    last bit, in chunks of any size: those of ``HalfSpaceTrees(limits=...)`` for a
    mapping or None, those of ``MinMaxScaler() | HalfSpaceTrees()`` for ``"minmax"``.
    Two things differ: river takes a NaN that is there for a value above any threshold,
    and it takes limits that are equal or of unknown features.

    Args:
        n_trees: Number of trees.
        height: Number of splits on the way to a leaf; a tree has 2**height leaves.
        window_size: Rows in a window. Scores look back on the last full one, so that of
            all rows given to ``fit``, too, only the last ones are remembered.
        limits: Where in a feature thresholds are drawn. Values beyond are as the limit.

            - ``"robust"``: between the 5 % and 95 % quantiles, and as much again on
              either side if there are values; of the rows given to ``fit``, else of the
              first window. After that no row changes them, however absurd it is.
            - ``"minmax"``: between the least and the greatest value, without a row when
              it is scored, with it when it is learned. One absurd value ruins them.
            - None: between 0 and 1.
            - A mapping from names (or numbers of columns) to pairs, else 0 and 1.
        contamination: Share of the rows given to ``fit`` that ``predict`` flags.
        warm_up_score: Anomaly score given until the first window is full.
        random_state: Seed of the trees.

    Attributes:
        limits_: Least and greatest value of each feature, (F, 2); NaN while unknown.
        offset_: Threshold of ``score_samples``, from ``fit``.
        n_features_in_, feature_names_in_: As in scikit-learn.

    Raises:
        ValueError: From all methods, if a parameter or a row is of no use; no row of
            that call is learned.
        SchemaError: When a pickle is loaded that a newer version wrote.
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
        forest: _Forest | None = getattr(self, "_forest", None)
        return forest is not None and forest.is_warm

    def fit(self, x: Any, y: Any = None) -> Self:
        """Forget all, then learn rows (n, F) in their order; ``y`` is ignored."""
        rows = self._rows(x, reset=True)
        self._begin(rows)
        if self._forest is None:
            self._plant(_robust_limits(rows))
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
        """Return -1 for outliers and 1 for others; nothing is one until ``is_warm``."""
        return np.where(self.decision_function(x) < 0, -1, 1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_format": _FORMAT}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        state = dict(state)
        written = state.pop("_format")
        if written > _FORMAT:
            raise SchemaError(
                f"Half-Space Trees were pickled in format {written}, this version "
                f"reads up to {_FORMAT}; deploy the version that trained them"
            )
        super().__setstate__(state)

    def _next(self, x: Any) -> Floats:
        """Return rows to be learned, with all in place for the first ones."""
        is_first = not hasattr(self, "_forest")
        rows = self._rows(x, reset=is_first)
        if is_first:
            self._begin(rows)
        return rows

    def _begin(self, rows: Floats) -> None:
        """Check the parameters, and plant the trees if the limits are known."""
        self._check_parameters()
        given = self.limits if isinstance(self.limits, Mapping) else {}
        limits = _given_limits(given, self._names())
        self._forest: _Forest | None = None
        # While robust limits are unknown: the rows of the first window.
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
        """Return what the features are called: their numbers, if rows had no names."""
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
        """Draw the trees, with the numbers that river draws and in its order."""
        names = self._names()
        is_robust = self.limits == "robust"
        features, thresholds = _drawn(
            random.Random(
                None if self.random_state is None else int(self.random_state)
            ),
            # Robust limits weigh all features alike: units say nothing.
            _given_limits({}, names) if is_robust else limits,
            columns=sorted(range(len(names)), key=names.__getitem__),
            n_trees=self.n_trees,
            height=self.height,
        )
        if is_robust:
            # Thresholds are moved to the values once, not all values to the trees.
            low, high = limits[features].T
            thresholds = (1 - thresholds) * low + thresholds * high
        self.limits_ = limits
        self._forest = _Forest(
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
            rows = _scaled(rows, *self.limits_.T)
        return self._forest.score(rows)

    def _learn(self, rows: Floats) -> Floats:
        """Score rows and learn them."""
        if self._forest is None:
            return self._learn_pending(rows)
        if self.limits == "minmax":
            return self._learn_moving(self._forest, rows)
        return self._forest.score_and_learn(rows)

    def _learn_pending(self, rows: Floats) -> Floats:
        """Wait for the first window, learn robust limits from it, then all rows."""
        n_before = len(self._pending)
        self._pending = np.concatenate([self._pending, rows])
        if len(self._pending) < self.window_size:
            return np.full(len(rows), self.warm_up_score)
        pending, self._pending = self._pending, rows[:0]
        self._plant(_robust_limits(pending[: self.window_size]))
        return self._learn(pending)[n_before:]

    def _learn_moving(self, forest: _Forest, rows: Floats) -> Floats:
        """Learn the limits of ``"minmax"`` and the rows, each with its own limits."""
        low = np.fmin.accumulate(np.vstack([self.limits_[:, 0], rows]))
        high = np.fmax.accumulate(np.vstack([self.limits_[:, 1], rows]))
        self.limits_ = np.column_stack([low[-1], high[-1]])
        return forest.score_and_learn(
            _scaled(rows, low[1:], high[1:]),
            before=_scaled(rows, low[:-1], high[:-1]),
            moves=((low[1:] != low[:-1]) | (high[1:] != high[:-1])).any(axis=1),
        )

    def _walked(self, x: Any, *, learn: bool) -> Floats | None:
        """
        Score rows in plain Python, where that is faster and gives the same.

        Returns:
            Scores; or None, and nothing is learned, if there are many rows, or they
            move the limits, or are not plainly as they should be.
        """
        forest: _Forest | None = getattr(self, "_forest", None)
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
            rows = _scaled(values, low, high).tolist()
        if not is_finite:
            rows = [[None if math.isnan(one) else one for one in row] for row in rows]
        return forest.walk(rows, learn=learn)

    def _is_plain(self, x: Any) -> bool:
        """Say whether rows are an array that can be used as it is."""
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
            found = [[row.get(name) for name in names] for row in x]
            rows = np.array(found, dtype=np.float64)
        return rows


def _picker(names: Sequence[Any]) -> Callable[[Mapping[Any, Any]], tuple[Any, ...]]:
    """Return what takes values by name, in a tuple; the last one is in it twice."""
    # Of a single name it would give the value itself.
    return operator.itemgetter(*names, names[-1])


class _Forest:
    """
    Trees of one height, with the masses of the current and of the last full window.

    Nodes of one depth are numbered through, from one tree to the next. The children of
    node ``n`` are nodes ``2 n`` (value at or above the threshold) and ``2 n + 1``
    (below) of the next depth, so that each comparison is a digit of the leaf's number.

    Args:
        features: Column that each node splits, one depth after the other,
            (n_trees * (2**height - 1),).
        thresholds: Where it splits it, likewise.
    """

    def __init__(
        self,
        features: Integers,
        thresholds: Floats,
        *,
        n_trees: int,
        height: int,
        window_size: int,
        warm_up_score: float,
    ) -> None:
        self.features = features
        self.thresholds = thresholds
        self.n_trees = n_trees
        self.height = height
        self.window_size = window_size
        self.warm_up_score = warm_up_score
        self.is_warm = False
        # Rows in each leaf, (n_trees * 2**height,). Those of inner nodes are sums.
        self.live = np.zeros(n_trees << height, dtype=np.intp)
        self.reference = np.zeros_like(self.live)
        self.n_live = 0
        self._derive()

    def _derive(self) -> None:
        """Put the trees into the forms that are fastest for many rows and for few."""
        ends = [self.n_trees * ((1 << depth) - 1) for depth in range(self.height + 1)]
        self._depths = [
            (self.features[start:stop], self.thresholds[start:stop])
            for start, stop in itertools.pairwise(ends)
        ]
        # From the leaves up, a node is (column, threshold, child below, child above).
        nodes: list[Any] = list(range(self.n_trees << self.height))
        for features, thresholds in reversed(self._depths):
            sides = nodes[1::2], nodes[::2]
            nodes = list(
                zip(features.tolist(), thresholds.tolist(), *sides, strict=True)
            )
        self._roots = nodes
        self._greatest = self.n_trees * self.window_size * ((2 << self.height) - 1)
        self._leaf_scores = self._scored_leaves()

    def __getstate__(self) -> dict[str, Any]:
        """Return what cannot be derived, with counts in the narrowest type."""
        state = {key: own for key, own in vars(self).items() if key[0] != "_"}
        for key in ("features", "live", "reference"):
            state[key] = state[key].astype(np.min_scalar_type(state[key].max()))
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
        for key in ("features", "live", "reference"):
            setattr(self, key, state[key].astype(np.intp))
        self._derive()

    def score(self, rows: Floats) -> Floats:
        """Return anomaly scores of rows (n, F) by the masses of the last window."""
        if not self.is_warm:
            return np.full(len(rows), self.warm_up_score)
        return self._scores(self._leaves(rows, in_turn=False))

    def score_and_learn(
        self,
        rows: Floats,
        *,
        before: Floats | None = None,
        moves: Booleans | None = None,
    ) -> Floats:
        """
        Score each row, then count it.

        Args:
            rows: Rows (n, F) as they are counted.
            before: Rows as they are scored, if not all are as they are counted.
            moves: Which are not.
        """
        if before is None or moves is None:
            before, moves = rows, np.zeros(len(rows), dtype=np.bool_)
        has_gap = np.isnan(rows).any(axis=1)
        leaves = None if has_gap.any() else self._leaves(rows, in_turn=False)
        # A row with a gap goes by the masses it meets. If it moves, too, it goes two
        # ways from there, and nothing may be counted in between.
        begins = np.flatnonzero(has_gap & moves)
        scores = np.full(len(rows), self.warm_up_score)
        start = 0
        while start < len(rows):
            full = start + self.window_size - self.n_live
            stop = int(min([len(rows), full, *begins[begins > start][:1]]))
            part = slice(start, stop)
            counted = (
                self._leaves(rows[part], in_turn=True)
                if leaves is None
                else leaves[part]
            )
            if self.is_warm:
                scored, moved = counted, moves[part]
                if moved.any():
                    scored = counted.copy()
                    scored[moved] = self._leaves(before[part][moved], in_turn=False)
                scores[part] = self._scores(scored)
            self.live += np.bincount(counted.ravel(), minlength=len(self.live))
            self._count(stop - start)
            start = stop
        return scores

    def walk(self, rows: Sequence[Sequence[Any]], *, learn: bool) -> Floats:
        """Do the same for few rows without numpy; None in them means missing."""
        depths = range(self.height)
        scores = []
        for row in rows:
            live, leaf_scores = self.live.data, self._leaf_scores.data
            total = 0.0
            for root in self._roots:
                node = root
                for depth in depths:
                    feature, threshold, below, above = node
                    try:
                        node = below if row[feature] < threshold else above
                    except TypeError:
                        node = below if self._leads(above, depth) else above
                total += leaf_scores[node]
                if learn:
                    live[node] += 1
            score = 1 - total / self._greatest if self.is_warm else self.warm_up_score
            scores.append(score)
            if learn:
                self._count(1)
        return np.array(scores)

    def _leads(self, above: Any, depth: int) -> bool:
        """Say whether a node's child below weighs as much as the one above, or more."""
        while type(above) is tuple:
            above = above[-1]
        first, n = above, 1 << (self.height - depth - 1)
        mass_above = self.live[first : first + n].sum()
        return bool(mass_above <= self.live[first + n : first + 2 * n].sum())

    def _leaves(self, rows: Floats, *, in_turn: bool) -> Integers:
        """
        Return the leaves that rows come to, (n, n_trees).

        Args:
            rows: Rows (n, F).
            in_turn: Whether gaps are filled as if each row were counted before the
                next goes down; if not, all go by the live masses as they are.
        """
        if len(rows) > _BLOCK and not in_turn:
            blocks = np.split(rows, range(_BLOCK, len(rows), _BLOCK))
            return np.concatenate([self._leaves(b, in_turn=False) for b in blocks])
        values = np.ascontiguousarray(rows).ravel()
        has_gaps = bool(np.isnan(values).any())
        offsets = np.arange(0, len(values), rows.shape[1])[:, None]
        nodes: Integers = np.broadcast_to(
            np.arange(self.n_trees), (len(rows), self.n_trees)
        )
        for features, thresholds in self._depths:
            found = values.take(features.take(nodes) + offsets)
            is_below = found < thresholds.take(nodes)
            if has_gaps and (gaps := np.isnan(found)).any():
                mass = self.live.reshape(len(features), 2, -1).sum(axis=2)
                lead = mass[:, 1] - mass[:, 0]
                if in_turn:
                    _fill_in_turn(is_below, gaps, nodes, lead)
                else:
                    is_below[gaps] = lead[nodes[gaps]] >= 0
            nodes = 2 * nodes + is_below
        return nodes

    def _scores(self, leaves: Integers) -> Floats:
        """Return the scores of rows from their leaves (n, n_trees)."""
        total = self._leaf_scores.take(leaves).sum(axis=1)
        scores: Floats = 1 - total / self._greatest
        return scores

    def _count(self, n: int) -> None:
        """Note that n rows were counted; a full window is what scores refer to next."""
        self.n_live += n
        if self.n_live == self.window_size:
            self.reference, self.live = self.live, np.zeros_like(self.live)
            self.n_live = 0
            self.is_warm = True
            self._leaf_scores = self._scored_leaves()

    def _scored_leaves(self) -> Floats:
        """Return for each leaf the sum of mass times 2**depth over its path."""
        masses = [self.reference.astype(np.float64)]
        for _ in range(self.height):
            masses.append(masses[-1][::2] + masses[-1][1::2])
        total = masses.pop()
        parents = total
        for depth in range(1, self.height + 1):
            # Mass only falls on the way down, so that the search has stopped at the
            # parent or above it exactly where the parent's is too low.
            weight = (parents >= _SIZE_LIMIT * self.window_size) * float(1 << depth)
            above, parents = total, masses.pop()
            total = np.empty(len(parents))
            for side in (0, 1):
                total[side::2] = above + weight * parents[side::2]
        return total


def _fill_in_turn(
    is_below: Booleans, gaps: Booleans, nodes: Integers, lead: Integers
) -> None:
    """
    Send rows with a gap to the heavier side, as if each row were counted in its turn.

    The side below the threshold takes rows where both are equal. At one node of a tree
    the lead of that side grows or shrinks by one with each row that comes through.

    Args:
        is_below: Which rows go below in which trees, (n, n_trees), written where
            ``gaps`` has it.
        gaps: Where the value to be compared is missing, likewise.
        nodes: Which nodes they are at, likewise.
        lead: Rows counted below each node's threshold less those above, before.
    """
    concerned = np.zeros(len(lead), dtype=np.bool_)
    concerned[nodes[gaps]] = True
    pairs = np.flatnonzero(concerned[nodes])
    # By node, and by row within each.
    pairs = pairs[np.argsort(nodes.ravel()[pairs], kind="stable")]
    node, is_gap = nodes.ravel()[pairs], gaps.ravel()[pairs]
    step = np.where(is_gap, 0, np.where(is_below.ravel()[pairs], 1, -1))
    # The lead that each row meets, as far as rows without a gap have made it.
    begins = np.flatnonzero(np.diff(node, prepend=-1))
    before = np.cumsum(step) - step
    before -= np.repeat(before[begins], np.diff(begins, append=len(node)))
    met = lead[node] + before
    # The others depend on one another, and are decided one by one.
    made: dict[int, int] = {}
    choices = []
    for at, its_lead in zip(node[is_gap].tolist(), met[is_gap].tolist(), strict=True):
        so_far = made.get(at, 0)
        goes_below = its_lead + so_far >= 0
        made[at] = so_far + (1 if goes_below else -1)
        choices.append(goes_below)
    is_below.ravel()[pairs[is_gap]] = choices


def _drawn(
    generator: random.Random,
    limits: Floats,
    *,
    columns: Sequence[int],
    n_trees: int,
    height: int,
) -> tuple[Integers, Floats]:
    """
    Draw the columns and the thresholds of all nodes, ordered as a forest has them.

    Args:
        generator: Gives the numbers that river's would, called in the same order.
        limits: Least and greatest value of each column, (F, 2).
        columns: The columns, in the order in which they are drawn from.
        n_trees: Number of trees.
        height: Number of splits on the way to a leaf.
    """
    features = np.empty(n_trees * ((1 << height) - 1), dtype=np.intp)
    thresholds = np.empty(len(features))
    box = {column: tuple(limits[column].tolist()) for column in columns}

    def split(depth: int, node: int) -> None:
        if depth == height:
            return
        widths = [high - low for low, high in box.values()]
        column = generator.choices(columns, weights=widths)[0]
        low, high = box[column]
        padding = _PADDING * (high - low)
        threshold = generator.uniform(low + padding, high - padding)
        place = n_trees * ((1 << depth) - 1) + node
        features[place], thresholds[place] = column, threshold
        for is_below, side in ((1, (low, threshold)), (0, (threshold, high))):
            box[column] = side
            split(depth + 1, 2 * node + is_below)
        box[column] = low, high

    for tree in range(n_trees):
        split(0, tree)
    return features, thresholds


def _given_limits(limits: Mapping[Any, Any], names: Iterable[Any]) -> Floats:
    """Return the limits of features (F, 2) from those given by name; else 0 and 1."""
    found: dict[Any, tuple[float, float]] = dict.fromkeys(names, (0.0, 1.0))
    for name, (low, high) in limits.items():
        if name not in found:
            raise ValueError(
                f"limits has {name!r}, which is not among the features: "
                f"{', '.join(map(repr, found))}"
            )
        if not (math.isfinite(high - low) and low < high):
            raise ValueError(
                f"limits of {name!r} must be a lower and a higher number, got "
                f"{low!r} and {high!r}"
            )
        found[name] = float(low), float(high)
    return np.array(list(found.values()))


def _robust_limits(rows: Floats) -> Floats:
    """Return limits of features (F, 2) that a few absurd values do not change much."""
    return np.array([_robust_range(column[~np.isnan(column)]) for column in rows.T])


def _robust_range(values: Floats) -> tuple[float, float]:
    """Return the limits of one feature; 0 and 1 where there is no value."""
    if len(values) == 0:
        return 0.0, 1.0
    low, high = np.quantile(values, _BULK).tolist()
    if low < high:
        margin = _MARGIN * (high - low)
        return max(low - margin, values.min()), min(high + margin, values.max())
    # Nearly all values are one: what the others are is what can be told apart.
    others = values[values != low]
    if len(others) == 0:
        return low - 0.5, low + 0.5
    least, greatest = _robust_range(others)
    return min(low, least), max(low, greatest)


def _scaled(rows: Floats, low: Floats, high: Floats) -> Floats:
    """
    Scale rows as river's MinMaxScaler does, to the last bit.

    Args:
        rows: Rows (n, F).
        low: Least values, (F,) or for each row its own (n, F).
        high: Greatest values, likewise.

    Returns:
        Values in [0, 1] for those within the limits; 0 where there is no width; NaN
        only for missing ones.
    """
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        width = high - low
        scaled = np.where(width == 0, 0.0, (rows - low) / width)
    # What river makes NaN (a feature without limits yet) is above every threshold.
    scaled[np.isnan(scaled)] = np.inf
    scaled[np.isnan(rows)] = np.nan
    return scaled
