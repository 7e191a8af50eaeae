"""
Rights, specified: what functions.toml says, each on the smallest thing, and no more.
"""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from deploy import access, deployment, functions, plan, resources, services
from propensity.runs import compact
from propensity.runs.watermark import EPOCH
from propensity.settings import Settings
from propensity.statements import statement
from tests.deploy.conftest import SETTINGS

DEPLOYMENT = deployment.of(SETTINGS)
GRANTS = [
    " ".join(command)
    for step in plan.everything(DEPLOYMENT).steps
    for command in step.create
    if "add-iam-policy-binding" in command or "GRANT" in " ".join(command)
]


def granted(target: str) -> list[str]:
    """The grants to a function's account."""
    return [one for one in GRANTS if f":{DEPLOYMENT.account(target)}" in one]


class TestGrants:
    def test_in_the_project_are_queries_only(self):
        """Nobody reads, writes or administers the project: functions may run queries
        there, and the builder builds."""
        roles = {
            re.search(r"--role=(\S+)", one)[1]
            for one in GRANTS
            if one.startswith("gcloud projects ")
            and DEPLOYMENT.account("build") not in one
        }

        assert roles == {"roles/bigquery.jobUser", "roles/bigquery.readSessionUser"}

    def test_are_never_broad(self):
        """No owner, editor, admin, and no user of all objects of the bucket."""
        for one in GRANTS:
            role = re.search(r"(?:--role=|GRANT `)([^\s`]+)", one)[1]
            assert not re.search(r"owner|editor|[aA]dmin|dataEditor", role)
            if one.startswith("gcloud storage") and "object_lister" not in role:
                assert "resource.name.startsWith" in one

    def test_let_a_lookup_read_one_table(self):
        """get_proba runs queries, reads the current predictions and whom it may say
        nothing of, and that is all."""
        grants = granted("get_proba")

        assert len(grants) == 3
        assert sum("ma_predictions_table" in one for one in grants) == 1
        assert sum("suppressed_users" in one for one in grants) == 1
        assert sum(one.startswith("gcloud projects") for one in grants) == 1

    def test_let_a_training_replace_nothing_but_pointers_and_leases(self):
        """Versions are created and read; with this account nobody rewrites one."""
        replaced = [one for one in granted("model_training") if "objectUser" in one]

        assert len(replaced) == 2
        assert any('endsWith("/champion.json")' in one for one in replaced)
        assert any("objects/runs/" in one for one in replaced)

    def test_let_an_appending_function_read_nothing_back(self):
        """The archive adds dead letters and objects, starts no query, and reads whom
        it must keep nothing of."""
        grants = granted("archive_events")
        reading = [one for one in grants if "bigquery.dataViewer" in one]

        assert {re.search(r"--role=(\S+)", one)[1] for one in grants} == {
            "projects/my-project/roles/propensity_table_appender",
            "roles/bigquery.dataViewer",
            "roles/storage.objectCreator",
        }
        assert len(reading) == 1
        assert "suppressed_users" in reading[0]

    def test_are_to_every_function_what_its_entry_says(self):
        """One grant for each table, prefix and topic, and one for each further need."""
        for one in functions.load():
            expected = (
                one.runs_queries
                + one.large_results
                + len(one.reads + one.appends + one.writes + one.views)
                + one.reads_export
                + len(one.objects)
                + len(one.publishes)
            )
            assert len(granted(one.target)) == expected


class TestSecret:
    def test_is_given_to_those_who_read_the_list(self):
        """Each gets the key from Secret Manager, and none finds it in its settings."""
        d = deployment.of({**SETTINGS, "DEPLOY_SUPPRESSION_SECRET": "the-key"})
        for one in d.functions:
            flags = services.secrets(d, one)
            assert bool(flags) == ("suppressed_users" in one.reads)
            assert set(flags) <= {
                "--set-secrets=PROPENSITY_SUPPRESSION_KEY=the-key:latest"
            }
        grants = [
            " ".join(command)
            for step in access.rights(d)
            for command in step.create
            if command[:2] == ("gcloud", "secrets")
        ]

        assert len(grants) == sum(
            "suppressed_users" in one.reads for one in d.functions
        )
        assert all("roles/secretmanager.secretAccessor" in one for one in grants)

    @pytest.mark.parametrize("secret", ["", "the-key"])
    def test_switches_its_api_on_where_there_is_one(self, secret):
        """Without one, Secret Manager is left as it is."""
        d = deployment.of({**SETTINGS, "DEPLOY_SUPPRESSION_SECRET": secret})
        [[enable]] = [step.create for step in resources.apis(d)]

        assert ("secretmanager.googleapis.com" in enable) == bool(secret)

    def test_is_in_no_file(self):
        """A key among the settings would be in the configuration of every function."""
        with pytest.raises(deployment.DeploymentError) as raised:
            deployment.of({**SETTINGS, "PROPENSITY_SUPPRESSION_KEY": "k" * 40})

        assert "DEPLOY_SUPPRESSION_SECRET" in str(raised.value)
        assert "k" * 40 not in str(raised.value)


class TestConditions:
    def test_are_prefixes_and_endings(self):
        """``prefix*suffix`` holds for objects that begin and end so."""
        assert access.object_condition("b", "models/") == (
            'resource.name.startsWith("projects/_/buckets/b/objects/models/")'
        )
        assert access.object_condition("b", "models/*/champion.json").endswith(
            ' && resource.name.endsWith("/champion.json")'
        )


class TestBinding:
    POLICY = {
        "bindings": [
            {"role": "r", "members": ["serviceAccount:service-12@x"]},
            {"role": "r", "members": ["user:a"], "condition": {"title": "t"}},
        ]
    }

    def test_is_found_by_role_member_and_condition(self):
        """All three must be the same; a part that is looked up later is any number."""
        late = "serviceAccount:service-${PROJECT_NUMBER}@x"

        assert access.binding(self.POLICY, role="r", member=late)
        assert access.binding(self.POLICY, role="r", member="user:a", condition="t")
        assert access.binding(self.POLICY, role="r", member="user:a") is None
        assert access.binding(self.POLICY, role="s", member=late) is None
        assert access.binding({"etag": "x"}, role="r", member="user:a") is None


class TestViews:
    def test_are_those_of_the_functions(self):
        """Set-up and the functions make the same views, to the letter."""
        settings = Settings(project="p", dataset="d")
        warehouse = SimpleNamespace(settings=settings)
        export = statement("ga_events").replace("`events_*`", "`p.ga.events_*`")
        tables = "INFORMATION_SCHEMA.TABLES`"
        export = export.replace(f"`{tables}", f"`p.ga.{tables}")
        export = export.replace("  -- columns that use cases name\n", "")

        made = compact.view_of(warehouse, EPOCH)

        assert unspaced(resources.features_view("p.d")) == unspaced(made)
        assert resources.events_view("p.ga", require="false") == export.strip()


def unspaced(text: str) -> str:
    # A moment in microseconds is written with them.
    return re.sub(r"\s+", " ", text.replace("00:00:00.000000+", "00:00:00+")).strip()
