"""
Arrow columns to the array a model reads, through a fitted preprocessor.

A fitted ``ColumnTransformer`` is written for pandas, and building its frames costs
more than most models. ``Encoder`` runs the same fitted transformers, so that the
numbers stay theirs, but hands them only what they need:

- columns of numbers as one float array, taken from Arrow's buffers;
- of columns of categories only the values not met before. What they encode to is
  kept, and rows are gathered from it by code;
- what is not known to allow either (a user's own transformer) as a pandas frame,
  which is slower and named in ``Encoder.fallbacks``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sklearn import decomposition, impute, preprocessing
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from propensity.errors import SchemaError
from propensity.models.shortcuts import transform_of

Kind = Literal["number", "category"]
Array = NDArray[Any]

# Values remembered per column. A column with more is re-encoded chunk by chunk, so
# that neither memory nor the look-up grows with the number of users.
VOCABULARY_LIMIT = 20_000

# Integers up to here are exact in float64, and so are powers of ten up to 10**22.
_EXACT_INTEGER = 2**53
_EXACT_POWER = 22

# Encode a value by looking it up among those that were fitted.
_ENCODERS = (
    preprocessing.OneHotEncoder,
    preprocessing.OrdinalEncoder,
    preprocessing.TargetEncoder,
)
# Keep columns apart and in place, and rows too.
_ELEMENTWISE = (
    preprocessing.StandardScaler,
    preprocessing.MinMaxScaler,
    preprocessing.MaxAbsScaler,
    preprocessing.RobustScaler,
    preprocessing.Binarizer,
    preprocessing.QuantileTransformer,
    preprocessing.PowerTransformer,
)
# Keep rows apart, but may mix, add or drop columns.
_ROWWISE = (
    *_ELEMENTWISE,
    impute.SimpleImputer,
    impute.MissingIndicator,
    preprocessing.KBinsDiscretizer,
    preprocessing.Normalizer,
    preprocessing.PolynomialFeatures,
    preprocessing.SplineTransformer,
    decomposition.PCA,
)


def to_frame(batch: pa.RecordBatch, features: Mapping[str, Kind]) -> pd.DataFrame:
    """
    Convert features to the pandas frame that preprocessors are fitted on.

    Training fits on these frames and scoring gives what they would have given.

    Args:
        batch: N rows with at least ``features``, in any order.
        features: Kind of each feature by name, in the order of the frame.

    Returns:
        N rows, one column a feature: numbers as float64 (float32 stays so) with NaN
        for null, booleans as 0 and 1, decimals rounded once to the nearest float;
        categories as pandas' ``str`` with NaN for null.

    Raises:
        SchemaError: A feature is missing, twice there, or of another type.
    """
    check(batch.schema, features)
    return pd.DataFrame(
        {
            name: _numbers(batch.column(name))
            if kind == "number"
            else pd.Series(_texts(batch.column(name)).to_pandas(), dtype="str")
            for name, kind in features.items()
        },
        index=pd.RangeIndex(batch.num_rows),
        columns=list(features),
    )


def check(schema: pa.Schema, features: Mapping[str, Kind]) -> None:
    """
    Check that a schema holds the features, each once and with a type of its kind.

    Raises:
        SchemaError: A feature is missing, twice there, or of another type.
    """
    for name, kind in features.items():
        found = schema.get_all_field_indices(name)
        if len(found) != 1:
            state = "missing" if not found else f"there {len(found)} times"
            raise SchemaError(
                f"feature {name!r} ({kind}) is {state} among the columns "
                f"{', '.join(schema.names)}; the model was trained with it",
                field=name,
            )
        arrow_type = schema.field(found[0]).type
        if not _holds(arrow_type, kind):
            raise SchemaError(
                f"feature {name!r} is {arrow_type}, but a {kind} is expected: "
                + (
                    "an integer, float, decimal or boolean"
                    if kind == "number"
                    else "a string, plain or dictionary-encoded"
                ),
                field=name,
            )


class Rows:
    """
    A few rows that never were in Arrow, as they come with a request.

    Making an Arrow batch of them would take longer than most of what follows.

    Args:
        numbers: A float64 for each row and each of ``names``, (n, len(names)); NaN is
            null.
        names: Of the columns of numbers.
        texts: For each feature that is a category a text or None for each row.
    """

    def __init__(
        self,
        numbers: NDArray[np.float64],
        names: Mapping[str, int],
        texts: Mapping[str, Sequence[str | None]],
    ) -> None:
        self._numbers = numbers
        self._names = names
        self._texts = texts

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def num_rows(self) -> int:
        """Number of rows, as Arrow calls it."""
        return len(self._numbers)

    def array(self, names: Sequence[str]) -> Array:
        """Return columns of numbers as an array that the caller may write into."""
        places = [self._names[name] for name in names]
        if places == [*range(self._numbers.shape[1])]:
            return self._numbers.copy()
        # By columns, it would come out ordered by them; a row is together this way.
        return np.ascontiguousarray(self._numbers[:, places])

    def column(self, name: str) -> pa.Array:
        """Return a column as Arrow has it."""
        if name in self._texts:
            return pa.array(self._texts[name], pa.string())
        return pa.array(self._numbers[:, self._names[name]], from_pandas=True)

    def record_batch(self, names: Iterable[str]) -> pa.RecordBatch:
        """Return columns as an Arrow batch."""
        return pa.RecordBatch.from_pydict({name: self.column(name) for name in names})

    def lacks(self, features: Mapping[str, Kind]) -> str | None:
        """Return the first of the features that is not there, None if all are."""
        for name, kind in features.items():
            if name not in (self._names if kind == "number" else self._texts):
                return name
        return None


class Encoder:
    """
    Encode Arrow batches as a fitted preprocessor encodes pandas frames.

    Values met are remembered, so an encoder serves one thread at a time.

    Attributes:
        features: Kind of each feature that a batch must hold.
        width: Columns of the encoded array; None where only the preprocessor knows.
        fallbacks: Names of the transformers that still go through pandas.
    """

    def __init__(
        self,
        parts: Sequence[tuple[slice, _Part]],
        *,
        features: Mapping[str, Kind],
        fallbacks: tuple[str, ...],
        width: int | None,
    ) -> None:
        self.features = dict(features)
        self.fallbacks = fallbacks
        self.width = width
        self._parts = tuple(parts)

    @classmethod
    def compile(cls, preprocessor: Any, features: Mapping[str, Kind]) -> Encoder:
        """
        Plan how each transformer of a preprocessor is run.

        Args:
            preprocessor: Fitted on frames of ``to_frame``. Any transformer will do;
                a ``ColumnTransformer`` is fast.
            features: Kind of each feature by name; may name more than were fitted.

        Raises:
            SchemaError: The preprocessor was fitted on a feature that is not there.
        """
        names = _fitted_names(preprocessor, features)
        kinds = {name: features[name] for name in names}
        groups = _groups(preprocessor, names)
        if groups is None:
            whole = _Frame(copy.deepcopy(preprocessor), names, kinds)
            return cls(
                [(slice(None), whole)],
                features=kinds,
                fallbacks=(type(preprocessor).__name__,),
                width=None,
            )
        parts = [
            (group.columns, _part(group, {name: kinds[name] for name in group.names}))
            for group in groups
        ]
        return cls(
            parts,
            features={name: kinds[name] for group in groups for name in group.names},
            fallbacks=tuple(
                group.name
                for group, (_, part) in zip(groups, parts, strict=True)
                if isinstance(part, _Frame)
            ),
            width=max((columns.stop for columns, _ in parts), default=0),
        )

    def encode(self, batch: pa.RecordBatch | Rows) -> Array:
        """
        Return what the preprocessor makes of a batch, dense.

        Args:
            batch: N > 0 rows that ``check`` accepts for ``features``, or a few rows
                that have them.

        Returns:
            N rows and ``width`` columns, of the type the preprocessor would give.
        """
        blocks = [(columns, part.block(batch)) for columns, part in self._parts]
        if len(blocks) == 1:
            return blocks[0][1].dense()
        encoded = np.empty(
            (batch.num_rows, self.width or 0),
            dtype=np.result_type(*(block.dtype for _, block in blocks))
            if blocks
            else np.float64,
            # By column, as Arrow has it: trees read it as fast as by row.
            order="F",
        )
        for columns, block in blocks:
            block.write(encoded[:, columns])
        return encoded

    def project(self, batch: pa.RecordBatch | Rows, weights: Array) -> Array:
        """
        Return ``encode(batch) @ weights`` without building the encoded array.

        A category then costs one addition and not a row of zeros.

        Args:
            batch: As for ``encode``.
            weights: ``width`` numbers.

        Returns:
            N numbers, float64.
        """
        total = np.zeros(batch.num_rows)
        for columns, part in self._parts:
            part.block(batch).add_product(weights[columns], total)
        return total


class _Block(Protocol):
    """Some of the encoded columns of one batch."""

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def dense(self) -> Array: ...

    def write(self, out: Array) -> None: ...

    def add_product(self, weights: Array, total: Array) -> None: ...


class _Part(Protocol):
    """Makes some of the encoded columns."""

    def block(self, batch: pa.RecordBatch | Rows) -> _Block: ...


@dataclass(frozen=True)
class _Dense:
    """Columns as an array."""

    values: Array

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.values.dtype

    def dense(self) -> Array:
        return self.values

    def write(self, out: Array) -> None:
        out[...] = self.values

    def add_product(self, weights: Array, total: Array) -> None:
        total += self.values @ weights


@dataclass(frozen=True)
class _Coded:
    """Columns as codes into tables of rows: one pair for each feature."""

    codes: tuple[Array, ...]
    tables: tuple[Array, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.result_type(*(table.dtype for table in self.tables))

    def dense(self) -> Array:
        width = sum(table.shape[1] for table in self.tables)
        out = np.empty((len(self.codes[0]), width), dtype=self.dtype)
        self.write(out)
        return out

    def write(self, out: Array) -> None:
        start = 0
        for codes, table in zip(self.codes, self.tables, strict=True):
            stop = start + table.shape[1]
            if table.shape[1] == 1:
                out[:, start] = table[:, 0][codes]
            else:
                out[:, start:stop] = table[codes]
            start = stop

    def add_product(self, weights: Array, total: Array) -> None:
        start = 0
        for codes, table in zip(self.codes, self.tables, strict=True):
            stop = start + table.shape[1]
            total += (table @ weights[start:stop])[codes]
            start = stop


@dataclass(frozen=True)
class _Numbers:
    """Runs transformers on one float array of all the columns."""

    names: tuple[str, ...]
    steps: tuple[Any, ...]

    @cached_property
    def short(self) -> tuple[Callable[[Array], Array], ...]:
        """What the transformers do, for a few rows."""
        return tuple(transform_of(step) or step.transform for step in self.steps)

    def block(self, batch: pa.RecordBatch | Rows) -> _Block:
        values: Any
        if isinstance(batch, Rows):
            values = batch.array(self.names)
            for transform in self.short:
                values = transform(values)
        else:
            values = self._array(batch)
            for step in self.steps:
                values = step.transform(values)
        return _Dense(_as_array(values))

    def _array(self, batch: pa.RecordBatch) -> Array:
        columns = [_numbers(batch.column(name)) for name in self.names]
        # By column: Arrow's buffers are copied whole, and most transformers are
        # fastest on it. It is ours, so they may write into it.
        values: Array = np.empty(
            (batch.num_rows, len(columns)),
            dtype=np.result_type(*(column.dtype for column in columns)),
            order="F",
        )
        for index, column in enumerate(columns):
            values[:, index] = column
        return values


@dataclass
class _Categories:
    """Runs a transformer on values not met before, and gathers rows from its output."""

    transformer: Any
    features: Mapping[str, Kind]
    # Which columns of the transformer's output belong to each feature.
    columns: tuple[slice, ...]
    known: list[pa.Array] = field(default_factory=list)
    tables: list[Array] = field(default_factory=list)

    def block(self, batch: pa.RecordBatch | Rows) -> _Block:
        values = [
            _values(batch.column(name), kind) for name, kind in self.features.items()
        ]
        if not self.known:
            self._learn([pc.unique(column) for column in values])
        codes = self._codes(values)
        if any(column.null_count for column in codes):
            self._learn(
                [
                    pc.unique(column.filter(code.is_null()))
                    for column, code in zip(values, codes, strict=True)
                ]
            )
            if any(len(known) > VOCABULARY_LIMIT for known in self.known):
                self.known, self.tables = [], []
                self._learn([pc.unique(column) for column in values])
            codes = self._codes(values)
        return _Coded(
            tuple(code.to_numpy() for code in codes),
            tuple(self.tables),
        )

    def _codes(self, values: Sequence[pa.Array]) -> list[pa.Array]:
        """Return each row's place among the known values, null where it has none."""
        return [
            pc.index_in(column, value_set=known)
            for column, known in zip(values, self.known, strict=True)
        ]

    def _learn(self, unseen: Sequence[pa.Array]) -> None:
        """Encode values not met before and remember what they encode to."""
        # The transformer takes all its columns at once. The shorter ones repeat
        # values of their own, since any other could be one that it refuses.
        padding = self.known or unseen
        fresh = [
            values if len(values) else spare[:1]
            for values, spare in zip(unseen, padding, strict=True)
        ]
        rows = np.arange(max(len(values) for values in fresh))
        frame = to_frame(
            pa.RecordBatch.from_arrays(
                [values.take(pa.array(rows % len(values))) for values in fresh],
                names=list(self.features),
            ),
            self.features,
        )
        encoded = _as_array(self.transformer.transform(frame))
        tables = [
            encoded[: len(values), columns]
            for values, columns in zip(unseen, self.columns, strict=True)
        ]
        if self.known:
            self.known = [
                pa.concat_arrays(pair) for pair in zip(self.known, unseen, strict=True)
            ]
            self.tables = [
                np.vstack(pair) for pair in zip(self.tables, tables, strict=True)
            ]
        else:
            self.known, self.tables = list(unseen), tables


@dataclass(frozen=True)
class _Frame:
    """Runs a transformer on a pandas frame: always right, never fast."""

    transformer: Any
    # One name stands for a column handed over as a series.
    names: tuple[str, ...] | str
    features: Mapping[str, Kind]

    def block(self, batch: pa.RecordBatch | Rows) -> _Block:
        if isinstance(batch, Rows):
            batch = batch.record_batch(self.features)
        frame = to_frame(batch, self.features)
        selection = self.names if isinstance(self.names, str) else list(self.names)
        return _Dense(_as_array(self.transformer.transform(frame[selection])))


@dataclass(frozen=True)
class _Group:
    """One entry of a fitted ColumnTransformer."""

    name: str
    transformer: Any
    names: tuple[str, ...]
    is_series: bool
    columns: slice


def _fitted_names(preprocessor: Any, features: Mapping[str, Kind]) -> tuple[str, ...]:
    """Return the features that a preprocessor was fitted on, in its order."""
    fitted = getattr(preprocessor, "feature_names_in_", None)
    if fitted is None:
        count = getattr(preprocessor, "n_features_in_", len(features))
        if count != len(features):
            raise SchemaError(
                f"the preprocessor was fitted on {count} unnamed columns, but there "
                f"are {len(features)} features; fit it on a frame with their names"
            )
        return tuple(features)
    unknown = [name for name in fitted if name not in features]
    if unknown:
        raise SchemaError(
            f"the preprocessor was fitted on {', '.join(map(repr, unknown))}, which "
            f"is not among the features {', '.join(features)}; train again",
            field=str(unknown[0]),
        )
    return tuple(str(name) for name in fitted)


def _groups(preprocessor: Any, names: tuple[str, ...]) -> list[_Group] | None:
    """Return a preprocessor's groups of columns, or None if it is not made of such."""
    if type(preprocessor) is not ColumnTransformer or preprocessor.transformer_weights:
        return None
    empty = pd.DataFrame(columns=list(names))
    groups = []
    for name, transformer, selection in preprocessor.transformers_:
        chosen = _select(empty, selection)
        if isinstance(transformer, str) and transformer == "drop" or not chosen:
            continue
        groups.append(
            _Group(
                name=name,
                transformer=transformer,
                names=chosen,
                is_series=isinstance(selection, str | int),
                columns=preprocessor.output_indices_[name],
            )
        )
    return groups


def _select(empty: pd.DataFrame, selection: Any) -> tuple[str, ...]:
    """Return the names that a ColumnTransformer's selection of columns means."""
    if isinstance(selection, str):
        return (selection,)
    if isinstance(selection, slice):
        ends = (selection.start, selection.stop)
        by_name = any(isinstance(end, str) for end in ends)
        chosen = empty.loc[:, selection] if by_name else empty.iloc[:, selection]
        return tuple(chosen.columns)
    wanted = np.atleast_1d(np.asarray(selection))
    if wanted.size == 0:
        return ()
    if wanted.dtype.kind in "iu":
        return tuple(empty.columns[wanted])
    return tuple(empty.loc[:, wanted].columns)


def _part(group: _Group, features: Mapping[str, Kind]) -> _Part:
    """Choose the fastest way to run a group that gives the transformer's numbers."""
    transformer = copy.deepcopy(group.transformer)
    steps = _steps(transformer)
    if not group.is_series:
        if all(kind == "number" for kind in features.values()) and all(
            type(step) in _ROWWISE or _is_elementwise(step) for step in steps
        ):
            return _Numbers(group.names, tuple(_for_arrays(step) for step in steps))
        owners = _owners(steps, len(features))
        if owners is not None and len(owners) == (
            group.columns.stop - group.columns.start
        ):
            ends = np.searchsorted(owners, np.arange(len(features) + 1))
            columns = tuple(map(slice, ends[:-1], ends[1:]))
            return _Categories(transformer, features, columns)
    selection = group.names[0] if group.is_series else group.names
    return _Frame(transformer, selection, features)


def _steps(transformer: Any) -> list[Any]:
    """Return the transformers that a possibly nested pipeline runs, in order."""
    if transformer is None or isinstance(transformer, str):
        return []
    if type(transformer) is Pipeline:
        return [inner for _, step in transformer.steps for inner in _steps(step)]
    return [transformer]


def _is_elementwise(step: Any) -> bool:
    """Say whether a transformer treats every number by itself, on any container."""
    if type(step) is preprocessing.FunctionTransformer:
        return step.func is None or (
            isinstance(step.func, np.ufunc) and step.func.nin == 1 and not step.kw_args
        )
    return type(step) in _ELEMENTWISE


def _for_arrays(step: Any) -> Any:
    """Free a transformer of the names it was fitted with, and let it write in place."""
    vars(step).pop("feature_names_in_", None)
    if "copy" in step.get_params(deep=False):
        step.set_params(copy=False)
    if hasattr(step, "set_output"):
        step.set_output(transform="default")
    return step


def _owners(steps: Sequence[Any], n_features: int) -> list[int] | None:
    """
    Say which feature each output column is made of.

    Returns:
        Index of the feature for each column, ascending; None if a step is not known
        to treat every column by itself.
    """
    owners = list(range(n_features))
    for step in steps:
        if type(step) is preprocessing.OneHotEncoder:
            widths = _one_hot_widths(step)
            owners = np.repeat(owners, widths).tolist()
        elif type(step) is impute.SimpleImputer:
            if step.add_indicator or pd.isna(step.statistics_).any():
                return None
        elif type(step) is preprocessing.TargetEncoder:
            if step.target_type_ == "multiclass":
                return None
        elif type(step) not in _ENCODERS and not _is_elementwise(step):
            return None
    return owners


def _one_hot_widths(encoder: preprocessing.OneHotEncoder) -> list[int]:
    """Return how many columns a fitted encoder makes of each column it reads."""
    n_features = len(encoder.categories_)
    infrequent = getattr(encoder, "infrequent_categories_", [None] * n_features)
    dropped = [None] * n_features if encoder.drop_idx_ is None else encoder.drop_idx_
    return [
        len(categories)
        - (0 if pooled is None else len(pooled) - 1)
        - (0 if drop is None else 1)
        for categories, pooled, drop in zip(
            encoder.categories_, infrequent, dropped, strict=True
        )
    ]


def _as_array(values: Any) -> Array:
    """Return a transformer's output as a dense array of two dimensions."""
    dense = np.asarray(values.toarray() if hasattr(values, "toarray") else values)
    return dense.reshape(len(dense), -1) if dense.ndim != 2 else dense


def _holds(arrow_type: pa.DataType, kind: Kind) -> bool:
    """Say whether an Arrow type can hold a feature of a kind."""
    if pa.types.is_dictionary(arrow_type):
        arrow_type = arrow_type.value_type
    if pa.types.is_null(arrow_type):
        return True
    if kind == "category":
        return bool(
            pa.types.is_string(arrow_type)
            or pa.types.is_large_string(arrow_type)
            or pa.types.is_string_view(arrow_type)
        )
    return bool(
        pa.types.is_integer(arrow_type)
        or pa.types.is_floating(arrow_type)
        or pa.types.is_decimal(arrow_type)
        or pa.types.is_boolean(arrow_type)
    )


def _values(column: pa.Array, kind: Kind) -> pa.Array:
    """Return a column in the one Arrow type of its kind, to be looked up in."""
    if kind == "category":
        return _texts(column)
    return pa.array(_numbers(column), from_pandas=True)


def _texts(column: pa.Array) -> pa.Array:
    """Return a column of categories as plain strings."""
    return column if column.type == pa.string() else column.cast(pa.string())


def _numbers(column: pa.Array) -> Array:
    """Return a column of numbers as floats, NaN for null; a view where it can be."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_decimal(column.type):
        column = _rounded(column)
    elif pa.types.is_boolean(column.type) or pa.types.is_null(column.type):
        column = column.cast(pa.int8()).cast(pa.float64())
    values: Array = column.to_numpy(zero_copy_only=False)
    if values.dtype in (np.float32, np.float64):
        return values
    return values.astype(np.float64)


def _rounded(column: pa.Array) -> pa.Array:
    """
    Return decimals as the nearest float64, as Python's ``float(Decimal)`` does.

    Arrow's own cast multiplies by a rounded power of ten and is off by one unit in
    the last place for many values. An integer below 2**53 divided by a power of ten
    up to 10**22 is rounded only once, and NUMERIC nearly always is such.
    """
    scale = column.type.scale
    if pa.types.is_decimal128(column.type) and 0 <= scale <= _EXACT_POWER:
        whole = np.frombuffer(column.buffers()[1], dtype="<i8").reshape(-1, 2)
        low, high = whole[column.offset : column.offset + len(column)].T
        valid = column.is_valid().to_numpy(zero_copy_only=False)
        fits = (high == low >> 63) & (np.abs(low) <= _EXACT_INTEGER)
        if np.all(fits | ~valid):
            return pa.array(low / 10.0**scale, mask=~valid)
    return column.cast(pa.string()).cast(pa.float64())
