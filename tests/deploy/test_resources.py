"""What Terraform makes, specified by the text of its files: who gets in, what stays."""

from __future__ import annotations

import re

import pytest

from deploy.render import TERRAFORM

TEXTS = {
    file.relative_to(TERRAFORM).as_posix(): file.read_text()
    for file in TERRAFORM.rglob("*.tf")
}


# What protects data, and who may call: lines of the files.
LINES = [
    ("bucket.tf", "uniform_bucket_level_access = true"),
    ("bucket.tf", 'public_access_prevention = "enforced"'),
    ("bucket.tf", "force_destroy = var.delete_data"),
    ("bucket.tf", "retention_duration_seconds = 0"),
    ("bucket.tf", "versioning { enabled = true"),
    ("bucket.tf", "days_since_noncurrent_time = 30"),
    ("bucket.tf", "days_since_noncurrent_time = 1 "),
    ("dataset.tf", "delete_contents_on_destroy = var.delete_data"),
    ("dataset.tf", "deletion_protection = !var.delete_data"),
    ("callers.tf", 'role = "roles/run.invoker" members = each.value'),
    ("callers.tf", "local.functions[name].is_public ? sort(var.callers) : []"),
]


@pytest.mark.parametrize(("file", "line"), LINES)
def test_data_are_protected_and_callers_are_those_that_are_named(file, line):
    assert line in " ".join(TEXTS[file].split())


def test_nobody_is_let_in_but_who_is_named():
    """Roles are those of functions.toml, or one of these."""
    text = re.sub(r"#.*", "", "\n".join(TEXTS.values()))
    roles = {one.strip() for one in re.findall(r"\brole += (.*)", text)}

    assert "allUsers" not in text
    assert "allAuthenticatedUsers" not in text
    assert {one for one in roles if "startswith" not in one} == {
        "each.value.role",
        *(
            f'"roles/{name}"'
            for name in (
                "artifactregistry.writer",
                "bigquery.dataViewer",
                "cloudkms.cryptoKeyEncrypterDecrypter",
                "iam.serviceAccountOpenIdTokenCreator",
                "logging.logWriter",
                "pubsub.publisher",
                "pubsub.subscriber",
                "run.invoker",
                "secretmanager.secretAccessor",
                "storage.objectViewer",
            )
        ),
    }
