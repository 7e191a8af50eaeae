"""
A fitted preprocessor on Arrow columns.

A fitted ``ColumnTransformer`` is written for pandas, and building its frames costs
more than most models. ``Encoder`` runs the same fitted transformers, with the same
results, but gives them only what they need:

- columns of numbers as a float array, from Arrow's buffers;
- new values of categories only; it keeps their encodings and gathers rows from them by
  code;
- for other transformers, such as a user's own, a pandas frame. That is slower, and
  ``Encoder.fallbacks`` has their names.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from sklearn import decomposition, impute, preprocessing
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from propensity.errors import SchemaError
from propensity.models.encoder_parts import Categories, Frame, Numbers, Part
from propensity.models.encoding import Array, Kind, Rows

# Encode a value by lookup among the fitted values.
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


class Encoder:
    """
    Encode Arrow batches as a fitted preprocessor encodes pandas frames.

    An encoder remembers values, so only one thread may use it at a time.

    Attributes:
        features: Kind of each feature that a batch must hold.
        width: Columns of the encoded array; None where only the preprocessor knows.
        fallbacks: Names of the transformers that still go through pandas.
        parts: What encodes each slice of the columns.
    """

    def __init__(
        self,
        parts: Sequence[tuple[slice, Part]],
        *,
        features: Mapping[str, Kind],
        fallbacks: tuple[str, ...],
        width: int | None,
    ) -> None:
        self.features = dict(features)
        self.fallbacks = fallbacks
        self.width = width
        self.parts = tuple(parts)

    @classmethod
    def compile(cls, preprocessor: Any, features: Mapping[str, Kind]) -> Encoder:
        """
        Choose how to run each transformer of a preprocessor.

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
            whole = Frame(copy.deepcopy(preprocessor), names, kinds)
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
                if isinstance(part, Frame)
            ),
            width=max((columns.stop for columns, _ in parts), default=0),
        )

    def encode(self, batch: pa.RecordBatch | Rows, *, rows: int | None = None) -> Array:
        """
        Return a batch, encoded as the preprocessor would, dense.

        Args:
            batch: N > 0 rows that ``check`` accepts for ``features``, or a few rows
                that have them.
            rows: Of a record batch: rows to return, with the last one again and again
                beyond N; None for N.

        Returns:
            N rows and ``width`` columns, of the type the preprocessor would give.
        """
        count = batch.num_rows
        rows = rows or count
        blocks = [(columns, part.block(batch, rows)) for columns, part in self.parts]
        if len(blocks) == 1 and (self.width is None or rows == count):
            return blocks[0][1].dense()
        encoded = np.empty(
            (rows, self.width or 0),
            dtype=np.result_type(*(block.dtype for _, block in blocks))
            if blocks
            else np.float64,
            # By column, as Arrow has it: trees read it as fast as by row.
            order="F",
        )
        for columns, block in blocks:
            block.write(encoded[:, columns])
        encoded[count:] = encoded[count - 1]
        return encoded

    def project(
        self,
        batch: pa.RecordBatch | Rows,
        weights: Array,
        *,
        rows: int | None = None,
    ) -> Array:
        """
        Return ``encode(batch) @ weights`` without building the encoded array.

        A category then costs one addition and not a row of zeros.

        Args:
            batch: As for ``encode``.
            weights: ``width`` numbers.
            rows: Of a record batch: rows that a product of matrices takes; None for N.

        Returns:
            N numbers, float64.
        """
        rows = rows or batch.num_rows
        total = np.zeros(rows)
        for columns, part in self.parts:
            part.block(batch, rows).add_product(weights[columns], total)
        return total[: batch.num_rows]


@dataclass(frozen=True)
class _Group:
    """An entry of a fitted ColumnTransformer."""

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
    """Return the groups of a ColumnTransformer; None for other preprocessors."""
    if type(preprocessor) is not ColumnTransformer or preprocessor.transformer_weights:
        return None
    empty = pd.DataFrame(columns=list(names))
    groups = []
    for name, transformer, selection in preprocessor.transformers_:
        columns = _select(empty, selection)
        if isinstance(transformer, str) and transformer == "drop" or not columns:
            continue
        groups.append(
            _Group(
                name=name,
                transformer=transformer,
                names=columns,
                is_series=isinstance(selection, str | int),
                columns=preprocessor.output_indices_[name],
            )
        )
    return groups


def _select(empty: pd.DataFrame, selection: Any) -> tuple[str, ...]:
    """Return the names of a ColumnTransformer's selection of columns."""
    if isinstance(selection, str):
        return (selection,)
    if isinstance(selection, slice):
        ends = (selection.start, selection.stop)
        by_name = any(isinstance(end, str) for end in ends)
        frame = empty.loc[:, selection] if by_name else empty.iloc[:, selection]
        return tuple(frame.columns)
    names = np.atleast_1d(np.asarray(selection))
    if names.size == 0:
        return ()
    if names.dtype.kind in "iu":
        return tuple(empty.columns[names])
    return tuple(empty.loc[:, names].columns)


def _part(group: _Group, features: Mapping[str, Kind]) -> Part:
    """Choose the fastest way to run a group with the same results."""
    transformer = copy.deepcopy(group.transformer)
    steps = steps_of(transformer)
    if not group.is_series:
        if all(kind == "number" for kind in features.values()) and all(
            type(step) in _ROWWISE or is_elementwise(step) for step in steps
        ):
            return Numbers(group.names, tuple(_for_arrays(step) for step in steps))
        owners = _owners(steps, len(features))
        if owners is not None and len(owners) == (
            group.columns.stop - group.columns.start
        ):
            ends = np.searchsorted(owners, np.arange(len(features) + 1))
            columns = tuple(map(slice, ends[:-1], ends[1:]))
            return Categories(transformer, features, columns)
    selection = group.names[0] if group.is_series else group.names
    return Frame(transformer, selection, features)


def steps_of(transformer: Any) -> list[Any]:
    """Return the transformers of a pipeline, which may be nested, in order."""
    if transformer is None or isinstance(transformer, str):
        return []
    if type(transformer) is Pipeline:
        return [inner for _, step in transformer.steps for inner in steps_of(step)]
    return [transformer]


def is_elementwise(step: Any) -> bool:
    """Tell whether a transformer treats every number alone, in any container."""
    if type(step) is preprocessing.FunctionTransformer:
        return step.func is None or (
            isinstance(step.func, np.ufunc) and step.func.nin == 1 and not step.kw_args
        )
    return type(step) in _ELEMENTWISE


def _for_arrays(step: Any) -> Any:
    """Remove the fitted names from a transformer, and let it write in place."""
    vars(step).pop("feature_names_in_", None)
    if "copy" in step.get_params(deep=False):
        step.set_params(copy=False)
    if hasattr(step, "set_output"):
        step.set_output(transform="default")
    return step


def _owners(steps: Sequence[Any], n_features: int) -> list[int] | None:
    """
    Return the feature of each output column.

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
        elif type(step) not in _ENCODERS and not is_elementwise(step):
            return None
    return owners


def _one_hot_widths(encoder: preprocessing.OneHotEncoder) -> list[int]:
    """Return the number of output columns of each input column of an encoder."""
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
