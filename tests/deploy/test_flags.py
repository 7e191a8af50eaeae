"""What gcloud is told of a function, specified: by rules, before any script runs."""

from __future__ import annotations

import pytest

from deploy import configuration, flags, functions
from deploy.flags import OF_BUILDS
from tests.deploy.conftest import KEY, SETTINGS, WHOLE


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, ["--clear-vpc-connector", "--clear-key"]),
        (
            {"DEPLOY_VPC_CONNECTOR": "c", "DEPLOY_VPC_EGRESS": "all"},
            ["--vpc-connector=c", "--vpc-egress=all-traffic"],
        ),
        ({"DEPLOY_FUNCTIONS_KMS_KEY": KEY}, [f"--key={KEY}", "--clear-vpc-connector"]),
    ],
)
def test_what_is_set_no_more_is_taken_away(settings, told):
    """Egress is only said of a connector. Nobody calls without a role."""
    common = flags.common(configuration.of(SETTINGS | settings))

    assert {*told, "--no-allow-unauthenticated"} <= {*common}
    has_egress = any("egress" in word for word in common)
    assert has_egress == ("DEPLOY_VPC_CONNECTOR" in settings)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("DEPLOY_CALLERS", "", "--clear-build-worker-pool --clear-build-env-vars"),
        (
            "DEPLOY_WORKER_POOL",
            "projects/p/locations/l/workerPools/w",
            "--build-worker-pool=projects/p/locations/l/workerPools/w",
        ),
        (
            "DEPLOY_PACKAGE_INDEX",
            "https://i",
            "--set-build-env-vars=PIP_INDEX_URL=https://i",
        ),
        ("DEPLOY_FUNCTIONS_KMS_KEY", KEY, "--allow-unencrypted-build"),
    ],
)
def test_a_build_is_in_its_account_pool_and_index(name, value, told):
    d = configuration.of({**SETTINGS, name: value})
    build = flags.build(d, "r-docker.pkg.dev/p/x")
    account = "projects/my-project/serviceAccounts/propensity-build@my-project.iam"

    assert {*told.split(), "--image=r-docker.pkg.dev/p/x"} <= {*build}
    assert f"--build-service-account={account}.gserviceaccount.com" in build


def test_an_image_that_is_there_is_told_nothing_of_builds():
    d = configuration.of(WHOLE)
    for function in functions.load():
        service = flags.service(d, function)
        left = [word for word in service if word not in flags.of_image(service)]

        assert f"--function={function.target}" in left
        assert all(word.startswith(OF_BUILDS) for word in left)
