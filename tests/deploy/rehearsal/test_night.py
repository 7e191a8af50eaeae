"""
An operator's night: an alert's mail, what it says to run, and the job that runs it.

The function and the job run as they are deployed, on emulators; gcloud prints.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from deploy import alerts, configuration, stage
from deploy.functions import ROOT
from tests.deploy.conftest import SETTINGS
from tests.deploy.monitoring import entry, mails
from tests.deploy.rehearsal.test_calls import launched, listed
from tests.deploy.scripts.test_scripts import flags, words_of
from tests.functions.instances import python_of
from tests.support.deployment import KEY, Deployment, entered
from tests.support.programs import execute
from tests.support.rows import publish

MONDAY = date(2025, 9, 1)
AUDIENCE = 'destination = "bucket"\ntop = 10\ncontrol = "20%"\n'


def operated(site: Deployment, words: list[str], folder: Path) -> dict[str, Any]:
    """Run words in the operators' job, with the use cases that its image has; return
    its line of the log, in which no user is."""
    with entered(site.environment):
        source = ROOT / "00-ModelTraining"
        staged = stage.stage(source, folder / "staged", locked=True)
    path = f"{python_of('model_training').parent}{os.pathsep}/usr/bin:/bin"
    environment = {**site.environment, "PATH": path}
    environment.pop("PROPENSITY_USE_CASES", None)
    done = execute(launched(words), cwd=staged, env=environment)

    assert not re.search(r"\bu29\b", done.stdout + done.stderr)
    return json.loads(done.stderr.splitlines()[-1])


@pytest.mark.long
def test_an_operator_does_what_the_mail_says(deployment, cloud, capsys, tmp_path):
    """An audience waits for a person, who sends it without a checkout's libraries or a
    deployer's roles; then the clock goes on."""
    own = tmp_path / "usecases"
    (own / "ga4_purchase" / "audiences").mkdir(parents=True)
    (own / "ga4_purchase" / "audiences" / "winback.toml").write_text(AUDIENCE)
    site = deployment.with_settings(PROPENSITY_USE_CASES=str(own))
    site.prepare()
    publish(site.warehouse, MONDAY, {f"u{n}": n / 40 for n in range(30)})
    capsys.readouterr()
    assert site.post("audiences", {"as_of": MONDAY}).status_code == 409
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    policies = alerts.in_terraform(configuration.of(SETTINGS))["policies"]
    at = datetime(2025, 9, 1, 18, tzinfo=UTC)
    [mail] = mails(policies, [(at, entry(line)) for line in lines])
    assert mail.subject == "propensity: ga4_purchase: an audience was not sent"
    [command] = set(re.findall(r"`propensity (audience send) NAME`", mail.text))
    assert "winback was never sent" in mail.text
    assert "run `deploy/operate.sh` instead of `propensity`" in mail.text

    cloud.settings = SETTINGS
    words = [*command.split(), "winback", "--as-of", MONDAY.isoformat()]
    printed = cloud.run("deploy/operate.sh", "--dry-run", *words).stdout
    [execution] = words_of(printed)
    answer = operated(site, listed(flags(execution)["args"]), tmp_path)

    assert (answer["exit_code"], answer["severity"]) == (0, "INFO")
    assert re.search(r"to bucket: \d users added", answer["message"])
    assert site.post("audiences", {"as_of": MONDAY}).status_code == 200


def test_users_to_forget_are_read_once(deployment, tmp_path):
    """From an object that is gone then, in every generation: no word, line or file of
    the job has them."""
    site = deployment.with_settings(PROPENSITY_SUPPRESSION_KEY=KEY)
    site.prepare()
    publish(site.warehouse, MONDAY, {"u29": 0.5, "u30": 0.5})
    artifacts = site.registry.artifacts
    users = b"u29\n"
    name = f"operate/1-{hashlib.sha256(users).hexdigest()}"
    artifacts.create(name, users)
    words = ["--", "python3", "operate.py", name, '["forget", "-"]']
    answer = operated(site, words, tmp_path)

    assert (answer["exit_code"], answer["command"]) == (0, "forget -")
    assert artifacts.generations("operate/") == []
    assert site.rows("SELECT user_id FROM ma_predictions_runs") == [{"user_id": "u30"}]
