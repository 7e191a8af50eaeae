"""
The Google provider's published schema, of both lines that ``versions.tf`` allows.
"""

from __future__ import annotations

import re
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from deploy.render import TERRAFORM
from tests.deploy.terraform import schema as published
from tests.programs import execute

# Of the provider 6.50.0, from npm, and 7.46.1, from PyPI, which has the same classes
# within a wheel.
LINES = {"6": "@cdktf/provider-google@16.12.1", "7": "cdktn-provider-google==20.3.1"}


def _fetched(line: str, place: Path) -> Path:
    """Install the package of a line; return its folder, or skip without an index."""
    if line == "6":
        if not shutil.which("npm"):
            pytest.skip("npm has the schema, and is not installed")
        install = ["npm", "install", "--prefix", place, "--ignore-scripts"]
        quiet = ["--legacy-peer-deps", "--no-audit", "--no-fund"]
        done = execute([*install, *quiet, LINES[line]], status=None)
    else:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
        done = execute([*pip, LINES[line], "-d", place], status=None)
    if done.returncode:
        pytest.skip(f"there is no package index here: {done.stderr[-200:]}")
    if line == "6":
        return place / "node_modules" / "@cdktf" / "provider-google"
    [wheel] = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as held:
        [name] = [name for name in held.namelist() if name.endswith(".jsii.tgz")]
        with held.open(name) as packed, tarfile.open(fileobj=packed) as files:
            files.extractall(place, filter="data")
    return place / "package"


@pytest.fixture(
    scope="session", params=["6", pytest.param("7", marks=pytest.mark.long)]
)
def schema(request, tmp_path_factory) -> dict[str, Any]:
    """The schema of every type that deploy/terraform names."""
    text = "".join(file.read_text() for file in TERRAFORM.rglob("*.tf"))
    resources, data = (
        sorted(set(re.findall(rf'^{kind} "(google_\w+)"', text, re.M)))
        for kind in ("resource", "data")
    )
    package = _fetched(request.param, tmp_path_factory.mktemp("provider"))
    return published.read(package, resources, data)
