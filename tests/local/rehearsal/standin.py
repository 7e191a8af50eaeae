"""
A small ground that answers for Google: emulators behind proxies, and functions of this
process.

Everything holds there. ``broken`` are what does not: a pattern of requests, by method,
path and body, and the answer in the place of the emulator's, or what changes that.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from local.rehearsal.ground import Call, Ground
from propensity.gcp import log
from propensity.tables.models import PREDICTIONS
from tests import shop
from tests.deployment import Deployment
from tests.functions.instances import serving
from tests.proxy import Asked, Proxy

Answer = tuple[int, bytes] | Callable[[dict[str, Any]], dict[str, Any]]
TOKEN = {"Authorization": "Bearer token"}
BY_CLOCK = {"X-CloudScheduler": "true"}
# Bytes of a day's table, as a dry run says them.
DAY_BYTES = 100 * 1024**2
SPAN = re.compile(rb'"(20\d{6})"')


class StandIn(Ground):
    """
    A project where everything is as the pages say.

    Attributes:
        headers: What the scheduler sends.
        hung_up: How a training ends whose caller has hung up.
        lets_strangers_in: Whether a lookup needs no token.
        takes_scheduler, takes_pushes: Whether functions take these tokens.
        held, held_of_others: What an account may on its own table, and on others.
        keeps_values: Whether records of jobs have the values of parameters.
        bills: The bytes of every query.
        delay_s: How long a lookup waits.
    """

    is_google = True
    patience_s = 4.0

    def __init__(self, deployment: Deployment) -> None:
        super().__init__()
        self.broken: dict[str, Answer] = {}
        self.headers = BY_CLOCK
        self.hung_up = "ok"
        self.lets_strangers_in = False
        self.takes_scheduler = True
        self.takes_pushes = True
        self.keeps_values = False
        self.held = ["bigquery.tables.getData"]
        self.held_of_others = list[str]()
        self.bills = DAY_BYTES
        self.delay_s = 0.0
        self.ask = lambda _: True
        self.log = io.StringIO()
        stack = deployment.stack
        self.bigquery = Proxy(stack.url("bigquery"), self._bigquery)
        self.storage = Proxy(stack.url("storage"), self._storage)
        self.deployment = deployment.with_settings(
            BIGQUERY_EMULATOR_HOST=self.bigquery.url,
            STORAGE_EMULATOR_HOST=self.storage.url,
            PROPENSITY_TOPIC_PREFIX=deployment.name,
            PROPENSITY_DEADLINE_S="30",
        )
        self.environment = self.deployment.environment
        self.lookups: Proxy
        self.pushes: Proxy

    # What stands between a client and an emulator.

    def _bigquery(self, asked: Asked) -> Any:
        if asked.path.partition("?")[0].endswith(":testIamPermissions"):
            is_own = PREDICTIONS.stored in asked.path
            held = self.held if is_own else self.held_of_others
            return 200, json.dumps({"permissions": held}).encode()
        line = f"{asked.method} {asked.path} {asked.body.decode(errors='replace')}"
        answer = self._broken(asked, line, self.bigquery.upstream)
        if answer is None and '"dryRun": true' in line:
            return self._changed(asked, self.bigquery.upstream, priced(asked.body))
        if answer is None and re.search(r"^\w+ \S+/jobs\b", line):
            return self._changed(asked, self.bigquery.upstream, self._recorded)
        return answer

    def _recorded(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return the record of a job as Google should have it."""
        query = job["configuration"].get("query", {})
        if not self.keeps_values:
            query.pop("queryParameters", None)
        job["statistics"].setdefault("query", {})["totalBytesBilled"] = f"{self.bills}"
        return job

    def _storage(self, asked: Asked) -> Any:
        upstream = self.storage.upstream
        answer = self._broken(asked, f"{asked.method} {asked.path}", upstream)
        if answer is None and re.search(r"^/storage/v1/b/[^/?]+(\?|$)", asked.path):
            return self._changed(asked, upstream, located)
        return answer

    def _broken(self, asked: Asked, line: str, upstream: str) -> Any:
        for pattern, answer in self.broken.items():
            if re.search(pattern, line):
                if callable(answer):
                    return self._changed(asked, upstream, answer)
                return answer
        return None

    def _changed(
        self, asked: Asked, upstream: str, change: Callable[[Any], Any]
    ) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json"}
        answer = requests.request(
            asked.method, upstream + asked.path, data=asked.body, headers=headers
        )
        if not answer.ok:
            return answer.status_code, answer.content
        return 200, json.dumps(change(answer.json())).encode()

    def _guarded(self, asked: Asked) -> Any:
        """Let in who has a token."""
        time.sleep(self.delay_s)
        if self.lets_strangers_in or "Authorization" in asked.headers:
            return None
        return 403

    def _pushed(self, asked: Asked) -> Any:
        return None if self.takes_pushes else 403

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Serve what answers over HTTP."""
        deployment = self.deployment
        with (
            self.bigquery,
            self.storage,
            pytest.MonkeyPatch.context() as patch,
            serving("get_proba", self.environment) as get_proba,
            serving("stream_features", self.environment) as stream_features,
        ):
            # pytest sets sys.stderr anew for each phase of a test.
            patch.setattr(log, "sys", SimpleNamespace(stderr=self.log))
            self.lookups = Proxy(get_proba.url.rstrip("/"), self._guarded)
            self.pushes = Proxy(stream_features.url.rstrip("/"), self._pushed)
            with self.lookups, self.pushes:
                topic = deployment.topic("events")
                endpoint = f"{self.pushes.url}/"
                subscription = deployment.subscribe(topic, endpoint=endpoint)
                yield
                deployment.unsubscribe(subscription)

    # A ground.

    def begin(self) -> None:
        pass

    def set_up(self, fill: Callable[[], None]) -> None:
        raise AssertionError("nothing is set up here")

    def take_away(self) -> None:
        pass

    def run_command(self, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        raise AssertionError(f"{words} is no question")

    def call(
        self, target: str, body: Mapping[str, object], *, hangs_up: bool = False
    ) -> Call:
        began = time.monotonic()
        outcome = self.hung_up
        status = 200
        message = ""
        if not self.takes_scheduler:
            outcome = ""
            status = 403
        elif not hangs_up:
            answer = self.deployment.post(target, body, headers=self.headers)
            outcome = answer.json.get("error", "ok")
            message = answer.json.get("message", "")
            status = answer.status_code
        return Call(
            target=target,
            outcome=outcome,
            message=message,
            status=status,
            seconds=time.monotonic() - began,
        )

    def url(self, target: str) -> str:
        return self.lookups.url

    def token(self, target: str) -> Mapping[str, str]:
        return TOKEN

    def acting_as(self, target: str) -> bigquery.Client:
        return bigquery.Client(
            project=self.settings.project,
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": self.bigquery.url},
        )

    def lines(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        lines = dict[str, list[Mapping[str, Any]]]()
        for text in self.log.getvalue().splitlines():
            if '"outcome"' in text and text.startswith("{"):
                line = json.loads(text)
                target = re.sub("([A-Z])", r"_\1", line["function"]).lower()
                lines.setdefault(target, []).append(line)
        return lines


def located(bucket: dict[str, Any]) -> dict[str, Any]:
    """Return a bucket with a location, which the emulator's have not."""
    return {**bucket, "location": "US"}


def priced(body: bytes) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return what gives a dry run the bytes of the days that its statement names."""
    days = sorted(SPAN.findall(body))
    count = 1
    if days:
        first, last = (shop_day(text) for text in (days[0], days[-1]))
        count = (last - first).days + 1

    def change(answer: dict[str, Any]) -> dict[str, Any]:
        size = f"{DAY_BYTES * count}"
        answer["statistics"]["totalBytesProcessed"] = size
        answer["statistics"]["query"]["totalBytesProcessed"] = size
        return answer

    return change


def shop_day(text: bytes) -> date:
    return date.fromisoformat(text.decode())


def loaded(deployment: Deployment) -> None:
    """Give a deployment tables, an export of some days, and the topic of events."""
    from local.exports import ga4_export
    from propensity.runs import setup

    deployment.prepare()
    tables = shop.shards(shop.weekly(date(2026, 1, 7), 2))
    client = deployment.warehouse.client
    ga4_export.load_tables(client, deployment.ga4_dataset, tables)
    setup.prepare_export(deployment.warehouse, deployment.settings)
    for topic in ("events", "enriched", "scores", "dead-letters", "model-updates"):
        deployment.create_topic(deployment.topic(topic))
