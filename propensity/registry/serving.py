"""
Loaded model versions, and the champion in an instance's memory.

A version is loaded only if its checksum is the one that training recorded in BigQuery.
So write access to the bucket is not enough to run code in a function.

``Champions.state`` returns the live version, as one immutable value: taken
once for an answer, or for a group of messages, it mixes no versions. A new champion is
read, verified and loaded in the background while the old one is live, and takes its
place between two answers. One that cannot be loaded leaves the old one in its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from propensity import errors
from propensity.concurrency import Refreshed
from propensity.gcp.log import log
from propensity.registry.records import find_recorded, recorded, training_mismatch
from propensity.registry.versions import NOTHING_SERVES, Record, Registry

if TYPE_CHECKING:
    from propensity.clock import Clock
    from propensity.gcp.artifacts import Artifacts
    from propensity.gcp.queries import Queries
    from propensity.models.scoring import Scorer
    from propensity.models.value import ValueModel
    from propensity.settings import Settings
    from propensity.usecases import UseCase

# Versions that requests have named and that stay loaded.
KEPT_VERSIONS = 4


@dataclass(frozen=True, kw_only=True)
class Serving:
    """
    A loaded version: its training record and its scorer.

    A scorer has one thread at a time, and the champion and a version that a request
    names may share one.

    Attributes:
        scores: What they are, a column of ``inference_log``.
        is_warm: Whether it has seen enough data to score; else all scores are NaN.
        value: Loads its model of amounts; None for one without.
    """

    version: int
    scorer: Scorer
    record: Record
    scores: Literal["probability", "anomaly_score"] = "probability"
    is_warm: bool = True
    value: Callable[[], ValueModel] | None = None


def loaded(
    registry: Registry,
    use_case: UseCase,
    record: Record,
    *,
    settings: Settings,
    threads: int = 0,
) -> Serving:
    """
    Load a version and verify its bytes by its training record.

    Args:
        use_case: Its features and parameters must be those of the training: with
            others the model's features would mean something else.
        threads: As for ``Scorer``.
    """
    from propensity.models.scoring import Scorer

    version = record.model_version
    card = record.card
    mismatch = training_mismatch(record, use_case, settings)
    if mismatch:
        raise errors.SchemaError(
            f"version {version} {mismatch}, so its features would mean something else",
            hint="Train again, or set them back",
        )
    changed = dict(card.features.items() ^ use_case.features.items())
    if changed:
        raise errors.SchemaError(
            f"version {version} was trained on features that have changed since: "
            f"{', '.join(sorted(changed))}",
            hint="Train again",
        )
    preprocessor, model = registry.load(record)
    # Only trees whose scores are anomalies have to see data before they score.
    is_forest = hasattr(model, "is_warm")
    return Serving(
        version=version,
        scorer=Scorer(preprocessor, model, features=card.features, threads=threads),
        record=record,
        scores="anomaly_score" if is_forest else "probability",
        is_warm=model.is_warm if is_forest else True,
        value=partial(registry.load_value, record) if "value" in card.files else None,
    )


@dataclass(frozen=True, kw_only=True)
class ServingState:
    """
    The live version at a moment. Take it once for an answer.

    Before the first promotion there is no champion, and the epoch is -1.
    """

    champion: Serving | None
    epoch: int


@dataclass(eq=False)
class Champions:
    """
    The champions of all use cases, and versions by number. Belongs to one event loop.

    While calls come, ``state`` does not wait: every PROPENSITY_REFRESH_S a thread reads
    the pointer again and loads a new champion. The first call for a use case waits for
    that, and so does one after a pause.
    """

    artifacts: Artifacts
    warehouse: Queries
    _: KW_ONLY
    clock: Clock
    function: str

    def __post_init__(self) -> None:
        self._followed: dict[str, Refreshed[ServingState]] = {}
        self._versions: dict[tuple[str, int], Serving] = {}
        self._loading = asyncio.Lock()

    async def state(self, use_case: UseCase) -> ServingState:
        """Return the live version."""
        followed = self._followed.get(use_case.name)
        if followed is None:
            ttl_s = self.warehouse.settings.refresh_s
            followed = self._followed[use_case.name] = Refreshed(
                partial(self._read, use_case),
                ttl_s=ttl_s,
                grace_s=ttl_s,
                clock=self.clock.monotonic,
                on_error=lambda error: log(
                    "ERROR", str(error), function=self.function, outcome="champion"
                ),
                keeps=True,
            )
        return await followed.current()

    async def version(self, use_case: UseCase, number: int) -> Serving:
        """Return any version with a training record; the last few stay loaded."""
        key = use_case.name, number
        if key not in self._versions:
            # One at a time: each load is a query, which is billed.
            async with self._loading:
                if key not in self._versions:
                    load = asyncio.to_thread(self._version, use_case, number)
                    self._versions[key] = await load
        # It moves to the end, so that the versions requested last stay loaded.
        self._versions[key] = serving = self._versions.pop(key)
        if len(self._versions) > KEPT_VERSIONS:
            del self._versions[next(iter(self._versions))]
        return serving

    def _version(self, use_case: UseCase, number: int) -> Serving:
        record = find_recorded(self.warehouse, use_case.name, number)
        if record is None:
            raise errors.UnknownVersion(
                f"{use_case.name} has no version {number}", field="version"
            )
        return self._loaded(use_case, record)

    def _read(self, use_case: UseCase) -> ServingState:
        """Read the pointer, and load its champion unless it is live already."""
        registry = Registry(self.artifacts, use_case.name)
        pointer = registry.champion()
        before = self._followed[use_case.name].last
        champion = before.champion if before else None
        if pointer is None:
            return ServingState(champion=None, epoch=NOTHING_SERVES)
        if champion is None or champion.version != pointer.version:
            record = recorded(self.warehouse, use_case.name, pointer.version)
            champion = self._loaded(use_case, record)
        return ServingState(champion=champion, epoch=pointer.epoch)

    def _loaded(self, use_case: UseCase, record: Record) -> Serving:
        registry = Registry(self.artifacts, use_case.name)
        return loaded(registry, use_case, record, settings=self.warehouse.settings)
