"""
Faults, one function each: it spoils a healthy deployment, and returns what the doctor
must say of it.
"""

from __future__ import annotations

import json
import uuid
from datetime import date, datetime, timedelta
from typing import Any

from google.cloud import bigquery
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

from propensity import tables
from propensity.edges.channels import open_client
from propensity.registry import index
from tests.functions.streaming import USE_CASE, rows_of
from tests.offline.doctor.conftest import (
    MONDAY,
    NOW,
    Place,
    subscriber_of,
    subscription_path,
)
from tests.partitions import of_all_days


def received(place: Place, at: datetime, **further: Any) -> None:
    """Store a registration that was received at a moment."""
    from tests.events import registration

    event = registration(
        user_id="secret-user",
        event_id=uuid.uuid4().hex,
        event_time=at.isoformat(),
        **further,
    )
    rows = rows_of([event], received_at=at)
    place.warehouse.append(tables.STREAM_EVENTS, rows, job_id=uuid.uuid4().hex)


def scored(place: Place, at: datetime) -> None:
    place.warehouse.execute(
        "INSERT INTO inference_log (use_case, inference_id, event_id, user_id,"
        " event_time, event_date, model_version, source, scored_at, scored_on)"
        " VALUES (@use_case, 'i', 'e', 'secret-user', @at, @day, 0, 'stream', @at,"
        " @day)",
        {"use_case": USE_CASE, "at": at, "day": at.date()},
    )


def compacted(place: Place, until: datetime) -> None:
    place.ran("compact", NOW.date(), scope="stream")
    place.warehouse.execute(
        "INSERT INTO stream_compactions (counted_until, closed_before, compacted_at,"
        " compacted_on) VALUES (@until, DATE(@until), @until, DATE(@until))",
        {"until": until},
    )


def rebuild(place: Place, name: str, *, columns: str = "*", layout: str = "") -> None:
    """Make a table anew from its own rows."""
    place.rebuilt.add(name)
    rows = of_all_days(f"SELECT {columns} FROM {name}")
    asking = "OPTIONS (require_partition_filter = TRUE)" if layout else ""
    place.warehouse.execute(f"CREATE TABLE rebuilt AS {rows}")
    place.warehouse.drop(name)
    place.warehouse.execute(
        f"CREATE TABLE {name} {layout} {asking} AS SELECT * FROM rebuilt"
    )
    place.warehouse.drop("rebuilt")


PREDICTIONS = "PARTITION BY as_of CLUSTER BY use_case, run_id, user_id"


def unasked_days(place: Place) -> str:
    place.warehouse.execute(
        "ALTER TABLE stream_events SET OPTIONS (require_partition_filter = FALSE)"
    )
    return r"tables: stream_events can be queried without saying which days are meant"


def missing_table(place: Place) -> str:
    place.warehouse.drop("postcode_index")
    return r"tables: missing in \w+: postcode_index"


def missing_column(place: Place) -> str:
    rebuild(
        place,
        "ma_predictions_runs",
        columns="* EXCEPT (expected_value)",
        layout=PREDICTIONS,
    )
    return r"tables: ma_predictions_runs lacks the column expected_value \(NUMERIC\)"


def wrong_type(place: Place) -> str:
    rebuild(
        place,
        "ma_predictions_runs",
        columns="* REPLACE (CAST(probability AS STRING) AS probability)",
        layout=PREDICTIONS,
    )
    return r"tables: ma_predictions_runs.probability is STRING, and FLOAT64 is written"


def no_postcodes(place: Place) -> str:
    place.warehouse.execute("DELETE FROM postcode_index WHERE TRUE")
    return (
        "tables: postcode_index is empty: socioeconomic_idx, which first_day_churn "
        "reads, is null"
    )


def unpartitioned(place: Place) -> str:
    rebuild(place, "ma_predictions_runs")
    return r"tables: ma_predictions_runs is not partitioned, and not partitioned by"


def another_view(place: Place) -> str:
    query = f"SELECT * FROM `{place.workplace.ga4_dataset}.events_*`"
    place.warehouse.replace_view("ga_events", query)
    return "views: the view ga_events is not that of this version"


def missing_days(place: Place) -> str:
    for day in (date(2026, 2, 26), date(2026, 2, 27)):
        place.drop_export(day)
    return (
        "export: days of the export are missing: 2 within the lookback of 7 days: "
        "2026-02-26, 2026-02-27"
    )


def late_export(place: Place) -> str:
    for day in (date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 3)):
        place.drop_export(day)
    return "export: the newest day of the export is 2026-02-28: 3 days are late"


def changed_export(place: Place) -> str:
    name = f"{place.workplace.ga4_dataset}.events_20260303"
    with place.workplace.bigquery.client() as client:
        table = client.get_table(name)
        schema = [
            bigquery.SchemaField("user_first_touch_timestamp", "STRING")
            if field.name == "user_first_touch_timestamp"
            else field
            for field in table.schema
            if field.name != "traffic_source"
        ]
        client.delete_table(name)
        client.create_table(bigquery.Table(f"{place.settings.project}.{name}", schema))
        client.insert_rows_json(client.get_table(name), [{"event_name": "page_view"}])
    return (
        "export: the export's schema has changed: (traffic_source.source is missing|"
        "user_first_touch_timestamp is STRING instead of INT64|"
        "traffic_source.medium is missing)"
    )


def flipped_model(place: Place) -> str:
    place.flip(f"models/{USE_CASE}/0/model.joblib")
    return (
        f"champions: {USE_CASE}: the champion, version 0, has a model whose bytes are "
        "not those that were recorded"
    )


def lost_preprocessor(place: Place) -> str:
    place.artifacts.delete(f"models/{USE_CASE}/0/preprocessor.joblib")
    return f"champions: {USE_CASE}: the champion, version 0, has lost its preprocessor"


def unrecorded(place: Place) -> str:
    place.change(
        f"models/{USE_CASE}/champion.json", lambda pointer: {**pointer, "version": 7}
    )
    return (
        f"champions: {USE_CASE}: the champion, version 7, is not recorded in "
        "ma_model_training_metadata"
    )


def damaged_pointer(place: Place) -> str:
    place.overwrite(f"models/{USE_CASE}/champion.json", b"{")
    return f"champions: {USE_CASE}: the pointer models/{USE_CASE}/champion.json is dam"


def no_champion(place: Place) -> str:
    place.artifacts.delete(f"models/{USE_CASE}/champion.json")
    return (
        f"champions: {USE_CASE}: no model serves: version 0 was promoted, and since "
        f"then models/{USE_CASE}/champion.json was deleted"
    )


def old_champion(place: Place) -> str:
    place.promoted(NOW - timedelta(days=60))
    return f"champions: {USE_CASE}: version 0 has served for 60 days"


def other_libraries(place: Place) -> str:
    place.warehouse.execute(
        "UPDATE ma_model_training_metadata SET libraries = @libraries WHERE TRUE",
        {"libraries": json.dumps({"scikit-learn": "0.1"})},
    )
    return f"champions: {USE_CASE}: .* other libraries than .* scikit-learn 0.1 there"


def missed_run(place: Place) -> str:
    place.artifacts.delete(f"runs/{USE_CASE}/predict/{MONDAY}.json")
    place.ran("predict", MONDAY - timedelta(days=7))
    return (
        f"runs: predictions of {USE_CASE} was missed: it was due on 2026-03-02 17:00, "
        "and the last that succeeded is 2026-02-23"
    )


def damaged_lease(place: Place) -> str:
    place.flip(f"runs/{USE_CASE}/train/2026-03-01.json")
    return f"runs: model_training of {USE_CASE}: the lease of 2026-03-01 is damaged"


def stuck_run(place: Place) -> str:
    place.begin("train", date(2026, 3, 1), at=NOW - timedelta(days=3))
    return f"runs: model_training of {USE_CASE} for 2026-03-01 is stuck"


def lost_predictions(place: Place) -> str:
    place.warehouse.execute("DELETE FROM ma_publications WHERE TRUE")
    return (
        f"runs: {USE_CASE}: the run of 2026-03-02 is done, and ma_publications "
        "ends with nothing"
    )


def stale_index(place: Place) -> str:
    """Older code has published the table alone."""
    place.rebuilt.add("ma_publications")
    publish_index(place, NOW - timedelta(days=7))
    place.warehouse.execute(
        "UPDATE ma_publications SET scored_at = @at WHERE as_of >= DATE '1970-01-01'",
        {"at": NOW - timedelta(days=2)},
    )
    return (
        f"runs: {USE_CASE}: lookups answer from an index of 2026-02-25T12:00, and "
        "ma_publications has probabilities of 2026-03-02T12:00"
    )


def publish_index(place: Place, at: datetime) -> None:
    """Publish the index that lookups read."""
    index.publish(
        place.warehouse, place.artifacts, USE_CASE, run_id=uuid.uuid4().hex, at=at
    )


def missing_subscription(place: Place) -> str:
    with subscriber_of(place) as subscriber:
        subscriber.delete_subscription(
            subscription=subscription_path(place, "events-stream-features")
        )
    return "topics: the subscription events-stream-features is missing"


def waiting_dead_letters(place: Place) -> str:
    with publisher_of(place) as publisher:
        topic = f"projects/{place.settings.project}/topics/dead-letters"
        publisher.publish(topic=topic, messages=[{"data": b"secret-user"}] * 3)
    return "topics: 3 messages wait in dead-letters-replay"


def unscored_events(place: Place) -> str:
    received(place, NOW - timedelta(minutes=10))
    compacted(place, NOW - timedelta(hours=11))
    return f"stream: {USE_CASE}: events came until 2026-03-04 11:50, and none"


def lagging_scores(place: Place) -> str:
    received(place, NOW - timedelta(minutes=10))
    scored(place, NOW - timedelta(minutes=70))
    compacted(place, NOW - timedelta(hours=11))
    return f"stream: {USE_CASE}: scores are 60 minutes behind the events"


def old_compaction(place: Place) -> str:
    received(place, NOW - timedelta(days=6))
    compacted(place, NOW - timedelta(days=5))
    return "stream: the compaction is 5 days behind"


def dead_letters(place: Place) -> str:
    at = NOW - timedelta(hours=1)
    for number in range(3):
        place.warehouse.execute(
            "INSERT INTO dead_letters (message_id, reason, raw, received_at,"
            " received_on) VALUES (@id, 'bad_amount', b'secret-user', @at, @day)",
            {"id": f"m{number}", "at": at, "day": at.date()},
        )
    return (
        "stream: 3 events became dead letters since 2026-03-03 12:00 UTC: bad_amount 3"
    )


def publisher_of(place: Place) -> Any:
    endpoint = place.settings.pubsub_endpoint
    return open_client(PublisherClient, PublisherGrpcTransport, endpoint=endpoint)


CHANGE_EXPORT = {missing_days, late_export, changed_export}

# Faults that hide none of the others.
TOGETHER = (
    (
        missing_days,
        missing_table,
        missing_column,
        another_view,
        flipped_model,
        missed_run,
        missing_subscription,
        dead_letters,
    ),
    (
        wrong_type,
        changed_export,
        lost_preprocessor,
        waiting_dead_letters,
        lagging_scores,
    ),
    (late_export, unpartitioned, other_libraries, stuck_run, old_compaction),
    (unrecorded, lost_predictions, unscored_events, unasked_days, no_postcodes),
    (damaged_lease, stale_index),
    (damaged_pointer,),
    (no_champion,),
    (old_champion,),
)
