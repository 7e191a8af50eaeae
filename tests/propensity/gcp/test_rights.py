"""
What a refusal says, specified: permission, resource and account, and what to do.

The texts are those that the services answer with.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from propensity.gcp import rights

TABLE = "Table my-project:propensity.ma_predictions_runs"
ACCOUNT = "propensity-predictions@my-project.iam.gserviceaccount.com"


class TestPermission:
    @pytest.mark.parametrize(
        ("text", "permission"),
        [
            (
                f"Access Denied: {TABLE}: Permission bigquery.tables.updateData denied "
                "on table (or it may not exist).",
                "bigquery.tables.updateData",
            ),
            (
                "Access Denied: Project my-project: User does not have "
                "bigquery.jobs.create permission in project my-project.",
                "bigquery.jobs.create",
            ),
            (
                "Permission 'TABLES_UPDATE_DATA' denied on resource "
                "'projects/p/datasets/d/tables/t' (or it may not exist).",
                "bigquery.tables.updateData",
            ),
            (
                f"{ACCOUNT} does not have storage.objects.get access to the Google "
                "Cloud Storage object.",
                "storage.objects.get",
            ),
            ("User not authorized to perform this action.", ""),
            ("Access Denied: see www.example.com for help", ""),
        ],
    )
    def test_is_found_in_the_words_of_each_service(self, text, permission):
        """By the name that roles have for it; nothing else is taken for one."""
        assert rights.permission(text) == permission


class TestDenied:
    def test_names_permission_resource_and_account_and_what_to_do(self):
        """Who is paged learns all three, and the command that mends it."""
        error = rights.denied(
            "User not authorized to perform this action.",
            service="Pub/Sub",
            credentials=SimpleNamespace(service_account_email=ACCOUNT),
            needs="pubsub.topics.publish",
            on="projects/my-project/topics/propensity-scores",
        )

        assert (error.status, error.code, error.retryable) == (
            500,
            "access_denied",
            False,
        )
        assert ACCOUNT in error.message
        assert "pubsub.topics.publish on projects/my-project/topics" in error.message
        assert "deploy/setup.sh" in error.message
        assert "minutes" in error.message
        assert error.detail == {
            "permission": "pubsub.topics.publish",
            "resource": "projects/my-project/topics/propensity-scores",
        }

    @pytest.mark.parametrize("email", ["", "default", None])
    def test_names_no_account_that_is_not_known(self, email):
        """Credentials that have fetched no token yet do not know whose they are."""
        error = rights.denied(
            "Access Denied",
            service="BigQuery",
            credentials=SimpleNamespace(service_account_email=email),
        )

        assert "account that this runs as, which lacks a permission" in error.message
