"""
Announcements: a message to ``model-updates`` for every change of the pointer.

Instances of functions do not need it: they read the pointer itself, since a push would
reach only one of them. The messages are for other systems; a lost one does no harm.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from propensity.edges.log import log
from propensity.topics import MODEL_UPDATES, topic_name

if TYPE_CHECKING:
    from propensity.registry.champion import Champion
    from propensity.settings import Settings


def update(
    use_case: str, action: str, champion: Champion, *, at: datetime
) -> dict[str, Any]:
    """
    Return the message of a change.

    Args:
        use_case: Its name.
        action: promote, rollback, pin or unpin.
        champion: The pointer after the change.
        at: Time of the change.
    """
    return {
        "use_case": use_case,
        "action": action,
        "version": champion.version,
        "pinned": champion.pinned,
        "epoch": champion.epoch,
        "at": at.isoformat(),
    }


def announce(
    settings: Settings,
    use_case: str,
    action: str,
    champion: Champion,
    *,
    at: datetime,
) -> bool:
    """
    Publish the message of a change to the topic ``model-updates``.

    Arguments are those of ``update``. ``use_case`` and ``action`` are attributes as
    well, for filters.

    Returns:
        Whether Pub/Sub has it. If not, a log line says why; the change itself stands.
    """
    try:
        # Imported here: a training without a promotion needs no Pub/Sub.
        from propensity.edges.pubsub import publish_once

        message = update(use_case, action, champion, at=at)
        publish_once(
            settings,
            topic_name(settings, MODEL_UPDATES),
            json.dumps(message).encode(),
            attributes={name: str(message[name]) for name in ("use_case", "action")},
        )
    except Exception as error:
        log(
            "WARNING",
            "the change of what serves was not announced: "
            f"{type(error).__name__}: {error}",
            use_case=use_case,
            epoch=champion.epoch,
        )
        return False
    return True
