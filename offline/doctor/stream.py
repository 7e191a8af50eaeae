"""Topics, subscriptions and the stream: which messages wait, and which are lost."""

from __future__ import annotations

import contextlib
import warnings
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any

from google.api_core import exceptions as api
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from offline.doctor.examination import (
    DAY,
    GOOGLE,
    PATIENCE_S,
    SET_UP,
    Examination,
    Services,
    has_stream,
    reaching,
    topic_names,
)
from offline.doctor.report import moment_text
from offline.doctor.rights import session
from propensity import topics
from propensity.edges.channels import open_client
from propensity.runs import compact
from propensity.statements import statement

SQL = resources.files(__package__)

# The compaction runs daily; as the alert run_missed.
COMPACTION_OLD = timedelta(days=2)

# As the alert stream_lag.
LAG = timedelta(minutes=5)


def check_topics(exam: Examination, services: Services = GOOGLE) -> None:
    """Whether topics and subscriptions exist, and no dead letter waits."""
    settings, project = exam.settings, exam.settings.project
    endpoint = settings.pubsub_endpoint
    with (
        reaching("Pub/Sub"),
        open_client(
            PublisherClient, PublisherGrpcTransport, endpoint=endpoint
        ) as publisher,
    ):
        missing = []
        for name in topic_names(settings):
            try:
                publisher.get_topic(
                    topic=f"projects/{project}/topics/{name}",
                    retry=None,
                    timeout=PATIENCE_S,
                )
            except api.NotFound:
                missing.append(name)
    if missing == topic_names(settings) and not has_stream(exam):
        exam.skip("there is no topic: the stream is not deployed")
        return
    if missing:
        exam.error(f"topics are missing: {', '.join(missing)}", SET_UP)
    with (
        reaching("Pub/Sub"),
        open_client(
            SubscriberClient, SubscriberGrpcTransport, endpoint=endpoint
        ) as subscriber,
    ):
        for subscription in topics.SUBSCRIPTIONS:
            name = topics.subscription_name(settings, subscription)
            path = f"projects/{project}/subscriptions/{name}"
            try:
                deployed = subscriber.get_subscription(
                    subscription=path, retry=None, timeout=PATIENCE_S
                )
            except api.NotFound:
                exam.error(
                    f"the subscription {name} is missing: what is published to "
                    f"{topics.topic_name(settings, subscription.topic)} is lost to it",
                    SET_UP,
                )
                continue
            _check_subscription(exam, subscription, deployed)
            if not subscription.function:
                waiting = _waiting(exam, subscriber, path, services)
                if waiting:
                    exam.error(
                        f"{waiting} messages wait in {name}: they could not be "
                        f"delivered {topics.SUBSCRIPTIONS[0].attempts} times",
                        "see the log of stream_features and score_stream for why, then "
                        "bring them back: propensity dead-letters replay",
                    )


def _check_subscription(
    exam: Examination, subscription: topics.Subscription, deployed: Any
) -> None:
    settings, project = exam.settings, exam.settings.project
    name = topics.subscription_name(settings, subscription)
    topic = (
        f"projects/{project}/topics/{topics.topic_name(settings, subscription.topic)}"
    )
    if deployed.topic != topic:
        exam.error(
            f"the subscription {name} is of {deployed.topic.rpartition('/')[2]}, "
            f"and not of {topic.rpartition('/')[2]}",
            f"delete it, and {SET_UP}",
        )
    if not subscription.function:
        return
    if not deployed.push_config.push_endpoint:
        exam.warn(
            f"the subscription {name} pushes to nobody: its messages wait, for "
            "seven days at most",
            f"deploy {subscription.function}, then run deploy/setup.sh, which lets the "
            "subscription push to it",
        )
    dead_letters = topics.topic_name(settings, topics.DEAD_LETTERS)
    letters = f"projects/{project}/topics/{dead_letters}"
    if deployed.dead_letter_policy.dead_letter_topic != letters:
        exam.error(
            f"the subscription {name} has no dead-letter topic: a message that "
            "never succeeds is delivered again for ever",
            SET_UP,
        )


def _waiting(
    exam: Examination, subscriber: SubscriberClient, path: str, services: Services
) -> int:
    """Return how many messages wait in a subscription that is pulled."""
    if exam.settings.pubsub_endpoint and services is GOOGLE:
        # An emulator has no metrics: pull the messages and put them back at once.
        with warnings.catch_warnings():
            # Deprecated, since it may miss messages of other servers; here is only one.
            warnings.simplefilter("ignore", DeprecationWarning)
            pulled = subscriber.pull(
                subscription=path,
                max_messages=1_000,
                return_immediately=True,
                retry=None,
                timeout=PATIENCE_S,
            )
        ids = [message.ack_id for message in pulled.received_messages]
        if ids:
            subscriber.modify_ack_deadline(
                subscription=path, ack_ids=ids, ack_deadline_seconds=0
            )
        return len(ids)
    name = path.rpartition("/")[2]
    until = datetime.now(UTC)
    with contextlib.closing(session(exam, services)) as client:
        answer = client.get(
            f"{services.monitoring}/{exam.settings.project}/timeSeries",
            params={
                "filter": 'metric.type="pubsub.googleapis.com/subscription/'
                'num_undelivered_messages" AND '
                f'resource.labels.subscription_id="{name}"',
                "interval.startTime": (until - timedelta(minutes=15)).isoformat(),
                "interval.endTime": until.isoformat(),
            },
            timeout=PATIENCE_S,
        )
    if answer.status_code != 200:
        exam.skip(
            f"how many messages wait in {name}: Cloud Monitoring answers "
            f"{answer.status_code}, as without the role monitoring.viewer"
        )
        return 0
    series = answer.json().get("timeSeries") or [{}]
    points = series[0].get("points") or [{}]
    return int(points[0].get("value", {}).get("int64Value", 0))


def check_stream(exam: Examination) -> None:
    """Whether events are counted, scored in time, and accepted."""
    since = exam.now - DAY
    window = {"since": since, "since_day": since.date()}
    if has_stream(exam):
        _check_compaction(exam)
    scored = {
        name
        for use_case in exam.use_cases
        # A registration opens the time in which a user is scored.
        for name in (use_case.scored or ("new_registration",))
    }
    for row in exam.warehouse.rows(
        statement("stream_lag", own=SQL), {**window, "scored": sorted(scored)}
    ):
        name, scorable, last = row["use_case"], row["scorable_at"], row["scored_at"]
        if scorable is None or name not in exam.champions:
            continue
        if last is None:
            exam.error(
                f"{name}: events came until {scorable:%Y-%m-%d %H:%M}, and none "
                f"has had a score since {since:%Y-%m-%d %H:%M}",
                "see the log of score_stream, and whether its subscription pushes",
            )
        elif scorable - last > LAG:
            minutes = (scorable - last) / timedelta(minutes=1)
            exam.error(
                f"{name}: scores are {minutes:,.0f} minutes behind the events",
                "see the log of score_stream: it fails, or needs more instances "
                "(--max-instances in 04-StreamFeatures/deploy_score_stream.sh)",
            )
    letters = exam.warehouse.rows(statement("dead_letter_reasons", own=SQL), window)
    if letters:
        reasons = ", ".join(f"{row['reason']} {row['messages']:,}" for row in letters)
        total = sum(row["messages"] for row in letters)
        exam.warn(
            f"{total:,} events became dead letters since {moment_text(since)}: "
            f"{reasons}",
            "see detail and field in dead_letters, correct the producer, and replay "
            "what can be: propensity dead-letters replay --refused",
        )


def _check_compaction(exam: Examination) -> None:
    counted_until, _ = compact.last_compaction(exam.warehouse)
    if counted_until == compact.EPOCH:
        # The check of the runs says whether it never ran.
        return
    age = exam.now - counted_until
    if age > COMPACTION_OLD:
        exam.lack(
            f"the compaction is {age.days} days behind: after nine days the view of "
            "the features lacks events that came late",
            "see the log of compact_features, and call it",
            locally=exam.call("compact_features"),
        )
