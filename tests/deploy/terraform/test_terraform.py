"""
deploy/terraform, specified in ``main.tftest.hcl`` and ``watch.tftest.hcl``, which
Terraform's own test command runs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from deploy import configuration
from deploy.__main__ import named
from deploy.render import TERRAFORM
from tests.deploy.conftest import SETTINGS, WHOLE, settings_file
from tests.deploy.terraform import provider
from tests.programs import execute

HERE = Path(__file__).parent
# The Google provider's schema, of both lines that ``versions.tf`` allows: 6.50.0 and
# 7.46.1. Within each wheel are the classes that were made from it.
LINES = {
    "6": "cdktf-cdktf-provider-google==16.12.1",
    "7": "cdktn-provider-google==20.3.1",
}
CALLED = SETTINGS | {
    name: WHOLE[name] for name in ("DEPLOY_USE_CASES", "DEPLOY_CALLERS")
}

pytestmark = [
    pytest.mark.installs,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not shutil.which("terraform"), reason="there is no Terraform"),
]


def fetched(line: str, place: Path) -> Path:
    """Fetch the package of a line; return its folder, or skip without an index."""
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
    if execute([*pip, LINES[line], "-d", place], status=None).returncode:
        pytest.skip("there is no package index here")
    [wheel] = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as held:
        [name] = [name for name in held.namelist() if name.endswith(".jsii.tgz")]
        with held.open(name) as packed, tarfile.open(fileobj=packed) as files:
            files.extractall(place, filter="data")
    return place / "package"


def values(root: str, place: Path) -> None:
    """Write what settings say, where all functions are deployed."""
    d = configuration.of(CALLED)
    there = [
        {
            "metadata": {"name": d.name(function.target)},
            "status": {"url": f"https://{d.name(function.target)}.run.app"},
        }
        for function in d.functions
    ]
    services = place / "services.json"
    services.write_text(json.dumps(there))
    done = execute(
        [sys.executable, "-m", "deploy", "variables", root, "--json", services,
         "--settings", settings_file(place, CALLED)]
    )  # fmt: skip
    (place / "terraform.tfvars").write_text(done.stdout)
    (place / "named.json").write_text(json.dumps(named(d)))


@pytest.mark.parametrize("line", ["6", pytest.param("7", marks=pytest.mark.long)])
def test_terraform_makes_what_its_own_tests_expect(line, tmp_path):
    text = "".join(file.read_text() for file in TERRAFORM.rglob("*.tf"))
    resources, data = (
        sorted(set(re.findall(rf'^{kind} "(google_\w+)"', text, re.M)))
        for kind in ("resource", "data")
    )
    package = fetched(line, tmp_path / "package")
    execute([sys.executable, "-m", "deploy.render"])
    main = shutil.copytree(TERRAFORM, tmp_path / "main")
    with provider.serving(package, resources, data) as address:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "TF_REATTACH_PROVIDERS": address,
            "TF_CLI_CONFIG_FILE": os.devnull,
            "CHECKPOINT_DISABLE": "1",
        }
        for root, place in (("main", main), ("watch", main / "watch")):
            (place / "backend.tf").unlink()
            shutil.copy(HERE / f"{root}.tftest.hcl", place)
            values(root, place)
            for words in (["init", "-input=false"], ["test", "-no-color"]):
                execute(["terraform", f"-chdir={place}", *words], env=environment)
