"""
A message to the topic ``model-updates`` for every change of the pointer.

It is for other systems: functions read the pointer itself. A lost one does no harm.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

from propensity.gcp.log import log
from propensity.topics import MODEL_UPDATES, prefixed

if TYPE_CHECKING:
    from propensity.registry.champion import Champion
    from propensity.settings import Settings


def announce(
    settings: Settings, use_case: str, action: str, champion: Champion, *, at: datetime
) -> bool:
    """
    Publish a change; return whether Pub/Sub has it. The change itself stands.

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
