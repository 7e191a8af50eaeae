"""What Terraform makes, specified by the text of its files: who gets in, what stays."""

from __future__ import annotations

import re

import pytest

from deploy.render import TERRAFORM

TEXTS = {
    file.relative_to(TERRAFORM).as_posix(): re.sub(r" +", " ", file.read_text())
    for file in TERRAFORM.rglob("*.tf")
}


def block(file: str, head: str) -> str:
    """Return a block of a file, each run of spaces as one."""
    [text] = re.findall(
        rf"^( *){re.escape(head)} \{{\n(.*?)^\1\}}", TEXTS[file], re.M | re.S
    )
    return str(text[1])


@pytest.mark.parametrize(
    ("file", "head", "lines"),
    [
        (
            "bucket.tf",
            'resource "google_storage_bucket" "this"',
            [
                "uniform_bucket_level_access = true",
                'public_access_prevention = "enforced"',
                "force_destroy = var.delete_data",
                "retention_duration_seconds = 0",
                "versioning {\n enabled = true",
                *("days_since_noncurrent_time = 30", "days_since_noncurrent_time = 1"),
            ],
        ),
        (
            "dataset.tf",
            'resource "google_bigquery_dataset" "this"',
            ["delete_contents_on_destroy = var.delete_data"],
        ),
        (
            "dataset.tf",
            'resource "google_bigquery_table" "table"',
            ["deletion_protection = !var.delete_data"],
        ),
        (
            "callers.tf",
            'resource "google_cloud_run_v2_service_iam_binding" "invoker"',
            ["in local.callers :", 'role = "roles/run.invoker"\n members = each.value'],
        ),
        (
            "callers.tf",
            "locals",
            ["local.functions[name].is_public ? sort(var.callers) : []"],
        ),
    ],
    ids=lambda value: value.split(" ", 1)[-1] if isinstance(value, str) else "",
)
def test_data_are_protected_and_callers_are_those_that_are_named(file, head, lines):
    text = re.sub(r"\n +", "\n ", block(file, head))
    for line in lines:
        assert line in text, line


def test_nobody_is_let_in_but_who_is_named():
    """Roles are those of functions.toml, or one of these."""
    text = re.sub(r"#.*", "", "\n".join(TEXTS.values()))
    roles = {one.strip() for one in re.findall(r"\brole = (.*)", text)}

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
