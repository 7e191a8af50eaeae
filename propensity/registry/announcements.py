"""
What tells others which version serves: one message for every change.

Instances of functions read the pointer itself, and need no message: a push reaches only
one of them. It is for whoever else wants to know, and its loss loses nothing else.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from propensity.edges.log import log

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
        action: promote, rollback, pin, unpin, shadow or unshadow.
        champion: The pointer, as the change has left it.
        at: When it was made.
    """
    return {
        "use_case": use_case,
        "action": action,
        "version": champion.version,
        "shadow": champion.shadow,
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
        Whether Pub/Sub has it. Where it does not, for whatever reason, a log line says
        why: the change itself stands.
    """
    try:
        # Imported here: without a promotion a training needs no Pub/Sub.
        from propensity.edges.pubsub import publish_once

        message = update(use_case, action, champion, at=at)
        publish_once(
            settings,
            settings.model_updates_topic,
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
