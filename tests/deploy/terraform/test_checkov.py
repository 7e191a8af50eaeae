"""
deploy/terraform by checkov: what fails is what docs/deploy.md argues, and nothing else.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from deploy.render import TERRAFORM
from tests.deploy.conftest import ROOT
from tests.programs import execute

VERSION = "3.3.30"
PAGE = ROOT / "docs" / "deploy.md"

pytestmark = [pytest.mark.installs, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> dict[str, Any]:
    """What checkov says of both roots; from an environment of its own, since it pins
    what we use in other versions."""
    place = tmp_path_factory.mktemp("checkov")
    uv = Path(sys.executable).with_name("uv")
    venv = ["venv", "--quiet", "--python", sys.executable, place / "venv"]
    subprocess.run([uv, *venv], check=True)
    install = [
        "pip",
        "install",
        "--quiet",
        "--python",
        place / "venv" / "bin" / "python",
    ]
    subprocess.run([uv, *install, f"checkov=={VERSION}"], check=True)
    checkov = [
        place / "venv" / "bin" / "checkov", "--directory", TERRAFORM,
        "--framework", "terraform", "--compact", "--skip-download", "-o", "json",
    ]  # fmt: skip
    # Nothing of ours goes anywhere: it has no network, where that can be cut.
    offline = ROOT / ".ci" / "offline"
    cut = subprocess.run([offline, "true"], check=False, capture_output=True)
    done = execute(
        [*([offline] if cut.returncode == 0 else []), *checkov], cwd=place,
        env={"PATH": os.environ["PATH"], "HOME": str(place), "LOG_LEVEL": "ERROR"},
        status=None,
    )  # fmt: skip
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    return json.loads(done.stdout)


def argued() -> Counter[tuple[str, str]]:
    """The failures that the page argues, by check and resource: rows of its table."""
    rows = re.findall(
        r"^\| `(CKV\w+)` \| ([^|]+) \| [^|]{20,} \|$", PAGE.read_text(), re.M
    )
    return Counter(
        (check, resource)
        for check, resources in rows
        for resource in re.findall(r"`([\w.]+)`", resources)
    )


def test_what_fails_is_what_the_page_argues(report):
    """Check by check and resource by resource."""
    failed = Counter(
        (failed_check["check_id"], failed_check["resource"])
        for failed_check in report["results"]["failed_checks"]
    )

    assert failed == argued()
    assert report["summary"]["checkov_version"] == VERSION
    assert f"Checkov {VERSION}" in PAGE.read_text()
    assert f"passes {report['summary']['passed']} checks and fails {len(failed)}" in (
        PAGE.read_text()
    )


def test_every_file_is_read(report):
    """None is beyond its parser."""
    assert report["results"].get("parsing_errors", []) == []
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["resource_count"] > 30
