"""Predictions that are looked up, and an instance of get_proba that answers."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import functions_framework.aio
import pytest
import requests
import uvicorn
from google.cloud import bigquery

from local.processes import HOST
from local.stack.state import ROOT
from propensity.gcp.warehouse import definition_of
from propensity.statements import statement
from propensity.tables import every as tables
from tests.described import check_described
from tests.functions.conftest import entered

FOLDER = ROOT / "02-GetProba"
TODAY = datetime.now(UTC).date()
ANA = {
    "user_id": "ana.1",
    "probability": 0.8125,
    "prediction_date": TODAY.isoformat(),
    "model_version": 2,
    "percentile": 99,
    "stale": False,
}
KEYS = tuple(ANA)
BEN = {
    "user_id": "ben 2+ü/&=?",
    "probability": 0.1,
    "prediction_date": (TODAY - timedelta(days=30)).isoformat(),
    "model_version": 1,
    "percentile": None,
    "stale": True,
}


def publish(workplace, predictions, *, use_case: str = "ga4_purchase") -> None:
    """Create the table where it is missing, and add rows to it as answers show them."""
    dataset = f"{workplace.project}.{workplace.dataset}"
    name = f"{dataset}.{tables.PREDICTIONS.name}"
    rows = [
        {
            "use_case": use_case,
            "as_of": row["prediction_date"],
            **{name: row[name] for name in ("user_id", "probability")},
            **{name: row[name] for name in ("percentile", "model_version")},
        }
        for row in predictions
    ]
    with workplace.bigquery.client() as client:
        table = definition_of(tables.PREDICTIONS, name)
        client.create_table(table, exists_ok=True)
        load = bigquery.LoadJobConfig(schema=table.schema)
        client.load_table_from_json(rows, name, job_config=load).result()


def lookups_sent(workplace) -> list[bigquery.QueryJob]:
    """The lookup queries that reached BigQuery in this workplace."""
    sql = statement("lookup")
    with workplace.bigquery.client() as client:
        return [
            job
            for job in client.list_jobs()
            if isinstance(job, bigquery.QueryJob)
            and job.query == sql
            and job.default_dataset.dataset_id == workplace.dataset
        ]


@contextlib.contextmanager
def serving(environment: Mapping[str, str]) -> Iterator[str]:
    """Serve the function in this process with exactly these settings."""
    with entered(environment), socket.socket() as listener:
        listener.bind((HOST, 0))
        app = functions_framework.aio.create_asgi_app(
            "get_proba", str(FOLDER / "main.py")
        )
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="error", lifespan="off", ws="none")
        )
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.005)
            yield f"http://{HOST}:{listener.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join(30)


@pytest.fixture(scope="module")
def url(module_workplace) -> Iterator[str]:
    """The function, with Ana, Ben and many others published."""
    others = [ANA | {"user_id": f"user.{number}"} for number in range(1_000)]
    publish(module_workplace, [ANA, BEN, *others])
    publish(module_workplace, [ANA | {"probability": 0.5}], use_case="first_day_churn")
    with serving(module_workplace.environment) as address:
        yield address


def post(url: str, body: object, **arguments) -> requests.Response:
    answer = requests.post(url, json=body, timeout=60, **arguments)
    return check_described("get_proba", answer)


def ask(url: str, **parameters) -> requests.Response:
    answer = requests.get(url, params=parameters, timeout=60)
    return check_described("get_proba", answer, method="GET")
