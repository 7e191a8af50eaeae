"""
The alert policies, specified: what their filters read is what the functions log.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess

import pytest

from deploy import alerting, deployment, functions
from propensity import topics
from propensity.runs import ages
from tests.deploy.conftest import ROOT, SETTINGS
from tests.deploy.test_scripts import SDK, sdk_python

DEPLOYMENT = deployment.of(SETTINGS)
POLICIES = alerting.policies(DEPLOYMENT)


def filters() -> dict[str, str]:
    """What each policy asks logs or metrics for."""
    found = {}
    for name, policy in POLICIES.items():
        [condition] = policy["conditions"]
        [asked] = [condition[key] for key in condition if key.startswith("condition")]
        found[name] = asked.get("filter", asked.get("query"))
    return found


def logged() -> tuple[set[str], set[str]]:
    """The fields that lines of the log have, and the functions they name, by the code.

    Fields are the keys of a run's line, those that it notes, and those that are given
    to ``log`` and to the tallies by name.
    """
    fields: set[str] = set()
    names: set[str] = set()
    for path in (ROOT / "propensity").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called.endswith(("log", "noted.update", "tally.add", "line.update")):
                    fields |= {word.arg for word in node.keywords if word.arg}
                if called == "run" and node.args:
                    names |= texts(node.args[0])
            if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith(
                ("noted", "line", "fields")
            ):
                fields |= texts(node.slice)
            if isinstance(node, ast.Dict):
                keys = {text for key in node.keys if key for text in texts(key)}
                if keys & {"severity", "bytes_billed"}:
                    fields |= keys
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "name":
                names |= texts(node.value)
    for path in ROOT.glob("0*/main.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "run":
                names |= texts(node.args[0])
    return fields | {"outcome", "status", ages.CHAMPION, *ages.FIELDS.values()}, names


def texts(node: ast.AST) -> set[str]:
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return {node.value} if is_text else set()


class TestFilters:
    def test_read_fields_that_are_logged(self):
        """Every jsonPayload field, in filters and in SQL, is one that is written."""
        fields, _ = logged()
        read = {
            field
            for text in filters().values()
            for field in re.findall(r"(?:jsonPayload|json_payload)\.(\w+)", text)
        }

        assert {"status", "outcome", "function", "roc_auc", "reasons"} <= read
        assert read <= fields | {"function"}

    def test_name_functions_as_they_name_themselves(self):
        """Every function that a filter names logs under that name."""
        _, names = logged()
        named = {
            name
            for text in filters().values()
            for group in re.findall(
                r'(?:function=|function\) = )(\([^)]*\)|"\w+"|\'\w+\')', text
            )
            for name in re.findall(r"\w+", group)
            if name != "OR"
        }

        assert {"modelTraining", "scoreStream", "compactFeatures"} <= named
        assert named <= names

    def test_name_every_scheduled_function(self):
        """A run of each of them that fails is noticed."""
        for one in functions.load():
            if one.schedule:
                assert f'"{alerting.logged_as(one.target)}"' in filters()["run_failed"]

    def test_watch_every_subscription(self):
        """Those that push for their lag, the one of dead letters for being empty."""
        for one in topics.SUBSCRIPTIONS:
            name = "stream_lag" if one.function else "dead_letters"
            assert one.name in filters()[name]

    def test_are_of_one_deployment(self):
        """Policies of logs look at functions of their own prefix."""
        for text in filters().values():
            if "jsonPayload" in text:
                assert 'service_name=~"^propensity-"' in text
        other = deployment.of({**SETTINGS, "DEPLOY_PREFIX": "shop"})
        texts = json.dumps(alerting.policies(other))
        assert "propensity-" not in texts


class TestPolicies:
    def test_cover_what_should_be_noticed(self):
        """Runs failed and missed, evaluations, dead letters, lag, cost and age."""
        assert set(POLICIES) == {
            "run_failed",
            "run_missed_model_training",
            "run_missed_predictions",
            "run_missed_model_evaluation",
            "run_missed_compact_features",
            "evaluation_missing",
            "roc_auc",
            "champion_age",
            "bytes_billed_run",
            "bytes_billed_day",
            "events_refused",
            "dead_letters",
            "stream_lag",
        }

    def test_say_what_to_do(self):
        """Each names the README whose runbook it is in."""
        for policy in POLICIES.values():
            content = policy["documentation"]["content"]
            assert "README" in content
            assert "Runbook" in content

    def test_have_a_runbook(self):
        """The README that a policy sends its reader to has the policy's name, under
        Runbook; where it depends on the entry, that of every function it may be."""
        scheduled = {one.folder for one in functions.load() if one.schedule}
        for name, policy in POLICIES.items():
            content = policy["documentation"]["content"]
            folders = set(re.findall(r"(0\d-\w+)/README", content)) or (
                {one.folder for one in functions.load() if name.endswith(one.target)}
                or scheduled
            )
            for folder in folders:
                page = (ROOT / folder / "README.md").read_text()
                runbook = page.partition("\n## Runbook\n")[2].partition("\n## ")[0]
                assert f"`{name}`" in runbook, (folder, name)

    def test_have_the_bounds_of_the_settings(self):
        """A bound that is set is the one that is watched."""
        d = deployment.of(
            {**SETTINGS, "DEPLOY_ALERT_ROC_AUC": "0.7", "DEPLOY_ALERT_LAG_S": "99"}
        )
        found = json.dumps(alerting.policies(d))

        assert "jsonPayload.roc_auc<0.7" in found
        assert '"thresholdValue": 99' in found
        assert "$" not in found.replace("$prefix", "")

    def test_are_about_what_is_deployed(self):
        """Without the stream nothing watches subscriptions, and without the compaction
        nobody knows how old what is published is."""
        wanted = "predictions compact_features"
        d = deployment.of({**SETTINGS, "DEPLOY_FUNCTIONS": wanted})
        without = deployment.of({**SETTINGS, "DEPLOY_FUNCTIONS": "predictions"})

        assert "stream_lag" not in alerting.policies(d)
        assert "run_missed_predictions" in alerting.policies(d)
        assert "run_missed_model_training" not in alerting.policies(d)
        assert alerting.unwatched(d) == []
        assert not [n for n in alerting.policies(without) if "missed" in n]
        assert alerting.unwatched(without) == ["predictions"]

    def test_are_of_the_use_cases_that_are_called(self):
        """What was once tried and is called no more is never missed; a use case whose
        events are scored has no predictions to miss."""
        d = deployment.of({**SETTINGS, "DEPLOY_USE_CASES": "ga4_purchase card_fraud"})
        found = {
            name: policy["conditions"][0]["conditionMatchedLog"]["filter"]
            for name, policy in alerting.policies(d).items()
            if name.startswith("run_missed_m") or name == "run_missed_predictions"
        }

        assert '("ga4_purchase" OR "card_fraud")' in found["run_missed_model_training"]
        assert 'use_case=("ga4_purchase")' in found["run_missed_predictions"]

    def test_need_nothing_that_is_no_general_product(self):
        """No condition asks the log by SQL: that is a preview, and needs a linked
        dataset. Those that watch for what is absent look back 25 hours at most."""
        for policy in POLICIES.values():
            [condition] = policy["conditions"]
            assert {*condition} - {"displayName"} <= {
                "conditionThreshold",
                "conditionAbsent",
                "conditionMatchedLog",
            }
            if absent := condition.get("conditionAbsent"):
                [aggregation] = absent["aggregations"]
                duration = int(absent["duration"].removesuffix("s"))
                period = int(aggregation["alignmentPeriod"].removesuffix("s"))
                assert duration <= 23.5 * 3600
                assert duration + period <= 25 * 3600

    def test_of_absence_watch_a_metric_that_is_made(self):
        """The metric counts what the compaction logs when it was done, in its own
        service, and is made before the policy."""
        steps = list(alerting.alerts(DEPLOYMENT))
        [metric] = [one for one in steps if one.what.startswith("metric ")]
        create = " ".join(metric.create[0])
        asked = filters()["run_missed_compact_features"]

        assert (
            'metric.type="logging.googleapis.com/user/propensity-compactions"' in asked
        )
        assert "metrics create propensity-compactions" in create
        assert 'jsonPayload.function="compactFeatures"' in create
        assert 'service_name="propensity-compact-features"' in create
        assert steps.index(metric) == 0

    @pytest.mark.parametrize("name", sorted(POLICIES))
    def test_are_policies_to_the_real_client(self, name):
        """Google's own message class knows every field, and every type is right."""
        program = (
            "import json, sys; sys.path[:0] = sys.argv[1:]\n"
            "from apitools.base.py import encoding\n"
            "from googlecloudsdk.generated_clients.apis.monitoring.v3 import"
            " monitoring_v3_messages as messages\n"
            "def strange(message, path=''):\n"
            "    for name in message.all_unrecognized_fields(): yield path + name\n"
            "    for field in message.all_fields():\n"
            "        value = getattr(message, field.name)\n"
            "        for one in value if isinstance(value, list) else [value]:\n"
            "            if hasattr(one, 'all_unrecognized_fields')"
            " and field.name != 'userLabels':\n"
            "                yield from strange(one, path + field.name + '.')\n"
            "policy = encoding.JsonToMessage(messages.AlertPolicy, sys.stdin.read())\n"
            "print(json.dumps(list(strange(policy))))\n"
        )
        lib = SDK / "lib"
        done = subprocess.run(
            [sdk_python(), "-c", program, lib, lib / "third_party"],
            input=json.dumps(POLICIES[name]),
            check=False, capture_output=True, text=True,
        )  # fmt: skip

        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == []
