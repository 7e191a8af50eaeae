"""
Settings to deploy from.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import requests

from deploy.functions import Function
from local.processes import HOST, free_ports, spawn, stop

# The longest wait for an answer of a function.
ANSWER_S = 120

SETTINGS = {
    "GOOGLE_CLOUD_PROJECT": "my-project",
    "PROPENSITY_BUCKET": "my-bucket",
    "PROPENSITY_GA4_DATASET": "analytics_1",
    "DEPLOY_REGION": "us-central1",
    "DEPLOY_ALERT_EMAIL": "team@example.com",
}
KEY = "projects/keys/locations/us-central1/keyRings/data/cryptoKeys/propensity"
# With all that can be set.
WHOLE = {
    **SETTINGS,
    "PROPENSITY_LOCATION": "us-central1",
    "DEPLOY_USE_CASES": "ga4_purchase first_day_churn card_fraud",
    "DEPLOY_CALLERS": "group:website@example.com user:ana@example.com",
    "DEPLOY_PRODUCERS": "serviceAccount:shop@other.iam.gserviceaccount.com",
    "DEPLOY_SUPPRESSION_SECRET": "propensity-suppression-key",
    "DEPLOY_INGRESS": "internal-and-gclb",
    "DEPLOY_KMS_KEY": KEY,
    "DEPLOY_FUNCTIONS_KMS_KEY": KEY,
    "DEPLOY_REPOSITORY": "images",
    "DEPLOY_VPC_CONNECTOR": "to-the-office",
    "DEPLOY_VPC_EGRESS": "all",
}


def settings_file(folder: Path, settings: dict[str, str]) -> Path:
    """Write a settings file, and return it."""
    file = folder / "settings.env"
    file.write_text("".join(f'{name}="{value}"\n' for name, value in settings.items()))
    return file


@contextlib.contextmanager
def serving(
    function: Function, *, program: Path, folder: Path, log: Path, **environment: str
) -> Iterator[str]:
    """Start a staged function as the platform does; yield its address once it is up."""
    [port] = free_ports(1)
    process = spawn(
        function.target,
        [str(program)],
        environment={
            "PATH": os.environ["PATH"],
            # What the buildpack and the platform set.
            "FUNCTION_TARGET": function.target,
            "FUNCTION_SIGNATURE_TYPE": "http",
            "PORT": str(port),
            # What is deployed with it. Nothing listens at these endpoints.
            "GOOGLE_CLOUD_PROJECT": "p",
            "PROPENSITY_BUCKET": "bucket",
            "BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:9",
            "STORAGE_EMULATOR_HOST": "http://127.0.0.1:9",
            "PUBSUB_EMULATOR_HOST": "127.0.0.1:9",
            **environment,
        },
        folder=folder,
        port=port,
        log=log,
    )
    url = f"http://{HOST}:{port}/"
    try:
        while True:
            try:
                requests.put(url, timeout=ANSWER_S)
                break
            except requests.ConnectionError:
                assert process.is_running, log.read_text()
                time.sleep(0.1)
        yield url
    finally:
        stop([process])
