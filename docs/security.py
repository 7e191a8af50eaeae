"""
Write the page on security, its tables from the one place where rights are given.

    python -m docs.security > docs/security.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from deploy import functions
from deploy.functions import Function
from deploy.render import OBJECT_ROLES, OWN_ROLES, READER
from propensity import topics
from propensity.tables import TABLES

OPENING = """\
# Security

<!-- Written by `python -m docs.security > docs/security.md`; edit docs/security.py. -->

For whoever reviews the security of a deployment: who may do what, why no more, and how that is checked.
Rights are given from `deploy/functions.toml` and from nothing else; the tables of this page are written from it.
None of this has been run against Google Cloud: [what that leaves open](#not-proved) is below.

## Identities

Every function runs as a service account of its own, `propensity-<function>`, with the rights below and no others. None runs as the project's default account, and no key of any account is ever made.
Three accounts run nothing:

| account | may |
|---|---|
| `propensity-scheduler` | call the functions that have a schedule, and start the training jobs |
| `propensity-push` | call the functions that Pub/Sub pushes to; Pub/Sub may sign as it, and nobody else |
| `propensity-build` | write images to the deployment's repository and lines to the log, and read what was uploaded to be built (`run-sources-*`), no other bucket |

Pub/Sub's own account may publish to `propensity-dead-letters` and take what could not be delivered from our subscriptions.
With `DEPLOY_KMS_KEY` and `DEPLOY_FUNCTIONS_KMS_KEY` Google's services may use these keys, each by the account that it has in the project.
`DEPLOY_PRODUCERS` names who may publish to `propensity-events`, and nobody else may; what the other topics carry follows from these events.

## Who may call

Every function is deployed `--no-allow-unauthenticated`: without the invoker's role Cloud Run answers 403 before any code of ours runs, and the token must be made out for that very function.
What only Cloud Scheduler and Pub/Sub call takes no request from outside the project's network at all (`--ingress=internal`).
The only exceptions are `get_proba` and `score`: those whom `DEPLOY_CALLERS` names can reach them from any network, and if it names nobody, nobody can; with `DEPLOY_INGRESS=internal-and-gclb` only through a load balancer or from the project's network.
`allUsers` and `allAuthenticatedUsers` cannot be named.
A header of a request, such as those that Cloud Scheduler sets, is never taken as proof of who sent it.
"""  # noqa: E501

TABLE_PROSE = """\
## Function, resource, right

A right is given on the smallest thing that it can be given on: a table, the objects whose names begin with a prefix, a topic.
On the project itself functions may only run queries, and read large results as a stream, since BigQuery asks for these rights there; a query reads only what its account may read.
No function may create a table, a view, a bucket or a topic, delete one, or change who may do what: the set-up does.
`predictions` may import [graphs](bigquery.md) into the dataset as models, and run them; it may not delete a model.
Functions that look for an object that may be missing may list the bucket's names: to others Cloud Storage need not say whether an object is missing or refused.
"""  # noqa: E501

ROLES_PROSE = """\
## What a right permits

`append` lets nobody read a row, `create` lets nobody overwrite an object or read one.
`propensity_*` are roles of the deployment's own, with these permissions and no others; for Google's roles the table names the permissions that are used.
"""  # noqa: E501

PROOF = """\
## How rights are proved

`tests/functions/test_rights.py` serves every function from its staged source, behind endpoints of its own that record what it asks of BigQuery, Cloud Storage and Pub/Sub, over HTTP and gRPC.
The functions do everything that they can do, for all three use cases: train twice and promote, score, publish, evaluate, be refused, look up, score online, take events and truths, store dead letters, compact, export twice, each with a user on the list of suppressed users.
`tests/rights.py` turns every call into the permissions that Google's documentation asks for it, each on one resource: SQL is parsed for the tables that it reads and writes, a view is read as the tables behind it, an upload that must not overwrite creates, any other overwrites.
A call that no rule knows fails the test.
What is granted is read from the JSON that Terraform reads (`deploy/terraform/generated/functions.json`); another test compares what Terraform plans with it.

The test fails if a call needs a permission that is not granted, and names function, resource, permission and the line of `functions.toml`.
It also fails if no call needs a binding, if a weaker role would do, if all objects that were touched lie deeper than the prefix, and if a role of our own has a permission that nobody used.
Another test takes each right away from each function, and gives it one too many: both are noticed.
A run records some 1000 calls, which need 324 permissions on single resources, of {n} bindings (`.venv/bin/python -m pytest tests/functions/test_rights.py`).

## Code that is loaded

A model is a pickle, and a pickle is a program.
It is loaded only if its bytes have the SHA-256 that `ma_model_training_metadata` records, and a preprocessor only by that of `ma_preprocessors`: whoever can write to the bucket, and to no table, cannot run code in a function.
Versions are created and never overwritten; the bucket keeps old generations.
What is uploaded to be built holds every package by version and SHA-256 (`deploy/locks/`), and is the same to the byte for the same commit.

## Secrets

There is one: the key of the hashes in `suppressed_users` and in the object `suppressed/users.json`, which has the same entries.
It is kept in Secret Manager, may be read by the functions that read the list and no other, and is in no file, no setting and no log line; without it nobody can tell who is on the list ([privacy](privacy.md)).
The key of a prediction index is not a secret of that kind: it is in the file, so whoever may read `indexes/` can look up an id that they know. It keeps those who may not read it from choosing ids that collide.
Everything else is done with short-lived tokens of the service accounts.

## What is not protected

- Nothing is protected against administrators of the project: they can give themselves any right.
- Whoever has the account of `model_training` writes models and their checksums, and so decides what `predictions`, `score` and `score_stream` run.
  No other function writes both.
- Whoever can write to `indexes/` or `suppressed/users.json` (of the functions only `predictions`) decides what lookups answer, and to whom. Checksums protect these objects against damage, not against their writers.
- Whoever can write to `reports/` (of the functions only `model_evaluation`) decides what the page of a week says, and who can write to `models/` what that of a version says. The [dashboard](dashboard.md) copies reports under a policy that lets no script run. Pages that we write begin with the same policy, but whoever can write there can leave it out of theirs, and the bucket shows it as it is. A copy may still lead elsewhere, or say what is not so.
- A row that expires in `ma_predictions_table`, or is deleted by hand, stays in the index until the next publication. `propensity forget` builds the index anew at once.
- Use cases are not protected from each other, nor users: a function that reads a table reads all of it.
- Leases of scheduled functions are not protected from each other: their names begin with the use case, so all functions have the prefix `runs/`; only `compact_features` has a folder of its own.
- Rows are not protected from an account that appends: BigQuery has one right both to add rows and to overwrite all, `bigquery.tables.updateData`; an account that may also start jobs may be able to overwrite a table that way.
- Rows are not protected from an account that changes a table: DML knows no condition on rows.
- Names of objects are not hidden from an account that may list them: they contain use cases, versions and days, and no user.
- Google's own roles permit more than is used: `bigquery.dataViewer` also exports and snapshots what it reads, `storage.objectUser` also changes an object's metadata.
- A function could send elsewhere what it may read: egress is open, and no VPC Service Controls are set up.
- Encryption keys are Google's unless `DEPLOY_KMS_KEY` is set; results of queries, which BigQuery keeps for a day, and the log are encrypted with Google's keys in any case.

## Audit

- `deploy/setup.sh --dry-run` is Terraform's plan: every binding that is made, changed or removed.
- The next `deploy/setup.sh` takes away what was taken out of `functions.toml` or of the settings, and also callers of a function who were let in by hand.
  A right that was given by hand on something else is not in Terraform's state and stays: compare `gcloud asset search-all-iam-policies` with the table now and then.
- `propensity doctor --function=NAME`, run as a function's account, asks Google Cloud whether it may do what it must.
- BigQuery's audit log is always on: `principalEmail` is the function; its jobs have the label `application: propensity`.
  Switch on the Data Access logs of Cloud Storage and Pub/Sub to see the rest.
- The IAM recommender names permissions that nobody has used for ninety days; by this page it should name only permissions of Google's own roles.
- A refusal is 403 in these logs and an error in the function's log: either is worth an alert, since no refusal is normal. The one exception is the client of Cloud Storage, which asks for the bucket itself once in each instance and does without the answer.

## Not proved

No right has been tried on Google Cloud, and the emulators let everybody do everything.
Where the documentation leaves room, this page assumes that

- rows go into tables by the Storage Write API, for which [its page](https://cloud.google.com/bigquery/docs/write-api#required_permissions) asks for `bigquery.tables.updateData` alone; no function starts a load job, for which [the page on loading](https://cloud.google.com/bigquery/docs/batch-loading-data) asks for the rights to create and to alter tables, too;
- rows written in this way may be changed and deleted at once, as [the page on DML](https://cloud.google.com/bigquery/docs/data-manipulation-language) says;
- an account that may list names is told that an object is missing, and not that it is refused;
- a create that finds an object is refused for want of `storage.objects.delete`: this counts as a lost race, and so does the failed precondition that it may be instead.
"""  # noqa: E501

RIGHTS = {
    "reads": "read",
    "appends": "append",
    "writes": "change",
    "views": "replace text",
}


def page(every: Sequence[Function] | None = None) -> str:
    """Return the page as Markdown."""
    every = functions.load() if every is None else every
    cells = [cell for function in every for cell in rights_of(function)]
    return "\n".join(
        [
            OPENING,
            TABLE_PROSE,
            *matrix(every),
            "",
            ROLES_PROSE,
            *roles(),
            "",
            PROOF.format(n=len(cells)).rstrip("\n"),
            "",
        ]
    )


def rights_of(function: Function) -> Iterator[tuple[str, str]]:
    """Yield what a function may do: resources as the table names them, and rights."""
    if function.runs_queries:
        yield "project", "run queries"
    if function.large_results:
        yield "project", "read streams"
    if function.reads_export:
        yield "the GA4 export", "read"
    if function.models:
        yield "dataset", "run models"
    for field, right in RIGHTS.items():
        for name in getattr(function, field):
            yield f"`{name}`", right
    for right, names in function.objects:
        place = "bucket" if right == "list" else f"`{names}`"
        yield place, "list names" if right == "list" else right
    for topic in function.publishes:
        yield f"topic `{topic}`", "publish"


def matrix(every: Sequence[Function]) -> Iterator[str]:
    """Yield the table: a row for every resource, a column for every function."""
    rights: dict[str, dict[str, list[str]]] = {}
    for function in every:
        for resource, right in rights_of(function):
            its_rights = rights.setdefault(resource, {}).setdefault(function.target, [])
            its_rights.append(right)
    yield f"| | {' | '.join(f'`{function.target}`' for function in every)} |"
    yield "|---" * (len(every) + 1) + "|"
    for resource in sorted(rights, key=_place):
        cells = [
            ", ".join(rights[resource].get(function.target, ())) for function in every
        ]
        yield f"| {resource} | {' | '.join(cells)} |"


def _place(resource: str) -> tuple[int, str]:
    tables = [f"`{table.name}`" for table in TABLES]
    kinds = [
        resource == "project",
        resource == "dataset",
        resource == "the GA4 export",
        resource.strip("`") in functions.VIEWS,
        resource in tables,
        resource == "bucket",
        not resource.startswith("topic"),
        resource.removeprefix("topic ").strip("`") in topics.TOPICS,
    ]
    return kinds.index(True), resource


def roles() -> Iterator[str]:
    """Yield the table of rights, the role that each is, and what it permits."""
    own = {
        name: f"`{'`, `'.join(permissions)}`"
        for name, (_, permissions) in OWN_ROLES.items()
    }
    rows = [
        ("run queries", "roles/bigquery.jobUser", "`bigquery.jobs.create`"),
        (
            "read streams",
            "roles/bigquery.readSessionUser",
            "`bigquery.readsessions.create`, `bigquery.readsessions.getData`",
        ),
        (
            "read a table, a view or the export",
            READER,
            "`bigquery.tables.get`, `bigquery.tables.getData`, "
            "`bigquery.tables.export`",
        ),
        ("run models", "propensity_model_runner", own["model_runner"]),
        ("append", "propensity_table_appender", own["table_appender"]),
        ("change", "propensity_table_writer", own["table_writer"]),
        ("replace text", "propensity_view_keeper", own["view_keeper"]),
        ("read objects", OBJECT_ROLES["read"], "`storage.objects.get`"),
        ("create objects", OBJECT_ROLES["create"], "`storage.objects.create`"),
        (
            "replace objects",
            OBJECT_ROLES["replace"],
            "`storage.objects.get`, `storage.objects.create`, `storage.objects.delete`",
        ),
        ("list names", "propensity_object_lister", own["object_lister"]),
        ("publish", "roles/pubsub.publisher", "`pubsub.topics.publish`"),
    ]
    yield "| right | role | permits |"
    yield "|---|---|---|"
    for right, role, permissions in rows:
        yield f"| {right} | `{role}` | {permissions} |"


if __name__ == "__main__":
    sys.stdout.write(page())
