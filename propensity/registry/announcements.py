"""
A message to the topic ``model-updates`` for every change of the pointer.

Instances of functions do not need it: they read the pointer itself, since a push would
reach only one of them. The messages are for other systems; a lost one does no harm.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

from propensity.gcp.log import log
from propensity.topics import MODEL_UPDATES, topic_name

if TYPE_CHECKING:
    from propensity.registry.champion import Champion
    from propensity.settings import Settings


def announce(
    settings: Settings,
    use_case: str,
    action: str,
    champion: Champion,
    *,
    at: datetime,
) -> bool:
    """
    Publish a change; return whether Pub/Sub has it. The change itself stands.

    Args:
        action: promote, rollback, pin or unpin. It and the use case are attributes as
            well, for filters.
        champion: The pointer after the change.
        at: Time of the change.
    """
    attributes = {"use_case": use_case, "action": action}
    state = {"version": champion.version, "pinned": champion.pinned}
    message = {**attributes, **state, "epoch": champion.epoch, "at": at.isoformat()}
    try:
        # Imported here: a training without a promotion needs no Pub/Sub.
        from propensity.gcp.pubsub import publish_once

        topic = topic_name(settings, MODEL_UPDATES)
        data = json.dumps(message).encode()
        publish_once(settings, topic, data, attributes=attributes)
    except Exception as error:
        log("WARNING", f"the change was not announced: {error!r}", use_case=use_case)
        return False
    return True
