"""What only Google can answer, each question asked by itself, after the steps."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import requests
from google.api_core import exceptions as api
from google.cloud import bigquery

from deploy import functions
from deploy.functions import Function
from local.demos.calls import command
from local.exports.ga4_schema import COLUMNS
from local.rehearsal.google_cloud import DECLARED, SHOP
from local.rehearsal.run import No, NotTried, Question, Rehearsal, question
from local.rehearsal.steps import PATIENCE_S
from propensity.schema import in_sql
from propensity.tables.models import PREDICTIONS, TRAINING_METADATA

# What only owners hold.
OWNERS = "resourcemanager.projects.delete"
# Public tables, more than a query may name: their dry run is free.
MANY_TABLES = "SELECT id FROM `githubarchive.day.20*`"
TOO_MANY = re.compile("too many tables|number of tables|1,?000 tables", re.IGNORECASE)
# Words of a function's line for a missing permission.
REFUSED = re.compile("access_denied|PERMISSION_DENIED|denies access")
HANGS_UP_S = 15
ISSUE = "Attach this answer to an issue of Propensity."
RETRIED = (
    "Attach this answer to an issue: a run after midnight has the next day's date."
)


@question("the deployer's roles", "Have an owner run deploy/roles.sh for you.")
def have_roles(r: Rehearsal) -> str:
    project = r.place.deployment.project
    resource = f"cloudresourcemanager.googleapis.com/v1/projects/{project}"
    if r.place.held(resource, [OWNERS]):
        raise NotTried(
            "you own the project. To ask whether deploy/roles.sh is enough, rehearse "
            "as an account that has its roles alone"
        )
    return "everything was made by an account that does not own the project"


def rights_of(function: Function) -> Question:
    """Return the question of a function's permissions."""

    @question(f"permissions of {function.target}", f"Grant what is missing. {ISSUE}")
    def ask(r: Rehearsal) -> str:
        name = r.place.deployment.name(function.target)
        about = f'resource.labels.service_name="{name}" AND jsonPayload.outcome:*'
        lines = r.place.logged(about)
        for line in lines:
            if REFUSED.search(f"{line['jsonPayload']}"):
                raise No(line["jsonPayload"]["message"])
        if not lines:
            raise NotTried("it has written no line")
        return f"none of its {len(lines)} lines is a refusal"

    return ask


@question("no other permissions", "Look who gave the account a role, also above.")
def have_no_more(r: Rehearsal) -> str:
    deployment = r.place.deployment
    account = deployment.account("get_proba")
    project = f"projects/{deployment.project}"
    dataset = f"bigquery.googleapis.com/bigquery/v2/{project}/datasets"
    tables = f"{dataset}/{deployment.settings.dataset}/tables"
    rows = ["bigquery.tables.getData", "bigquery.tables.updateData"]
    objects = ["storage.objects.get", "storage.objects.create"]
    for resource, permissions in {
        f"cloudresourcemanager.googleapis.com/v1/{project}": rows + objects,
        f"{tables}/{TRAINING_METADATA.stored}": rows,
    }.items():
        held = r.place.held(resource, permissions, account=account)
        if held:
            raise No(f"get_proba holds {', '.join(held)} on {resource}")
    if not r.place.held(f"{tables}/{PREDICTIONS.stored}", rows, account=account):
        raise NotTried("get_proba holds no permission yet, also none of its own")
    return "get_proba holds none on the project and on another table"


@question("private functions", "Look who has roles/run.invoker, also of the project.")
def refuse_strangers(r: Rehearsal) -> str:
    status = requests.get(r.place.url("get_proba"), timeout=PATIENCE_S).status_code
    expected = [401, 403]
    # So Cloud Run answers a network that it does not let in.
    if r.place.deployment.own["ingress"] != "all":
        expected.append(404)
    if status not in expected:
        raise No(f"a request without a token was answered with {status}")
    return f"a request without a token was answered with {status}"


@question("no useless retries", "A proxy may take the header X-CloudScheduler away.")
def spare_retries(r: Rehearsal) -> str:
    since = datetime.now(UTC)
    answer = r.place.call("predictions", {"use_case": "nobody"}).answer
    lines = r.place.logged(
        f'resource.labels.job_id=~"^{r.place.deployment.prefix}-by-hand-" AND '
        'jsonPayload."@type":"AttemptFinished"',
        since=since,
    )
    if not lines or answer["error"] == "no_line":
        raise NotTried("Cloud Scheduler or predictions wrote no line")
    status = lines[0]["httpRequest"]["status"]
    if status != 200:
        raise No(f"the scheduler got {status}, and would call again")
    return f"the line says {answer['error']}, and the scheduler got 200"


@question("a retry has the time of its call", RETRIED)
def keep_the_time(r: Rehearsal) -> str:
    """Call audiences of today, of which there are no predictions: they wait."""
    place = r.place
    since = datetime.now(UTC)
    name = place.deployment.name("audiences")
    place.schedule(place.url("audiences"), {"use_case": SHOP})
    try:
        about = f'resource.labels.service_name="{name}" AND jsonPayload.due>"2"'
        lines = place.logged(about, since=since, at_least=4)
    finally:
        place.gcloud("scheduler jobs delete", place.job, f"--location={place.region}")
    dues = [line["jsonPayload"]["due"] for line in lines]
    if len(dues) < 4:
        raise NotTried(f"{len(dues)} calls came, and 4 are needed")
    if len(set(dues)) == len(dues):
        raise No("each of 4 calls in 2 minutes has a time of its own")
    return f"{len(dues)} calls have {len(set(dues))} times"


@question("runs outlast their caller", "deploy/training_job.sh --schedule")
def go_on(r: Rehearsal) -> str:
    body = f'{{"use_case": "{SHOP}", "as_of": "{r.weeks[-1]}", "force": true}}'
    since = datetime.now(UTC)
    r.place.script("call.sh", "model_training", body, "--hang-up")
    name = r.place.deployment.name("model_training")
    about = f'resource.labels.service_name="{name}" AND jsonPayload.seconds:*'
    lines = r.place.logged(about, since=since)
    if not lines:
        raise No("a training whose caller hung up wrote no line")
    line = lines[0]["jsonPayload"]
    if line["outcome"] != "ok":
        raise No(f"a training whose caller hung up ended with {line['outcome']}")
    if line["seconds"] <= HANGS_UP_S:
        raise NotTried(f"the training took {line['seconds']:.0f} s, which is too short")
    return f"a training ended after {line['seconds']:.0f} s, its caller had hung up"


@question("alerts send mail", "Look at the policy's incidents, and verify the address.")
def send_mail(r: Rehearsal) -> str:
    if not r.place.has_alerts:
        raise NotTried("the set-up ended without alerts")
    heard = r.person(
        "A run has failed on purpose. Did a mail about run_failed come? It may take "
        "ten minutes"
    )
    if heard is None:
        raise NotTried("nobody said whether a mail came: give --email, without --yes")
    if not heard:
        raise No("no mail came")
    return "a mail came"


@question("days are read alone", "Set PROPENSITY_MAXIMUM_BYTES_BILLED. " + ISSUE)
def prune(r: Rehearsal) -> str:
    """Compare what the digest of the second week has read with the first one's."""
    client = r.warehouse.client
    export = r.place.deployment.settings.ga4_dataset
    read = []
    for job in client.list_jobs(all_users=True, min_creation_time=r.place.began):
        # The digest is a script: its statements are jobs of their own.
        if job.num_child_jobs:
            for child in client.list_jobs(all_users=True, parent_job=job.job_id):
                tables = getattr(child, "referenced_tables", ())
                if export in [table.dataset_id for table in tables]:
                    read.append(child.total_bytes_processed)
    if len(read) < 2:
        raise NotTried("BigQuery lists no statements of the digest")
    share = read[0] / max(read)
    text = f"a week's digest read {share:.1%} of the first one's bytes"
    if share > 0.5:
        raise No(text)
    return text


@question("wildcards name many tables", "Delete days older than 900 from the export.")
def name_many_tables(r: Rehearsal) -> str:
    config = bigquery.QueryJobConfig(dry_run=True)
    try:
        # These public tables are in the US.
        r.warehouse.client.query(MANY_TABLES, job_config=config, location="US")
    except api.GoogleAPICallError as error:
        reason = str(error.message)
        if TOO_MANY.search(reason):
            raise No(reason) from error
        raise NotTried(f"the public tables could not be asked: {reason}") from error
    return "a wildcard named more than 4,000 public tables"


@question("columns of the export", ISSUE)
def match_columns(r: Rehearsal) -> str:
    """Look at the newest table of the export of the deployment that was named."""
    if not r.export:
        raise NotTried("name your deployment, by --deployment, to look at its export")
    names = [name for name in r.warehouse.tables_of(r.export) if "events_2" in name]
    if not names:
        raise NotTried("the export has no daily table yet")
    table = r.warehouse.client.get_table(f"{r.export}.{max(names)}")
    types = {field.name: in_sql(field.field_type) for field in table.schema}
    for column in COLUMNS:
        if types.get(column.name, column.type) != column.type:
            wrong = types[column.name]
            raise No(f"{column.name} is {wrong}, expected {column.type}")
    known = sum(column.name in types for column in COLUMNS)
    return f"{known} of {len(COLUMNS)} columns are there, with the same types"


@question("Google's Data Manager", "Correct the destination's file. " + ISSUE)
def validate(r: Rehearsal) -> str:
    """Let it check the first request of an audience, which sends nothing."""
    if not r.destinations:
        raise NotTried("the named deployment has no destination of kind google")
    folder = Path(r.place.environment["PROPENSITY_USE_CASES"]) / SHOP / "audiences"
    (folder / "destinations").mkdir(exist_ok=True)
    for file in r.destinations:
        shutil.copy(file, folder / "destinations")
        # Of this folder alone: functions know nothing of it.
        audience = DECLARED.replace("bucket", file.stem)
        (folder / f"to_{file.stem}.toml").write_text(audience)
        words = ("--use-case", SHOP, "--as-of", f"{r.weeks[-1]}", "--validate")
        answer = command(r.place, "audience", "preview", f"to_{file.stem}", *words)
        if answer["validated"] != "yes":
            raise No(answer["validated"])
    return f"it would take the first request of {len(r.destinations)} destinations"


# What the others did has shown whether it was allowed.
QUESTIONS = (
    have_roles,
    have_no_more,
    refuse_strangers,
    spare_retries,
    keep_the_time,
    go_on,
    prune,
    name_many_tables,
    match_columns,
    validate,
    send_mail,
) + tuple(map(rights_of, functions.load()))
