"""
Each function and job as it is deployed: staged, in the environment of its own lock, and
started as Google starts it. It answers a right request, and refuses wrong ones.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from local.processes import HOST
from local.stack.state import FUNCTIONS
from propensity import usecases
from tests.functions.audiences import by_hand
from tests.functions.conftest import put_model_into
from tests.functions.instances import Instance, push, python_of, serving, staged
from tests.support.deployment import DEADLINE_S, STREAMED, Deployment
from tests.support.described import JSON
from tests.support.events import bet
from tests.support.programs import execute
from tests.support.rows import publish, put
from tests.support.shop import WEEK
from tests.support.shops import LATER, TRAINED

IS_ASYNCHRONOUS = {one.target: one.is_asynchronous for one in FUNCTIONS}
AUDIENCE = 'destination = "bucket"\ntop = 5\n'
EVENT = bet(user_id="doors", event_id="doors")
GOOD: dict[str, Any] = {
    # The shop's model is of TRAINED: a run of that date is answered as done.
    "model_training": {"as_of": LATER},
    # The small shop's scores jump.
    "predictions": {"as_of": LATER, "force": True},
    "model_evaluation": {"as_of": TRAINED},
    "audiences": {"as_of": TRAINED - WEEK},
    "overview": {"as_of": TRAINED},
    "get_proba": {"user_ids": ["ana.1"]},
    "score": {
        "use_case": STREAMED,
        "features": dict.fromkeys(usecases.load(STREAMED).features),
    },
    "stream_features": push(EVENT),
    "score_stream": push(EVENT),
    "compact_features": {},
}
# Those that anybody may be let call: where DEPLOY_INGRESS says so.
PUBLIC = [one.target for one in FUNCTIONS if one.is_public]
NO_DATE = {"as_of": "soon"}
NO_USE_CASE = {"use_case": "no_such"}
BAD = [
    *((target, NO_DATE) for target in ("model_training", "predictions", "overview")),
    *((target, NO_USE_CASE) for target in ("model_evaluation", "audiences", "score")),
    ("compact_features", {"as_of": 3}),
    ("get_proba", {"user_ids": []}),
    ("score", {"features": {"V1": 1}}),
    ("stream_features", EVENT),
    ("score_stream", b"{"),
]


@pytest.fixture(scope="module")
def site(emulated_shop, tmp_path_factory) -> Deployment:
    """A shop with all that functions read: versions, publications, an audience."""
    own = tmp_path_factory.mktemp("own")
    folder = own / "ga4_purchase" / "audiences"
    folder.mkdir(parents=True)
    (folder / "winback.toml").write_text(AUDIENCE)
    site = emulated_shop.with_settings(
        PROPENSITY_USE_CASES=str(own), PROPENSITY_TOPIC_PREFIX=emulated_shop.name
    )
    put_model_into(site)
    for topic in ("enriched", "scores", "model-updates"):
        site.create_topic(site.topic(topic))
    site.load_model()
    put(site.warehouse, "ana.1", as_of=TRAINED)
    users = {f"user.{number:03}": number / 200 for number in range(80)}
    for weeks in (2, 1):
        publish(site.warehouse, TRAINED - weeks * WEEK, users)
    by_hand(site, TRAINED - 2 * WEEK)
    return site


@pytest.fixture(scope="module")
def doors(site, tmp_path_factory) -> Iterator[dict[str, Instance]]:
    """All functions, which start at the same time."""
    home = tmp_path_factory.mktemp("doors")
    doors = {
        target: Instance(target, site.environment, home / target) for target in GOOD
    }
    try:
        with ThreadPoolExecutor(len(doors)) as pool:
            list(pool.map(Instance.start, doors.values()))
        yield doors
    finally:
        # On a signal each would first take itself apart: half a second of eleven.
        for door in doors.values():
            if door.process:
                door.kill()


def test_every_function_is_started():
    assert set(GOOD) == set(IS_ASYNCHRONOUS) == {target for target, _ in BAD}


@pytest.mark.parametrize("target", GOOD)
def test_a_function_answers(doors, target):
    answer = doors[target].ask(GOOD[target])

    assert answer.status_code == 200, answer.text + doors[target].log()


@pytest.mark.parametrize(("target", "request_"), BAD)
def test_a_function_refuses_a_wrong_request(doors, target, request_):
    answer = doors[target].ask(request_)

    assert (answer.status_code, answer.json()["error"]) == (400, "bad_request")


@pytest.mark.parametrize("target", GOOD)
def test_a_function_is_served_as_it_is_declared(doors, target):
    """Asynchronously or with threads; a line of the log is one of JSON, with the
    platform's execution id."""
    answer = requests.put(doors[target].url, timeout=120)
    lines = doors[target].lines()

    assert answer.status_code == 405
    assert answer.json()["error"] == "method_not_allowed"
    server = "uvicorn" if IS_ASYNCHRONOUS[target] else "gunicorn"
    assert answer.headers["server"] == server
    assert "method_not_allowed" in [line.get("outcome") for line in lines]
    assert any("logging.googleapis.com/labels" in line for line in lines)


LENGTH = "Content-Length: 40"
CHUNKS = "Transfer-Encoding: chunked"
METHODS = ("POST", "GET", "PUT")
BROKEN = [
    (LENGTH, b""),
    (LENGTH, b"{}"),
    (CHUNKS, b""),
    (CHUNKS, b"ZZ\r\n{}\r\n0\r\n\r\n"),
    (CHUNKS, b"2\r\n{} and more\r\n0\r\n\r\n"),
    (CHUNKS, b"9\r\n{}"),
    (CHUNKS, b"2\r\n{}\r\n"),
]


@pytest.mark.parametrize("target", GOOD)
def test_a_body_that_breaks_off_is_refused(doors, target):
    """Whatever the method: a body that ends before its length, and broken chunks."""
    wrong = []
    for method, (length, body) in itertools.product(METHODS, BROKEN):
        path = "/" if method == "POST" else "/?user_id=ana.1"
        head = f"{method} {path} HTTP/1.1\r\nHost: f\r\n{length}\r\n"
        head += f"Content-Type: {JSON}\r\n\r\n"
        with socket.create_connection((HOST, doors[target].port), DEADLINE_S) as link:
            link.sendall(head.encode() + body)
            link.shutdown(socket.SHUT_WR)
            received = b"".join(iter(lambda: link.recv(4096), b""))  # noqa: B023
        first, _, rest = received.partition(b"\r\n")
        answer = rest.partition(b"\r\n\r\n")[2]
        if b" 400 " not in first or json.loads(answer)["field"] != "body":
            wrong.append((method, length, body, first, answer[:60]))

    assert wrong == []
    # It goes on to answer.
    assert doors[target].ask(dict(BAD)[target]).status_code == 400


def test_an_error_that_anybody_may_read_names_nothing_of_the_deployment(site, capfd):
    """Neither tables nor the bucket, nor a setting: the log does."""
    nowhere = {"PROPENSITY_DATASET": "a_dataset", "PROPENSITY_BUCKET": "a-bucket"}
    assert {*PUBLIC} >= {"get_proba", "score"}
    for target in PUBLIC:
        with serving(target, site.environment | nowhere) as function:
            answer = function.ask(GOOD[target])
        assert answer.status_code >= 400, answer.text
        names = ["a_dataset", "a-bucket", site.project, "ma_predictions", "PROPENSITY_"]
        assert [name for name in names if name in answer.text] == [], answer.text
    log = capfd.readouterr().err
    assert "a-bucket" in log or "a_dataset" in log


def job(site: Deployment, *words: str, status: int) -> subprocess.CompletedProcess[str]:
    """Run a program of 00-ModelTraining's image, which exits with this status."""
    return execute(
        [python_of("model_training"), *words],
        cwd=staged("model_training"),
        env={"PATH": os.environ["PATH"], **site.environment},
        status=status,
    )


@pytest.mark.parametrize("target", ["model_training", "predictions"])
def test_a_job_ends_as_its_function_does(site, target):
    """``tests/deploy/test_start.py`` has how it ends where that fails."""
    job(site, "job.py", target, json.dumps(GOOD[target], default=str), status=0)


def operated(site: Deployment, words: list[str], *, status: int) -> dict[str, Any]:
    """Run a command in the operators' job; return its line of the log."""
    done = job(site, "operate.py", "-", json.dumps(words), status=status)
    [line] = done.stderr.splitlines()
    answer: dict[str, Any] = json.loads(line)
    return answer


def test_an_operator_runs_a_command(site):
    line = operated(site, ["versions"], status=0)

    assert line["message"].startswith("Version ")


@pytest.mark.parametrize("words", [["demo"], ["audience", "list", "winback"]])
def test_an_operator_reads_in_a_sentence_what_the_job_refuses(site, words):
    line = operated(site, words, status=2)

    assert "Traceback" not in line["notes"]
    assert len(line["notes"].splitlines()) == 1
