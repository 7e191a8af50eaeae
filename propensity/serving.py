"""
Model versions, loaded: what was recorded of one, and what scores.

A version is loaded only if its bytes are those that training recorded in BigQuery, so
that whoever can write to the bucket can still not run code in a function.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from propensity import tables
from propensity.errors import ArtifactError, NoChampion, PropensityError, SchemaError
from propensity.registry import Registry
from propensity.statements import statement

if TYPE_CHECKING:
    from propensity.artifacts import Artifacts
    from propensity.scoring import Scorer
    from propensity.usecases import UseCase
    from propensity.warehouse import Warehouse


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A version, loaded: what was recorded of it and what scores."""

    version: int
    scorer: Scorer
    metadata: Mapping[str, Any]


def recorded(warehouse: Warehouse, use_case: UseCase, version: int) -> dict[str, Any]:
    """
    Return what training recorded of a version.

    Raises:
        ArtifactError: It was not recorded.
    """
    found = warehouse.rows(
        statement("model_metadata"),
        {"use_case": use_case.name, "model_version": version},
    )
    if not found:
        raise ArtifactError(
            f"version {version} of {use_case.name} is not recorded in "
            f"{tables.TRAINING_METADATA.name}: its bytes can not be verified"
        )
    return dict(found[0].items())


def loaded(
    registry: Registry,
    use_case: UseCase,
    metadata: Mapping[str, Any],
    *,
    chosen: Mapping[str, Any] | None = None,
) -> Serving:
    """
    Load a recorded version, its bytes verified by what was recorded.

    Args:
        registry: Of the use case.
        use_case: Whose features it must have been trained on.
        metadata: What was recorded of it.
        chosen: The use case's own parameters, as they are set now: with others its
            features would mean something else. None to load it whatever they are.

    Raises:
        ArtifactError: Its bytes are others.
        SchemaError: Its features or parameters are not those of today.
    """
    version = metadata["model_version"]
    trained_with = json.loads(metadata.get("statement_parameters") or "null")
    if None not in (chosen, trained_with) and trained_with != dict(chosen or {}):
        raise SchemaError(
            f"version {version} was trained with {trained_with}, and the settings say "
            f"{dict(chosen or {})}: its features would mean another thing. "
            "Train again, or set them back"
        )
    trained_on = json.loads(metadata["features"])
    if trained_on != dict(use_case.features):
        changed = sorted(set(trained_on.items()) ^ set(use_case.features.items()))
        raise SchemaError(
            f"version {version} was trained on other features than today's: "
            f"{', '.join(sorted({name for name, _ in changed})) or 'another order'}. "
            "Train again"
        )
    from propensity.scoring import Scorer  # noqa: PLC0415 - 03 runs without sklearn

    preprocessor, model = registry.load(metadata)
    features: Any = dict(use_case.features)
    scorer = Scorer.compile(preprocessor, model, features=features)
    return Serving(version=version, scorer=scorer, metadata=metadata)


class Champions:
    """
    The champion of each use case, kept loaded, and looked after while it serves.

    The pointer is read again once it is older than a while, by one thread; the others
    go on with what they have. A new champion that cannot be loaded does not take the
    place of one that serves. May be called by several threads.
    """

    def __init__(
        self,
        artifacts: Artifacts,
        warehouse: Warehouse,
        *,
        ttl_s: float,
        clock: Callable[[], float],
    ) -> None:
        """
        Args:
            artifacts: Of the bucket.
            warehouse: Where versions are recorded.
            ttl_s: How long a pointer is taken for true.
            clock: Monotonic, in seconds.
        """
        self._artifacts = artifacts
        self._warehouse = warehouse
        self._ttl_s = ttl_s
        self._clock = clock
        self._known: dict[str, tuple[float, Serving | None]] = {}
        self._refreshing: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self.last_error: PropensityError | None = None

    def current(self, use_case: UseCase) -> Serving | None:
        """
        Return the champion, None where nothing has been promoted.

        Raises:
            ArtifactError, SchemaError, Unavailable: It cannot be loaded, and there is
                no earlier one to go on with.
        """
        with self._lock:
            known = self._known.get(use_case.name)
            refreshing = self._refreshing.setdefault(use_case.name, threading.Lock())
        if known is not None and self._clock() < known[0]:
            return known[1]
        # The first must wait for the model; later, one refreshes and the others go on.
        if not refreshing.acquire(blocking=known is None):
            assert known is not None
            return known[1]
        try:
            with self._lock:
                known = self._known.get(use_case.name)
            if known is not None and self._clock() < known[0]:
                return known[1]
            found = self._read(use_case, known[1] if known else None)
            with self._lock:
                self._known[use_case.name] = (self._clock() + self._ttl_s, found)
            return found
        finally:
            refreshing.release()

    def _read(self, use_case: UseCase, before: Serving | None) -> Serving | None:
        registry = Registry(self._artifacts, use_case.name)
        try:
            champion = registry.champion()
            if before is not None and before.version == champion.version:
                return before
            metadata = recorded(self._warehouse.for_run(), use_case, champion.version)
            chosen = use_case.chosen(self._warehouse.settings)
            return loaded(registry, use_case, metadata, chosen=chosen)
        except NoChampion:
            return None
        except PropensityError as error:
            self.last_error = error
            if before is None:
                raise
            return before
