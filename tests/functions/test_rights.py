"""
Least privilege, specified: a function is granted what it does, no more and no less.

All functions do in this process what they can do, for all use cases, and so do the
commands of the operators' job. What their clients ask of Google is recorded, and
compared with what Terraform grants.

Sources: cloud.google.com/bigquery/docs/access-control, /exporting-data and /write-api;
cloud.google.com/storage/docs/access-control/iam-json and /iam-roles.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import functions_framework
import pytest
import requests

from deploy import functions, render
from deploy.render import TERRAFORM
from local.generators.games import DEFAULT_END, Games
from local.generators.streams import encode
from local.stack.state import ROOT
from offline import build_preprocessor, dead_letters
from propensity.gcp import queries, writes
from propensity.gcp.clients import open_client
from propensity.gcp.pubsub import Bus
from propensity.settings import DEAD_LETTERS
from propensity.tables import every as tables
from propensity.tables.stream import POSTCODE_INDEX, STREAM_EVENTS
from tests.functions.audiences import by_hand, join
from tests.functions.instances import push, serving
from tests.functions.streaming import rows_of
from tests.offline.letters import bury, create
from tests.support import scored_cards
from tests.support.deployment import KEY, Deployment, entered
from tests.support.events import bet, enriched_card, registration, transaction, truth
from tests.support.rows import append_rows, publish
from tests.support.shops import TRAINED

# All functions are played once, on emulators: minutes where others compute, too.
pytestmark = pytest.mark.timeout(600)

ACCOUNTS = [*functions.load(), functions.operator()]
RIGHTS = {account.target: [*render.rights(account)] for account in ACCOUNTS}
CARDS_KNOWN = date(2026, 3, 14)
PLAYED = DEFAULT_END.date()
WEEK = timedelta(days=7)
# A result with more rows than these comes by the Storage API.
SMALL_ROWS = 10
AUDIENCE = 'destination = "bucket"\ntop = 5\n'
# These days are to be digested again.
LATE_DAYS = f"DELETE FROM ga_digested_days WHERE export_day >= '{TRAINED - 2 * WEEK}'"
# A use case's audience reads this table.
AUDIENCES = {
    "ga4_purchase": (
        "(SELECT e.event_name FROM ga_events AS e, ga_user_days AS d, "
        "ga_conversions AS c WHERE e.table_suffix = '1' AND d.export_day IS NULL "
        "AND c.export_day IS NULL)"
    ),
    "first_day_churn": "(SELECT city FROM stream_events WHERE received_on IS NULL)",
}

# The rights that no role of Google's holds alone.
OWN_ROLES = json.loads((TERRAFORM / "roles.json").read_text())
# Permissions of each role, of those that a call here can need.
ROLES: dict[str, set[str]] = {
    "roles/bigquery.jobUser": {"jobs.create"},
    "roles/bigquery.readSessionUser": {"readsessions.create"},
    "roles/bigquery.dataViewer": {
        "tables.getData",
        "tables.export",
        "tables.get",
        "tables.list",
        "datasets.get",
    },
    "roles/pubsub.publisher": {"topics.publish"},
    "roles/pubsub.subscriber": {"subscriptions.consume"},
    "roles/storage.objectViewer": {"objects.get", "objects.list"},
    "roles/storage.objectCreator": {"objects.create"},
    "roles/storage.objectUser": {
        "objects.create",
        "objects.delete",
        "objects.get",
        "objects.list",
    },
    **{
        role: {permission.partition(".")[2] for permission in of["permissions"]}
        for role, of in OWN_ROLES.items()
    },
}

# A permission, and what it is needed on: the name of a table or topic, ``export``,
# ``project``, or an object's path; ``gs:`` is the bucket itself.
Need = tuple[str, str]


def covers(right: Mapping[str, str], need: Need) -> bool:
    """Return whether a right of ``functions.json`` meets a need."""
    permission, on = need
    if permission not in ROLES[right["role"]]:
        return False
    if right["on"] == "objects" and permission == "objects.list":
        # It is asked of the bucket, which no condition on a name holds for.
        return False
    if right["on"] in ("objects", "bucket"):
        return on.startswith(f"gs:{right['prefix']}") and on.endswith(right["suffix"])
    return on == (right["name"] or right["on"])


class Record:
    """What each function needs, while it is at work."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.export = deployment.environment["PROPENSITY_GA4_DATASET"]
        names = ("ga_events", *tables.views(""))
        self.views = {name: deployment.warehouse.view_text(name) for name in names}
        self.names = {*self.views, *(table.stored for table in tables.TABLES)}
        self.needs: dict[str, set[Need]] = defaultdict(set)
        self.unbounded: list[str] = []
        self.function = ""

    @contextlib.contextmanager
    def of(self, function: str) -> Iterator[None]:
        """Record for a function what is done meanwhile."""
        self.function = function
        yield
        self.function = ""

    def need(self, permission: str, on: str = "project") -> None:
        if self.function:
            self.needs[self.function].add((permission, on))

    def sent(self, request: Any, status: int) -> None:
        """Record what a request of Google's clients needs."""
        url = urlsplit(request.url)
        origin = f"{url.scheme}://{url.netloc}"
        path = [unquote(part) for part in url.path.split("/")]
        if origin == self.deployment.environment["BIGQUERY_EMULATOR_HOST"]:
            self.bigquery(request, path[path.index("projects") + 2 :])
        elif "secrets" in path:
            pass  # Terraform grants these by what the use cases name
        elif origin == self.deployment.environment["STORAGE_EMULATOR_HOST"]:
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            self.storage(request, path[path.index("b") + 2 :], query, status)

    def bigquery(self, request: Any, path: list[str]) -> None:
        match request.method, path:
            case "POST", ["jobs" | "queries"]:
                body = json.loads(request.body)
                query = body if "query" in body else body["configuration"]["query"]
                # A dry run bills nothing.
                is_dry = "query" not in body and body["configuration"].get("dryRun")
                if not is_dry and int(query.get("maximumBytesBilled", 0)) < 1:
                    self.unbounded.append(query["query"])
                self.need("jobs.create")
                self.sql(query["query"])
            case "GET", ["datasets", name, "tables", _, "data"] if name[0] != "_":
                self.need("tables.getData", path[3])
            case "GET", ["datasets", _, "tables", name]:
                self.need("tables.get", name)
            case "GET", ["datasets", name, *rest] if name[0] != "_":
                on = "export" if name == self.export else "dataset"
                self.need("tables.list" if rest else "datasets.get", on)
            case "GET", ["jobs" | "queries", _] | ["datasets", _, "tables", _, "data"]:
                pass  # whoever has started a job may look at it, and at its result
            case _:
                raise AssertionError(f"what does it need? {request.method} {path}")

    def sql(self, text: str) -> None:
        text = re.sub("--.*", "", text)
        writes = r"\b(INSERT INTO|DELETE FROM|UPDATE|MERGE)\s+`?(?!SET\b)(\w+)"
        for verb, name in re.findall(writes, text):
            self.need("tables.updateData", name)
            if verb == "INSERT INTO":
                text = re.sub(rf"{verb}\s+`?{name}\b", "", text)
        exported = re.findall(r"uri = 'gs://[^/]+/([^*']+)", text)
        for name in exported:
            self.need("objects.create", f"gs:{name}")
            self.need("objects.delete", f"gs:{name}")
        if f"{self.export}." in text:
            self.need("tables.getData", "export")
        for name in self.names:
            if re.search(rf"\b{name}\b", text):
                self.need("tables.getData", name)
                if exported:
                    self.need("tables.export", name)
                # A reader of a view reads its tables.
                self.sql(self.views.get(name, ""))

    def storage(
        self, request: Any, path: list[str], query: Mapping[str, str], status: int
    ) -> None:
        name = f"gs:{'/'.join(path[1:])}"
        match request.method, path:
            case "POST", ["o"]:
                named = re.search(rb'"name": "(.+?)"', bytes(request.body or b""))
                name = f"gs:{query.get('name') or named[1].decode()}"
                self.need("objects.create", name)
                if query.get("ifGenerationMatch") != "0":
                    self.need("objects.delete", name)
            case "GET", ["o"]:
                self.need("objects.list", "gs:")
            case "GET", ["o", *_]:
                self.need("objects.get", name)
                if status == 404:
                    # A reader who may not list is refused where there is nothing.
                    self.need("objects.list", "gs:")
            case "DELETE", ["o", *_]:
                self.need("objects.delete", name)
            case "GET", []:
                self.need("buckets.get", "gs:")
            case _:
                raise AssertionError(f"what does it need? {request.method} {path}")


@contextlib.contextmanager
def recording(deployment: Deployment) -> Iterator[Record]:
    """Record what the clients of this process ask for; topics get nothing."""
    record = Record(deployment)
    send = requests.Session.send
    reader = queries.open_reader
    path_of = writes.path_of

    def sending(self: Any, request: Any, **how: Any) -> Any:
        answer = send(self, request, **how)
        record.sent(request, answer.status_code)
        return answer

    def appending(settings: Any, table: str) -> str:
        record.need("tables.updateData", table)
        return path_of(settings, table)

    def reading(endpoint: str) -> Any:
        record.need("readsessions.create")
        return reader(endpoint)

    async def publishing(_: Any, topic: str, messages: Any) -> None:
        if messages:
            record.need("topics.publish", topic.removeprefix(f"{deployment.name}-"))

    def subscribed(*arguments: Any) -> Any:
        record.need("subscriptions.consume", dead_letters.SUBSCRIPTION)
        return open_client(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests.Session, "send", sending)
        patch.setattr(writes, "path_of", appending)
        patch.setattr(queries, "open_reader", reading)
        # Every result could be too large for the answer to a query.
        patch.setattr(queries, "SMALL_ROWS", SMALL_ROWS)
        patch.setattr(Bus, "publish", publishing)
        patch.setattr(dead_letters, "open_client", subscribed)
        yield record


# -- the functions at work -------------------------------------------------------------


@pytest.fixture(scope="module")
def deployment(emulated_shop, tmp_path_factory) -> Deployment:
    """A shop and players, with what a deployment has collected when it trains."""
    own = tmp_path_factory.mktemp("own_use_cases")
    for name, table in AUDIENCES.items():
        folder = own / name / "audiences"
        folder.mkdir(parents=True)
        (folder / "winback.toml").write_text(AUDIENCE)
        statement = f"SELECT user_id FROM publication, {table} WHERE FALSE"
        both = f"{statement} UNION DISTINCT SELECT user_id FROM publication"
        (folder / "winback.sql").write_text(both)
    deployment = emulated_shop.with_settings(
        PROPENSITY_SUPPRESSION_KEY=KEY,
        PROPENSITY_USE_CASES=str(own),
        PROPENSITY_MESSAGE_SECRET="no-chat",
    )
    few = {"minimum_training_rows": 20, "minimum_conversions": 2}
    deployment.constants = {**deployment.constants, **few}
    deployment.suppress("user.004")
    code = {"socioeconomic_idx": 5.0, "loaded_on": TRAINED, "is_outward": True}
    codes = [{**code, "postcode": f"AB{n}"} for n in range(2 * SMALL_ROWS)]
    append_rows(deployment.warehouse, POSTCODE_INDEX, codes)
    games = Games(users=150, days=42, maximum_events=8).events()
    players = rows_of(map(encode, games), received_at=DEFAULT_END)
    deployment.warehouse.write(STREAM_EVENTS, players)
    scored_cards.stored(deployment.warehouse, scored_cards.drawn(600))
    users = {f"u{number}": number / 100 for number in range(100)}
    publish(deployment.warehouse, TRAINED - WEEK, users)
    join(deployment, TRAINED - WEEK, ["u1"], ["u2"], audience="earlier")
    deployment.load_model()
    file = tmp_path_factory.mktemp("own") / "own.py"
    own = "from propensity.learning.candidates import encoder_of\n"
    own += "def preprocessor(use_case):\n    return encoder_of(use_case.features)\n"
    file.write_text(own)
    with entered(deployment.environment):
        build_preprocessor.run(file, use_case="ga4_purchase")
    return deployment


def scheduled(record: Record) -> None:
    """Let the scheduled functions run: again where that replaces something."""

    def run(target: str, use_case: str, as_of: date, **more: Any) -> Any:
        with record.of(target):
            return record.deployment.run(target, as_of, use_case=use_case, **more)

    run("model_training", "ga4_purchase", TRAINED)
    run("model_training", "first_day_churn", PLAYED)
    assert run("model_training", "card_fraud", CARDS_KNOWN)["promoted"]
    by_hand(record.deployment, TRAINED - WEEK)
    run("predictions", "ga4_purchase", TRAINED, force=True)
    run("audiences", "ga4_purchase", TRAINED, force=True)
    run("predictions", "first_day_churn", PLAYED - WEEK)
    by_hand(record.deployment, PLAYED - WEEK, "first_day_churn")
    record.deployment.suppress("user.005")
    run("predictions", "first_day_churn", PLAYED, force=True)
    run("audiences", "first_day_churn", PLAYED, force=True)
    record.deployment.warehouse.execute(LATE_DAYS)
    run("model_evaluation", "ga4_purchase", TRAINED)
    run("model_evaluation", "first_day_churn", PLAYED)
    run("model_evaluation", "card_fraud", CARDS_KNOWN)
    run("overview", "ga4_purchase", TRAINED)
    file = ROOT / "04-StreamFeatures" / "compact_features.py"
    client = functions_framework.create_app("compact_features", str(file)).test_client()
    for _ in range(2):
        with entered(record.deployment.environment), record.of("compact_features"):
            assert client.post("/", json={"force": True}).json["tiles"]


def served(record: Record, target: str, *bodies: Any, status: int = 200) -> None:
    """Send requests to a function that serves."""
    with record.of(target), serving(target, record.deployment.environment) as function:
        for body in bodies:
            answer = function.ask(body)
            assert answer.status_code == status, (target, body, answer.text)


def operated(record: Record) -> None:
    """Let an operator ask for all that there is: an audience's first date, too."""
    deployment = record.deployment
    deployment = deployment.with_settings(PROPENSITY_TOPIC_PREFIX=deployment.name)
    create(deployment, DEAD_LETTERS)
    bury(deployment, b"{}", failed_at=deployment.topic("enriched-score-stream"))
    folder = Path(deployment.environment["PROPENSITY_USE_CASES"])
    newest = folder / "ga4_purchase" / "audiences" / "newest.toml"
    newest.write_text(AUDIENCE)
    churn = ("--use-case", "first_day_churn")
    dashboard = f"gs://{deployment.settings.bucket}/dashboard"
    deployment.warehouse.execute(LATE_DAYS)
    period = ("--from", "2020-01-01", "--to", "2030-01-01")
    for words in (
        ("versions", *churn),
        ("rollback", *churn),
        ("pin", "--off", *churn),
        ("audience", "preview", "winback"),
        ("audience", "send", "newest"),
        ("audience", "end", "winback"),
        ("audience", "ledger", "winback"),
        ("deployment", "digest", "--yes"),
        ("dashboard", "--out", dashboard),
        ("doctor",),
        ("dead-letters", "replay"),
        ("dead-letters", "replay", "--refused", *period),
        ("forget", "user.002", "late"),
        ("forget", "user.002", "--allow-again"),
    ):
        with record.of("operator"):
            assert deployment.command(*words) in (0, 1), words


@pytest.fixture(scope="module")
def needs(deployment) -> Mapping[str, set[Need]]:
    """What each function needed for all that it can do."""
    player = {"user_id": "late", "event_time": datetime.now(UTC).isoformat()}
    events = [registration(**player), bet(**player)]
    others = [transaction(), truth(), b"{"]
    user = {"use_case": "first_day_churn", "user_id": "late"}
    with recording(deployment) as record:
        # Nothing serves cards yet, and there is no index.
        served(record, "get_proba", {"user_ids": ["nobody"]})
        served(record, "score", transaction(), status=409)
        served(record, "score_stream", push(enriched_card("c")), push(b"{"))
        refused = push({"user_id": "late"}, "m2")
        served(record, "stream_features", *map(push, events + others), refused)
        scheduled(record)
        served(record, "get_proba", {"user_ids": ["user.002", "nobody"]})
        served(record, "score", user)
        served(record, "score_stream", *map(push, [*events, enriched_card("c")]))
        operated(record)
    assert record.unbounded == [], "BigQuery refuses what would bill more"
    return record.needs


@pytest.mark.parametrize("target", RIGHTS)
class TestRights:
    def test_rights_are_not_narrower_than_what_is_done(self, needs, target):
        """Every call of a function finds all permissions that Google asks for it."""
        missing = [
            need
            for need in sorted(needs[target])
            if not any(covers(right, need) for right in RIGHTS[target])
        ]

        assert missing == []

    def test_rights_are_not_wider_than_what_is_done(self, needs, target):
        """Without any one of them some call would fail."""
        rights = RIGHTS[target]
        only = [
            [right for right in rights if covers(right, need)] for need in needs[target]
        ]

        assert [right for right in rights if [right] not in only] == []


def test_own_roles_permit_only_what_is_used(needs):
    """
    A role of the deployment's own permits what a function does with it. No function has
    the one by which people send requests.
    """
    used = {
        (right["role"], need[0])
        for target, rights in RIGHTS.items()
        for right in rights
        for need in needs[target]
        if covers(right, need)
    }

    roles = set(OWN_ROLES) - {"request_sender"}
    assert {(role, one) for role in roles for one in ROLES[role]} <= used
