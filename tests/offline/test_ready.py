"""
What who deploys may do, specified: asked of the project before anything is changed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from deploy import configuration
from offline import ready
from tests.deploy.conftest import SETTINGS
from tests.proxy import Asked, answering


class Projects:
    """Answers as Resource Manager does, for a caller who lacks some permissions."""

    def __init__(self) -> None:
        self.lacking: set[str] = set()
        self.status = 200
        self.server = answering(self.answer)

    def answer(self, asked: Asked) -> tuple[int, bytes]:
        wanted = json.loads(asked.body)["permissions"]
        granted = [one for one in wanted if one not in self.lacking]
        data = json.dumps({"permissions": granted} if granted else {})
        return self.status, data.encode()


@pytest.fixture
def projects() -> Iterator[Projects]:
    made = Projects()
    with made.server:
        yield made


@pytest.fixture
def d(tmp_path, monkeypatch, projects) -> configuration.Deployment:
    """A deployment, by somebody whom the project knows."""
    gcloud = tmp_path / "gcloud"
    gcloud.write_text("#!/bin/sh\necho a-token\n")
    gcloud.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv(ready.ELSEWHERE, f"{projects.server.url}/")
    return configuration.of(SETTINGS)


class TestPermissions:
    def test_that_lack_are_named(self, d, projects):
        """Each, with a role that gives it; asked in one question."""
        projects.lacking = {"iam.roles.create", "cloudscheduler.jobs.create"}

        with pytest.raises(ready.Lacking) as caught:
            list(ready.permitted(d))

        assert "iam.roles.create: Role Administrator" in str(caught.value)
        assert "cloudscheduler.jobs.create: Cloud Scheduler Admin" in str(caught.value)
        assert "storage.buckets.create" not in str(caught.value)
        [asked] = projects.server.asked
        assert asked.path == "/v1/projects/my-project:testIamPermissions"
        assert asked.headers["authorization"] == "Bearer a-token"

    def test_that_are_all_there_are_no_matter(self, d):
        """Nothing is said of them."""
        assert list(ready.permitted(d)) == []

    def test_that_nobody_tells_are_found_out_later(self, d, projects):
        """A project that answers with an error, or none, stops nothing."""
        projects.status = 403

        [line] = ready.permitted(d)
        assert "not checked" in line
        assert "403" in line
