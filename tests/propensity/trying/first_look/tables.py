"""Tables of customers, of whom some churn: known, open, leaky, or as people write."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from propensity.usecases import Candidate

MONTHS = [f"2025-{month:02}" for month in range(1, 9)]
NEWEST = MONTHS[-1]
NAMES = {"user": "customer", "time": "month", "label": "churned"}
# A model that is fitted at once, for tests that ask nothing of it.
QUICK: dict[str, Any] = {**NAMES, "candidates": [Candidate("lr", "LogisticRegression")]}


def customers(rows: int = 150) -> pd.DataFrame:
    """Customers of eight months; who pays few visits, or is new, churns more often."""
    random = np.random.default_rng(0)
    count = rows * len(MONTHS)
    visits = random.poisson(4, count)
    plan = random.choice(["basic", "plus"], count)
    tenure = random.integers(9, 900, count)
    odds = 3.5 - visits - tenure / 200 + (plan == "basic")
    churned = random.random(count) < 1 / (1 + np.exp(-odds))
    days = pd.to_datetime(np.repeat(MONTHS, rows), format="%Y-%m")
    return pd.DataFrame(
        {
            "customer": [f"c{n % rows}" for n in range(count)],
            "month": np.repeat(MONTHS, rows),
            "visits": visits,
            "plan": plan,
            "since": (days - pd.to_timedelta(tenure, "D")).date,
            "postcode": [f"0{n}" for n in random.integers(100, 150, count)],
            "note": [f"note {n}" for n in range(count)],
            "country": "NL",
            "churned": np.where(churned, "yes", "no"),
        }
    )


def still_open(frame: pd.DataFrame, *, since: str = NEWEST) -> pd.DataFrame:
    """Return customers of whom it is not known yet whether they churn."""
    return frame.assign(churned=frame["churned"].mask(frame["month"] >= since))


def leaky() -> pd.DataFrame:
    """The customers, with columns that were written after the outcome."""
    frame = customers()
    random = np.random.default_rng(1)
    is_churn = frame["churned"] == "yes"
    half = is_churn & (random.random(len(frame)) < 0.5)
    month = pd.to_datetime(frame["month"], format="%Y-%m")
    return frame.assign(
        cancelled=(month + pd.Timedelta(days=45)).where(half).dt.date,
        reason=pd.Series("price", index=frame.index).where(half),
        status=np.where(is_churn, "gone", "there"),
    )


def as_people_write(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table of texts, with decimal commas, and days before months."""
    written = frame.assign(
        spent=[f"{n % 7},5" for n in frame["visits"]],
        since=pd.to_datetime(frame["since"]).dt.strftime("%d/%m/%Y"),
    )
    return written.astype("object").map(lambda v: str(v) if pd.notna(v) else None)
