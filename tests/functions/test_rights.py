"""
Least privilege, specified: a function is granted what it does, no more and no less.

Every function is served from its staged source, behind endpoints of its own that record
what it asks of BigQuery, Cloud Storage and Pub/Sub. They do all that they can do, for
all use cases. What the calls need is compared with what Terraform grants.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import requests

from deploy.render import TERRAFORM
from local.generators.games import DEFAULT_END, Games
from local.generators.messages import encode
from propensity import usecases
from propensity.learning.preprocessor import default_preprocessor
from propensity.registry import loading
from propensity.registry.versions import Registry
from propensity.runs import setup
from propensity.tables import every as tables
from tests import rights, scored_cards
from tests.events import bet, enriched_card, registration, transaction, truth
from tests.functions.conftest import TRAINED
from tests.functions.instances import Instance, together
from tests.functions.streaming import Site, eventually, new_site, rows_of
from tests.functions.test_audience_lift import join
from tests.functions.test_suppression import KEY, suppress
from tests.partitions import unfiltered
from tests.published import publish
from tests.rights import Call, Grant, Need, Recorder
from tests.rows import append_rows

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

FUNCTIONS = (
    "model_training",
    "predictions",
    "get_proba",
    "score",
    "model_evaluation",
    "stream_features",
    "score_stream",
    "compact_features",
)
CARDS_KNOWN = date(2026, 3, 14)
# More than are read with the answer to a query, of everything that is read whole.
MANY = 1_200
GRANTED = TERRAFORM / "generated" / "functions.json"
DAY = timedelta(days=1)


@dataclass
class Recorded:
    """By function: its calls, what they need, and what its account is granted."""

    calls: Mapping[str, Sequence[Call]]
    needed: Mapping[str, Mapping[Need, Call]]
    granted: Mapping[str, Sequence[Grant]]


class Run:
    """The functions at work in a site."""

    def __init__(self, site: Site, instances: Mapping[str, Instance]) -> None:
        self.site = site
        self.instances = instances

    def ask(self, target: str, status: int = 200, **body: object) -> Any:
        """Call a function by POST, and return its answer, of a status."""
        data = json.dumps(body, default=str)
        answer = requests.post(
            self.instances[target].url,
            data=data,
            headers={"content-type": "application/json"},
            timeout=240,
        )
        assert answer.status_code == status, (target, body, answer.text)
        return answer.json()

    def push(self, target: str, *events: Any) -> None:
        """Push messages to a function; each is stored, or is a dead letter."""
        for event in events:
            answer = self.instances[target].post(event)
            assert answer.status_code == 200, (target, answer.text)


def card(name: str, at: datetime) -> dict[str, Any]:
    """Return a card transaction of a moment."""
    return enriched_card(name, event_time=at.isoformat())


def stream(run: Run) -> None:
    """Events and truths, good and bad, on two days; nothing serves yet."""
    now = datetime.now(UTC)
    days = [now - DAY, now - 2 * DAY]
    for day in days:
        player = {"user_id": f"p{day:%d}", "event_time": day.isoformat()}
        events = [registration(**player), bet(**player), card(f"c{day:%d}", day)]
        run.push("stream_features", *events[:2], transaction(transaction_id="t2"))
        run.push("stream_features", truth(transaction_id="t2"), b"{")
        run.push("score_stream", *events, b"{")
    # There is no index yet, and no list beside it: the tables are read.
    run.ask("get_proba", use_case="ga4_purchase", user_ids=["nobody"])
    run.ask("score", 409, use_case="card_fraud", features=features())
    run.ask("score", 409, use_case="first_day_churn", user_id="p")
    run.ask("predictions", 409, use_case="ga4_purchase", as_of=TRAINED)


def compaction(run: Run) -> None:
    """Tiles, and exports of the two days; again, over what was exported before."""
    # What came before is younger than what may be on its way still.
    for _ in range(2):
        answer = run.ask("compact_features", force=True)
        assert answer["tiles"] or answer["exported_days"]["stream_events"]


def features() -> dict[str, float]:
    """Of a transaction."""
    return dict.fromkeys(usecases.load("card_fraud").features, 0.5)


def history(run: Run) -> None:
    """What a deployment has collected when it trains."""
    site = run.site
    games = Games(users=500, days=56, maximum_events=8)
    events = [encode(event) for event in games.events()]
    site.append(rows_of(events, received_at=DEFAULT_END))
    scored_cards.stored(site.warehouse, scored_cards.drawn(MANY))
    week = TRAINED - timedelta(days=7)
    publish(site.warehouse, week, {f"u{n}": n / MANY for n in range(MANY)})
    for name in ("ga4_purchase", "first_day_churn"):
        use_case, registry = usecases.load(name), Registry(site.artifacts, name)
        preprocessor = default_preprocessor(use_case)
        object_name, checksum = registry.upload_preprocessor(preprocessor)
        row = {
            "use_case": name,
            "uploaded_on": date(2026, 1, 1),
            "uploaded_at": datetime(2026, 1, 1, tzinfo=UTC),
            "object": object_name,
            "sha256": checksum,
            "features": json.dumps(dict(use_case.features)),
            "is_default": False,
        }
        site.warehouse.write(tables.PREPROCESSORS, [row])


def by_hand(site: Site, version: int) -> None:
    """Promote a model of few players, which is not shown to be worth it, by hand."""
    use_case = usecases.load("first_day_churn")
    row = loading.recorded(site.warehouse, use_case.name, version)
    Registry(site.artifacts, use_case.name).promote(
        version, model_sha256=row["model_sha256"], at=datetime.now(UTC), instead_of=None
    )


def batch(run: Run) -> None:
    """Training, predictions and evaluation of all use cases."""
    played = DEFAULT_END.date()
    run.ask("model_training", use_case="ga4_purchase", as_of=TRAINED)
    churn = run.ask("model_training", use_case="first_day_churn", as_of=played)
    if not churn["promoted"]:
        by_hand(run.site, churn["model_version"])
    first = run.ask("model_training", use_case="card_fraud", as_of=CARDS_KNOWN)
    run.ask("model_training", use_case="card_fraud", as_of=CARDS_KNOWN, force=True)
    assert first["promoted"]
    run.ask("predictions", use_case="ga4_purchase", as_of=TRAINED, force=True)
    # The week before is scored to be evaluated: by a model that was trained later.
    for as_of in (played - timedelta(days=7), played):
        run.ask("predictions", use_case="first_day_churn", as_of=as_of)
    # Once more: the features of the publication that it replaces are deleted, and so is
    # an index. The list of suppressed users is another one by now.
    suppress(run.site, "user.005")
    run.ask("predictions", use_case="first_day_churn", as_of=played)
    run.ask("predictions", 400, use_case="card_fraud", as_of=TRAINED)
    join(run.site, TRAINED - timedelta(days=7), ["u1"], ["u2"])
    run.ask("model_evaluation", use_case="ga4_purchase", as_of=TRAINED)
    run.ask("model_evaluation", use_case="first_day_churn", as_of=played)
    run.ask("model_evaluation", use_case="card_fraud", as_of=CARDS_KNOWN)


def aged(run: Run) -> None:
    """Another compaction, now that there are runs and champions to tell the age of."""
    run.ask("compact_features")


def serving(run: Run) -> None:
    """Lookups, scores and the stream, now that something serves."""
    url = run.instances["get_proba"].url
    question = {"user_id": "user.001", "use_case": "ga4_purchase"}
    assert requests.get(url, question, timeout=60).status_code == 200
    run.ask("get_proba", use_case="ga4_purchase", user_ids=["user.002", "nobody"])
    run.ask("get_proba", use_case="first_day_churn", user_ids=["nobody"])
    now = datetime.now(UTC)
    event = {"user_id": "late", "event_time": now.isoformat()}
    run.push("stream_features", registration(**event), bet(**event))

    def scored() -> bool:
        by_card = {"use_case": "card_fraud", "features": features()}
        by_user = {"use_case": "first_day_churn", "user_id": "late"}
        url = run.instances["score"].url
        answers = [
            requests.post(url, json=body, timeout=60) for body in (by_card, by_user)
        ]
        return [answer.status_code for answer in answers] == [200, 200]

    eventually(scored, "the champions score")
    name = f"c{uuid.uuid4().hex}"

    def is_of_champion() -> bool:
        run.push("score_stream", card(name, now), bet(**event))
        rows = run.site.rows(
            "SELECT use_case FROM inference_log "
            "WHERE model_version >= 0 AND user_id IN (@card, 'late')",
            card=name,
        )
        return {row["use_case"] for row in rows} == {"card_fraud", "first_day_churn"}

    eventually(is_of_champion, "the champions score the stream")


@pytest.fixture(scope="module")
def site(emulators, shop_dataset) -> Iterator[Site]:
    """All tables, topics and the bucket, over the small shop's export."""
    with new_site(
        emulators,
        PROPENSITY_GA4_DATASET=shop_dataset,
        PROPENSITY_SUPPRESSION_KEY=KEY,
        PROPENSITY_REFRESH_S="1",
        PROPENSITY_DEADLINE_S="60",
    ) as site:
        setup.prepare(site.warehouse, site.settings)
        site.create_topic(site.topic("model-updates"))
        suppress(site, "user.004")
        codes = [
            {
                "postcode": f"QA{number}",
                "socioeconomic_idx": 5.0,
                "is_outward": False,
                "loaded_on": date(2026, 1, 1),
            }
            for number in range(MANY)
        ]
        append_rows(site.warehouse, tables.POSTCODE_INDEX, codes)
        yield site


@pytest.fixture(scope="module")
def recorded(site, tmp_path_factory) -> Recorded:
    """All calls of a run of everything, and what they need."""
    with contextlib.ExitStack() as undo:
        recorders = {
            target: undo.enter_context(Recorder(site.environment))
            for target in FUNCTIONS
        }
        instances = {
            target: Instance(
                target, recorder.environment, tmp_path_factory.mktemp(target)
            )
            for target, recorder in recorders.items()
        }
        run = Run(site, instances)
        with together([*instances.values()]):
            for part in (stream, compaction, history, batch, aged, serving):
                part(run)
        calls = {target: recorder.calls for target, recorder in recorders.items()}
    place = rights.Place(
        dataset=site.settings.dataset,
        export=site.settings.ga4_dataset,
        bucket=site.workplace.bucket,
        views={
            name: site.warehouse.view_text(name)
            for name in ("ga_events", "stream_features", *tables.views(""))
        },
    )
    functions = json.loads(GRANTED.read_text())
    return Recorded(
        calls,
        {target: rights.needs(each, place) for target, each in calls.items()},
        {
            target: rights.granted(functions[target]["rights"], place)
            for target in FUNCTIONS
        },
    )


@pytest.mark.parametrize("target", FUNCTIONS)
class TestRights:
    def test_are_not_narrower_than_what_is_done(self, recorded, target):
        """Every call of a function finds all permissions that Google asks for it."""
        missing = {
            need: (call.method, call.path[:200])
            for need, call in recorded.needed[target].items()
            if not any(grant.covers(need) for grant in recorded.granted[target])
        }

        assert missing == {}

    def test_are_not_wider_than_what_is_done(self, recorded, target):
        """Without any one grant some call would fail."""
        granted, needed = recorded.granted[target], recorded.needed[target]
        idle = [
            grant
            for grant in granted
            if not any(
                grant.covers(need)
                and not any(one.covers(need) for one in granted if one is not grant)
                for need in needed
            )
        ]

        assert idle == []


@pytest.mark.parametrize("target", FUNCTIONS)
def test_every_query_is_bounded(recorded, target):
    """BigQuery refuses what would bill more, and reads the days that are meant of every
    large table."""
    asked = list(rights.queries(recorded.calls[target]))

    assert [one for one in asked if int(one.get("maximumBytesBilled", 0)) < 1] == []
    assert [one for one in asked if unfiltered(one["query"])] == []


def test_own_roles_permit_only_what_is_used(recorded):
    """A role of the deployment's own permits what somebody does with it."""
    used = {
        (grant.role, need.permission)
        for target in FUNCTIONS
        for grant in recorded.granted[target]
        for need in recorded.needed[target]
        if grant.covers(need)
    }

    assert {
        (role, permission)
        for role, (_, permissions) in rights.OWN_ROLES.items()
        for permission in permissions
    } <= used
