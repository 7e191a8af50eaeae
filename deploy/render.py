"""
What Terraform reads: tables, topics, rights and use cases, and the settings.

``setup.sh`` and ``teardown.sh`` write them anew each time, since they depend on the use
cases of your own and on the settings, and git ignores them. The files of ``terraform/``
say ``jsondecode(file(...))``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deploy import alerts, functions
from deploy.configuration import DeploymentSettings, words
from deploy.functions import Account, Function
from propensity import usecases
from propensity.audience.receivers import secrets_of, sends_to_google
from propensity.ga4.shards import KINDS, PREFIXES
from propensity.ga4.view import events_view
from propensity.schema import Table
from propensity.settings import CONSENTS, TOPICS
from propensity.tables import every as tables
from propensity.tables.export_names import BY_EXPORT
from propensity.usecases.exports import settings_of_exports

TERRAFORM = Path(__file__).with_name("terraform")

# Of a setting in Terraform, where a number may be a string of digits.
TYPES = {bool: "bool", str: "string", list: "set(string)", dict: "map(string)"}
# The services of Cloud Run, as gcloud lists them.
Services = Sequence[Mapping[str, Any]]
# Placeholders for the dataset and the export in the text of a view.
DATASET = "PROJECT.DATASET"
EXPORT = "PROJECT.EXPORT"

OBJECT_ROLES = {
    "read": "roles/storage.objectViewer",
    "create": "roles/storage.objectCreator",
    "replace": "roles/storage.objectUser",
}
READER = "roles/bigquery.dataViewer"
PUBLISHER = "roles/pubsub.publisher"
SUBSCRIBER = "roles/pubsub.subscriber"


def rights(function: Account) -> Iterator[dict[str, str]]:
    """
    Yield what an account may do, each right on the smallest thing that there is.

    Returns:
        ``on``: project, dataset, table, export, bucket, objects, topic, subscription;
        ``role``: one of Google's, or of ``roles.json``; ``name``: of a table, topic or
        subscription; ``verb``, ``prefix`` and ``suffix``: of objects and their names.
        What does not apply is empty.
    """

    def right(on: str, role: str, name: str = "", verb: str = "") -> dict[str, str]:
        prefix, _, suffix = name.partition("*") if verb else ("", "", "")
        made = {"on": on, "role": role, "name": "" if verb else name, "verb": verb}
        return {**made, "prefix": prefix, "suffix": suffix}

    if function.runs_queries:
        yield right("project", "roles/bigquery.jobUser")
    if function.large_results:
        yield right("project", "roles/bigquery.readSessionUser")
    if function.lists_tables:
        yield right("dataset", "table_lister")
    for role, names in (
        (READER, function.reads),
        ("table_appender", function.appends),
        ("table_writer", function.writes),
    ):
        yield from (right("table", role, name) for name in names)
    if function.reads_export:
        yield right("export", READER)
    for entry in function.objects:
        for verb, names_of in entry.items():
            yield right("objects", OBJECT_ROLES[verb], names_of, verb)
    if function.objects:
        # Names are listed of a bucket: no condition on an object's name holds.
        yield right("bucket", "object_lister")
    for topic in function.publishes:
        yield right("topic", PUBLISHER, topic)
    for subscription in function.pulls:
        yield right("subscription", SUBSCRIBER, subscription)


def _account(account: Account) -> dict[str, Any]:
    return {
        "title": f"runs {account.target}",
        "needs_key": account.needs_key,
        "reads_sources": account.reads_sources,
        # A table of events of one's own is in the place of the export.
        "reads_events": account.reads_export,
        "reads_secrets": account.reads_secrets,
        "reads_webhook": account.reads_webhook,
        "rights": list(rights(account)),
    }


def _function(function: Function) -> dict[str, Any]:
    return {
        **_account(function),
        "is_public": function.is_public,
        "is_scheduled": function.schedule is not None,
        "subscriptions": [each.name for each in function.subscriptions],
    }


def _table(table: Table) -> dict[str, Any]:
    return {
        "description": table.description,
        "partition": table.partition,
        "expiration_days": table.expiration_days,
        "requires_filter": table.requires_filter,
        "clustering": list(table.clustering),
        "schema": [column.in_api for column in table.columns],
    }


def _views() -> dict[str, Any]:
    return {
        "tables": tables.views(DATASET),
        # A part for each kind of tables, by the consent that is required.
        "ga_events": {
            kind: {
                consents: events_view(EXPORT, require=consents, kinds=[kind]).strip()
                for consents in CONSENTS
            }
            for kind in KINDS
        },
        "kinds": {kind: f"^{prefix}[0-9]{{8}}$" for kind, prefix in PREFIXES.items()},
        "kinds_in_order": KINDS,
        # There is one of these for each export.
        "by_export": BY_EXPORT,
    }


def files() -> dict[Path, Any]:
    use_cases = {
        name: {
            "sources": sorted({source.table for source in use_case.sources.values()}),
            "events": [use_case.own_events.table] if use_case.own_events else [],
            "secrets": secrets_of(use_case),
            "sends_to_google": sends_to_google(use_case),
        }
        for name, use_case in ((name, usecases.load(name)) for name in usecases.names())
    }
    subscriptions = {
        subscription.name: asdict(subscription)
        for subscription in functions.SUBSCRIPTIONS
    }
    generated = {
        "tables": {table.stored: _table(table) for table in tables.TABLES},
        "views": _views(),
        "topics": {"topics": list(TOPICS), "subscriptions": subscriptions},
        "functions": {
            function.target: _function(function) for function in functions.load()
        },
        "operator": _account(functions.operator()),
        "use_cases": use_cases,
    }
    return {
        TERRAFORM / "generated" / f"{name}.json": content
        for name, content in generated.items()
    }


def _settings(d: DeploymentSettings, services: Services) -> dict[str, Any]:
    """Return the values of variables that settings say."""
    urls = {
        service["metadata"]["name"]: service["status"].get("url")
        for service in services
    }
    # Addresses of the services that Cloud Run has.
    called = {
        function.target: urls.get(d.name(function.target)) for function in d.functions
    }
    settings = d.settings
    return {
        **d.own,
        "project": d.project,
        "location": settings.location,
        "dataset": settings.dataset,
        "bucket": settings.bucket,
        "message_secret": settings.message_secret,
        "functions": list(called),
        "use_cases": list(d.use_cases),
        "services": {target: url for target, url in called.items() if url},
        "exports": {
            export.export_suffix: export.ga4_dataset
            for export in settings_of_exports(settings, d.use_cases)
        },
        "sends": settings.sends == "yes",
        "require_consent": settings.require_consent,
        "retention_days": tables.retention(settings.retention_days),
        "alert_channels": words(d.own["alert_channels"]),
        "callers": words(d.own["callers"]),
        "producers": words(d.own["producers"]),
    }


def write(
    d: DeploymentSettings,
    services: Services,
    *,
    root: Path = TERRAFORM,
    deployed: Mapping[str, Any] | None = None,
) -> None:
    """
    Write what the code and the settings say where Terraform is.

    Args:
        deployed: As ``deployed.described``.
    """
    (root / "generated").mkdir(exist_ok=True)
    for file, content in files().items():
        _write(root / file.relative_to(TERRAFORM), content)
    _write(root / "generated" / "alerts.json", alerts.in_terraform(d))
    variables = {"deployed": {"type": "any", "default": deployed}}
    for name, value in _settings(d, services).items():
        kind = TYPES[type(value)]
        if name == "retention_days":
            kind = "map(number)"
        variables[name] = {"type": kind, "default": value}
    _write(root / "settings.tf.json", {"variable": variables})


def _write(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
