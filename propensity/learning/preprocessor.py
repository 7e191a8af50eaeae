"""
Preprocessors: from features to the numbers that a model reads.

A preprocessor is a scikit-learn ColumnTransformer: the default, the use case's own, or
an upload.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from propensity.errors import SchemaError
from propensity.learning.rows import Slice
from propensity.models.encoding import to_frame
from propensity.usecases import CATEGORY, NUMBER, UseCase

# Values rarer than this share of the training rows are pooled.
_RARE = 0.01

# Numbers in standard deviations end here: at the value of a flag that 5% of the rows
# have. A rarer flag would be farther out the fewer rows have it, so that a single row
# of 100,000 would decide the probability of all later users with that flag or gap.
_FARTHEST = (0.95 / 0.05) ** 0.5


def default_preprocessor(use_case: UseCase) -> ColumnTransformer:
    """
    Return the unfitted preprocessor of ``model.py``, or the default.

    Numbers: the median for missing values, with a column that marks them; arcsinh, a
    logarithm that takes zero and negative numbers; then unit variance, and no value
    farther from the mean than ``_FARTHEST``. Categories: a column per value; rare
    values are pooled, with values that are new.
    """
    model = use_case.model
    if model is not None:
        return model.preprocessor(use_case)
    numbers = [name for name, kind in use_case.features.items() if kind == NUMBER]
    categories = [name for name, kind in use_case.features.items() if kind == CATEGORY]
    of_numbers = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        FunctionTransformer(np.arcsinh),
        StandardScaler(),
        FunctionTransformer(np.clip, kw_args={"a_min": -_FARTHEST, "a_max": _FARTHEST}),
    )
    of_categories = make_pipeline(
        SimpleImputer(
            strategy="constant", fill_value="(missing)", keep_empty_features=True
        ),
        OneHotEncoder(
            handle_unknown="infrequent_if_exist",
            min_frequency=_RARE,
            sparse_output=False,
        ),
    )
    return ColumnTransformer(
        [("numbers", of_numbers, numbers), ("categories", of_categories, categories)],
        sparse_threshold=0.0,
    )


def check_preprocessor(
    preprocessor: Any, use_case: UseCase
) -> tuple[NDArray[Any], NDArray[np.int8]]:
    """
    Make sure that a preprocessor can be fitted on the use case's features.

    A clone is fitted on a few generated rows of the right types, with gaps. It must
    also encode a category that is new to it: next week has some.

    Returns:
        These rows, encoded, and labels for them: what a candidate can be tried on.

    Raises:
        SchemaError: It can not.
    """
    if not isinstance(preprocessor, ColumnTransformer):
        raise SchemaError(
            "a preprocessor is an unfitted sklearn ColumnTransformer, "
            f"not {type(preprocessor).__name__}"
        )
    count, features = 40, use_case.features
    row = np.arange(count)
    columns: dict[str, pa.Array] = {}
    for place, (name, kind) in enumerate(features.items()):
        if kind == NUMBER:
            numbers = (row * (place + 3) % 11).astype(np.float64)
            columns[name] = pa.array(numbers, mask=(row + place) % 7 == 0)
        else:
            texts = np.array([f"v{n % 4}" for n in row], dtype=object)
            columns[name] = pa.array(texts, pa.string(), mask=row % 9 == 0)
    rows, label = pa.table(columns), (row % 2).astype(np.int8)
    part = Slice(rows=rows, label=label, weight=np.ones(count))
    fit = fitted(preprocessor, part, features)
    encoded = np.asarray(transformed(fit, rows, features))
    if encoded.ndim != 2 or len(encoded) != count or not encoded.size:
        raise SchemaError(
            f"the preprocessor made {encoded.shape} of {count} rows; it must keep the "
            "rows and give a column or more"
        )
    if encoded.dtype.kind not in "biuf":
        raise SchemaError(
            f"the preprocessor gives {encoded.dtype}, but models read numbers: encode "
            "every category, and mind what remainder='passthrough' lets through"
        )
    unseen = pa.array(["never seen"] * count)
    columns |= {name: unseen for name, kind in features.items() if kind == CATEGORY}
    transformed(fit, pa.table(columns), features)
    return encoded, label


def fitted(preprocessor: Any, part: Slice, features: Mapping[str, str]) -> Any:
    """
    Return a fitted clone of a preprocessor.

    Raises:
        SchemaError: It is none, or does not fit the features.
    """
    try:
        fit = clone(preprocessor).fit(to_frame(part.rows, features), part.label)
        if not hasattr(fit, "transform"):
            raise TypeError(f"{type(fit).__name__} does not transform")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SchemaError(
            "the preprocessor does not fit the use case's features",
            hint=f"Correct the file that defines it: {error}",
        ) from error
    return fit


def transformed(encoder: Any, rows: pa.Table, features: Mapping[str, str]) -> Any:
    """Return rows, encoded by a fitted preprocessor into a dense array."""
    try:
        encoded = encoder.transform(to_frame(rows, features))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SchemaError(
            "the preprocessor cannot encode rows that it was not fitted on",
            hint="Set handle_unknown of encoders, so that they know what to do with a "
            f"new category: {error}",
        ) from error
    # Without names of columns: what scores has none.
    return np.asarray(encoded.toarray() if hasattr(encoded, "toarray") else encoded)
