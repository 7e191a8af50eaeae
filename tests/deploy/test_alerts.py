"""
The alert policies, specified: what their filters read is what the functions log.
"""

from __future__ import annotations

import json
import re
import string

from deploy import functions
from deploy.render import TERRAFORM
from propensity import topics
from tests.deploy.conftest import ROOT

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


def code() -> str:
    """All of the package and of what calls it."""
    files = [*(ROOT / "propensity").rglob("*.py"), *ROOT.glob("0*/*.py")]
    return "\n".join(file.read_text() for file in files)


class TestFilters:
    def test_read_fields_and_functions_that_are_logged(self):
        """Each is a word that the code writes."""
        text, every = code(), "\n".join(filters().values())
        fields = set(re.findall(r"(?:jsonPayload|json_payload)\.(\w+)", every))
        of_functions = r'(?:function=|function\) = )(\([^)]*\)|"\w+"|\'\w+\')'
        groups = re.findall(of_functions, every)
        names = {name for group in groups for name in re.findall(r"\w+", group)} - {
            "OR"
        }

        assert {"status", "outcome", "function", "roc_auc", "reasons"} <= fields
        assert {"modelTraining", "scoreStream", "compactFeatures"} <= names
        for word in fields | names:
            assert re.search(rf'["\s(]{word}["=]', text), word

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


class TestPolicies:
    def test_are_answered_by_a_page(self):
        """Each names the page that says what to do, and has a row there."""
        page = (ROOT / "docs" / "operate.md").read_text()
        alerts = page.partition("\n## Alerts\n")[2].partition("\n## ")[0]
        for name, policy in POLICIES.items():
            assert (
                "docs/operate.md, section Alerts" in policy["documentation"]["content"]
            )
            assert f"`{name}`" in alerts, name
