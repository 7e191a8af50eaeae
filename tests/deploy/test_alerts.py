"""
The alert policies, specified: what their filters read is what the functions log.
"""

from __future__ import annotations

import ast
import json
import re
import string
from functools import cache

from deploy import functions
from deploy.render import TERRAFORM
from propensity import topics
from propensity.runs import ages
from tests.deploy.conftest import ROOT, SDK, sdk_python
from tests.programs import execute

WATCH = TERRAFORM / "watch"
# As alerts.tf fills them in; tests/deploy/terraform holds what Terraform makes of them.
WORDS = {
    "prefix": "propensity",
    "project": "my-project",
    "roc_auc": "0.6",
    "champion_days": "45",
    "run_bytes": "107374182400",
    "day_bytes": "1099511627776",
    "lag_s": "300",
    "subscriptions_pushed": "|".join(
        f"propensity-{one.name}" for one in topics.SUBSCRIPTIONS if one.function
    ),
    "subscriptions_of_letters": "propensity-dead-letters-replay",
    "letters": "propensity-dead-letters",
    "services_scheduled": r"\"propensity-predictions\"",
    "compactions": "propensity-compactions",
    "use_cases": r"\"card_fraud\" OR \"ga4_purchase\"",
}
RUNS = {
    "model_training": ("training_age_days", 31),
    "predictions": ("publication_age_days", 7),
    "model_evaluation": ("evaluation_age_days", 7),
}


def policies() -> dict[str, dict]:
    """The policies by name, their words filled in."""
    found = {}
    for file in sorted((WATCH / "alerts").glob("*.json")):
        text = string.Template(file.read_text())
        if file.stem != "run_missed":
            found[file.stem] = json.loads(text.substitute(WORDS))
            continue
        for target, (field, days) in RUNS.items():
            more = {"function": f"propensity-{target}", "target": target}
            more |= {"field": field, "days": days}
            found[f"run_missed_{target}"] = json.loads(text.substitute(WORDS | more))
    return found


POLICIES = policies()


def filters() -> dict[str, str]:
    """What each policy asks logs or metrics for."""
    found = {}
    for name, policy in POLICIES.items():
        [condition] = policy["conditions"]
        [asked] = [condition[key] for key in condition if key.startswith("condition")]
        found[name] = asked.get("filter", asked.get("query"))
    return found


@cache
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
                if called.endswith(
                    ("log", "log_fields.update", "tally.add", "line.update")
                ):
                    fields |= {word.arg for word in node.keywords if word.arg}
                if called == "run" and node.args:
                    names |= texts(node.args[0])
            if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith(
                ("log_fields", "noted", "line", "fields")
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
        for function in functions.load():
            if function.schedule:
                first, *others = function.target.split("_")
                name = first + "".join(word.title() for word in others)
                assert f'"{name}"' in filters()["run_failed"]

    def test_mail_nobody_for_what_is_expected(self):
        """An export that comes later, a run under way, a use case before its first
        training: the scheduler logs an ERROR for each, as for every 409 and 503."""
        asked = filters()["run_failed"]
        own, scheduler, platform = asked.split(") OR (resource.type=")

        for outcome in ("export_late", "run_in_progress"):
            assert outcome in own.partition("NOT jsonPayload.outcome=")[2]
        # After a training, a use case that nothing serves is what a person must mend.
        untrained = 'outcome="no_champion" AND jsonPayload.is_trained=false'
        assert f"AND NOT (jsonPayload.{untrained})" in own
        assert "NOT httpRequest.status=(409 OR 503)" in scheduler
        # Killed for its memory, a function answers 503 and writes nothing.
        assert "run.googleapis.com/varlog/system" in platform

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
        for file in (WATCH / "alerts").glob("*.json"):
            assert "propensity-" not in file.read_text()


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

    def test_are_answered_by_a_page(self):
        """Each names the page that says what to do, and has a row there."""
        page = (ROOT / "docs" / "operate.md").read_text()
        alerts = page.partition("\n## Alerts\n")[2].partition("\n## ")[0]
        for name, policy in POLICIES.items():
            assert (
                "docs/operate.md, section Alerts" in policy["documentation"]["content"]
            )
            assert f"`{name}`" in alerts, name

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

    def test_are_policies_to_the_real_client(self):
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
            "found = {}\n"
            "for name, policy in json.load(sys.stdin).items():\n"
            "    text = json.dumps(policy)\n"
            "    message = encoding.JsonToMessage(messages.AlertPolicy, text)\n"
            "    found[name] = list(strange(message))\n"
            "print(json.dumps(found))\n"
        )
        lib = SDK / "lib"
        done = execute(
            [sdk_python(), "-c", program, lib, lib / "third_party"],
            input=json.dumps(POLICIES),
        )
        assert json.loads(done.stdout) == {name: [] for name in POLICIES}
