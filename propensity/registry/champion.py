"""
The champion's pointer: the version that serves, and earlier champions.

``models/<use case>/champion.json`` changes by compare-and-set: a change is made to the
champion that its caller has read, and is a Conflict if it is another by now.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec.structs import asdict, replace

from propensity.errors import ArtifactError, Conflict
from propensity.gcp.artifacts import Artifacts, Stored
from propensity.gcp.log import log
from propensity.registry.objects import instant_of, json_of
from propensity.topics import MODEL_UPDATES, prefixed

if TYPE_CHECKING:
    from propensity.settings import Settings

# The epoch where there is no pointer yet.
NOTHING_SERVES = -1
# Most earlier champions that the pointer names, for roll backs.
EARLIER = 10


Number = Annotated[int, msgspec.Meta(ge=0)]


class Champion(msgspec.Struct, frozen=True, kw_only=True):
    """
    The content of ``champion.json``.

    Attributes:
        epoch: Rises with every change.
        model_sha256: Of the version's model; loads verify it by BigQuery's record.
        promoted_at: Start of its service.
        pinned: Whether training may not promote.
        earlier: Earlier champions, newest first, each once; without those that were
            rolled back.
    """

    version: Number
    epoch: Number
    model_sha256: str
    promoted_at: str
    pinned: bool
    earlier: tuple[Number, ...]

    @property
    def previous(self) -> int | None:
        """The target of a roll back; None for none."""
        return self.earlier[0] if self.earlier else None


class ChampionPointer:
    """The pointer of one use case. Changes raise Conflict if another was quicker."""

    def __init__(self, artifacts: Artifacts, use_case: str) -> None:
        self.artifacts = artifacts
        self.use_case = use_case

    @property
    def pointer(self) -> str:
        """Name of the object that holds the champion."""
        return f"models/{self.use_case}/champion.json"

    def champion(self) -> Champion | None:
        """
        Return the champion, None before the first promotion.

        Raises:
            ArtifactError: The pointer is damaged; the others raise it, too.
        """
        return self._parsed(self.artifacts.find(self.pointer))

    def promote(
        self,
        version: int,
        *,
        model_sha256: str,
        at: datetime,
        instead_of: Champion | None,
        pinned: bool = False,
    ) -> Champion:
        """
        Make a version the champion, and return the pointer; a pin stays.

        Args:
            model_sha256: Of the bytes of the version's model.
            instead_of: The champion until now, None for none.
            pinned: Whether to pin it: training promotes no other until ``unpin``.
        """
        before = after = instead_of
        if before is None or before.version != version:
            served = (before.version, *before.earlier) if before else ()
            after = Champion(
                version=version,
                epoch=before.epoch if before else NOTHING_SERVES,
                model_sha256=model_sha256,
                promoted_at=instant_of(at),
                pinned=before.pinned if before else False,
                earlier=tuple(one for one in served if one != version)[:EARLIER],
            )
        assert after is not None
        return self._change(before, replace(after, pinned=pinned or after.pinned))

    def roll_back(
        self, champion: Champion, *, model_sha256: str, at: datetime
    ) -> Champion:
        """
        Return to the champion before this one, as if this had never served.

        So a second roll back goes one further back. A pin stays; without one training
        may promote again.

        Args:
            champion: It has a ``previous`` one.
            model_sha256: Of that one's model.
        """
        version, *earlier = champion.earlier
        back = replace(
            champion,
            version=version,
            model_sha256=model_sha256,
            promoted_at=instant_of(at),
            earlier=tuple(earlier),
        )
        return self._change(champion, back)

    def unpin(self, champion: Champion) -> Champion:
        """Let training promote again."""
        return self._change(champion, replace(champion, pinned=False))

    def _change(self, before: Champion | None, after: Champion) -> Champion:
        """Replace the pointer by compare-and-set, unless nothing changes."""
        if after == before:
            return after
        stored = self.artifacts.find(self.pointer)
        if self._parsed(stored) != before:
            raise Conflict(
                f"the live version of {self.use_case} has changed meanwhile, and stays",
                hint="Look at `propensity versions`, then decide again",
            )
        after = replace(after, epoch=after.epoch + 1)
        self.artifacts.replace(self.pointer, json_of(asdict(after)), stored)
        return after

    def _parsed(self, stored: Stored | None) -> Champion | None:
        """Return the champion of a pointer; a later deploy may add fields."""
        if stored is None:
            return None
        try:
            return msgspec.json.decode(stored.data, type=Champion)
        except (ValueError, RecursionError) as error:
            message = f"{self.pointer} is damaged: {error}"
            raise ArtifactError(message) from error


def announce(
    settings: Settings, use_case: str, action: str, champion: Champion, *, at: datetime
) -> bool:
    """
    Publish a change to the topic ``model-updates``; return whether Pub/Sub has it.

    It is for other systems: functions read the pointer itself.

    Args:
        action: promote, rollback, pin or unpin; with the use case an attribute, too.
        champion: The pointer after the change.
    """
    named = {"use_case": use_case, "action": action}
    state = {name: getattr(champion, name) for name in ("version", "pinned", "epoch")}
    data = json.dumps({**named, **state, "at": at.isoformat()}).encode()
    try:
        # Imported here: a training without a promotion needs no Pub/Sub.
        from propensity.gcp.pubsub import publish

        publish(settings, prefixed(settings, MODEL_UPDATES), [(data, named)])
    except Exception as error:
        log("WARNING", f"the change was not announced: {error!r}", use_case=use_case)
        return False
    return True
