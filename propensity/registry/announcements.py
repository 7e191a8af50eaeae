"""Changes of the live version, published for other systems."""

from __future__ import annotations

import json
from datetime import datetime

from propensity.gcp.log import log
from propensity.gcp.pubsub import publish_messages
from propensity.registry.versions import Champion
from propensity.settings import MODEL_UPDATES, Settings


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
    attributes = {"use_case": use_case, "action": action}
    version = champion.version
    pinned = champion.pinned
    epoch = champion.epoch
    state = {"version": version, "pinned": pinned, "epoch": epoch}
    data = json.dumps({**attributes, **state, "at": at.isoformat()}).encode()
    try:
        publish_messages(
            settings, settings.prefixed(MODEL_UPDATES), [(data, attributes)]
        )
    except Exception as error:
        log("WARNING", f"the change was not announced: {error}", use_case=use_case)
        return False
    return True
