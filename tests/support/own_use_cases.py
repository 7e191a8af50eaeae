"""Use cases of one's own, for a test alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from propensity import usecases

# What a usecase.toml may say, all of it once.
TOML = """\
title = "t"
outcome = "o"
lookback_days = 60
horizon_days = 7
threshold = 0.5

[parameters]
label_event = "purchase"
user_column = "user_pseudo_id"

[event_params]
coupon = "STRING"

[user_properties]
plan = "STRING"

[features]
recency_days = "number"
country = "category"

[baseline]
feature = "recency_days"
ascending = true

[[candidates]]
name = "lr"
algorithm = "LogisticRegression"
[candidates.parameters]
C = 0.5

[[candidates]]
name = "trees"
algorithm = "ExtraTreesClassifier"

[[candidates]]
name = "average"
algorithm = "VotingClassifier"
[candidates.parameters]
of = ["lr", "trees"]

[stream]
events = ["spin"]

[events.spin]
stake = "amount"

[sources.loyalty]
table = "crm.loyalty"
user_id = "customer"
valid_from = "at"
plans = ["ends"]
[sources.loyalty.columns]
points = "INT64"
ends = "DATE"
"""


def set_folder(folder: Path) -> None:
    """Have the setting name another folder until ``in_folder`` ends."""
    os.environ["PROPENSITY_USE_CASES"] = str(folder)


@contextmanager
def in_folder(folder: Path) -> Iterator[Path]:
    """Have the use cases of a folder, which is made, beside those that ship."""
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROPENSITY_USE_CASES", str(folder))
        usecases.load.cache_clear()
        yield folder
    usecases.load.cache_clear()


def write_instance(
    folder: Path, name: str, *, ga4_dataset: str, **parameters: str
) -> None:
    """Write a use case that is like ``ga4_purchase``, of another property."""
    lines = ['like = "ga4_purchase"', "[property]", f'ga4_dataset = "{ga4_dataset}"']
    lines.append("[parameters]")
    lines += [f'{parameter} = "{value}"' for parameter, value in parameters.items()]
    (folder / name).mkdir()
    (folder / name / "usecase.toml").write_text("\n".join(lines))
    usecases.load.cache_clear()


def write_broken(folder: Path) -> None:
    """Write a use case that nothing can load."""
    (folder / "broken").mkdir()
    (folder / "broken" / "usecase.toml").write_text('title = "x"')
