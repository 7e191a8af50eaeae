"""
What functions share: the project's APIs, roles and accounts, and where data are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from deploy.access import project_right, right
from deploy.deployment import Deployment
from deploy.steps import OWNER, Command, Step
from deploy.words import (
    BUILD,
    NUMBER,
    PUSH,
    ROOT,
    SCHEDULER,
    agent,
    bq,
    dataset_name,
    gcloud,
    late,
    own_subscription,
    project,
    query,
    shown,
    table_name,
)
from propensity import tables, topics
from propensity.privacy import consent
from propensity.schema import Table
from propensity.statements import statement

LIFECYCLE = "deploy/lifecycle.json"
MESSAGES_KEPT = "--message-retention-duration=7d"

APIS = (
    "artifactregistry",
    "bigquery",
    "bigquerystorage",
    "cloudbuild",
    "cloudfunctions",
    "cloudscheduler",
    "iam",
    "logging",
    "monitoring",
    "pubsub",
    "run",
    "storage",
)
SECRETS_API = "secretmanager"
KEYS_API = "cloudkms"
NETWORK_API = "vpcaccess"

# The rights that no role of Google's holds alone.
OWN_ROLES = {
    "table_appender": (
        "Add rows to a table and read none",
        ("bigquery.tables.updateData",),
    ),
    "table_writer": (
        "Read and change the rows of a table",
        ("bigquery.tables.getData", "bigquery.tables.updateData"),
    ),
    "view_keeper": (
        "Replace the text of a view",
        ("bigquery.tables.get", "bigquery.tables.update"),
    ),
    "object_lister": ("List the names of objects", ("storage.objects.list",)),
}
IMAGE_WRITER = "roles/artifactregistry.writer"
BUILD_ROLES = (IMAGE_WRITER, "roles/logging.logWriter")
KEY_USER = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
# Whose agents encrypt what is in a dataset, a bucket and topics, and what functions
# are made of; https://cloud.google.com/functions/docs/securing/cmek.
ENCRYPTS_DATA = ("bigquery", "storage", "pubsub")
ENCRYPTS_FUNCTIONS = ("cloudfunctions", "run", "artifactregistry", "storage")
AGENTS = {
    "artifactregistry": "gcp-sa-artifactregistry",
    "cloudfunctions": "gcf-admin-robot",
    "pubsub": "gcp-sa-pubsub",
    "run": "serverless-robot-prod",
    "storage": "gs-project-accounts",
}
# Where Cloud Functions puts what it is to build; no other bucket is the builder's.
UPLOADS = 'resource.name.startsWith("projects/_/buckets/gcf-v2-")'


# -- the project ----------------------------------------------------------------------


def apis(d: Deployment) -> Iterator[Step]:
    """Yield the APIs that everything else needs."""
    wanted = [*APIS]
    wanted += [SECRETS_API] if d.suppression_secret else []
    wanted += [KEYS_API] if d.keys.data or d.keys.functions else []
    wanted += [NETWORK_API] if d.network.connector else []
    names = [f"{api}.googleapis.com" for api in wanted]

    def enabled(found: list[dict[str, Any]]) -> bool:
        return set(names) <= {one["config"]["name"] for one in found}

    yield Step(
        what="APIs (a teardown leaves them on: others may use them)",
        look=gcloud("services list --enabled --format=json", project(d)),
        holds=enabled,
        create=(gcloud("services enable", *names, project(d)),),
    )


def roles(d: Deployment) -> Iterator[Step]:
    """Yield the deployment's own roles."""
    for name, (title, permissions) in OWN_ROLES.items():
        role = f"{d.prefix}_{name}"
        listed = f"--permissions={','.join(permissions)}"
        words = (role, f"--title={title} ({d.prefix})", listed, "--stage=GA")
        look = gcloud("iam roles describe", role, project(d), "--format=json")
        # Removed by a teardown, a role stays for a week, and its name with it.
        yield Step(
            what=f"role {role}, if it was removed lately",
            look=look,
            holds=lambda found: not found.get("deleted"),
            update=(gcloud("iam roles undelete", role, project(d)),),
        )
        yield Step(
            what=f"role {role}: {title.lower()}",
            look=look,
            pick=lambda found: None if found.get("deleted") else found,
            holds=_permits(permissions),
            create=(gcloud("iam roles create", *words, project(d), "--quiet"),),
            update=(gcloud("iam roles update", *words, project(d), "--quiet"),),
            remove=(gcloud("iam roles delete", role, project(d)),),
        )


def _permits(permissions: tuple[str, ...]) -> Callable[[Any], bool]:
    return lambda found: set(found.get("includedPermissions", ())) == set(permissions)


def accounts(d: Deployment) -> Iterator[Step]:
    """Yield the service accounts: one a function, and those that call and build."""
    parts = [(one.target, f"runs {one.target}") for one in d.functions]
    parts += [
        (SCHEDULER, "calls what is scheduled"),
        (PUSH, "pushes messages to functions"),
        (BUILD, "builds functions"),
    ]
    for part, title in parts:
        account, name = d.account(part), f"--display-name=Propensity {title}"
        delete = gcloud("iam service-accounts delete", account, project(d), "--quiet")
        look = gcloud("iam service-accounts describe", account, project(d))
        yield Step(
            what=f"service account {d.name(part)}: {title}",
            look=(*look, "--format=json"),
            create=(
                gcloud("iam service-accounts create", d.name(part), name, project(d)),
            ),
            remove=(delete,),
        )
    for role in BUILD_ROLES:
        if role == IMAGE_WRITER and d.repository:
            continue
        yield project_right(d, d.account(BUILD), role)
    yield right(
        f"{d.name(BUILD)} may read what is uploaded to be built",
        ("projects", d.project),
        role="roles/storage.objectViewer",
        member=f"serviceAccount:{d.account(BUILD)}",
        condition=UPLOADS,
        title="uploads of Cloud Functions",
    )


# -- keys and images ------------------------------------------------------------------


def keys(d: Deployment) -> Iterator[Step]:
    """
    Yield what lets Google's services use the customer's keys, before anything does.

    A teardown leaves these rights: without them what is kept could not be read.
    """
    wanted = [(d.keys.data, service) for service in ENCRYPTS_DATA]
    wanted += [(d.keys.functions, service) for service in ENCRYPTS_FUNCTIONS]
    for key, service in dict.fromkeys(one for one in wanted if one[0]):
        granted = right(
            f"{service} may use the key {key.rpartition('/')[2]}",
            ("kms", "keys", key),
            role=KEY_USER,
            member=_encrypter(service),
        )
        # The service's own account is there once somebody has asked for it.
        create = (_identity(d, service), *granted.create)
        yield replace(granted, create=create, remove=(), given=(key,))


def _identity(d: Deployment, service: str) -> Command:
    """Return the command that makes the account of a service where it is missing."""
    if service == "bigquery":
        return bq(d, "show", "--encryption_service_account")
    if service == "storage":
        return gcloud("storage service-agent", project(d))
    name = f"--service={service}.googleapis.com"
    return gcloud("beta services identity create", name, project(d))


def _encrypter(service: str) -> str:
    if service == "bigquery":
        name = f"bq-{late(NUMBER)}@bigquery-encryption.iam.gserviceaccount.com"
        return f"serviceAccount:{name}"
    return agent(AGENTS[service])


def _uses(key: str, service: str) -> str:
    """Return what a step waits for whose resource is encrypted with a key."""
    return f"the right of {service} to use {key.rpartition('/')[2]}" if key else ""


def images(d: Deployment) -> Iterator[Step]:
    """Yield the repository of the functions' images, where it is the deployment's."""
    if not d.repository:
        return
    where = (f"--location={d.region}", project(d))
    verb, label = "artifacts repositories", f"{OWNER}={d.prefix}"
    key = (f"--kms-key={d.keys.functions}",) if d.keys.functions else ()
    yield Step(
        what=f"repository {d.repository} of images",
        look=gcloud(f"{verb} describe", d.repository, *where, "--format=json"),
        create=(
            gcloud(
                f"{verb} create",
                d.repository,
                "--repository-format=docker",
                *key,
                f"--labels={label}",
                *where,
            ),
        ),
        remove=(gcloud(f"{verb} delete", d.repository, *where, "--quiet"),),
        owner=d.prefix,
        adopt=gcloud(
            f"{verb} update", d.repository, f"--update-labels={label}", *where
        ),
        waits_for=_uses(d.keys.functions, "artifactregistry"),
        given=(d.keys.functions,),
    )
    yield right(
        f"{d.name(BUILD)} may write images to {d.repository}",
        ("artifacts", "repositories", d.repository),
        role=IMAGE_WRITER,
        member=f"serviceAccount:{d.account(BUILD)}",
        where=where,
    )


# -- BigQuery -------------------------------------------------------------------------


def dataset(d: Deployment) -> Iterator[Step]:
    """Yield the dataset, its tables and its views."""
    name = f"{d.project}:{d.settings.dataset}"
    location = f"--location={d.settings.location}"
    made = (
        "mk",
        "--dataset",
        "--description=Propensity",
        f"--label={OWNER}:{d.prefix}",
    )
    key = d.keys.data
    encrypted = (f"--default_kms_key={key}",) if key else ()
    yield Step(
        what=f"dataset {d.settings.dataset} in {d.settings.location}",
        look=shown(d, name),
        holds=lambda found: not key or _default_key(found) == key,
        create=(bq(d, location, *made, *encrypted, name),),
        # Of tables that are there, those that are made anew.
        update=(bq(d, "update", *encrypted, name),) if key else (),
        waits_for=_uses(key, "bigquery"),
        given=(key,),
        remove=(bq(d, "rm", "-r", "-f", "--dataset", name),),
        is_data=True,
        owner=d.prefix,
        adopt=bq(d, "update", f"--set_label={OWNER}:{d.prefix}", name),
    )
    for table in tables.retained(d.settings.retention_days):
        yield Step(
            what=f"table {table.name}",
            look=shown(d, table_name(d, table.name)),
            holds=_has_columns(table),
            create=(query(d, table.ddl()),),
            update=(query(d, added_columns(table)),),
        )
        if any(column.fields for column in table.columns):
            # A step of its own: a column that is missing rewrites no table.
            yield Step(
                what=f"types of the table {table.name}",
                look=shown(d, table_name(d, table.name)),
                holds=_has_types(table),
                update=(query(d, table.rewritten()),),
            )
    # The compaction gives it another text every day: only a missing one is made.
    view = features_view(f"{d.project}.{d.settings.dataset}")
    yield Step(
        what="view stream_features",
        look=shown(d, table_name(d, "stream_features")),
        create=(_view(d, "mk", "stream_features", view),),
    )
    if not d.settings.ga4_dataset:
        return
    yield _export_location(d)
    text = events_view(d.settings.export, require=d.settings.require_consent)
    yield Step(
        what=f"view ga_events of the export {d.settings.ga4_dataset}",
        look=shown(d, table_name(d, "ga_events")),
        holds=lambda found: found.get("view", {}).get("query", "").strip() == text,
        create=(_view(d, "mk", "ga_events", text),),
        update=(_view(d, "update", "ga_events", text),),
        needs="the export has no daily table yet, or you may not read it; run the "
        "set-up again once that has changed",
    )


def _export_location(d: Deployment) -> Step:
    """Return the step that sees to it that one query can read export and dataset."""
    settings = d.settings
    look = shown(d, dataset_name(settings.export))

    def refuses(found: dict[str, Any]) -> str:
        there = str(found.get("location", ""))
        if there.casefold() in ("", settings.location.casefold()):
            return ""
        return (
            f"the export {settings.export} is in {there}, and the dataset "
            f"{d.project}.{settings.dataset} would be in {settings.location}: no query "
            f"reads both. Set PROPENSITY_LOCATION={there}, with a new dataset where "
            "there is one already, or link GA4 to another location"
        )

    return Step(
        what=f"export {settings.export} is in {settings.location}",
        look=look,
        refuses=refuses,
        create=(look,),
        needs="it is not there yet, or you may not see it",
    )


def _default_key(found: dict[str, Any]) -> str:
    return str(found.get("defaultEncryptionConfiguration", {}).get("kmsKeyName", ""))


def features_view(dataset: str) -> str:
    """Return the view of the stream's features, before anything was compacted."""
    # A view has no default dataset to find its tables in.
    text = statement("stream_features")
    return text.replace("`stream_", f"`{dataset}.stream_").strip()


def events_view(export: str, *, require: str) -> str:
    """Return the view of the export, of the dataset that it is in."""
    return consent.events_view(export, require=require).strip()


def _view(d: Deployment, verb: str, name: str, text: str) -> Command:
    return bq(d, verb, "--use_legacy_sql=false", f"--view={text}", table_name(d, name))


def _has_columns(table: Table) -> Callable[[Any], bool]:
    def holds(found: dict[str, Any]) -> bool:
        there = {one["name"] for one in found.get("schema", {}).get("fields", ())}
        expires = int(found.get("timePartitioning", {}).get("expirationMs", 0))
        return (
            {column.name for column in table.columns} <= there
            and expires == table.expiration_days * 24 * 3600 * 1000
            and bool(found.get("requirePartitionFilter")) == table.requires_filter
        )

    return holds


def _has_types(table: Table) -> Callable[[Any], bool]:
    def holds(found: dict[str, Any]) -> bool:
        return not table.is_narrower(found.get("schema", {}).get("fields", ()))

    return holds


def added_columns(table: Table) -> str:
    """
    Return the script that gives a table of an earlier version what it lacks.

    BigQuery adds no required column to a table that is there.
    """
    columns = [
        f"ADD COLUMN IF NOT EXISTS {column.name} {column.sql_type}"
        for column in table.columns
        if not column.required
    ]
    options = f"require_partition_filter = {str(table.requires_filter).upper()}"
    if not table.buckets:
        # Only days expire.
        days = table.expiration_days or "NULL"
        options = f"partition_expiration_days = {days}, {options}"
    options = f"SET OPTIONS ({options})"
    changes = ([", ".join(columns)] if columns else []) + [options]
    return ";\n".join(f"ALTER TABLE `{table.name}` {change}" for change in changes)


# -- Cloud Storage --------------------------------------------------------------------


def bucket(d: Deployment) -> Iterator[Step]:
    """Yield the bucket of models, leases, archive and exports."""
    url, location = f"gs://{d.settings.bucket}", f"--location={d.settings.location}"
    private = ("--uniform-bucket-level-access", "--public-access-prevention")
    kept = ("--versioning", f"--lifecycle-file={LIFECYCLE}")
    rules = json.loads((ROOT / LIFECYCLE).read_text())["rule"]
    owned = f"--update-labels={OWNER}={d.prefix}"
    key = d.keys.data
    encrypted = (f"--default-encryption-key={key}",) if key else ()
    update = gcloud("storage buckets update", url, *private, *kept, *encrypted, owned)

    def holds(found: dict[str, Any]) -> bool:
        return (
            (not key or found.get("default_kms_key") == key)
            and bool(found.get("uniform_bucket_level_access"))
            and found.get("public_access_prevention") == "enforced"
            and bool(found.get("versioning_enabled"))
            and found.get("lifecycle_config", {}).get("rule") == rules
        )

    yield Step(
        what=f"bucket {d.settings.bucket}: uniform access, private, versioned",
        look=gcloud("storage buckets describe", url, "--format=json"),
        holds=holds,
        create=(
            gcloud(
                "storage buckets create",
                url,
                location,
                *private,
                *encrypted,
                project(d),
            ),
            update,
        ),
        update=(update,),
        waits_for=_uses(key, "storage"),
        given=(key,),
        remove=(gcloud("storage rm --recursive", url, "--quiet"),),
        is_data=True,
        owner=d.prefix,
        adopt=gcloud("storage buckets update", url, owned),
    )


# -- Pub/Sub --------------------------------------------------------------------------


def messages(d: Deployment) -> Iterator[Step]:
    """Yield topics and subscriptions, and what Pub/Sub itself must be allowed."""
    is_streaming = any(one.subscriptions for one in d.functions)
    for topic in topics.TOPICS:
        if not (is_streaming or any(topic in one.publishes for one in d.functions)):
            continue
        name = d.topic(topic)
        label = f"{OWNER}={d.prefix}"
        key = d.keys.data
        encrypted = (f"--topic-encryption-key={key}",) if key else ()
        words = (name, MESSAGES_KEPT, *encrypted, f"--labels={label}", project(d))
        create = gcloud("pubsub topics create", *words)
        adopt = gcloud("pubsub topics update", name, f"--update-labels={label}")
        look = gcloud("pubsub topics describe", name, project(d), "--format=json")
        yield Step(
            what=f"topic {name}",
            look=look,
            create=(create,),
            remove=(gcloud("pubsub topics delete", name, project(d)),),
            is_data=True,
            waits_for=_uses(key, "pubsub"),
            given=(key,),
            owner=d.prefix,
            adopt=(*adopt, project(d)),
        )
    if is_streaming:
        yield from _subscriptions(d)


def _subscriptions(d: Deployment) -> Iterator[Step]:
    pubsub, letters = agent(AGENTS["pubsub"]), d.topic(topics.DEAD_LETTERS)
    yield right(
        f"Pub/Sub may publish to {letters}",
        ("pubsub", "topics", letters),
        role="roles/pubsub.publisher",
        member=pubsub,
        where=(project(d),),
    )
    yield right(
        f"Pub/Sub may push as {d.name(PUSH)}",
        ("iam", "service-accounts", d.account(PUSH)),
        role="roles/iam.serviceAccountTokenCreator",
        member=pubsub,
        where=(project(d),),
    )
    for one in topics.SUBSCRIPTIONS:
        yield _subscription(d, one)
        if one.function:
            yield right(
                f"Pub/Sub may take dead letters from {d.subscription(one)}",
                ("pubsub", "subscriptions", d.subscription(one)),
                role="roles/pubsub.subscriber",
                member=pubsub,
                where=(project(d),),
            )


def _subscription(d: Deployment, one: topics.Subscription) -> Step:
    """Return a subscription, pulled at first: messages wait until it is pushed."""
    words = [
        f"--ack-deadline={one.acknowledge_s}",
        MESSAGES_KEPT,
        "--expiration-period=never",
    ]
    if one.function:
        words += [
            f"--min-retry-delay={one.minimum_backoff_s}s",
            f"--max-retry-delay={one.maximum_backoff_s}s",
            f"--dead-letter-topic={d.topic(topics.DEAD_LETTERS)}",
            f"--dead-letter-topic-project={d.project}",
            f"--max-delivery-attempts={one.attempts}",
        ]

    def holds(found: dict[str, Any]) -> bool:
        retry, dead = found.get("retryPolicy", {}), found.get("deadLetterPolicy", {})
        return found.get("ackDeadlineSeconds") == one.acknowledge_s and (
            not one.function
            or (
                retry.get("minimumBackoff") == f"{one.minimum_backoff_s}s"
                and retry.get("maximumBackoff") == f"{one.maximum_backoff_s}s"
                and dead.get("maxDeliveryAttempts") == one.attempts
            )
        )

    verb, topic = "pubsub subscriptions", f"--topic={d.topic(one.topic)}"
    label, name = f"--labels={OWNER}={d.prefix}", d.subscription(one)
    return Step(
        what=f"subscription {name} of {d.topic(one.topic)}",
        look=gcloud(f"{verb} describe", name, project(d), "--format=json"),
        holds=holds,
        create=(gcloud(f"{verb} create", name, topic, *words, label, project(d)),),
        update=(gcloud(f"{verb} update", name, *words, project(d)),),
        remove=(gcloud(f"{verb} delete", name, project(d)),),
        is_data=True,
        owner=d.prefix,
        adopt=own_subscription(d, name),
    )
