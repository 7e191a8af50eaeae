"""
What only Google can answer, each question asked by itself.

A question makes little and waits little; what has to run for it are the steps before.
"""

from __future__ import annotations

import contextlib
import re
import statistics
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import requests
from google.api_core import exceptions as api
from google.cloud import bigquery, storage
from google.pubsub_v1 import SubscriberClient
from google.pubsub_v1.types import RetryPolicy, Subscription

from deploy import functions
from deploy.functions import Function
from local.demos.calls import rows, send
from local.exports.ga4_schema import COLUMNS
from local.generators.cards import cards
from local.generators.streams import Delivery, attributes_of, encode
from local.rehearsal.ground import CARDS, REFUSED, SHOP
from local.rehearsal.probes import No, NotTried, Probe, Rehearsal, question
from local.rehearsal.steps import PATIENCE_S, looked_up, warehouse_of
from offline import costs
from propensity.errors import PropensityError
from propensity.gcp import writes
from propensity.gcp.clients import open_client
from propensity.gcp.pubsub import publish
from propensity.gcp.warehouse import Warehouse
from propensity.schema import in_sql
from propensity.settings import EVENTS
from propensity.statements import statement
from propensity.tables.models import PREDICTIONS, TRAINING_METADATA
from propensity.timeframe import midnight

DEPLOY_REFERENCE = "docs/deploy-reference.md"
PRIVACY = "docs/privacy.md"
OPERATE = "docs/operate.md"
# Public tables, more than a query may name: their dry run is free.
MANY_TABLES = "SELECT id FROM `githubarchive.day.20*`"
TOO_MANY = re.compile("too many tables|number of tables|1,?000 tables", re.IGNORECASE)
# Rows of a table that is made for questions.
SCRATCH = "rehearsal_rows"
UNCHANGEABLE = "streaming buffer"
# Longer would show where a run commits rows for each of its requests.
COMMIT_S = 10.0
# Lookups, and what the first may take, and 99% of the others.
LOOKUPS = 100
COLD_S = 10.0
WARM_S = 1.0
POLL_S = 0.2
# As this project's messages say it.
DENIED = "denies access"
# The least that BigQuery bills for a query.
LEAST_BYTES = 10 * 1024**2


# -- permissions -----------------------------------------------------------------------


def rights_of(function: Function) -> Probe:
    """Return the probe of a function's permissions."""
    target = function.target
    sentence = (
        "Each function runs as its own account, `propensity-<function>`, with the "
        "permissions in [deploy/functions.toml](../deploy/functions.toml) and no "
        "others."
    )
    if function.appends:
        sentence = "We assume that the Storage Write API needs"
    elif target == "get_proba":
        sentence = (
            'an account that may list names gets "missing" for a missing object, not '
            '"denied"'
        )

    @question(
        f"permissions of {target}",
        about=target,
        page=PRIVACY,
        sentence=sentence,
        remedy="Attach this page to an issue of Propensity: deploy/functions.toml "
        "lacks a permission. Until then, grant the one that the message names.",
    )
    def ask(rehearsal: Rehearsal) -> str:
        for call in rehearsal.calls:
            if call.target == target and call.is_refused:
                raise No(call.message)
        for line in refused_lines(rehearsal, target):
            raise No(line)
        if target not in rehearsal.answered:
            raise NotTried("it has not done anything here")
        return "all that it did was allowed"

    return ask


def refused_lines(rehearsal: Rehearsal, target: str) -> Iterator[str]:
    """Yield what a function's log says of permissions that it lacks."""
    for line in rehearsal.ground.lines().get(target, ()):
        message = str(line.get("message"))
        # A lookup without an index goes on, and says why it does.
        if line["outcome"] in REFUSED or DENIED in message:
            yield message


@question(
    "no other permissions",
    about="IAM",
    page=PRIVACY,
    sentence="Permissions are granted on tables, objects under a prefix, and topics.",
    remedy="Look who gave the account a role in the project, in a folder or above.",
)
def have_no_more(rehearsal: Rehearsal) -> str:
    wanted = ["bigquery.tables.getData", "bigquery.tables.updateData"]
    settings = rehearsal.ground.settings
    held = {}
    with rehearsal.ground.acting_as("get_proba") as client:
        for table in (PREDICTIONS, TRAINING_METADATA):
            name = f"{settings.project}.{settings.dataset}.{table.stored}"
            answer = client.test_iam_permissions(name, wanted)
            held[table.stored] = answer.get("permissions", [])
    other = held[TRAINING_METADATA.stored]
    if other:
        raise No(f"get_proba has {', '.join(other)} on {TRAINING_METADATA.stored}")
    if not held[PREDICTIONS.stored]:
        raise NotTried("get_proba has no permission yet, also none of its own")
    return f"get_proba may read {PREDICTIONS.stored}, and nothing more"


@question(
    "builds",
    about="Cloud Build",
    page=PRIVACY,
    sentence="If a build is rejected, give `propensity-build@PROJECT.iam."
    "gserviceaccount.com` the role",
    remedy="Give that account roles/run.builder in the project, and deploy again.",
    is_early=True,
)
def build(rehearsal: Rehearsal) -> str:
    for line in rehearsal.ground.refused_builds:
        raise No(line)
    if not rehearsal.is_set_up:
        raise NotTried("not everything was built")
    return "every function was built"


@question(
    "private functions",
    about="Cloud Run",
    page=PRIVACY,
    sentence="Every function is private: without the Cloud Run Invoker role, "
    "callers get 403.",
    remedy="Look who has roles/run.invoker on the service, also of the project.",
)
def refuse_strangers(rehearsal: Rehearsal) -> str:
    answer = requests.get(rehearsal.ground.url("get_proba"), timeout=PATIENCE_S)
    text = f"a request without a token was answered with {answer.status_code}"
    if answer.status_code not in (401, 403):
        raise No(text)
    return text


@question(
    "the scheduler's token",
    about="Cloud Scheduler",
    page=PRIVACY,
    sentence="`propensity-scheduler` calls scheduled functions",
    remedy="Look at the schedule's log: its account needs roles/run.invoker.",
)
def let_the_scheduler_in(rehearsal: Rehearsal) -> str:
    if not rehearsal.calls:
        raise NotTried("the scheduler has called nothing")
    for call in rehearsal.calls:
        if call.is_kept_out:
            raise No(f"{call.target} answered the scheduler with {call.status}")
    return f"{len(rehearsal.calls)} calls were let in"


@question(
    "the token of pushes",
    about="Pub/Sub",
    page=PRIVACY,
    sentence="`propensity-push` calls the functions that Pub/Sub pushes to; only "
    "Pub/Sub may sign as it",
    remedy="Look at the subscription's push errors. Events wait in Pub/Sub.",
)
def let_pushes_in(rehearsal: Rehearsal) -> str:
    now = datetime.now(UTC)
    drawn = cards(transactions=1, fraud_rate=0.0, days=1, end=midnight(now.date()))
    [event] = replace(drawn, prefix=f"{uuid.uuid4().hex}-").events()
    patience_s = rehearsal.ground.patience_s
    with warehouse_of(rehearsal.ground) as warehouse:
        sent = Delivery(encode(event), attributes_of(event), now, event)
        send(warehouse, [sent])
        while True:
            [counts] = rows(warehouse, "counts", use_case=CARDS, since=now)
            seconds = (datetime.now(UTC) - now).total_seconds()
            if counts["stored_rows"]:
                rehearsal.answered.add("stream_features")
                return f"a message was stored after {seconds:.0f} s"
            if seconds > patience_s:
                break
            time.sleep(POLL_S)
    if list(refused_lines(rehearsal, "stream_features")):
        raise NotTried("stream_features was refused: see its permissions")
    raise No(f"after {seconds:.0f} s a message was not stored")


# -- calls -----------------------------------------------------------------------------


@question(
    "no useless retries",
    about="Cloud Scheduler",
    page=OPERATE,
    sentence="If a retry can't help, a scheduled function answers Cloud Scheduler "
    "with 200 and the same JSON",
    remedy="The header X-CloudScheduler does not arrive: a proxy may take it away.",
)
def spare_retries(rehearsal: Rehearsal) -> str:
    call = rehearsal.ground.call("predictions", {"use_case": "nobody"})
    if call.is_kept_out or not call.outcome:
        raise NotTried("predictions wrote no line")
    if call.status != 200:
        raise No(f"the scheduler got {call.status}, and would call again")
    return f"the line says {call.outcome}, and the scheduler got 200"


@question(
    "messages come again",
    about="Pub/Sub",
    page="04-StreamFeatures/README.md",
    sentence="After any other answer Pub/Sub delivers the message again, a hundred "
    "times over fifteen hours.",
    remedy="Look at the retry policy of the subscriptions.",
)
def deliver_again(rehearsal: Rehearsal) -> str:
    [pushed] = [
        subscription
        for subscription in functions.SUBSCRIPTIONS
        if subscription.topic == EVENTS
    ]
    settings = rehearsal.ground.settings
    topic = settings.prefixed(EVENTS)
    place = f"projects/{settings.project}"
    suffix = uuid.uuid4().hex[:8]
    name = f"{place}/subscriptions/{settings.prefixed('rehearsal')}-{suffix}"
    retry = RetryPolicy(
        minimum_backoff=timedelta(seconds=pushed.minimum_backoff_s),
        maximum_backoff=timedelta(seconds=pushed.maximum_backoff_s),
    )
    wanted = Subscription(
        name=name, topic=f"{place}/topics/{topic}", retry_policy=retry
    )
    latest_s = rehearsal.ground.patience_s
    with open_client(SubscriberClient, settings.pubsub_endpoint) as subscriber:
        subscriber.create_subscription(wanted)
        try:
            publish(settings, topic, [(b"rehearsal", {})])
            letters = pulled(subscriber, name, latest_s)
            subscriber.modify_ack_deadline(
                subscription=name, ack_ids=letters, ack_deadline_seconds=0
            )
            began = time.monotonic()
            pulled(subscriber, name, latest_s)
            seconds = time.monotonic() - began
        finally:
            subscriber.delete_subscription(subscription=name)
    return f"a message came again after {seconds:.0f} s"


def pulled(subscriber: SubscriberClient, name: str, latest_s: float) -> list[str]:
    """Return the ids of messages, which must come in time."""
    deadline = time.monotonic() + latest_s
    while time.monotonic() < deadline:
        with contextlib.suppress(api.DeadlineExceeded):
            answer = subscriber.pull(subscription=name, max_messages=1, timeout=5.0)
            if answer.received_messages:
                return [letter.ack_id for letter in answer.received_messages]
        time.sleep(0.1)
    raise No(f"a message that failed did not come again within {latest_s:.0f} s")


@question(
    "runs go on",
    about="Cloud Run",
    page=DEPLOY_REFERENCE,
    sentence="whether a request continues on Cloud Run when the scheduler has hung up",
    remedy="Train by a Cloud Run job: deploy/training_job.sh --schedule.",
)
def go_on(rehearsal: Rehearsal) -> str:
    body = {"use_case": SHOP, "as_of": f"{rehearsal.weeks[-1]}", "force": True}
    call = rehearsal.ground.call("model_training", body, hangs_up=True)
    if call.is_kept_out:
        raise NotTried("model_training kept the scheduler out")
    if call.outcome != "ok":
        raise No(f"a training whose caller hung up ended with {call.outcome!r}")
    return f"a training ended after {call.seconds:.0f} s, its caller hung up before"


@question(
    "alerts send mail",
    about="Cloud Monitoring",
    page=OPERATE,
    sentence="A monitoring alert is a mail to `DEPLOY_ALERT_EMAIL`",
    remedy="Look at the policy's incidents, and whether the address is verified.",
)
def send_mail(rehearsal: Rehearsal) -> str:
    heard = rehearsal.ground.ask(
        "A run has failed on purpose. Did a mail about run_failed come? It may take "
        "ten minutes"
    )
    if heard is None:
        raise NotTried("nobody said whether a mail came: give --email, without --yes")
    if not heard:
        raise No("no mail came")
    return "a mail came"


@question(
    "lookups",
    about="get_proba",
    page="docs/requests.md",
    sentence="On Google Cloud, the first lookup after a pause waits for a cold "
    "start: half a second of ours, and Google's.",
    remedy="Set --min-instances=1 in 02-GetProba/deploy.sh.",
)
def answer_in_time(rehearsal: Rehearsal) -> str:
    if not rehearsal.waits:
        raise NotTried("nobody was looked up")
    cold_s = rehearsal.waits[0]
    for _ in range(LOOKUPS):
        looked_up(rehearsal, rehearsal.user)
    latest = rehearsal.waits[-LOOKUPS:]
    slowest_s = statistics.quantiles(latest, n=100)[98]
    text = (
        f"the first took {cold_s:.1f} s, half of {LOOKUPS} less than "
        f"{1000 * statistics.median(latest):.0f} ms, and 99% less than "
        f"{1000 * slowest_s:.0f} ms, seen from here"
    )
    if cold_s > COLD_S or slowest_s > WARM_S:
        raise No(text)
    return text


# -- BigQuery --------------------------------------------------------------------------


@contextlib.contextmanager
def scratch_of(rehearsal: Rehearsal) -> Iterator[Warehouse]:
    """Make a table of one column, which nobody else reads."""
    with warehouse_of(rehearsal.ground) as warehouse:
        settings = warehouse.settings
        name = f"{settings.project}.{settings.dataset}.{SCRATCH}"
        table = bigquery.Table(name, schema=[bigquery.SchemaField("word", "STRING")])
        warehouse.client.create_table(table, exists_ok=True)
        try:
            yield warehouse
        finally:
            warehouse.client.delete_table(name, not_found_ok=True)


@question(
    "new rows can be changed",
    about="BigQuery",
    page=PRIVACY,
    sentence="that new rows can be changed and deleted at once",
    remedy="Run `propensity forget` once more after 90 minutes.",
)
def change_at_once(rehearsal: Rehearsal) -> str:
    with scratch_of(rehearsal) as warehouse:
        writes.append(warehouse.settings, SCRATCH, pa.table({"word": ["a"]}))
        changes = [
            f"UPDATE {SCRATCH} SET word = 'b' WHERE word = 'a'",
            f"DELETE FROM {SCRATCH} WHERE word = 'b'",
        ]
        try:
            changed = [warehouse.execute(sql) for sql in changes]
        except PropensityError as why:
            if UNCHANGEABLE in why.message:
                raise No(why.message) from why
            raise
    if changed != [1, 1]:
        raise No(
            f"a new row was changed {changed[0]} times, deleted {changed[1]} times"
        )
    return "a row was changed and deleted as soon as it was there"


@question(
    "rows are committed soon",
    about="BigQuery",
    page=DEPLOY_REFERENCE,
    sentence="how long BigQuery takes to commit rows",
    remedy="Runs take longer than here: look at their seconds in the log.",
)
def commit(rehearsal: Rehearsal) -> str:
    with scratch_of(rehearsal) as warehouse:
        times = []
        for _ in range(3):
            began = time.monotonic()
            writes.write(warehouse.settings, SCRATCH, pa.table({"word": ["a"]}))
            times.append(time.monotonic() - began)
    slowest_s = max(times)
    text = f"the slowest of three took {slowest_s:.1f} s"
    if slowest_s > COMMIT_S:
        raise No(text)
    return text


@question(
    "job records have no ids",
    about="BigQuery",
    page=PRIVACY,
    sentence="We don't know whether BigQuery keeps the values of query parameters "
    "in the metadata of jobs, for 180 days.",
    remedy="Give few people bigquery.jobs.listAll, and name job records in your "
    "record of processing.",
)
def keep_no_values(rehearsal: Rehearsal) -> str:
    secret = uuid.uuid4().hex
    with warehouse_of(rehearsal.ground) as warehouse:
        parameter = bigquery.ScalarQueryParameter("word", "STRING", secret)
        config = bigquery.QueryJobConfig(query_parameters=[parameter])
        job = warehouse.client.query("SELECT @word AS word", job_config=config)
        job.result()
        # As the service has it, not as this process does.
        record = warehouse.client.get_job(job.job_id, location=job.location)
        assert isinstance(record, bigquery.QueryJob)
        values = [given.value for given in record.query_parameters]
        if secret in values:
            raise No("the record of a query has the values of its parameters")
    return "the record of a query has no value of its parameters"


@question(
    "wildcards name many tables",
    about="BigQuery",
    page=DEPLOY_REFERENCE,
    sentence="whether a wildcard may name more than 1,000 tables",
    remedy="Delete days of the export that are older than 900 days, or copy them.",
)
def name_many_tables(rehearsal: Rehearsal) -> str:
    with warehouse_of(rehearsal.ground) as warehouse:
        config = bigquery.QueryJobConfig(dry_run=True)
        try:
            # These public tables are in the US.
            warehouse.client.query(MANY_TABLES, job_config=config, location="US")
        except api.GoogleAPICallError as error:
            reason = str(error.message)
            if TOO_MANY.search(reason):
                raise No(reason) from error
            problem = f"the public tables could not be asked: {reason}"
            raise NotTried(problem) from error
    return "a wildcard named more than 4,000 public tables"


@question(
    "days are read alone",
    about="BigQuery",
    page=OPERATE,
    sentence="Each day of the export is read once, into",
    remedy="Every run reads the whole export: set "
    "PROPENSITY_MAXIMUM_BYTES_BILLED, and attach this page to an issue.",
)
def prune(rehearsal: Rehearsal) -> str:
    with warehouse_of(rehearsal.ground) as warehouse:
        names = sorted(warehouse.tables_of(warehouse.settings.export))
        days = [name.rpartition("_")[2] for name in names]
        all_bytes = digest_bytes(warehouse, days[0], days[-1])
        one_day = digest_bytes(warehouse, days[-1], days[-1])
    if not all_bytes:
        raise NotTried("a dry run says no bytes")
    share = one_day / all_bytes
    text = f"one of {len(days)} days would read {share:.1%} of all bytes"
    if share > 0.5:
        raise No(text)
    return text


def digest_bytes(warehouse: Warehouse, first: str, last: str) -> int:
    """Return what digesting some days would read."""
    span = {"first_suffix": first, "last_suffix": last}
    sql = statement(costs.DIGEST)
    parameters = {**span, "event_names": ["purchase", "refund"]}
    return warehouse.dry_run(sql, parameters)


@question(
    "dry runs tell the price",
    about="BigQuery",
    page=OPERATE,
    sentence="For your own export, `propensity doctor` asks BigQuery, free of charge",
    remedy="The doctor's costs are too low: look at what was billed.",
)
def bill_as_said(rehearsal: Rehearsal) -> str:
    sql = "SELECT event_name, COUNT(*) FROM ga_events GROUP BY event_name"
    with warehouse_of(rehearsal.ground) as warehouse:
        expected = warehouse.dry_run(sql)
        warehouse.rows(sql)
        tables = len(warehouse.tables_of(warehouse.settings.export))
        billed = warehouse.bytes_billed
    if not billed:
        raise NotTried("nothing was billed")
    text = f"{billed:,} bytes were billed, and the dry run had said {expected:,}"
    if billed > max(1.05 * expected, LEAST_BYTES * tables):
        raise No(text)
    return text


@question(
    "columns of the export",
    about="the export",
    page="docs/data.md",
    sentence="The demo stops at the first row that doesn't look like a GA4 export",
    remedy="Attach this page to an issue: Google has changed a column.",
)
def match_columns(rehearsal: Rehearsal) -> str:
    with warehouse_of(rehearsal.ground) as warehouse:
        table = warehouse.client.get_table(rehearsal.ground.sample)
    fields = {field.name: field for field in table.schema}
    matching = 0
    for column in COLUMNS:
        field = fields.get(column.name)
        if field is None:
            continue
        if in_sql(field.field_type) != column.type:
            raise No(f"{column.name} is {field.field_type}, expected {column.type}")
        matching += 1
    return f"{matching} of {len(COLUMNS)} columns are there, with the same types"


@question(
    "location",
    about="BigQuery and Cloud Storage",
    page="docs/settings.md",
    sentence="Where both datasets are, because queries do not cross locations.",
    remedy="Name a PROPENSITY_LOCATION that gcp.resourceLocations allows.",
)
def keep_location(rehearsal: Rehearsal) -> str:
    settings = rehearsal.ground.settings
    wanted = settings.location.casefold()
    with warehouse_of(rehearsal.ground) as warehouse:
        for dataset in (settings.dataset, settings.ga4_dataset):
            location = warehouse.client.get_dataset(dataset).location
            if location.casefold() != wanted:
                raise No(f"the dataset {dataset} is in {location}")
    with storage.Client(project=settings.project) as client:
        location = f"{client.get_bucket(settings.bucket).location}"
    if location.casefold() != wanted:
        raise No(f"the bucket is in {location}")
    return f"both datasets and the bucket are in {settings.location}"


@question(
    "keys",
    about="Cloud KMS",
    page="docs/settings.md",
    sentence="Key in Cloud KMS, by its whole name, that encrypts dataset, topics, "
    "the bucket and Terraform's.",
    remedy="The keys' owner runs what deploy/setup.sh prints.",
)
def use_key(rehearsal: Rehearsal) -> str:
    key = rehearsal.ground.kms_key
    if not key:
        raise NotTried("DEPLOY_KMS_KEY is not set")
    settings = rehearsal.ground.settings
    with warehouse_of(rehearsal.ground) as warehouse:
        dataset = warehouse.client.get_dataset(settings.dataset)
    encryption = dataset.default_encryption_configuration
    if encryption is None or encryption.kms_key_name != key:
        raise No("the dataset has another key, or Google's")
    return "the dataset has the key"


OTHERS = (
    have_no_more,
    build,
    refuse_strangers,
    let_the_scheduler_in,
    let_pushes_in,
    spare_retries,
    deliver_again,
    go_on,
    answer_in_time,
    change_at_once,
    commit,
    keep_no_values,
    name_many_tables,
    prune,
    bill_as_said,
    match_columns,
    keep_location,
    use_key,
    send_mail,
)
# What the others did has shown whether it was allowed.
QUESTIONS = OTHERS + tuple(map(rights_of, functions.load()))
