"""What is examined, and what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings
from propensity.usecases import UseCase


@dataclass(frozen=True)
class Finding:
    """A fault in plain words, and what to do about it."""

    what: str
    advice: str
    check: str = ""


@dataclass(frozen=True, kw_only=True)
class Examination:
    """
    A deployment, and the moment of the examination.

    Attributes:
        is_local: Whether it is a local state, where nothing runs by schedule.
    """

    settings: Settings
    warehouse: Warehouse
    artifacts: Artifacts
    now: datetime
    use_cases: Sequence[UseCase]
    is_local: bool = False
