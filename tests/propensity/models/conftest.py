"""Generated payments that half-space trees learn from, drawn once a file."""

from __future__ import annotations

import numpy as np
import pytest

from tests.propensity.models.payments import Labelled


@pytest.fixture(scope="module")
def payments() -> Labelled:
    """Three features and an amount; frauds are rare and stand out in the amount."""
    generator = np.random.default_rng(5)
    label = generator.random(4_000) < 0.01
    rows = generator.standard_normal((4_000, 4))
    rows[:, 3] = generator.lognormal(3, 0.5, 4_000)
    rows[label, :3] += 1
    rows[label, 3] = generator.lognormal(5.5, 0.3, label.sum())
    return Labelled(rows, label)
