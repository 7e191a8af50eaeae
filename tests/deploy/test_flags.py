"""What gcloud is told of a function, specified: by rules, before any script runs."""

from __future__ import annotations

import pytest

from deploy import configuration, flags, functions
from deploy.flags import OF_BUILDS
from tests.deploy.conftest import WHOLE

NAMES = {
    "project": "p",
    "region": "r",
    "account_build": "build@p",
    "repository": "r-docker.pkg.dev/p/x",
    "vpc_connector": "",
    "vpc_egress": "all-traffic",
    "functions_kms_key": "",
    "worker_pool": "",
    "package_index": "",
}


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ({}, ["--clear-vpc-connector", "--clear-key"]),
        ({"vpc_connector": "c"}, ["--vpc-connector=c", "--vpc-egress=all-traffic"]),
        ({"functions_kms_key": "k"}, ["--key=k", "--clear-vpc-connector"]),
    ],
)
def test_what_is_set_no_more_is_taken_away(names, told):
    """Egress is only said of a connector. Nobody calls without a role."""
    common = flags.common(NAMES | names)

    assert {*told, "--no-allow-unauthenticated"} <= {*common}
    assert ("--vpc-egress=all-traffic" in common) == ("vpc_connector" in names)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ({}, ["--clear-build-worker-pool", "--clear-build-env-vars"]),
        ({"worker_pool": "w"}, ["--build-worker-pool=w"]),
        (
            {"package_index": "https://i"},
            ["--set-build-env-vars=PIP_INDEX_URL=https://i"],
        ),
        ({"functions_kms_key": "k"}, ["--allow-unencrypted-build"]),
    ],
)
def test_a_build_is_in_its_account_pool_and_index(names, told):
    build = flags.build(NAMES | names)

    assert {*told, "--image=r-docker.pkg.dev/p/x"} <= {*build}
    assert "--build-service-account=projects/p/serviceAccounts/build@p" in build


def test_an_image_that_is_there_is_told_nothing_of_builds():
    d = configuration.of(WHOLE)
    names = NAMES | {"environment": "^|^A=1", "secret": "--set-secrets=A=a:latest"}
    names |= {"ingress": "all"}
    for function in functions.load():
        account = {f"account_{function.target}": "x@p"}
        lists = flags.of_function(d, function, names | account)
        left = [word for word in lists["service"] if word not in lists["taken"]]

        assert f"--function={function.target}" in left
        assert all(word.startswith(OF_BUILDS) for word in left)
