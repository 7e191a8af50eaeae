"""Cards of models, as training writes them: measured, hostile, and blank ones."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from propensity.learning import thresholds
from propensity.learning.description import describe

HOSTILE = (
    '<script>alert("1")</script>&amp;\'`]]>-->\x00\x1b\x85\u202e\ud800\uffff${x} $body'
)
RANKING = ("roc_auc", "pr_auc", *thresholds.INTERVALS)
LONG = "a_feature_whose_name_somebody_generated_" * 4


# What users are worth.
VALUE = {
    "algorithm": "boosted_trees",
    "buyers": 2412,
    "mean_amount": 617.6,
    "value_promised": 98539.38,
    "value_observed": 105386.07,
}


def rows(
    n: int = 1_600, *, numbers: int = 6, names: Mapping[str, str] | None = None
) -> tuple[pa.Table, dict[str, str]]:
    """Build a training data set of a few dates with numbers and categories."""
    generator = np.random.default_rng(7)
    names = names or {}
    interest = generator.normal(size=n)
    start = date(2026, 1, 5)
    columns: dict[str, Any] = {
        "as_of": [
            start + timedelta(days=7 * int(i)) for i in generator.integers(0, 8, n)
        ],
        "user_id": [f"u{i}" for i in generator.integers(0, n, n)],
        "label": (generator.random(n) < 1 / (1 + np.exp(2 - interest))).astype(int),
        "weight": np.ones(n),
    }
    features = {}
    for i in range(numbers):
        values = np.exp((i % 3) * interest + generator.normal(size=n))
        name = names.get(f"number_{i}", f"number_{i}")
        columns[name] = np.where(generator.random(n) < 0.1 * i, np.nan, values)
        columns[name] = pa.array(columns[name], from_pandas=True)
        features[name] = "number"
    for i in range(2):
        name = names.get(f"category_{i}", f"category_{i}")
        values = [f"value {v}" for v in generator.geometric(0.2, n)]
        columns[name] = [names.get(value, value) for value in values]
        features[name] = "category"
    return pa.table(columns), features


def model_card(
    data: tuple[pa.Table, dict[str, str]] | None = None, **changes: Any
) -> dict[str, Any]:
    """Build the card of a model that was measured well."""
    table, features = data or rows()
    dataset = describe(table, features)
    dates = [entry["as_of"] for entry in dataset["as_ofs"]]
    lifts = [3.07, 1.73, 1.33, 1.04, 0.87, 0.66, 0.53, 0.41, 0.24, 0.12]
    card = {
        "use_case": "ga4_purchase",
        "title": "Purchase of the coming week",
        "outcome": "buy",
        "model_version": 17,
        "trained_at": "2026-05-04T03:21:12+00:00",
        "as_of": "2026-05-04",
        "lookback_days": 61,
        "horizon_days": 7,
        "settle_days": 3,
        "split": {"train": dates[:5], "calibrate": dates[5:6], "holdout": dates[7:]},
        "rows": {"train": 34_011, "calibrate": 6_203, "holdout": 3_121},
        "algorithm": "HistGradientBoostingClassifier",
        "parameters": {"learning_rate": 0.063, "max_leaf_nodes": 19},
        "calibration": "isotonic",
        "calibrations": [
            {"name": "none", "log_loss": 0.3317},
            {"name": "isotonic", "log_loss": 0.3297},
        ],
        "candidates": [
            {
                "name": name,
                "algorithm": f"{name.title()}Classifier",
                "parameters": {"size": 20 + i},
                "roc_auc": 0.7213 - i / 90,
                "pr_auc": 0.3319 - i / 80,
                "log_loss": 0.3389 + i / 70,
                "brier": 0.0968 + i / 60,
                "fit_seconds": 2.3 + i,
                "chosen": i == 0,
            }
            for i, name in enumerate(("boosting", "logistic", "forest"))
        ],
        "fits": 17,
        "trained_until": dates[7],
        "choice": {
            "blocks": [{"fitted_until": dates[3], "judged": dates[5:6]}],
            "rows": 6_204,
            "members": ["logistic", "forest"],
            "is_refitted": True,
        },
        "quality": {
            "users": 3_120,
            "conversions": 326,
            "base_rate": 326 / 3_120,
            "mean_probability": 0.1017,
            "threshold": 0.47,
            "true_positives": 43,
            "true_negatives": 2_769,
            "false_positives": 28,
            "false_negatives": 283,
            "precision": 0.6056,
            "recall": 0.1319,
            "f1": 0.2166,
            "roc_auc": 0.7184,
            "pr_auc": 0.3271,
            "brier": 0.0811,
            "log_loss": 0.2914,
            "calibration_error": 0.0123,
            "best_threshold": 0.1432,
            "best_threshold_source": "training",
            "users_at_best": 537,
            "true_positives_at_best": 134,
            "precision_at_best": 0.2495,
            "recall_at_best": 0.4111,
            "f1_at_best": 0.3105,
            "budget": "10%",
            "users_at_budget": 312.0,
            "true_positives_at_budget": 98.5,
            "precision_at_budget": 0.3157,
            "recall_at_budget": 0.3022,
            "f1_at_budget": 0.3088,
            "lift_at_budget": 3.021,
            "lift": [
                {
                    "decile": i + 1,
                    "users": 312,
                    "conversions": round(32.6 * lift),
                    "mean_probability": 0.1013 * lift,
                    "lift": lift,
                }
                for i, lift in enumerate(lifts)
            ],
        },
        "curves": {
            "roc": [[i / 500, (i / 500) ** 0.4] for i in range(501)],
            "pr": [[i / 500, 0.8 - 0.7 * i / 500] for i in range(501)],
            "calibration": [
                {"mean_probability": 0.11 * lift, "rate": 0.1 * lift, "users": 300 + i}
                for i, lift in enumerate(lifts)
            ],
        },
        "baselines": [{"name": "recency alone", "roc_auc": 0.5412}],
        "importance": [
            {"feature": name, "mean": 0.0611 / (i + 1), "std": 0.0041 / (i + 1)}
            for i, name in enumerate(features)
        ],
        "top_decile": [
            {
                "feature": name,
                "band": f"value {i}",
                "rows": 312,
                "share_top": 0.3 / (i + 1),
                "share_all": 0.1,
                "lift": 3 / (i + 1),
                "low": 2.5 / (i + 1),
                "high": 3.6 / (i + 1),
            }
            for i, name in enumerate(features)
        ],
        "verdict": {
            "promoted": True,
            "reason": "not worse than version 16",
            "compared_version": 16,
            "roc_auc_difference": 0.0121,
            "roc_auc_difference_low": -0.0031,
            "roc_auc_difference_high": 0.0274,
        },
        "dataset": dataset,
        "artifacts": [
            {
                "name": "model",
                "object": "models/ga4_purchase/17/model.joblib",
                "sha256": "0123456789abcdef" * 4,
            }
        ],
        "libraries": {"scikit-learn": "1.9.1", "numpy": "2.4.6"},
        "bytes_billed": 31_457_280,
        "seconds": 41.27,
    }
    quality: Any = card["quality"]
    for name in ("brier", "log_loss", "calibration_error", *RANKING):
        quality |= {f"{name}_low": 0.93 * quality[name]}
        quality |= {f"{name}_high": 1.06 * quality[name]}
    return card | changes


def hostile_card() -> dict[str, Any]:
    """Build a card whose every name and value is hostile."""
    names = {
        "number_0": HOSTILE.replace("\ud800", ""),
        "number_1": LONG,
        "category_0": "</td></table>",
        "category_1": '" onload="x()',
        "value 1": HOSTILE.replace("\ud800", ""),
        "value 2": "]]></title></svg>",
    }
    card = model_card(rows(names=names))
    card |= dict.fromkeys(("use_case", "title", "outcome", "algorithm"), HOSTILE)
    card |= dict.fromkeys(("as_of", "trained_at", "model_version"), HOSTILE)
    card["parameters"] = {HOSTILE: HOSTILE}
    card["libraries"] = {HOSTILE: LONG}
    card["verdict"] |= {"reason": HOSTILE, "compared_version": HOSTILE}
    card["split"] = {"train": [HOSTILE]}
    for key in ("candidates", "calibrations", "baselines", "artifacts"):
        for entry in card[key]:
            entry["name"] = HOSTILE
    return card


def blank(value: Any) -> Any:
    """Replace every figure by None, keeping shapes and names."""
    if isinstance(value, dict):
        return {key: blank(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [blank(inner) for inner in value]
    return value if isinstance(value, str | bool) else None


CARDS = {
    "measured": model_card,
    "nothing": dict,
    "blank": lambda: blank(model_card()),
    "hostile": hostile_card,
}
