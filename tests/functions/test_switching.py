"""
Versions that change under load, specified over HTTP.

The function ``score`` is served from its staged source. Several clients send the same
transactions all the time. The scores of every version are known and differ, so that an
answer proves by its scores that one version alone gave it.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests
from sklearn.linear_model import LogisticRegression

from propensity.models.anomaly import AnomalyModel
from propensity.models.half_space_trees import HalfSpaceTrees
from propensity.registry.champion import ANYTHING
from propensity.registry.versions import Registry
from tests.functions.conftest import TRAINED
from tests.functions.instances import Instance
from tests.functions.scored import CARDS, NAMES, NOW, fitted, publish, transactions
from tests.functions.streaming import Site, eventually, new_site

SWITCHES = 20
CORRUPT_AFTER = 10
CLIENTS = 6
# Of one request. The scores of each are those of one version, or the test fails.
INSTANCES = 4
# A client's pause, so that the function and not its clients has the processor.
PAUSE_S = 0.02

SETTINGS = {"PROPENSITY_REFRESH_S": "1", "PROPENSITY_USE_CASE": CARDS.name}


def frame(count: int, *, seed: int) -> pd.DataFrame:
    """Return features of transactions."""
    return pd.DataFrame(transactions(count, seed=seed), columns=NAMES)


TRANSACTIONS = frame(INSTANCES, seed=0)


@dataclass(frozen=True)
class Versions:
    """A site with versions that say different things of the same transactions."""

    site: Site
    expected: Mapping[int, Sequence[float]]
    kinds: Mapping[int, str]

    @property
    def registry(self) -> Registry:
        return Registry(self.site.artifacts, CARDS.name)

    def promote(self, version: int) -> None:
        self.registry.promote(
            version, model_sha256="0" * 64, at=NOW, instead_of=ANYTHING
        )


def publish_versions(site: Site, count: int) -> Versions:
    """Store models as training does: two classifiers, then trees, and so on."""
    preprocessor = fitted()[0]
    known = frame(300, seed=1)
    encoded = preprocessor.transform(known)
    expected, kinds = {}, {}
    for number in range(count):
        if number % 3 == 2:
            trees = HalfSpaceTrees(5, 5, 50, random_state=number)
            model: Any = AnomalyModel(trees).fit(encoded)
            kinds[number] = "anomaly_score"
        else:
            model = LogisticRegression().fit(encoded, known[NAMES[number]] > 0)
            kinds[number] = "probability"
        assert publish(site, model) == number
        scores = model.predict_proba(preprocessor.transform(TRANSACTIONS))[:, 1]
        expected[number] = scores.tolist()
    return Versions(site, expected, kinds)


@pytest.fixture(scope="module")
def versions(emulators) -> Iterator[Versions]:
    """A site with a version for each switch, one to begin with, and one to corrupt."""
    with new_site(emulators, **SETTINGS) as site:
        yield publish_versions(site, SWITCHES + 2)


@dataclass
class Load:
    """Clients that send requests without end, and their answers."""

    url: str
    versions: Versions
    requests: int = 0
    failures: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)
    seen: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        body = {"use_case": CARDS.name, "instances": TRANSACTIONS.to_dict("records")}
        with requests.Session() as session:
            while not self._stop.wait(PAUSE_S):
                began = time.perf_counter()
                try:
                    answer = session.post(self.url, json=body, timeout=60)
                    self._judge(answer, time.perf_counter() - began)
                except requests.RequestException as error:
                    with self._lock:
                        self.requests += 1
                        self.failures.append(repr(error))

    def _judge(self, answer: requests.Response, took_s: float) -> None:
        with self._lock:
            self.requests += 1
            self.seconds.append(took_s)
            if answer.status_code != 200:
                self.failures.append(f"{answer.status_code} {answer.text}")
                return
            body = answer.json()
            version = body["model_version"]
            self.seen[version] += 1
            kind = self.versions.kinds[version]
            scores = [entry[kind] for entry in body["predictions"]]
            if not np.allclose(scores, self.versions.expected[version], 0, 1e-9):
                self.mixed.append(answer.text)


REFUSED = "/{}/model.joblib is not what was recorded"


def switch(load: Load, version: int) -> None:
    """Promote a version, and wait until it answers."""
    load.versions.promote(version)
    eventually(
        lambda: load.seen[version] or load.failures, f"version {version} answers"
    )


def refuse(load: Load, corrupt: int, instance: Instance, *, serving: int) -> None:
    """Promote a corrupt version, and check that the one that serves goes on."""
    load.versions.promote(corrupt)
    message = REFUSED.format(corrupt)
    eventually(lambda: message in instance.log(), message)
    before = Counter(load.seen)
    eventually(lambda: (load.seen - before).total() > 50, "it goes on")

    assert set(load.seen - before) == {serving}


class TestTwentySwitches:
    @pytest.mark.long
    def test_fail_no_request_and_mix_no_versions(self, versions, tmp_path):
        """
        Through twenty promotions no request fails, and each answer is one version's.

        A version with an altered file is refused, the log says so, and the champion
        goes on.
        """
        corrupt = SWITCHES + 1
        model = f"models/{CARDS.name}/{corrupt}/model.joblib"
        stored = versions.site.artifacts.find(model)
        versions.site.artifacts.replace(
            model, stored.data[:-1] + b"?", generation=stored.generation
        )
        versions.promote(0)
        with Instance("score", versions.site.environment, tmp_path) as instance:
            with Load(instance.url, versions) as load:
                eventually(lambda: load.seen[0], "the first version answers")
                # The first request of all has loaded the first version.
                load.seconds.clear()
                began = time.perf_counter()
                for version in range(1, SWITCHES + 1):
                    switch(load, version)
                    if version == CORRUPT_AFTER:
                        refuse(load, corrupt, instance, serving=version)
                took_s = time.perf_counter() - began
            lines = [line["message"] for line in instance.lines()]
        seen = ", ".join(
            f"{version}: {load.seen[version]:,}" for version in sorted(load.seen)
        )
        half, most, longest = np.quantile(load.seconds, [0.5, 0.99, 1.0]) * 1e3
        print(
            f"\n{load.requests:,} requests of {INSTANCES} transactions by {CLIENTS} "
            f"clients through {SWITCHES} switches in {took_s:.0f} s: "
            f"{len(load.failures)} failures, {len(load.mixed)} answers of mixed "
            f"versions; p50 {half:.0f} ms, p99 {most:.0f} ms, slowest "
            f"{longest:.0f} ms; versions seen: {seen}; version {corrupt} was corrupt "
            f"and answered {load.seen[corrupt]}"
        )

        assert load.failures == []
        assert load.mixed == []
        assert sorted(load.seen) == list(range(SWITCHES + 1))
        assert sum(REFUSED.format(corrupt) in line for line in lines) == 1


@pytest.mark.long
class TestTraining:
    def test_tells_what_it_promotes(self, emulators, place):
        """The first model of a place serves, and a message says so to others."""
        site = Site(place.workplace, emulators.address("pubsub"))
        topic = site.topic("model-updates")
        place = place.with_settings(PROPENSITY_TOPIC_PREFIX=site.name)
        site.create_topic(topic)
        subscription = site.subscribe(topic)
        answer = place.run("model_training", TRAINED)
        [message] = site.pull(subscription, 1)
        site.close()

        assert answer["promoted"]
        update = json.loads(message.data)
        champion = place.registry.champion()
        assert update == {
            "use_case": "ga4_purchase",
            "action": "promote",
            "version": answer["model_version"],
            "pinned": False,
            "epoch": champion.epoch,
            "at": update["at"],
        }
