"""Events of a made-up subscription service, whose customers leave one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def write(
    file: Path, *, customers: int = 1_500, days: int = 200, seed: int = 7
) -> Path:
    """
    Write a CSV file: customer_id, created_at, type and total, in order of time.

    Customers begin on any day. Each uses the service at a rate of its own, pays each
    thirty days, and stops: the sooner, the fewer logins and the more tickets.
    """
    draws = np.random.default_rng(seed)
    rows = []
    for customer in range(customers):
        joined = draws.uniform(-60, days - 20)
        rate, loyalty = draws.gamma(2, 0.15), draws.uniform(0, 1)
        leaves = joined + draws.exponential(30 + 250 * loyalty)
        day = joined
        while (day := day + draws.exponential(1 / rate)) < min(leaves, days):
            # Who will leave soon comes less and complains.
            fading = np.exp((day - leaves) / 12)
            if draws.random() < fading * 0.6:
                continue
            kind = "ticket" if draws.random() < 0.05 + 0.4 * fading else "login"
            rows.append((day, customer, kind, None))
        for day in np.arange(joined, min(leaves, days), 30):
            rows.append((day, customer, "payment", 9.5 + 10 * (customer % 3)))
    rows = sorted(row for row in rows if row[0] >= 0)
    at = [FIRST + timedelta(seconds=int(day * 86_400)) for day, *_ in rows]
    table = pa.table(
        {
            "customer_id": [1_000 + row[1] for row in rows],
            "created_at": [f"{one:%Y-%m-%d %H:%M:%S}" for one in at],
            "type": [row[2] for row in rows],
            "total": [row[3] for row in rows],
        }
    )
    pa_csv.write_csv(table, file)
    return file
