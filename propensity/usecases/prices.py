"""
Prices of BigQuery's queries on demand.

Source: cloud.google.com/bigquery/pricing.
"""

from __future__ import annotations

TIB = 1024**4
# USD per TiB.
PRICES = {"US": 6.25, "EU": 6.25, "europe-west1": 7.50}


def price_of(location: str) -> float:
    """Return the USD of a TiB; the highest known ones of another place."""
    return PRICES.get(location, max(PRICES.values()))
