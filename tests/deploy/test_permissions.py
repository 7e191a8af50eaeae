"""
What who deploys may do, specified: asked of the project before anything is changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from deploy import deployment, permissions
from tests.deploy.conftest import SETTINGS, changes

OVERRIDE = permissions.ELSEWHERE


class Projects:
    """Answers as Resource Manager does, for a caller who lacks some permissions."""

    def __init__(self) -> None:
        self.lacking: set[str] = set()
        self.status = 200
        self.asked: list[dict[str, Any]] = []
        answers = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                body = json.loads(self.rfile.read(length))
                answers.asked.append(
                    {"path": self.path, "token": self.headers["authorization"], **body}
                )
                granted = [p for p in body["permissions"] if p not in answers.lacking]
                data = json.dumps({"permissions": granted} if granted else {}).encode()
                self.send_response(answers.status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def projects() -> Iterator[Projects]:
    made = Projects()
    yield made
    made.close()


class TestPermissions:
    def test_that_lack_stop_a_deploy_before_it_changes_anything(self, cloud, projects):
        """Each is named, with a role that gives it."""
        projects.lacking = {"iam.roles.create", "cloudscheduler.jobs.create"}

        done = cloud.run("deploy/deploy_all.sh", **{OVERRIDE: projects.url})

        assert done.returncode == 1
        assert "iam.roles.create: Role Administrator" in done.stderr
        assert "cloudscheduler.jobs.create: Cloud Scheduler Admin" in done.stderr
        assert "storage.buckets.create" not in done.stderr
        assert changes(cloud.calls()) == []
        [asked] = projects.asked
        assert asked["path"] == "/v1/projects/my-project:testIamPermissions"
        assert asked["token"] == "Bearer a-token"

    def test_that_are_all_there_are_no_matter(self, cloud, projects):
        """Nothing is said of them."""
        done = cloud.run(
            "deploy/setup.sh",
            FAKE_CLOUD_FAILS="services enable",
            **{OVERRIDE: projects.url},
        )

        assert "lacks" not in done.stderr
        assert "not checked" not in done.stdout
        assert changes(cloud.calls())[0][1:3] == ["services", "enable"]

    def test_that_nobody_tells_are_found_out_later(self, cloud, projects):
        """A project that answers with an error, or none, stops nothing."""
        projects.status = 403

        done = cloud.run(
            "deploy/setup.sh",
            FAKE_CLOUD_FAILS="services enable",
            **{OVERRIDE: projects.url},
        )

        assert "not checked" in done.stdout
        assert "403" in done.stdout
        assert changes(cloud.calls())[0][1:3] == ["services", "enable"]

    def test_are_of_what_is_set(self):
        """A repository of one's own takes one more."""
        own = deployment.of({**SETTINGS, "DEPLOY_REPOSITORY": "images"})

        extra = set(permissions.needed(own)) - set(
            permissions.needed(deployment.of(SETTINGS))
        )
        assert extra == {"artifactregistry.repositories.create"}
