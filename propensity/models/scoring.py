"""
Probabilities from a preprocessor, a model and features, in bounded memory.

Batches are cut into chunks that stay in the processor's cache, so that memory does
not depend on the number of users. One thread encodes; the others predict, each on its
own chunk and without OpenMP. Otherwise tree ensembles start and join OpenMP's threads
for every tree, which on a shared processor, as in the cloud, costs several times the
prediction itself (``benchmarks/scoring.py``).
"""

from __future__ import annotations

import contextlib
import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from functools import cache, cached_property
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from threadpoolctl import ThreadpoolController

from propensity.errors import SchemaError
from propensity.models.encoder import Encoder
from propensity.models.encoding import Kind, Rows, check
from propensity.models.refusals import RefusedRows, refusal

# Large enough to make the cost of a call to scikit-learn small per row, small enough
# for a chunk of thirty features to stay in the cache.
CHUNK_ROWS = 16_384

# Rows that a product of matrices takes at once divide this. Those of a last and shorter
# piece are summed up in another order, which shows in the last bit.
WHOLE_ROWS = 64

Scored = tuple[pa.RecordBatch, NDArray[np.float64]]
# Opens a pool of at most so many threads, under a name.
Pools = Callable[[int, str], Executor]


class Scorer:
    """
    Score users with a fitted preprocessor and model, as a pipeline would.

    A scorer remembers categories, so only one thread may use it at a time.

    Attributes:
        fallbacks: Names of the preprocessor's transformers that go through pandas
            because they are not known to work on arrays; empty if all are fast.
    """

    def __init__(
        self,
        encoder: Encoder,
        model: Any,
        *,
        weights: NDArray[np.float64] | None,
        chunk_rows: int,
        threads: int | None,
        pools: Pools | None,
    ) -> None:
        if chunk_rows < 1 or (threads is not None and threads < 1):
            raise ValueError(
                f"chunk_rows and threads must be positive, got {chunk_rows}, {threads}"
            )
        self.fallbacks = encoder.fallbacks
        self._encoder = encoder
        self._model = model
        self._weights = weights
        self._chunk_rows = chunk_rows
        self._threads = joblib.cpu_count() if threads is None else threads
        self._pools = pools
        self._names = getattr(model, "feature_names_in_", None)
        self._checked: pa.Schema | None = None

    @classmethod
    def compile(
        cls,
        preprocessor: Any,
        model: Any,
        *,
        features: Mapping[str, Kind],
        chunk_rows: int = CHUNK_ROWS,
        threads: int | None = None,
        pools: Pools | None = None,
    ) -> Scorer:
        """
        Prepare to score with a fitted preprocessor and model.

        Args:
            preprocessor: Fitted on frames of ``encoding.to_frame``.
            model: Binary classifier, fitted on the output of the preprocessor.
            features: Kind of each feature by name; may name more than were fitted.
            threads: Chunks predicted at once; None for one per processor.
            pools: Opens their threads. Without, chunks are predicted in turn, in the
                thread of the caller.

        Raises:
            SchemaError: Features, preprocessor and model do not fit together.
            ValueError: ``chunk_rows`` or ``threads`` is not positive.
        """
        classes = getattr(model, "classes_", None)
        if classes is None or len(classes) != 2:
            raise SchemaError(
                "the model must be a fitted classifier of two classes, but its "
                f"classes are {None if classes is None else list(classes)}"
            )
        encoder = Encoder.compile(preprocessor, features)
        expected = getattr(model, "n_features_in_", encoder.width)
        if encoder.width is not None and expected != encoder.width:
            raise SchemaError(
                f"the preprocessor gives {encoder.width} columns, but the model was "
                f"trained on {expected}; they are not of one training"
            )
        folded = _fold(model) if encoder.width is not None else None
        weights, model = (None, model) if folded is None else folded
        return cls(
            encoder,
            model,
            weights=weights,
            chunk_rows=chunk_rows,
            threads=threads,
            pools=pools,
        )

    def score(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Scored]:
        """
        Yield each batch with its probabilities, in order.

        Args:
            batches: Columns in any order; others than features are ignored. At most as
                many batches as threads are read ahead; none without threads.

        Returns:
            The batch, unchanged, and a float64 for each of its rows.

        Raises:
            SchemaError: A batch lacks a feature or holds it in another type, or the
                model refuses a value.
        """
        try:
            yield from self._scored(batches)
        except RefusedRows as error:
            # Here, where no thread scores any more, since the search for it scores.
            raise refusal(
                error.rows, self._encoder.features, unfilled=lambda: self.unfilled
            ) from error.__cause__

    def _scored(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Scored]:
        if self._weights is not None or self._pools is None:
            for batch in batches:
                self._check(batch)
                with _refusing(batch):
                    scores = self._in_turn(batch)
                yield batch, scores
            return
        with self._pools(self._threads, "score") as pool:
            begun: deque[tuple[Scored, list[Future[None]]]] = deque()
            running: deque[Future[None]] = deque()
            for batch in batches:
                self._check(batch)
                scores = np.empty(batch.num_rows)
                chunks = []
                for rows in self._chunks(batch):
                    if len(running) > self._threads:
                        running.popleft().result()
                    chunk = batch.slice(rows.start, len(rows))
                    with _refusing(chunk):
                        encoded = self._encoder.encode(chunk, rows=_whole(rows))
                    out = scores[rows.start : rows.stop]
                    chunks.append(pool.submit(self._write_of, chunk, encoded, out))
                    running.append(chunks[-1])
                begun.append(((batch, scores), chunks))
                if len(begun) > self._threads:
                    yield _finished(*begun.popleft())
            while begun:
                yield _finished(*begun.popleft())

    def probabilities(self, batch: pa.RecordBatch | Rows) -> NDArray[np.float64]:
        """
        Return the probability of the positive class for each row of a batch.

        Without other threads, so that few rows cost little.

        Args:
            batch: As for ``score``, or rows of a request; best with a chunk at most.

        Raises:
            SchemaError: The batch lacks a feature or holds it in another type.
            ValueError: The model refuses a value: a null, or out of range.
        """
        if isinstance(batch, Rows):
            if (name := batch.lacks(self._encoder.features)) is not None:
                raise SchemaError(f"feature {name!r} is missing", field=name)
        elif batch.num_rows > self._chunk_rows:
            ((_, scores),) = self._scored([batch])
            return scores
        else:
            self._check(batch)
        if not batch.num_rows:
            return np.empty(0)
        # The model refuses overflows, so they need no warning.
        with np.errstate(over="ignore", invalid="ignore"):
            if self._weights is not None:
                encoded = self._encoder.project(batch, self._weights)[:, np.newaxis]
            else:
                encoded = self._encoder.encode(batch)
            return self._predicted(encoded)

    @cached_property
    def unfilled(self) -> frozenset[str]:
        """
        The numbers that must not be null, by trial.

        All others may be: the preprocessor fills their gaps, or the model accepts them.
        """
        features = self._encoder.features
        names = {
            name: place
            for place, name in enumerate(
                name for name, kind in features.items() if kind == "number"
            )
        }
        texts = {name: [None] for name, kind in features.items() if kind == "category"}

        def takes(*nulls: str) -> bool:
            numbers = np.zeros((1, len(names)))
            numbers[0, [names[name] for name in nulls]] = np.nan
            try:
                self.probabilities(Rows(numbers, names, texts))
            except ValueError:
                return False
            return True

        if takes(*names):
            return frozenset()
        return frozenset(name for name in names if not takes(name))

    def _check(self, batch: pa.RecordBatch) -> None:
        if self._checked is None or not batch.schema.equals(self._checked):
            check(batch.schema, self._encoder.features)
            self._checked = batch.schema

    def _chunks(self, batch: pa.RecordBatch) -> Iterator[range]:
        for start in range(0, batch.num_rows, self._chunk_rows):
            yield range(start, min(start + self._chunk_rows, batch.num_rows))

    def _in_turn(self, batch: pa.RecordBatch) -> NDArray[np.float64]:
        scores = np.empty(batch.num_rows)
        for rows in self._chunks(batch):
            chunk = batch.slice(rows.start, len(rows))
            out = scores[rows.start : rows.stop]
            if self._weights is None:
                encoded = self._encoder.encode(chunk, rows=_whole(rows))
                out[:] = self._predicted(encoded)[: len(out)]
            else:
                whole = _whole(rows)
                product = self._encoder.project(chunk, self._weights, rows=whole)
                out[:] = self._model.predict_proba(product[:, np.newaxis])[:, 1]
        return scores

    def _write_of(
        self, chunk: pa.RecordBatch, encoded: Any, out: NDArray[np.float64]
    ) -> None:
        """Predict a chunk in a thread; an error has its rows."""
        with _refusing(chunk):
            out[:] = self._predicted(encoded)[: len(out)]

    def _predicted(self, encoded: Any) -> NDArray[np.float64]:
        """Return the probabilities of encoded rows, with OpenMP kept to this thread."""
        if self._names is not None:
            # It was fitted on named columns, and warns without names.
            encoded = pd.DataFrame(encoded, columns=self._names, copy=False)
        with native_threads().limit(limits=1, user_api="openmp"):
            return np.asarray(self._model.predict_proba(encoded)[:, 1])


def _whole(rows: range) -> int:
    """
    Return how many rows a chunk is filled up to.

    So that a row's probability depends neither on its place nor on the rows beside it:
    a week that is scored again, in another order, has the same to the last bit.
    """
    return len(rows) + -len(rows) % WHOLE_ROWS


@contextlib.contextmanager
def _refusing(rows: pa.RecordBatch) -> Iterator[None]:
    """Raise RefusedRows, and warn of nothing, where a model refuses some of these."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            yield
    except ValueError as error:
        raise RefusedRows(rows) from error


def _finished(scored: Scored, chunks: Iterable[Future[None]]) -> Scored:
    """Wait until every chunk of a batch is predicted."""
    for chunk in chunks:
        chunk.result()
    return scored


@cache
def native_threads() -> ThreadpoolController:
    """Return what limits threads of native libraries; it searches them all once."""
    return ThreadpoolController()


def _fold(model: Any) -> tuple[NDArray[np.float64], Any] | None:
    """
    Split a linear model into its weights and a model of a single feature.

    The feature is the product of features and weights, which needs no encoded array;
    its weight is 1. Intercept, link and calibration remain scikit-learn's own.

    Returns:
        Weights and model; None if the model is not linear.
    """
    if type(model) is LogisticRegression:
        if model.coef_.shape[0] != 1 or model.coef_.dtype != np.float64:
            return None
        link = copy.copy(model)
        link.coef_ = np.ones((1, 1))
        link.n_features_in_ = 1
        vars(link).pop("feature_names_in_", None)
        return model.coef_[0], link
    if type(model) is FrozenEstimator:
        inner = _fold(model.estimator)
        return None if inner is None else (inner[0], FrozenEstimator(inner[1]))
    if (
        type(model) is CalibratedClassifierCV
        and len(model.calibrated_classifiers_) == 1
    ):
        inner = _fold(model.calibrated_classifiers_[0].estimator)
        if inner is None:
            return None
        calibrated = copy.copy(model.calibrated_classifiers_[0])
        calibrated.estimator = inner[1]
        link = copy.copy(model)
        link.calibrated_classifiers_ = [calibrated]
        vars(link).pop("feature_names_in_", None)
        return inner[0], link
    return None
