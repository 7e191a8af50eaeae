"""
Answers gcloud in the place of Google: what is made is there from then on, every build
succeeds at once, and nothing leaves the machine.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.proxy import Asked, Proxy

# The APIs that the scripts call, by gcloud's names for them.
APIS = """
artifactregistry cloudbuild cloudkms cloudresourcemanager cloudscheduler iam logging run
serviceusage storage
"""
CONDITIONS = ("Ready", "RoutesReady", "ConfigurationsReady")
DIGEST = f"sha256:{'a' * 64}"
BUILD = {
    "id": "b1",
    "projectId": "my-project",
    "name": "projects/1/locations/us-central1/builds/b1",
    "logUrl": "https://console.cloud.google.com/b1",
    "status": "SUCCESS",
    "results": {"images": [{"name": "image", "digest": DIGEST}]},
}
OF_BUILDS = "type.googleapis.com/google.devtools.cloudbuild.v1"
LATEST = {"latestRevision": True, "percent": 100}
MISSING = {"error": {"code": 404, "message": "404", "status": "NOT_FOUND"}}


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request; ``path`` has no escapes."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body or "{}")


class Google:
    """
    A project on Google Cloud, as HTTP shows it.

    ``things`` are the services, jobs and schedules that were asked for, by path;
    ``builds`` the requested builds, by function; ``uploads`` the names of files within
    each archive, by the object's address; ``contents`` all objects, by address;
    ``buckets`` what was made, by name; ``executions`` the words that a job was started
    with; ``policies`` who was let in, by what; and
    ``unknown`` the requests that nothing here answers.
    """

    def __init__(self) -> None:
        self.things: dict[str, dict[str, Any]] = {}
        self.builds: dict[str, dict[str, Any]] = {}
        self.contents: dict[str, bytes] = {}
        self.uploads: dict[str, list[str]] = {}
        # This one is Terraform's.
        self.buckets: dict[str, dict[str, Any]] = {"my-bucket": {"name": "my-bucket"}}
        self.executions: list[list[str]] = []
        self.policies: dict[str, list[dict[str, Any]]] = {}
        self.unknown: list[str] = []
        self.proxy = Proxy("http://127.0.0.1", self._rule)
        # The first that fits answers.
        self._answers = {
            r"^POST /upload/": self._upload,
            r"^\w+ (/download)?/storage/v1/b/[^/]+/o/": self._stored_object,
            r"^\w+ /storage/v1/b": self._bucket,
            r":submit$": self._build,
            r":run$|/executions/": self._execution,
            r"/entries:list$": self._lines,
            r"/operations/": self._built,
            r"IamPolicy$": self._policy,
            r":(generateServiceIdentity|batchEnable)$": self._done,
            r"^GET .*/tags/": lambda _: None,
            r"[.]googleapis[.]com$|/repositories/|/serviceAccounts/": self._found,
            r"^GET .*/projects/[^/]+(/settings|/serviceAccount)?$": self._found,
            r"^GET .*/(services|jobs)$": self._list,
            r"/(services|jobs)(/[a-z0-9-]+)?$": self._thing,
        }

    def environment(self, folder: Path) -> dict[str, str]:
        """Return variables by which gcloud asks here and nowhere else."""
        address = urlsplit(self.proxy.url)
        overrides = "CLOUDSDK_API_ENDPOINT_OVERRIDES_"
        return {
            **{
                f"{overrides}{api.upper()}": f"{self.proxy.url}/"
                for api in APIS.split()
            },
            "CLOUDSDK_AUTH_ACCESS_TOKEN": "made-up",
            "CLOUDSDK_CONFIG": str(folder),
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
            "CLOUDSDK_PROXY_TYPE": "http",
            "CLOUDSDK_PROXY_ADDRESS": f"{address.hostname}",
            "CLOUDSDK_PROXY_PORT": f"{address.port}",
        }

    def named(self, part: str) -> dict[str, dict[str, Any]]:
        """Return the things with a part in their path, by name."""
        paths = [path for path in self.things if part in path]
        return {path.rpartition("/")[2]: self.things[path] for path in paths}

    def _rule(self, asked: Asked) -> tuple[int, bytes]:
        address = urlsplit(asked.path)
        request = Request(
            method=asked.method,
            path=unquote(address.path),
            query={name: values[0] for name, values in parse_qs(address.query).items()},
            body=asked.body,
        )
        line = f"{request.method} {request.path}"
        for pattern, answer in self._answers.items():
            if re.search(pattern, line):
                content = answer(request)
                status = 404 if content is None else 200
                if isinstance(content, bytes):
                    return status, content
                return status, json.dumps(content or MISSING).encode()
        self.unknown.append(line)
        return 404, json.dumps(MISSING).encode()

    def _upload(self, request: Request) -> dict[str, Any]:
        """Keep an object, which is a part of the request, and the names within it."""
        boundary = request.body.partition(b"\n")[0].rstrip()
        _, about, part, _ = request.body.split(boundary)
        content = re.split(rb"\r?\n\r?\n", part, maxsplit=1)[1]
        content = re.sub(rb"\r?\n\Z", b"", content)
        [said] = re.findall(r'"name": ?"(.+?)"', str(about)) or [""]
        answer = _object(request.path.split("/")[5], request.query.get("name", said))
        address = f"gs://{answer['bucket']}/{answer['name']}"
        self.contents[address] = content
        if content.startswith(b"PK"):
            archive = zipfile.ZipFile(io.BytesIO(content))
            self.uploads[address] = archive.namelist()
        digest = base64.b64encode(hashlib.md5(content).digest()).decode()
        return {**answer, "size": f"{len(content)}", "md5Hash": digest}

    def _stored_object(self, request: Request) -> dict[str, Any] | bytes | None:
        bucket, _, name = request.path.rpartition("/b/")[2].partition("/o/")
        content = self.contents.get(f"gs://{bucket}/{name}")
        if content is None:
            return None
        if request.query.get("alt") == "media":
            return content
        digest = base64.b64encode(hashlib.md5(content).digest()).decode()
        link = f"{self.proxy.url}/download{request.path}?alt=media"
        about = {"size": f"{len(content)}", "md5Hash": digest, "mediaLink": link}
        return _object(bucket, name) | about

    def _bucket(self, request: Request) -> dict[str, Any] | None:
        name = request.path.removeprefix("/storage/v1/b").strip("/").split("/")[0]
        if request.method == "POST":
            name = request.json["name"]
            self.buckets[name] = request.json | {"id": name}
        if not name:
            return {"items": [*self.buckets.values()]}
        return self.buckets.get(name)

    def _build(self, request: Request) -> dict[str, Any]:
        build = request.json
        self.builds[build["buildpackBuild"]["functionTarget"]] = build
        kind = f"{OF_BUILDS}.BuildOperationMetadata"
        operation = {"name": "b1", "metadata": {"@type": kind, "build": BUILD}}
        return {"baseImageUri": "base", "buildOperation": operation}

    def _execution(self, request: Request) -> dict[str, Any]:
        if request.method == "POST":
            [container] = request.json["overrides"]["containerOverrides"]
            self.executions.append(container["args"])
        return {
            "metadata": {"name": "execution-1", "namespace": "my-project"},
            "status": {"completionTime": "2026-03-02T03:30:00Z"},
        }

    def _lines(self, request: Request) -> dict[str, Any]:
        said = {"message": f"{self.executions[-1]}\n", "notes": "", "exit_code": 3}
        return {"entries": [{"insertId": "1", "jsonPayload": said}]}

    def _built(self, request: Request) -> dict[str, Any]:
        response = {"@type": f"{OF_BUILDS}.Build", **BUILD}
        return {"name": request.path, "done": True, "response": response}

    def _policy(self, request: Request) -> dict[str, Any]:
        name = request.path.partition(":")[0].rpartition("/")[2]
        if "policy" in request.json:
            self.policies[name] = request.json["policy"]["bindings"]
        return {"etag": "BwX=", "bindings": self.policies.get(name, [])}

    def _done(self, request: Request) -> dict[str, Any]:
        return {"name": "operations/done", "done": True, "response": {}}

    def _found(self, request: Request) -> dict[str, Any]:
        return {
            "name": request.path,
            "state": "ENABLED",
            "format": "DOCKER",
            "projectNumber": "1",
            "kmsServiceAccountId": "cmek-p1@gcp-sa-logging.iam.gserviceaccount.com",
        }

    def _list(self, request: Request) -> dict[str, Any]:
        within = [path for path in self.things if path.startswith(request.path)]
        items = [self.things[path] for path in within]
        return {"items": items, "jobs": items}

    def _thing(self, request: Request) -> dict[str, Any] | None:
        """Make, change or show a service, a job or a schedule."""
        if request.method == "GET":
            return self.things.get(request.path)
        thing: dict[str, Any] = request.json
        name = thing.get("name", "").rpartition("/")[2]
        if "metadata" in thing:
            name = thing["metadata"]["name"]
            thing["metadata"] |= {"generation": 1, "resourceVersion": "1"}
            thing["spec"].setdefault("traffic", [LATEST])
            thing["status"] = {
                "observedGeneration": 1,
                "url": f"https://{name}-1.run.app",
                "latestCreatedRevisionName": "r1",
                "latestReadyRevisionName": "r1",
                "conditions": [{"type": kind, "status": "True"} for kind in CONDITIONS],
                "traffic": [{**LATEST, "revisionName": "r1"}],
            }
        folder = request.path.removesuffix(f"/{name}")
        self.things[f"{folder}/{name}"] = thing
        return thing


def _object(bucket: str, name: str) -> dict[str, str]:
    return {"bucket": bucket, "name": name, "generation": "7"}
