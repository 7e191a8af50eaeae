"""
What a deployment consists of, specified: names of its own, and what is set beside.
"""

from __future__ import annotations

import re

import pytest

from deploy import deployment, plan
from deploy.deployment import Deployment
from deploy.steps import printed
from tests.deploy.conftest import KEY, SETTINGS

# Of a command that makes something: its words, and which word names it.
CREATES = re.compile(
    r"(functions deploy|run jobs deploy|scheduler jobs create http|"
    r"pubsub (?:topics|subscriptions) create|iam (?:roles|service-accounts) create|"
    r"logging metrics create|artifacts repositories create|storage buckets create) "
    r"(\S+)"
)


def made(d: Deployment) -> set[str]:
    """The names of all that a deployment creates, by kind."""
    found = set()
    for step in plan.everything(d).steps:
        for command in step.create:
            words = " ".join(command)
            if match := CREATES.search(words):
                found.add(f"{match[1]} {match[2]}")
            if command[0] == "bq" and "mk" in command:
                found.add(f"bq {command[-1]}")
            if display := re.search(r'"displayName": "([^"]+)"', words):
                found.add(f"policy {display[1]}")
            if display := re.search(r"channels create --display-name=(\S+)", words):
                found.add(f"channel {display[1]}")
    return found


def commands(**settings: str) -> list[str]:
    """The command lines of a deployment, as a dry run prints them."""
    d = deployment.of({**SETTINGS, **settings})
    every = (
        plan.setup(d),
        plan.deploy(d, d.functions),
        plan.training_job(d, is_scheduled=True),
        plan.watch(d),
    )
    return [line for one in every for line in printed(one)]


class TestNames:
    def test_are_shared_by_no_two_deployments_of_a_project(self):
        """Of two prefixes, with a bucket each, nothing has the same name: no function,
        account, role, topic, subscription, schedule, table, metric or policy."""
        everything = {**SETTINGS, "DEPLOY_USE_CASES": "ga4_purchase first_day_churn"}
        first = made(deployment.of({**everything, "DEPLOY_REPOSITORY": "a"}))
        second = made(
            deployment.of(
                {
                    **everything,
                    "DEPLOY_PREFIX": "shop",
                    "PROPENSITY_BUCKET": "shop-bucket",
                    "DEPLOY_REPOSITORY": "b",
                }
            )
        )

        assert len(first) == len(second) > 60
        assert first & second == set()
        assert {name.split()[0] for name in first} == {
            "artifacts", "bq", "channel", "functions", "iam", "logging", "policy",
            "pubsub", "run", "scheduler", "storage",
        }  # fmt: skip

    def test_reach_the_functions(self):
        """What a function publishes to is the topic of its own deployment, and its
        dataset is that one's."""
        d = deployment.of({**SETTINGS, "DEPLOY_PREFIX": "shop"})

        assert d.settings.dataset == "shop"
        assert d.variables["PROPENSITY_ENRICHED_TOPIC"] == "shop-enriched"
        assert d.variables["PROPENSITY_SCORES_TOPIC"] == "shop-scores"
        assert d.variables["PROPENSITY_MODEL_UPDATES_TOPIC"] == "shop-model-updates"
        assert d.variables["PROPENSITY_TOPIC_PREFIX"] == "shop"
        assert d.topic("events") == "shop-events"
        assert d.topic("enriched") == "shop-enriched"

    def test_that_are_set_stay(self):
        """A topic or a dataset that was there before keeps its name."""
        d = deployment.of(
            {
                **SETTINGS,
                "PROPENSITY_SCORES_TOPIC": "fraud-scores",
                "PROPENSITY_DATASET": "marketing",
            }
        )

        assert d.topic("scores") == "fraud-scores"
        assert d.settings.dataset == "marketing"


US_KEY = KEY.replace("us-central1", "us")


class TestOptions:
    def test_are_off_where_nothing_is_set(self):
        """No key, no repository, no connector, and what callers reach is reached from
        any network by those who may."""
        text = "\n".join(commands())

        assert not re.search("kms|encryption|docker-repository|vpc-|egress", text)
        assert "--ingress-settings=internal-and-gclb" not in text
        assert "cloudkms" not in text
        assert "vpcaccess" not in text

    def test_an_ingress_is_that_of_what_callers_reach(self):
        """get_proba and score are behind a load balancer; what only the scheduler and
        Pub/Sub call stays as it is."""
        found = {
            re.search(r"functions deploy (\S+)", line)[1]: re.search(
                r"--ingress-settings=(\S+)", line
            )[1]
            for line in commands(DEPLOY_INGRESS="internal-and-gclb")
            if "functions deploy" in line
        }

        assert {n for n, one in found.items() if one == "internal-and-gclb"} == {
            "propensity-get-proba",
            "propensity-score",
        }
        assert set(found.values()) == {"internal-and-gclb", "internal-only"}

    def test_a_key_encrypts_dataset_bucket_and_topics(self):
        """Its service's account is there and may use the key before each is made; the
        API of keys is on."""
        lines = commands(DEPLOY_KMS_KEY=US_KEY)

        def place(*parts: str) -> int:
            return next(
                number
                for number, line in enumerate(lines)
                if line.startswith("create") and all(part in line for part in parts)
            )

        for agent, made_ in (
            ("bigquery-encryption", "--default_kms_key="),
            ("gs-project-accounts", "--default-encryption-key="),
            ("gcp-sa-pubsub", "--topic-encryption-key="),
        ):
            assert place("kms keys add-iam-policy-binding", agent) < place(
                made_ + US_KEY
            )
        assert "cloudkms.googleapis.com" in lines[place("services enable")]
        topics = [line for line in lines if "topics create" in line]
        assert len(topics) == 5
        assert all(US_KEY in line for line in topics)
        assert not [line for line in lines if "--kms-key" in line]

    def test_a_key_of_functions_encrypts_their_images(self):
        """In a repository of one's own, which only the builder may write to; and so are
        the jobs of trainings."""
        lines = commands(
            DEPLOY_FUNCTIONS_KMS_KEY=KEY, DEPLOY_REPOSITORY="propensity-images"
        )
        deploys = [line for line in lines if "functions deploy" in line]
        jobs = [line for line in lines if "run jobs deploy" in line]
        text = "\n".join(lines)

        assert len(deploys) == 9
        for line in deploys:
            assert f"--kms-key={KEY}" in line
            assert (
                "--docker-repository=projects/my-project/locations/us-central1"
                "/repositories/propensity-images" in line
            )
        assert jobs
        assert all(f"--key={KEY}" in line for line in jobs)
        create = "repositories create propensity-images --repository-format=docker"
        assert f"{create} --kms-key={KEY}" in text
        writers = [line for line in lines if "artifactregistry.writer" in line]
        assert all("repositories add-iam-policy-binding" in line for line in writers)

    def test_a_teardown_leaves_the_right_to_use_a_key(self):
        """Without it nobody could read what is kept, nor what another encrypts."""
        d = deployment.of({**SETTINGS, "DEPLOY_KMS_KEY": US_KEY})
        removing = [
            " ".join(command)
            for step in plan.everything(d).steps
            for command in step.remove
        ]

        assert removing
        assert not [line for line in removing if "kms" in line]

    @pytest.mark.parametrize("egress", ["", "all", "private-ranges-only"])
    def test_a_connector_is_what_functions_send_through(self, egress):
        """Functions and jobs, each in its command's own words."""
        lines = commands(DEPLOY_VPC_CONNECTOR="office", DEPLOY_VPC_EGRESS=egress)
        deploys = [line for line in lines if "functions deploy" in line]
        jobs = [line for line in lines if "run jobs deploy" in line]
        sent = egress or "private-ranges-only"

        assert deploys
        assert jobs
        for line in deploys:
            assert f"--vpc-connector=office --egress-settings={sent}" in line
        for line in jobs:
            wanted = "all-traffic" if sent == "all" else sent
            assert f"--vpc-connector=office --vpc-egress={wanted}" in line
        assert any("vpcaccess.googleapis.com" in line for line in lines)

    def test_of_the_eu_take_a_key_of_europe(self):
        """Cloud KMS calls the multi-region of BigQuery's EU so."""
        key = KEY.replace("us-central1", "europe")

        assert deployment.of(
            {**SETTINGS, "PROPENSITY_LOCATION": "EU", "DEPLOY_KMS_KEY": key}
        )
