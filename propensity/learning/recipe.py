"""
A recipe: what makes a model of any rows, and how it is fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from propensity.learning import calibration
from propensity.learning.candidates import (
    PARALLEL_ROWS,
    estimator,
    fit_on,
    is_mean,
    side_by_side,
)
from propensity.learning.data import Slice
from propensity.learning.preprocessor import fitted, transformed
from propensity.learning.sample import sampled
from propensity.models.scoring import MeanOfModels, Pools
from propensity.usecases import Candidate, UseCase


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """
    What makes a model of any rows.

    Attributes:
        members: Itself, or the members of a mean.
        calibrator: Calibration of out-of-time scores; None for none.
    """

    candidate: Candidate
    members: Sequence[Candidate]
    calibrator: Any | None

    def models(
        self,
        parts: Sequence[Slice],
        use_case: UseCase,
        *,
        preprocessor: Any,
        seed: int,
        pools: Pools | None,
    ) -> list[tuple[Any, Any]]:
        """
        Return preprocessor and model for each of several parts, fitted on its rows.

        Args:
            parts: Rows in time order; few rows are fitted side by side.
            use_case, preprocessor, seed, pools: As for ``rolling.choose``.
        """
        most = max(map(len, parts))
        if most > PARALLEL_ROWS and len(parts) > 1:
            # So that the encoded rows of one part are in memory, and not of all.
            options: Any = {"preprocessor": preprocessor, "seed": seed, "pools": pools}
            return [self.models([part], use_case, **options)[0] for part in parts]
        features = dict(use_case.features)
        encoders, fits = [], []
        for part in parts:
            learned = sampled(part, seed=seed)
            encoders.append(fitted(preprocessor, learned, features))
            encoded = transformed(encoders[-1], learned.rows, features)
            fits += [
                partial(
                    fit_on,
                    estimator(member, {}, seed=seed),
                    encoded,
                    learned,
                    name=member.name,
                )
                for member in self.members
            ]
        fit = iter(side_by_side(fits, rows=most, pools=pools))
        return [
            (encoder, self._assembled([next(fit) for _ in self.members]))
            for encoder in encoders
        ]

    def _assembled(self, models: list[Any]) -> Any:
        """Return the model of fitted members."""
        is_one = not is_mean(self.candidate)
        model = models[0] if is_one else MeanOfModels(models)
        return calibration.attached(self.calibrator, model)
