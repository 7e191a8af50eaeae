"""
deploy/terraform, specified in ``main.tftest.hcl``, which Terraform's own test command
runs; and a company's policies, as rules over its plans.
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
from typing import Any

import pytest

from deploy import configuration, render
from deploy.render import TERRAFORM
from deploy.shell import names_of
from tests.deploy.conftest import SETTINGS, WHOLE
from tests.deploy.terraform import provider
from tests.support.programs import execute

HERE = Path(__file__).parent
# The Google provider's schema, of both lines that ``versions.tf`` allows: 6.50.0 and
# 7.46.1. Within each wheel are the classes that were made from it.
LINES = ("cdktf-cdktf-provider-google==16.12.1", "cdktn-provider-google==20.3.1")
NO_BUCKET = 'terraform {\n  backend "local" {}\n}\n'
CHOSEN = SETTINGS | {
    "DEPLOY_USE_CASES": WHOLE["DEPLOY_USE_CASES"],
    "DEPLOY_CALLERS": WHOLE["DEPLOY_CALLERS"],
    "DEPLOY_ALERT_CHANNELS": "projects/my-project/notificationChannels/1",
}

pytestmark = [
    pytest.mark.installs,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not shutil.which("terraform"), reason="there is no Terraform"),
]


def fetched(line: str, folder: Path) -> Path:
    """Fetch the package of a line; return its folder, or skip without an index."""
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
    if execute([*pip, line, "-d", folder], status=None).returncode:
        pytest.skip("there is no package index here")
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as held:
        [name] = [name for name in held.namelist() if name.endswith(".jsii.tgz")]
        with held.open(name) as packed, tarfile.open(fileobj=packed) as files:
            files.extractall(folder, filter="data")
    return folder / "package"


def check_policies(plan: dict[str, Any], *, has_keys: bool) -> None:
    """Assert what a company with policies demands of every resource of a plan: with a
    key, everything has it that can; nothing is global or public, and no account has a
    key of its own."""
    schemas = plan["provider_schemas"][provider.SOURCE]["resource_schemas"]
    for resource in plan["resource_changes"]:
        kind = resource["type"]
        after = resource["change"]["after"]
        if kind not in schemas or after is None:
            continue
        text = json.dumps(after)
        if "kms_key_name" in json.dumps(schemas[kind]) and not after.get("view"):
            has_key = 'kms_key_name": "projects/' in text
            assert has_key == has_keys, resource["address"]
        assert '"global"' not in text, resource["address"]
        assert '"auto": [{' not in text, resource["address"]
        assert "allUsers" not in text
        assert "allAuthenticatedUsers" not in text
        assert kind != "google_service_account_key"


@pytest.mark.parametrize("line", LINES)
def test_terraform_makes_what_its_own_tests_expect(line, tmp_path):
    main = shutil.copytree(TERRAFORM, tmp_path / "main")
    text = "".join(file.read_text() for file in main.rglob("*.tf"))
    resources = sorted(set(re.findall(r'^resource "(google_\w+)"', text, re.M)))
    data = sorted(set(re.findall(r'^data "(google_\w+)"', text, re.M)))
    d = configuration.of(CHOSEN)
    there = []
    for function in d.functions:
        name = d.name(function.target)
        url = f"https://{name}.run.app"
        there.append({"metadata": {"name": name}, "status": {"url": url}})
    render.write(d, there, root=main)
    # As if its audiences were sent to Google, and to a receiver with a token.
    file = main / "generated" / "use_cases.json"
    use_cases = json.loads(file.read_text())
    use_cases["ga4_purchase"] |= {"secrets": ["CRM_TOKEN"], "sends_to_google": True}
    file.write_text(json.dumps(use_cases))
    (main / "named.json").write_text(json.dumps(names_of(d)))
    (main / "backend_override.tf").write_text(NO_BUCKET)
    shutil.copy(HERE / "main.tftest.hcl", main)
    package = fetched(line, tmp_path / "package")
    with provider.serving(package, resources, data) as address:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "TF_REATTACH_PROVIDERS": address,
            "TF_CLI_CONFIG_FILE": os.devnull,
            "CHECKPOINT_DISABLE": "1",
        }
        for words in (["init", "-input=false"], ["test", "-json", "-verbose"]):
            done = execute(["terraform", f"-chdir={main}", *words], env=environment)
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    planned = [said for said in messages if said["type"] == "test_plan"]
    for said in planned:
        check_policies(said["test_plan"], has_keys=said["@testrun"] == "with_keys")
    assert len(planned) == 5
