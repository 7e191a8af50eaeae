"""
Hostile requests to every function, over the server that is deployed.

Some thousands of requests, drawn by a seed: valid ones with one thing wrong, and bytes
that are no request of ours at all. None is answered 500 and none hangs, no process dies
or grows, what was acknowledged is stored, and afterwards everything answers as before.
"""

from __future__ import annotations

import contextlib
import copy
import json
import random
import socket
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import psutil
import pytest
import requests

from offline import load_model
from tests.deployment import Deployment
from tests.events import bet, registration, written
from tests.functions.instances import Instance, push, together
from tests.functions.looked_up import ANA
from tests.functions.looked_up import publish as publish_prediction
from tests.functions.scored import fitted, flat, promote, publish, transactions
from tests.functions.streaming import new_site

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

SEED, THREADS = 20261126, 8
# Requests by function: those that answer people and Pub/Sub, and runs.
ASKED, RUN = 700, 120
RUNS = ("model_training", "predictions", "model_evaluation", "compact_features")
TARGETS = ("get_proba", "score", "stream_features", "score_stream", *RUNS)
# A request may wait for others, and for a machine that is busy.
LONGEST_S, LONGEST_GROWTH = 20.0, 96 * 1024**2
FEATURES = flat(transactions(1)[0])

HOSTILE: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 1e308, 10**30, "", " ", "x", "NaN", "1e999", [], {}),
    *("9" * 12_000 + "x", "1" * 300, "\x00", "\ud800", "é" * 5_000, "' OR 1=1 --"),
    *("../../etc/passwd", "<script>", "2026-02-30", "0001-01-01", "\u202e", "{x}"),
    *([[[[[[[[[[]]]]]]]]]], {"a": {"b": {"c": {}}}}, ["x"] * 2_000, 2**63, -0.0),
)
RAW = (
    *(b"", b"{", b"null", b"[]", b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"\x00" * 9),
    *(b"[" * 50_000, b'{"a":' * 5_000, b'{"x": NaN}', b'{"x": 1, "x": 2}'),
    *("{}".encode("utf-16"), b"x" * 70_000, b" " * 5_000_000, b"9" * 200_000),
)
TYPES = ("application/json", "text/plain", "", "application/json; charset=x", "x/")
# No client would send these after the first lines of a request.
BROKEN = (
    *("Content-Length: 1000\r\n\r\n{}", "Content-Length: -1\r\n\r\n{}"),
    "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n5\r\n{}",
    *(f"X: {'y' * 100_000}\r\n\r\n", "\x00\x01\x02\r\n\r\n"),
)


def valid(target: str, chance: random.Random) -> Any:
    """Return a request that the function takes."""
    if target == "get_proba":
        return {"user_ids": ["ana.1", "nobody"]}
    if target == "score":
        return chance.choice([FEATURES, {"instances": [FEATURES] * 3}])
    if target in RUNS:
        return {"use_case": "ga4_purchase", "as_of": "2026-03-01", "force": False}
    make = chance.choice([registration, bet])
    event = make(user_id=f"fuzz-{chance.randrange(30)}", event_id=uuid.uuid4().hex)
    data = mutated(event, chance) if chance.random() < 0.6 else written(event)
    return push(data, uuid.uuid4().hex)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value within JSON."""
    items = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        items = enumerate(value)
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def mutated(body: Any, chance: random.Random) -> bytes:
    """Return a request with one thing wrong, or bytes of it."""
    body = copy.deepcopy(body)
    *way, last = chance.choice([*places(body)])
    inner = body
    for key in way:
        inner = inner[key]
    match chance.randrange(4):
        case 0 | 1:
            inner[last] = chance.choice(HOSTILE)
        case 2 if isinstance(inner, dict):
            inner[str(chance.choice(HOSTILE))[:3_000]] = inner.pop(last)
        case _:
            del inner[last]
    data = json.dumps(body).encode()
    if chance.random() < 0.1:
        cut = chance.randrange(len(data) + 1)
        data = data[:cut] + chance.randbytes(chance.randrange(4)) + data[cut + 1 :]
    return data


def sent(target: str, url: str, seed: int) -> tuple[str, int, float, bytes, bytes]:
    """Send a request; return target, status, seconds, what was sent and the answer."""
    chance = random.Random(seed)
    method, headers, kind = (
        "POST",
        {"Content-Type": "application/json"},
        chance.random(),
    )
    body = mutated(valid(target, chance), chance)
    if kind < 0.1:
        body = b"[" if target in RUNS else json.dumps(valid(target, chance)).encode()
    elif kind < 0.2:
        body = chance.choice(RAW)
    elif kind < 0.25:
        headers["Content-Type"] = chance.choice(TYPES)
    elif kind < 0.3:
        method = chance.choice(["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD"])
        words = "".join(chance.choices("abcdefuser_id=&%/?é\x01", k=30))
        url += chance.choice(["", f"?{words}", f"?user_id={words}", f"{words}"])
        body = b""
    elif kind < 0.35:
        return target, broken(url, chance.choice(BROKEN)), 0.0, b"", b""
    began = time.monotonic()
    answer = requests.request(method, url, data=body, headers=headers, timeout=60)
    took = time.monotonic() - began
    return target, answer.status_code, took, body, answer.content


def broken(url: str, rest: str) -> int:
    """Send what no client would; return the status, 0 where the server hangs up."""
    host, _, port = url.removeprefix("http://").rstrip("/").partition(":")
    head = f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall((head + rest).encode("latin-1"))
        connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError):
            words = connection.recv(200).split(b" ")
            return int(words[1]) if len(words) > 1 else 0
    return 0


@pytest.fixture
def site(emulators) -> Iterator[Deployment]:
    """Models, a prediction and players."""
    settings = {
        "PROPENSITY_USE_CASE": "ga4_purchase",
        "PROPENSITY_DEADLINE_S": "60",
        "PROPENSITY_GA4_DATASET": "no_such_export",
    }
    with new_site(emulators, **settings) as site:
        publish(site, fitted()[1])
        promote(site, 0)
        load_model.load(site.warehouse, site.artifacts, site.settings)
        publish_prediction(site.workplace, [ANA])
        yield site


def memory(instance: Instance) -> int:
    assert instance.process is not None
    own = psutil.Process(instance.process.pid)
    return sum(one.memory_info().rss for one in [own, *own.children(recursive=True)])


def test_hostile_requests_break_nothing(site, tmp_path):
    instances = {
        target: Instance(target, site.environment, tmp_path / target)
        for target in TARGETS
    }

    def ask() -> list[Any]:
        probability = instances["score"].ask(FEATURES).json()["probability"]
        return [instances["get_proba"].get(user_id="ana.1").json(), probability]

    with (
        together([*instances.values()]),
        futures.ThreadPoolExecutor(THREADS) as pool,
    ):
        known, answers, grown = ask(), [], {}
        for turn in range(4):
            jobs = [
                (target, instance.url, SEED + 10_000 * turn + number)
                for target, instance in instances.items()
                for number in range((RUN if target in RUNS else ASKED) // 4)
            ]
            random.Random(turn).shuffle(jobs)
            answers += pool.map(lambda job: sent(*job), jobs)
            if turn == 1:
                grown = {name: memory(one) for name, one in instances.items()}
        grown = {name: memory(one) - grown[name] for name, one in instances.items()}
        again = ask()

        assert all(one.process.is_running for one in instances.values())
    statuses = Counter((target, status) for target, status, *_ in answers)
    print(sorted(statuses.items()), {n: g // 1024**2 for n, g in grown.items()})

    failed = {
        (target, body[:300], answer[:300])
        for target, status, _, body, answer in answers
        if status == 500
    }
    assert failed == set()
    assert max(seconds for _, _, seconds, _, _ in answers) < LONGEST_S
    assert max(grown.values()) < LONGEST_GROWTH, grown
    assert again == known

    taken = acknowledged(answers)
    assert len(taken) > ASKED // 10
    assert taken - stored(site) == set()
    assert site.features() == site.clean_features()


def acknowledged(answers: list[Any]) -> set[str]:
    """Return the messages that stream_features says it has stored or buried."""
    found = set()
    for target, status, _, body, answer in answers:
        if target == "stream_features" and status == 200 and b"outcome" in answer:
            message = json.loads(body.decode(errors="replace"))["message"]
            found.add(str(message.get("messageId") or message.get("message_id")))
    return found


def stored(site: Deployment) -> set[str]:
    rows = site.rows(
        "SELECT DISTINCT message_id FROM stream_events UNION DISTINCT "
        "SELECT DISTINCT message_id FROM dead_letters UNION DISTINCT "
        "SELECT DISTINCT message_id FROM truth_events"
    )
    return {row["message_id"] for row in rows}
