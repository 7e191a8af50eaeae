"""
Versions that change under load, specified over HTTP.

The function ``score`` is served from its staged source. Several clients send the same
transactions all the time. The scores of every version are known and differ, so that an
answer proves by its scores that one version alone gave it.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests
from sklearn.linear_model import LogisticRegression

from propensity.models.half_space_trees import HalfSpaceTrees
from tests.functions.conftest import TRAINED
from tests.functions.instances import Instance
from tests.functions.scored import (
    CARDS,
    NAMES,
    fitted,
    promote,
    publish,
    transactions,
)
from tests.functions.streaming import Site, eventually, new_site

SWITCHES = 20
CLIENTS = 6
# A client's pause, so that the function and not its clients has the processor.
PAUSE_S = 0.02
SETTINGS = {"PROPENSITY_REFRESH_S": "1", "PROPENSITY_USE_CASE": CARDS.name}
# Of one request. The scores of each are those of one version, or the test fails.
TRANSACTIONS = pd.DataFrame(transactions(4, seed=0), columns=NAMES)


def published(site: Site, count: int) -> list[tuple[str, Sequence[float]]]:
    """Store models as training does: two classifiers, then trees, and so on; return
    the field and the values of each one's scores."""
    preprocessor = fitted()[0]
    known = pd.DataFrame(transactions(300, seed=1), columns=NAMES)
    encoded = preprocessor.transform(known)
    expected = []
    for number in range(count):
        model: Any = LogisticRegression()
        if number % 3 == 2:
            model = HalfSpaceTrees(5, 5, 50, random_state=number)
        model.fit(encoded, known[NAMES[number]] > 0)
        assert publish(site, model) == number
        scores = model.predict_proba(preprocessor.transform(TRANSACTIONS))[:, 1]
        kind = "anomaly_score" if number % 3 == 2 else "probability"
        expected.append((kind, scores.tolist()))
    return expected


class Load:
    """Clients that send requests without end, and what is wrong with their answers."""

    def __init__(
        self, url: str, expected: Sequence[tuple[str, Sequence[float]]]
    ) -> None:
        self.url = url
        self.expected = expected
        self.failures: list[str] = []
        self.seen: Counter[int] = Counter()
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
                try:
                    answer = session.post(self.url, json=body, timeout=60)
                    answer.raise_for_status()
                    self._judge(answer.json())
                except requests.RequestException as error:
                    self.failures.append(repr(error))

    def _judge(self, body: Mapping[str, Any]) -> None:
        version = body["model_version"]
        with self._lock:
            self.seen[version] += 1
        kind, expected = self.expected[version]
        scores = [entry[kind] for entry in body["predictions"]]
        if None in scores or not np.allclose(scores, expected, 0, 1e-9):
            self.failures.append(json.dumps(body))


@pytest.mark.long
def test_twenty_switches_fail_no_request_and_mix_no_versions(emulators, tmp_path):
    """
    Through twenty promotions no request fails, and each answer is one version's.

    A version with an altered file is refused, the log says so, and the champion
    goes on.
    """
    corrupt = SWITCHES + 1
    refused = f"/{corrupt}/model.joblib is not what was recorded"
    with new_site(emulators, **SETTINGS) as site:
        expected = published(site, SWITCHES + 2)
        model = f"models/{CARDS.name}/{corrupt}/model.joblib"
        stored = site.artifacts.find(model)
        site.artifacts.replace(model, stored.data[:-1] + b"?", stored)
        promote(site, 0)
        with Instance("score", site.environment, tmp_path) as instance:
            with Load(instance.url, expected) as load:
                for version in range(SWITCHES + 1):
                    promote(site, version)
                    eventually(
                        lambda version=version: load.seen[version] or load.failures,
                        f"version {version} answers",
                    )
                    if version == SWITCHES // 2:
                        promote(site, corrupt)
                        eventually(lambda: refused in instance.log(), refused)
                        before = Counter(load.seen)
                        eventually(
                            lambda before=before: (load.seen - before).total() > 50,
                            "it goes on",
                        )
                        assert set(load.seen - before) == {version}
            lines = [line["message"] for line in instance.lines()]

    assert load.failures == []
    assert sorted(load.seen) == list(range(SWITCHES + 1))
    assert any(refused in line for line in lines)


@pytest.mark.long
def test_a_training_tells_what_it_promotes(emulators, place):
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
    assert update == {
        "use_case": "ga4_purchase",
        "action": "promote",
        "version": answer["model_version"],
        "pinned": False,
        "epoch": place.registry.champion().epoch,
        "at": update["at"],
    }
