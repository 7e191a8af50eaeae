"""
Where predictions are read: the protocol ``Source``, and the table in BigQuery.

02-GetProba imports this, so nothing heavy may be imported here: the first read imports
the BigQuery client.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, NamedTuple, Protocol

from propensity.statements import statement

if TYPE_CHECKING:
    from propensity.edges.warehouse import Warehouse

FUNCTION = "getProba"


class Prediction(NamedTuple):
    """One user's newest probability, as published. A tuple, since it is made fast."""

    user_id: str
    probability: float
    as_of: date
    percentile: int | None
    model_version: int


@dataclass(frozen=True, slots=True)
class Reading:
    """The predictions of one read, in any order, and its cost."""

    predictions: Sequence[Prediction]
    bytes_billed: int = 0


class Source(Protocol):
    """Where predictions are read; ``read`` is called in threads, several at a time."""

    def read(self, use_case: str, user_ids: Sequence[str]) -> Reading:
        """
        Read the predictions of 1 to ``MAXIMUM_USERS`` users, each named once.

        Raises:
            PropensityError: The read failed. It says nothing about any user.
        """


class PredictionsTable:
    """The table of newest predictions in BigQuery."""

    def __init__(self, warehouse: Callable[[], Warehouse]) -> None:
        """Take what opens the warehouse, in a thread."""
        self._warehouse = warehouse
        self._sql = statement("lookup")

    def read(self, use_case: str, user_ids: Sequence[str]) -> Reading:
        """Read predictions by one query; see ``Source``."""
        rows, bytes_billed = self._warehouse().lookup(
            self._sql, {"use_case": use_case, "user_ids": list(user_ids)}
        )
        predictions = [
            Prediction(
                row.user_id,
                row.probability,
                row.as_of,
                row.percentile,
                row.model_version,
            )
            for row in rows
        ]
        return Reading(predictions, bytes_billed)
