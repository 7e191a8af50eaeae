"""
Settings to deploy from.
"""

from __future__ import annotations

from pathlib import Path

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
    "DEPLOY_WORKER_POOL": "projects/p/locations/us-central1/workerPools/builds",
    "DEPLOY_PACKAGE_INDEX": "https://us-central1-python.pkg.dev/p/pypi/simple/",
}


def settings_file(folder: Path, settings: dict[str, str]) -> Path:
    """Write a settings file, and return it."""
    file = folder / "settings.env"
    file.write_text("".join(f'{name}="{value}"\n' for name, value in settings.items()))
    return file
