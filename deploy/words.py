"""
The words that commands are put together of.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

from deploy.deployment import SEPARATOR, Deployment
from deploy.steps import OWNER, Command

ROOT = Path(__file__).resolve().parent.parent

# What a plan looks up when it is carried out, beside what functions are at.
NUMBER = "PROJECT_NUMBER"
CHANNEL = "CHANNEL"

# The accounts that call functions and build them; each function has its own to run as.
SCHEDULER = "scheduler"
PUSH = "push"
BUILD = "build"


def gcloud(words: str, *more: str) -> Command:
    """Return a command of gcloud: its words, then its names and flags."""
    return ("gcloud", *words.split(), *more)


def bq(d: Deployment, *words: str) -> Command:
    """Return a command of bq."""
    return ("bq", f"--project_id={d.project}", "--headless", *words)


def query(d: Deployment, sql: str) -> Command:
    """Return the command that runs a statement in the deployment's dataset."""
    location = f"--location={d.settings.location}"
    dataset = f"--dataset_id={d.project}:{d.settings.dataset}"
    return bq(d, location, "query", "--use_legacy_sql=false", dataset, sql)


def shown(d: Deployment, name: str) -> Command:
    """Return the command that looks at a dataset or table."""
    return bq(d, "show", "--format=json", name)


def table_name(d: Deployment, name: str) -> str:
    return f"{d.project}:{d.settings.dataset}.{name}"


def dataset_name(named: str) -> str:
    """Return ``project.dataset`` as bq takes it."""
    return ":".join(named.rsplit(".", 1))


def project(d: Deployment) -> str:
    return f"--project={d.project}"


def place(d: Deployment) -> Command:
    return f"--region={d.region}", project(d)


def own_role(d: Deployment, name: str) -> str:
    return f"projects/{d.project}/roles/{d.prefix}_{name}"


def own_subscription(d: Deployment, name: str) -> Command:
    """Return the command that labels a subscription as this deployment's."""
    label = f"--update-labels={OWNER}={d.prefix}"
    return gcloud("pubsub subscriptions update", name, label, project(d))


def repository(d: Deployment) -> str:
    """Return the whole name of the deployment's repository of images."""
    return f"projects/{d.project}/locations/{d.region}/repositories/{d.repository}"


def agent(service: str) -> str:
    """Return the account that a service of Google's acts as in the project."""
    return f"serviceAccount:service-{late(NUMBER)}@{service}.iam.gserviceaccount.com"


def late(name: str) -> str:
    """Return the part of an argument that is looked up when a plan is carried out."""
    return f"${{{name}}}"


def url_of(target: str) -> str:
    return f"URL_{target.upper()}"


def image_of(target: str) -> str:
    return f"IMAGE_{target.upper()}"


def policy_of(alert: str) -> str:
    return f"POLICY_{alert.upper()}"


def joined(values: Iterable[str]) -> str:
    """Return values as gcloud takes them where one may hold a comma."""
    return f"^{SEPARATOR}^{SEPARATOR.join(values)}"


def name_of(member: str) -> str:
    """Return who a member is, in short."""
    kind, _, name = member.rpartition(":")
    return name.partition("@")[0] if kind in ("", "serviceAccount") else member


def python() -> str:
    """Return this Python, as the plan's commands call it."""
    try:
        return str(Path(sys.executable).relative_to(ROOT))
    except ValueError:
        return sys.executable


def short(text: str) -> str:
    """Return a digest of a text that fits in a label."""
    return hashlib.sha256(text.encode()).hexdigest()[:40]
