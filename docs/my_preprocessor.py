"""A preprocessor for ``propensity build-preprocessor``: change it for your use case."""

from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, QuantileTransformer


def preprocessor(use_case):
    of_kind = {"number": [], "category": []}
    for name, kind in use_case.features.items():
        of_kind[kind].append(name)
    numbers = make_pipeline(
        SimpleImputer(add_indicator=True, keep_empty_features=True),
        QuantileTransformer(n_quantiles=20),
    )
    texts = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return ColumnTransformer(
        [
            ("numbers", numbers, of_kind["number"]),
            ("texts", texts, of_kind["category"]),
        ]
    )
