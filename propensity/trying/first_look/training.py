"""
The training of a table: that of a use case, but for tables of many rows.

Of these a sample says which columns leak, which candidate is the best, how well it
predicts the test set, and how a column is encoded: 200,000 rows say the same as a
million. For a list the best candidate is fitted on all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from propensity.learning.candidates import PARALLEL_ROWS
from propensity.learning.model import Model
from propensity.learning.rows import Slice
from propensity.learning.task import Candidate
from propensity.learning.training import Fitted
from propensity.learning.users import UserTraining

# A sample has so many rows, or more where fewer would have less of the label.
SAMPLED_ROWS = PARALLEL_ROWS
_SAMPLED_CONVERSIONS = 2_000


def sample_of(rows: pa.Table) -> pa.Table:
    """Return rows of users drawn at random, the same each time; all if they are few."""
    if len(rows) <= SAMPLED_ROWS:
        return rows
    conversions = Slice(rows=rows).conversions
    share = max(SAMPLED_ROWS / len(rows), _SAMPLED_CONVERSIONS / max(1, conversions))
    users = rows["user_id"].combine_chunks().dictionary_encode()
    names = np.asarray(users.dictionary.to_numpy(zero_copy_only=False), dtype="object")
    # The lower half of a hash is as good as all of it.
    parts = pd.util.hash_array(names).astype("uint32") / 2**32
    return rows.filter(pa.array((parts < share)[users.indices.to_numpy()]))


@dataclass(frozen=True, kw_only=True)
class TableTraining(UserTraining):
    """A training whose model of all rows is fitted once somebody asks for a list."""

    def fit(self, chosen: Candidate, members: Sequence[Candidate]) -> Fitted:
        """Fit without the test set."""
        [measured] = self.fitted(members, [self.parts.fitting])
        return Fitted(measured=measured, live=measured)

    def live(self, members: Sequence[Candidate]) -> Model:
        """Return the model of all rows whose outcome is known."""
        [model] = self.fitted(members, [self.parts.every])
        return model

    def fit_one(self, candidate: Candidate, encoded: Any, part: Slice) -> Any:
        """
        Return a candidate, fitted on encoded rows.

        A line through many rows is the same through a sample, without copies of all.
        """
        every = max(1, len(part) // SAMPLED_ROWS)
        if candidate.algorithm == "LogisticRegression" and every > 1:
            encoded = encoded[::every]
            part = Slice(rows=part.rows.take(pa.array(range(0, len(part), every))))
        return super().fit_one(candidate, encoded, part)

    def encoder_of(self, part: Slice) -> Any:
        """Return the preprocessor, fitted on a part of the rows or a sample of it."""
        return super().encoder_of(Slice(rows=sample_of(part.rows)))
