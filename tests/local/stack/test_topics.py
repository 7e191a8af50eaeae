"""
Topics and subscriptions of local mode, specified: no event is lost, by either emulator.

Google's emulator never pushes a message again that failed once, where its subscription
has a retry policy; ours and Pub/Sub itself do.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from google.pubsub_v1 import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from local.emulators.pubsub.server import google_command, is_serving
from local.processes import free_ports, spawn, stop
from local.stack import topics
from local.stack.stack import Stack
from local.stack.state import GOOGLE, OURS, ROOT, Options, State
from propensity.topics import EVENTS, SUBSCRIPTIONS
from tests.events import bet, written
from tests.functions.instances import Instance
from tests.functions.streaming import Site, eventually, new_site

# Several pushes fail meanwhile.
DOWN_S = 2.0


@pytest.fixture(
    scope="module", params=[OURS, pytest.param(GOOGLE, marks=pytest.mark.long)]
)
def pubsub(request) -> str:
    """Each of the two emulators in turn, as the option of local mode names them."""
    return str(request.param)


@pytest.fixture(scope="module")
def address(pubsub, tmp_path_factory) -> Iterator[str]:
    """Where the emulator serves."""
    folder: Path = tmp_path_factory.mktemp(pubsub)
    [port] = free_ports(1)
    command: list[str] | None = [
        *(sys.executable, "-m", "local.emulators.pubsub", "--port", str(port))
    ]
    if pubsub == GOOGLE:
        command = google_command(port, folder)
    if command is None:
        pytest.skip("gcloud's pubsub-emulator or Java is not installed")
    process = spawn(
        "pubsub", command, environment={}, folder=ROOT, port=port, log=folder / "log"
    )
    try:
        place = f"127.0.0.1:{port}"
        eventually(lambda: is_serving(place), "the emulator serves")
        yield place
    finally:
        stop([process])


@pytest.fixture
def site(emulators, address) -> Iterator[Site]:
    """Tables beside this emulator, with the topics of local mode."""
    with new_site(emulators) as place:
        names = {"PROPENSITY_TOPIC_PREFIX": ""}
        site = Site(place.workplace, address, names)
        yield site
        site.close()


@pytest.fixture
def created(emulators, pubsub, tmp_path) -> Callable[[Site, Instance], None]:
    """Create topics and subscriptions as the local stack does with this emulator."""
    stack = Stack(State("t", tmp_path), options=Options(pubsub=pubsub))

    def create(site: Site, instance: Instance) -> None:
        topics.create(
            site.workplace.project,
            site.pubsub,
            endpoints={"stream_features": instance.url.rstrip("/")},
            pauses=stack.pauses,
        )

    return create


class TestSubscriptions:
    @pytest.mark.long
    def test_lose_nothing_while_the_function_is_down(
        self, site, created, pubsub, tmp_path
    ):
        """Whoever pushes to a function that is down for seconds pushes again."""
        topic = EVENTS
        with Instance("stream_features", site.environment, tmp_path) as instance:
            created(site, instance)
            site.publish(topic, [{"data": written(bet(event_id="before"))}])
            eventually(lambda: site.count("stream_events") >= 1, "the first is stored")
            instance.kill()
            names = {f"while-{number}" for number in range(10)}
            sent = [{"data": written(bet(event_id=name))} for name in sorted(names)]
            site.publish(topic, sent)
            time.sleep(DOWN_S)
            instance.start()

            def stored() -> set[str]:
                rows = site.rows("SELECT DISTINCT event_id FROM stream_events")
                return {row["event_id"] for row in rows}

            eventually(
                lambda: stored() == names | {"before"}, "all are stored", deadline_s=90
            )

    def test_wait_as_they_say_where_the_emulator_can(
        self, site, created, pubsub, tmp_path
    ):
        """Ours keeps the pauses of Pub/Sub; both keep the topic for dead letters."""
        created(site, Instance("stream_features", site.environment, tmp_path))
        [expected] = [one for one in SUBSCRIPTIONS if one.function == "stream_features"]
        path = f"projects/{site.workplace.project}/subscriptions/{expected.name}"
        with grpc.insecure_channel(site.pubsub) as channel:
            client = SubscriberClient(
                transport=SubscriberGrpcTransport(channel=channel)
            )
            subscription = client.get_subscription(subscription=path)

        attempts = subscription.dead_letter_policy.max_delivery_attempts
        assert ("retry_policy" in subscription) == (pubsub == OURS)
        # Without pauses twenty attempts would be over before a function is up again.
        assert attempts == (expected.attempts if pubsub == OURS else 100)
