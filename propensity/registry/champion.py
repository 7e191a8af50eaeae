"""
The champion's pointer: which version serves, which scores beside it, what did before.

``models/<use case>/champion.json`` changes by compare-and-set on its generation, and
its epoch rises with every change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from enum import Enum

from propensity.edges.artifacts import UNCHANGED, Artifacts, Stored, Unchanged
from propensity.errors import (
    ArtifactError,
    Conflict,
    NoChampion,
    OldEpoch,
    Pinned,
    RequestError,
)
from propensity.registry.objects import CLAIMS, instant_of, json_of, object_of

# The epoch where there is no pointer yet.
NOTHING_SERVES = -1

# The largest epoch that a command may name: room for nanoseconds, and for more after.
LARGEST_EPOCH = 2**62

# Versions that served before are named by the pointer, to go back to; no more than so
# many.
EARLIER = 10


class Anything(Enum):
    """Says that a promotion does not depend on what serves: it is by hand."""

    SERVES = "anything"


ANYTHING = Anything.SERVES


@dataclass(frozen=True, kw_only=True)
class Champion:
    """
    What ``champion.json`` says.

    Attributes:
        version: What serves.
        epoch: Rises with every change.
        model_sha256: Of the version's model; it is verified by what BigQuery has.
        promoted_at: When the version came to serve.
        previous: What a roll back lets serve, the first of ``earlier``; None for none.
        pinned: Whether training may promote nothing.
        shadow: The version that scores beside it; None for none.
        earlier: The versions that served before, newest first, without those that were
            rolled back.
    """

    version: int
    epoch: int
    model_sha256: str
    promoted_at: str
    previous: int | None
    pinned: bool = False
    shadow: int | None = None
    earlier: tuple[int, ...] = ()


class ChampionPointer:
    """The pointer of one use case."""

    def __init__(self, artifacts: Artifacts, use_case: str) -> None:
        self.artifacts = artifacts
        self.use_case = use_case

    def champion(self) -> Champion:
        """
        Return what serves.

        Raises:
            NoChampion: Nothing has been promoted yet.
        """
        champion, _ = self._champion()
        if champion is None:
            raise NoChampion(
                f"{self.use_case} has no champion yet: run modelTraining first"
            )
        return champion

    def find_champion(self) -> Champion | None:
        """Return what serves, or None where nothing was promoted yet."""
        return self._champion()[0]

    def champion_since(self, generation: int) -> tuple[Champion | None, int] | None:
        """
        Return what serves and its generation, or None if that still is a known one.

        Args:
            generation: The one that is known; 0 to read it in any case.

        Raises:
            ArtifactError: The pointer is damaged.
        """
        stored = self.artifacts.find_newer(self._pointer, than=generation)
        if stored is UNCHANGED:
            return None
        assert not isinstance(stored, Unchanged)
        return self._parsed(stored)

    def _champion(self) -> tuple[Champion | None, int]:
        return self._parsed(self.artifacts.find(self._pointer))

    def _parsed(self, stored: Stored | None) -> tuple[Champion | None, int]:
        if stored is None:
            return None, 0
        found = object_of(stored, self._pointer)
        # What a later deploy may have added means nothing here.
        known = {field.name for field in fields(Champion)} & set(found)
        try:
            champion = Champion(**{name: found[name] for name in known})
        except TypeError as error:
            raise ArtifactError(f"{self._pointer} is no champion: {error}") from error
        if not _is_sound(champion):
            raise ArtifactError(f"{self._pointer} names no version: {found}")
        # Before `earlier` was kept, the previous version was all there was of it.
        earlier = champion.earlier or (champion.previous,)
        champion = replace(
            champion, earlier=tuple(one for one in earlier if one is not None)
        )
        return champion, stored.generation

    def promote(
        self,
        version: int,
        *,
        model_sha256: str,
        at: datetime,
        instead_of: int | Anything | None,
        epoch: int | None = None,
    ) -> Champion:
        """
        Make a version the champion, if the champion is still the expected one.

        A version that scored as shadow no longer does. A pin stays: a promotion by
        hand changes what is pinned.

        Args:
            version: What shall serve.
            model_sha256: Of its model's bytes.
            at: Now.
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
            found = champion.version if champion else None
            if champion and found == version:
                return champion
            if instead_of is not ANYTHING:
                if champion and champion.pinned:
                    raise Pinned(
                        f"version {found} is pinned: version {version} was not promoted"
                    )
                if found != instead_of:
                    raise Conflict(
                        f"the champion is version {found} and no longer {instead_of}: "
                        f"version {version} was compared with another"
                    )
            return _crowned(champion, version, model_sha256=model_sha256, at=at)

        return self._change(promoted, epoch=epoch)

    def roll_back(
        self,
        to: int,
        *,
        model_sha256: str,
        at: datetime,
        epoch: int | None = None,
    ) -> Champion:
        """
        Let the version serve again that served before, as if the last never had.

        So a second roll back goes one further back, and never to what was rolled back.
        A pin stays; without one training may promote again.

        Args:
            to: The pointer's ``previous``, so that of two who roll back at once both
                come to the same version.
            model_sha256: Of its model's bytes.
            at: Now.
            epoch: As in ``promote``.

        Raises:
            NoChampion: Nothing serves, or nothing did before.
            Conflict: Another version served before than ``to``.
            OldEpoch: The epoch is not above the present one.
        """

        def rolled_back(champion: Champion | None) -> Champion:
            found = self._existing(champion)
            if found.version == to:
                return found
            if found.previous is None:
                raise NoChampion(
                    f"no version served before version {found.version}: there is none "
                    "to roll back to"
                )
            if found.previous != to:
                raise Conflict(
                    f"before version {found.version} version {found.previous} served, "
                    f"and not {to}"
                )
            earlier = found.earlier[1:]
            return replace(
                found,
                version=to,
                model_sha256=model_sha256,
                promoted_at=instant_of(at),
                previous=earlier[0] if earlier else None,
                earlier=earlier,
                shadow=None if found.shadow == to else found.shadow,
            )

        return self._change(rolled_back, epoch=epoch)

    def pin(
        self,
        version: int,
        *,
        model_sha256: str,
        at: datetime,
        epoch: int | None = None,
    ) -> Champion:
        """
        Make a version the champion, and let training promote none until ``unpin``.

        Arguments and errors are those of ``promote`` by hand.
        """

        def pinned(champion: Champion | None) -> Champion:
            if champion is None or champion.version != version:
                champion = _crowned(champion, version, model_sha256=model_sha256, at=at)
            return replace(champion, pinned=True)

        return self._change(pinned, epoch=epoch)

    def unpin(self, *, epoch: int | None = None) -> Champion:
        """
        Let training promote again.

        Raises:
            NoChampion: Nothing serves.
            OldEpoch: The epoch is not above the present one.
        """
        return self._change(
            lambda champion: replace(self._existing(champion), pinned=False),
            epoch=epoch,
        )

    def shadow(self, version: int, *, epoch: int | None = None) -> Champion:
        """
        Let a version score beside the champion, for the log; the champion is no shadow.

        Raises:
            NoChampion: Nothing serves.
            OldEpoch: The epoch is not above the present one.
        """

        def shadowed(champion: Champion | None) -> Champion:
            found = self._existing(champion)
            return replace(found, shadow=None if found.version == version else version)

        return self._change(shadowed, epoch=epoch)

    def unshadow(self, *, epoch: int | None = None) -> Champion:
        """Let no version score beside the champion. Raises as ``shadow``."""
        return self._change(
            lambda champion: replace(self._existing(champion), shadow=None),
            epoch=epoch,
        )

    def _existing(self, champion: Champion | None) -> Champion:
        if champion is None:
            raise NoChampion(f"{self.use_case} has no champion yet")
        return champion

    def _change(
        self,
        change: Callable[[Champion | None], Champion],
        *,
        epoch: int | None,
    ) -> Champion:
        """
        Change the pointer by compare-and-set, again where another was quicker.

        A command with an epoch raises the epoch even where it changes nothing else, so
        that older commands come too late. One without leaves such a pointer alone.
        """
        if epoch is not None and not 0 <= epoch <= LARGEST_EPOCH:
            raise RequestError(
                f"an epoch is a whole number from 0 to {LARGEST_EPOCH}, not {epoch}",
                field="epoch",
            )
        for _ in range(CLAIMS):
            champion, generation = self._champion()
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
                    self._pointer, json_of(asdict(changed)), generation=generation
                )
            except Conflict:
                continue
            return changed
        raise Conflict(f"the pointer could not be changed in {CLAIMS} tries")

    @property
    def _pointer(self) -> str:
        return f"models/{self.use_case}/champion.json"


def _crowned(
    champion: Champion | None, version: int, *, model_sha256: str, at: datetime
) -> Champion:
    """Return the pointer with another version in the champion's place."""
    if champion is None:
        return Champion(
            version=version,
            epoch=NOTHING_SERVES,
            model_sha256=model_sha256,
            promoted_at=instant_of(at),
            previous=None,
        )
    return replace(
        champion,
        version=version,
        model_sha256=model_sha256,
        promoted_at=instant_of(at),
        previous=champion.version,
        shadow=None if champion.shadow == version else champion.shadow,
        earlier=(champion.version, *champion.earlier)[:EARLIER],
    )


def _is_sound(champion: Champion) -> bool:
    """Tell whether a pointer that was read names versions where it should."""

    def is_number(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0

    optional = (champion.previous, champion.shadow)
    return (
        is_number(champion.version)
        and is_number(champion.epoch)
        and all(one is None or is_number(one) for one in optional)
        and isinstance(champion.pinned, bool)
        and isinstance(champion.earlier, list | tuple)
        and all(map(is_number, champion.earlier))
    )
