"""
The champion's pointer: the version that serves, and earlier champions.

``models/<use case>/champion.json`` changes by compare-and-set on its generation, and
its epoch rises with every change.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime

from propensity.errors import (
    ArtifactError,
    Conflict,
    NoChampion,
    OldEpoch,
    Pinned,
)
from propensity.gcp.artifacts import Artifacts, Stored
from propensity.registry.objects import CLAIMS, instant_of, json_of, object_of

# The epoch where there is no pointer yet.
NOTHING_SERVES = -1
# A promotion by hand is instead of any version: none has this number.
ANYTHING = -1
# Most earlier champions that the pointer names, for roll backs.
EARLIER = 10


@dataclass(frozen=True, kw_only=True)
class Champion:
    """
    The content of ``champion.json``.

    Attributes:
        epoch: Rises with every change.
        model_sha256: Of the version's model; loads verify it by BigQuery's record.
        promoted_at: Start of its service.
        pinned: Whether training may not promote.
        earlier: Earlier champions, newest first, without those that were rolled back.
    """

    version: int
    epoch: int
    model_sha256: str
    promoted_at: str
    pinned: bool = False
    earlier: tuple[int, ...] = ()

    @property
    def previous(self) -> int | None:
        """The target of a roll back; None for none."""
        return self.earlier[0] if self.earlier else None


class ChampionPointer:
    """The pointer of one use case."""

    def __init__(self, artifacts: Artifacts, use_case: str) -> None:
        self.artifacts = artifacts
        self.use_case = use_case

    @property
    def pointer(self) -> str:
        """Name of the object that holds the champion."""
        return f"models/{self.use_case}/champion.json"

    def champion(self) -> Champion:
        """
        Return the champion.

        Raises:
            NoChampion: No version has been promoted yet.
            ArtifactError: The pointer is damaged; the others raise it, too.
        """
        return self._existing(self.find_champion())

    def find_champion(self) -> Champion | None:
        """Return the champion, or None before the first promotion."""
        return self._parsed(self.artifacts.find(self.pointer))

    def promote(
        self,
        version: int,
        *,
        model_sha256: str,
        at: datetime,
        instead_of: int | None,
        epoch: int | None = None,
    ) -> Champion:
        """
        Make a version the champion, if the champion is still the expected one.

        A pin stays: a promotion by hand changes the pinned version.

        Args:
            model_sha256: Of the bytes of the version's model.
            instead_of: The version that it was compared with; None for no champion;
                ANYTHING to promote by hand, whatever serves.
            epoch: The command's, which must be above the present one; None for the
                next.

        Raises:
            Conflict: Another version was promoted since.
            Pinned: A version is pinned, and this is not by hand.
            OldEpoch: The epoch is not above the present one.
        """

        def promoted(champion: Champion | None) -> Champion:
            current = champion.version if champion else None
            if champion and current == version:
                return champion
            if instead_of != ANYTHING and champion and champion.pinned:
                raise Pinned(
                    f"version {current} is pinned: version {version} was not promoted"
                )
            if instead_of not in (ANYTHING, current):
                raise Conflict(
                    f"the champion is version {current} and no longer "
                    f"{instead_of}: version {version} was compared with another"
                )
            return _serving(champion, version, model_sha256=model_sha256, at=at)

        return self._change(promoted, epoch=epoch)

    def roll_back(
        self, to: int, *, model_sha256: str, at: datetime, epoch: int | None = None
    ) -> Champion:
        """
        Return to the previous champion, as if the last had never served.

        So a second roll back goes one further back, and never to a version that was
        rolled back. A pin stays; without one training may promote again.

        Args:
            to: The pointer's ``previous``, so that two roll backs at once come to the
                same version. The others are those of ``promote``.

        Raises:
            NoChampion: There is no champion, or no earlier one.
            Conflict: The previous champion is not ``to``.
            OldEpoch: The epoch is not above the present one.
        """

        def rolled_back(champion: Champion | None) -> Champion:
            current = self._existing(champion)
            if current.version == to:
                return current
            if current.previous is None:
                raise NoChampion(
                    f"no version served before version {current.version}: there is "
                    "none to roll back to"
                )
            if current.previous != to:
                raise Conflict(
                    f"before version {current.version} version {current.previous} "
                    f"served, and not {to}: the champion has changed meanwhile, and "
                    "nothing was rolled back. Look at `propensity versions` first"
                )
            # What served between two turns of ``to`` is now one turn.
            others = [one for one in current.earlier if one != current.version]
            earlier = itertools.dropwhile(lambda one: one == to, others)
            back = _serving(current, to, model_sha256=model_sha256, at=at)
            return replace(back, earlier=tuple(earlier))

        return self._change(rolled_back, epoch=epoch)

    def pin(
        self, version: int, *, model_sha256: str, at: datetime, epoch: int | None = None
    ) -> Champion:
        """Promote by hand, and stop promotions by training until ``unpin``."""

        def pinned(champion: Champion | None) -> Champion:
            if champion is None or champion.version != version:
                champion = _serving(champion, version, model_sha256=model_sha256, at=at)
            return replace(champion, pinned=True)

        return self._change(pinned, epoch=epoch)

    def unpin(self, *, epoch: int | None = None) -> Champion:
        """Let training promote again; raises NoChampion, OldEpoch."""
        return self._change(
            lambda champion: replace(self._existing(champion), pinned=False),
            epoch=epoch,
        )

    def _existing(self, champion: Champion | None) -> Champion:
        if champion is None:
            raise NoChampion(
                f"{self.use_case} has no champion yet: run 00-ModelTraining first"
            )
        return champion

    def _change(
        self, change: Callable[[Champion | None], Champion], *, epoch: int | None
    ) -> Champion:
        """
        Change the pointer by compare-and-set, and repeat if another writer was quicker.

        A command with an epoch sets it even if it changes nothing else, so that older
        commands come too late. A command without an epoch then writes nothing.
        """
        for _ in range(CLAIMS):
            stored = self.artifacts.find(self.pointer)
            champion = self._parsed(stored)
            current = champion.epoch if champion else NOTHING_SERVES
            if epoch is not None and epoch <= current:
                raise OldEpoch(
                    f"the pointer of {self.use_case} has epoch {current}: a command "
                    f"with epoch {epoch} is not newer, and changed nothing"
                )
            changed = change(champion)
            if epoch is None and changed == champion:
                return champion
            changed = replace(changed, epoch=current + 1 if epoch is None else epoch)
            try:
                self.artifacts.replace(
                    self.pointer,
                    json_of(asdict(changed)),
                    generation=stored.generation if stored else 0,
                )
            except Conflict:
                continue
            return changed
        raise Conflict(f"the pointer could not be changed in {CLAIMS} tries")

    def _parsed(self, stored: Stored | None) -> Champion | None:
        """Return the champion of a pointer; a later deploy may add fields."""
        if stored is None:
            return None
        content = object_of(stored, self.pointer)
        known = {one.name: content.get(one.name) for one in fields(Champion)}
        earlier = known["earlier"] if isinstance(known["earlier"], list) else [None]
        numbers = [known["version"], known["epoch"], *earlier]
        if any(type(number) is not int or number < 0 for number in numbers) or not (
            isinstance(known["pinned"], bool)
        ):
            raise ArtifactError(f"{self.pointer} is no champion pointer: {content}")
        return Champion(**{**known, "earlier": tuple(earlier)})  # type: ignore[arg-type]


def _serving(
    before: Champion | None, version: int, *, model_sha256: str, at: datetime
) -> Champion:
    """Return the pointer with another version as champion."""
    return Champion(
        version=version,
        epoch=before.epoch if before else NOTHING_SERVES,
        model_sha256=model_sha256,
        promoted_at=instant_of(at),
        pinned=before.pinned if before else False,
        earlier=(before.version, *before.earlier)[:EARLIER] if before else (),
    )
