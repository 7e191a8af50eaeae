"""
The edge that tells others which version serves: one message for every change.

Instances of functions read the pointer itself, and need no message: a push reaches only
one of them. It is for whoever else wants to know, and its loss loses nothing else.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from propensity.edges.log import log

if TYPE_CHECKING:
    from google.pubsub_v1 import PublisherClient

    from propensity.registry.versions import Champion
    from propensity.settings import Settings

# In all: the change that is told of has been made, and its author waits.
TIMEOUT_S = 10.0


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
        _publish(settings, update(use_case, action, champion, at=at))
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


def _publish(settings: Settings, message: dict[str, Any]) -> None:
    # Imported here: without a promotion a training needs no Pub/Sub.
    from google.api_core.retry import Retry
    from google.pubsub_v1 import PubsubMessage

    topic = f"projects/{settings.project}/topics/{settings.model_updates_topic}"
    attributes = {name: str(message[name]) for name in ("use_case", "action")}
    with _client(settings) as client:
        client.publish(
            topic=topic,
            messages=[
                PubsubMessage(data=json.dumps(message).encode(), attributes=attributes)
            ],
            retry=Retry(initial=0.1, maximum=2.0, timeout=TIMEOUT_S),
            timeout=TIMEOUT_S,
        )


def _client(settings: Settings) -> PublisherClient:
    import grpc
    from google.pubsub_v1 import PublisherClient
    from google.pubsub_v1.services.publisher.transports import (
        PublisherGrpcTransport,
    )

    if not settings.pubsub_endpoint:
        return PublisherClient()
    channel = grpc.insecure_channel(settings.pubsub_endpoint)
    return PublisherClient(transport=PublisherGrpcTransport(channel=channel))
