"""
Generated models: a preprocessor, a model and rows with all that scoring may meet.

Each number is another draw of columns, gaps, categories, transformers, classifier and
calibration.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)

from propensity.models.encoding import to_frame
from propensity.models.scoring import MeanOfModels, Scorer

MODELS = ("logistic", "boosted", "forest", "extra", "mean")
CALIBRATIONS = ("none", "sigmoid", "isotonic")
TEXTS = ["", "a", "b", "B", "(missing)", "(not set)", "ä€", "nan", "=a"]


@dataclass(frozen=True, kw_only=True)
class Generated:
    """A fitted preprocessor and model, and rows that they were not fitted on."""

    kind: str
    calibration: str
    features: dict[str, Any]
    preprocessor: Any
    model: Any
    rows: pa.Table

    @property
    def pipeline(self) -> dict[str, Any]:
        """What a scorer is made of, by argument."""
        return {
            "preprocessor": self.preprocessor,
            "model": self.model,
            "features": self.features,
        }

    @property
    def checked(self) -> dict[str, Any]:
        """The same with what an export is compared on."""
        return {**self.pipeline, "rows": self.rows, "expected": self.expected}

    @property
    def expected(self) -> np.ndarray:
        """The scorer's probabilities of the rows."""
        scorer = Scorer.compile(**self.pipeline)
        with np.errstate(all="ignore"):
            parts = [scores for _, scores in scorer.score(self.rows.to_batches())]
        return np.concatenate(parts)


@cache
def generated(number: int, *, rows: int = 2_000) -> Generated:
    """
    Return a model by its number; the first 15 are every kind, calibrated each.

    Many tests look at it, none changes it.
    """
    random = np.random.default_rng(number)
    kind = MODELS[number % len(MODELS)]
    calibration = CALIBRATIONS[number // len(MODELS) % len(CALIBRATIONS)]
    names = [f"n{place}" for place in range(int(random.integers(1, 7)))]
    texts = [f"c{place}" for place in range(int(random.integers(0, 3)))]
    features = {**dict.fromkeys(names, "number"), **dict.fromkeys(texts, "category")}
    has_gaps = {name: random.random() < 0.6 for name in features}
    # A linear model has no use for neighbouring floats: scaled to unit variance they
    # show the last digit of arcsinh.
    is_linear = kind in ("logistic", "mean")
    shapes = {name: int(random.integers(1 if is_linear else 0, 5)) for name in names}

    def table(count: int, *, is_new: bool) -> pa.Table:
        columns = {}
        for name in features:
            mask = random.random(count) < 0.15 if has_gaps[name] else None
            if name in texts:
                known = [*TEXTS, "never seen"] if is_new else TEXTS
                values: Any = random.choice(known, count)
                columns[name] = pa.array(values.tolist(), pa.string(), mask=mask)
            else:
                values = _numbers(random, shapes[name], count)
                columns[name] = pa.array(values, pa.float64(), mask=mask)
        return pa.table(columns)

    fitting = table(800, is_new=False)
    frame = to_frame(fitting.combine_chunks().to_batches()[0], features)
    signal = np.nan_to_num(frame[names[0]].to_numpy(), nan=1.0, posinf=9, neginf=-9)
    odds = np.argsort(np.argsort(signal)) / len(signal) * 4 - 3
    label = (random.random(len(signal)) < 1 / (1 + np.exp(-odds))).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        preprocessor = _preprocessor(random, names, texts, is_linear=is_linear)
        encoded = preprocessor.fit_transform(frame, label)
        model = _model(random, kind, encoded, label)
        if calibration != "none":
            frozen = FrozenEstimator(
                model if hasattr(model, "decision_function") else MeanOfModels([model])
            )
            model = CalibratedClassifierCV(frozen, method=calibration).fit(
                encoded, label
            )
    return Generated(
        kind=kind,
        calibration=calibration,
        features=features,
        preprocessor=preprocessor,
        model=model,
        rows=pa.concat_tables([fitting, table(rows, is_new=True)]),
    )


def _numbers(random: np.random.Generator, shape: int, count: int) -> np.ndarray:
    """Neighbouring floats, amounts with cents, counts, all sizes, or flags."""
    if shape == 0:
        return 1.0 + random.integers(0, 40, count) * np.finfo(float).eps
    if shape == 1:
        return np.round(random.lognormal(3, 2, count), 2)
    if shape == 2:
        return random.integers(0, 50, count).astype(float)
    if shape == 3:
        return random.normal(size=count) * 10.0 ** random.integers(-8, 9, count)
    return (random.random(count) < 0.3).astype(float)


def _preprocessor(
    random: np.random.Generator,
    names: list[str],
    texts: list[str],
    *,
    is_linear: bool,
) -> ColumnTransformer:
    imputer = SimpleImputer(
        strategy=str(random.choice(["median", "mean"])),
        add_indicator=bool(random.random() < 0.7),
        keep_empty_features=True,
    )
    scaler = [StandardScaler(), RobustScaler(), MinMaxScaler(clip=True), MaxAbsScaler()]
    function: list[Any] = [
        FunctionTransformer(np.arcsinh),
        FunctionTransformer(),
        make_pipeline(MinMaxScaler(clip=is_linear), FunctionTransformer(np.sqrt)),
    ]
    steps = [imputer, function[random.integers(3)], scaler[random.integers(4)]]
    groups: list[Any] = [("numbers", make_pipeline(*steps), names)]
    if texts:
        missing = SimpleImputer(strategy="constant", fill_value="(missing)")
        encoders = [
            OneHotEncoder(
                handle_unknown="infrequent_if_exist",
                min_frequency=0.15,
                sparse_output=False,
            ),
            OneHotEncoder(handle_unknown="ignore", sparse_output=False),
            OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
            TargetEncoder(),
        ]
        encoder = make_pipeline(missing, encoders[random.integers(4)])
        groups.insert(int(random.integers(2)), ("texts", encoder, texts))
    return ColumnTransformer(groups, sparse_threshold=0.0)


def _model(random: np.random.Generator, kind: str, encoded: Any, label: Any) -> Any:
    seed = int(random.integers(2**31))
    members = {
        "logistic": lambda: LogisticRegression(max_iter=200),
        "boosted": lambda: HistGradientBoostingClassifier(
            max_iter=40,
            max_leaf_nodes=int(random.integers(2, 32)),
            min_samples_leaf=5,
            random_state=seed,
        ),
        "forest": lambda: RandomForestClassifier(
            20, min_samples_leaf=int(random.integers(1, 20)), random_state=seed
        ),
        "extra": lambda: ExtraTreesClassifier(8, random_state=seed),
    }
    if kind in members:
        return members[kind]().fit(encoded, label)
    fitted = [members[name]().fit(encoded, label) for name in list(members)[:3]]
    return MeanOfModels(fitted)
