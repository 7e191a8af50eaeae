"""Predictions that are looked up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.cloud import bigquery

from propensity.gcp.warehouse import definition_of
from propensity.statements import statement
from propensity.tables.models import PREDICTIONS

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


def publish(deployment, predictions, *, use_case: str = "ga4_purchase") -> None:
    """Create the table where it is missing, and add rows to it as answers show them."""
    dataset = f"{deployment.project}.{deployment.dataset}"
    name = f"{dataset}.{PREDICTIONS.name}"
    rows = [
        {
            "use_case": use_case,
            "as_of": row["prediction_date"],
            **{name: row[name] for name in ("user_id", "probability")},
            **{name: row[name] for name in ("percentile", "model_version")},
        }
        for row in predictions
    ]
    client = deployment.warehouse.client
    table = definition_of(PREDICTIONS, name)
    client.create_table(table, exists_ok=True)
    load = bigquery.LoadJobConfig(schema=table.schema)
    client.load_table_from_json(rows, name, job_config=load).result()


def lookups_sent(deployment) -> list[bigquery.QueryJob]:
    """The lookup queries that reached BigQuery in this deployment."""
    sql = statement("lookup")
    return [
        job
        for job in deployment.warehouse.client.list_jobs()
        if isinstance(job, bigquery.QueryJob)
        and job.query == sql
        and job.default_dataset.dataset_id == deployment.dataset
    ]
