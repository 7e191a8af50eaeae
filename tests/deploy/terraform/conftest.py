"""
The Google provider's published schema, by npm.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from deploy.render import TERRAFORM
from tests.deploy.terraform import schema as published
from tests.programs import execute

PACKAGES = ("@cdktf/provider-google@16.12.1",)


@pytest.fixture(scope="session")
def npm(tmp_path_factory) -> Path:
    """A folder with the package; skips where npm or its index is not there."""
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("npm has the schema, and is not installed")
    place = tmp_path_factory.mktemp("npm")
    install = ["npm", "install", "--prefix", place, "--ignore-scripts"]
    quiet = ["--legacy-peer-deps", "--no-audit", "--no-fund", *PACKAGES]
    fetched = execute([*install, *quiet], status=None)
    if fetched.returncode:
        pytest.skip(f"npm has no package index here: {fetched.stderr[-200:]}")
    return place


@pytest.fixture(scope="session")
def schema(npm) -> dict[str, Any]:
    """The schema of every type that deploy/terraform names."""
    text = "".join(file.read_text() for file in TERRAFORM.rglob("*.tf"))
    resources, data = (
        sorted(set(re.findall(rf'^{kind} "(google_\w+)"', text, re.M)))
        for kind in ("resource", "data")
    )
    package = npm / "node_modules" / "@cdktf" / "provider-google"
    return published.read(package, resources, data)
