"""Errors of Google's clients as ours: class, permission, resource, and what to do."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from google.api_core import exceptions as api
from google.auth.exceptions import DefaultCredentialsError, RefreshError

from propensity.errors import (
    AccessDenied,
    Conflict,
    MissingTable,
    PropensityError,
    QueryTooExpensive,
    QuotaExceeded,
    SchemaError,
    Unavailable,
)
from propensity.gcp.clients import BIGQUERY, PUBSUB, error_of
from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings
from tests.support.proxy import Proxy

GOOGLE = Settings(project="p")
LOCAL = Settings(project="p", bigquery_endpoint="http://127.0.0.1:1")
# Google's clients wrap the failure that they gave up with.
REFUSED = api.RetryError("gave up", ConnectionError("[Errno 111] Connection refused"))


def refused_for(reason: str) -> api.Forbidden:
    """What BigQuery's client raises for a 403 that is about no permission."""
    return api.Forbidden("Too much", errors=[{"reason": reason}])


@pytest.mark.parametrize("on", ["theirs.analytics_1", ""])
def test_rights_to_the_export_are_for_its_owner_to_grant(on):
    """A statement reads a view of ours, and the view what is theirs: BigQuery's
    message has the dataset. Of our own resources the set-up grants them."""
    refused = api.Forbidden(
        "Access Denied: Dataset theirs:analytics_1: Permission "
        "bigquery.tables.list denied on dataset theirs:analytics_1."
    )
    settings = Settings(project="p", ga4_dataset="theirs.analytics_1")
    message = error_of(refused, settings, BIGQUERY, on=on).message

    role = "roles/bigquery.dataViewer on the dataset theirs.analytics_1"
    assert role in message
    assert "its owner" in message
    denied = api.PermissionDenied("User not authorized to perform this action.")
    needs = "pubsub.topics.publish"
    own = error_of(denied, settings, PUBSUB, needs=needs, on="projects/p/topics/t")
    assert (own.status, own.retryable) == (500, False)
    assert f"{needs} on projects/p/topics/t" in own.message
    assert "deploy/setup.sh" in own.message


class TestClasses:
    @pytest.mark.parametrize(
        ("error", "ours"),
        [
            ("analytics_1.events_* does not match any table.", MissingTable),
            ("Query exceeded limit for bytes billed: 1.", QueryTooExpensive),
            ("Unrecognized name: geo at [3:1]", SchemaError),
            ("Transaction is aborted due to concurrent update to t", Conflict),
            ("Too many DML statements outstanding against table t", Unavailable),
            ("Syntax error", PropensityError),
            (api.NotFound("Not found: Table t"), MissingTable),
            (api.Forbidden("Access Denied"), AccessDenied),
            # A quota that is used up is 403, too, and no permission.
            (refused_for("quotaExceeded"), QuotaExceeded),
            (refused_for("rateLimitExceeded"), Unavailable),
            (api.ServiceUnavailable("down"), Unavailable),
            (api.RetryError("deadline", None), Unavailable),
            (TimeoutError(), Unavailable),
            (RefreshError("no metadata server"), Unavailable),
            (DefaultCredentialsError("no login"), AccessDenied),
        ],
    )
    def test_classes_tell_what_passes_from_what_stays(self, error, ours):
        """An outage passes; a table, a column or a right that is missing does not."""
        raised = api.BadRequest(error) if isinstance(error, str) else error

        assert type(error_of(raised, GOOGLE, BIGQUERY)) is ours


@pytest.mark.usefixtures("warehouse")
def test_a_statement_that_lost_a_race_is_tried_again(settings, emulators):
    """BigQuery ends one of two that change the same rows, which has changed nothing."""
    message = "Transaction is aborted due to concurrent update against table p.d.t"
    errors = [{"reason": "invalidQuery", "message": message}]
    body = {"error": {"code": 400, "message": message, "errors": errors}}
    started: list[int] = []

    def rule(request):
        if request.method == "POST" and request.path.partition("?")[0].endswith("jobs"):
            started.append(request.number)
            if len(started) == 1:
                return 400, json.dumps(body).encode()
        return None

    sql = "DELETE FROM ma_predictions_runs WHERE run_id = 'x'"
    with Proxy(emulators.url("bigquery"), rule) as proxy:
        Warehouse.open(replace(settings, bigquery_endpoint=proxy.url)).execute(sql)

    assert len(started) == 2


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        (LOCAL, REFUSED, ["connection was refused", "http://127.0.0.1:1", "`make up`"]),
        # Google needs no name.
        (GOOGLE, REFUSED, ["BigQuery did not answer: the connection was refused"]),
        # A limit that is exhausted has its value: a larger shop needs more.
        (
            GOOGLE,
            api.BadRequest("Query exceeded limit for bytes billed: 1."),
            [f"PROPENSITY_MAXIMUM_BYTES_BILLED, {GOOGLE.maximum_bytes_billed}"],
        ),
        (
            GOOGLE,
            TimeoutError(),
            [f"may take {GOOGLE.query_timeout_s} s", "PROPENSITY_QUERY_TIMEOUT_S"],
        ),
    ],
)
def test_a_message_says_what_to_do(settings, error, said):
    message = error_of(error, settings, BIGQUERY).message

    assert [words for words in said if words not in message] == []
    assert ("emulator" in message) == (settings is LOCAL)


VALUE = "(a value of a row)"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (
            "POST https://h/q?a=b: Bad int64 value: ana; while executing",
            f"Bad int64 value: {VALUE}",
        ),
        ("Bad int64 value: ana: 'b", f"Bad int64 value: {VALUE}"),
        ("Bad int64 value: 2020-01-01: ana", f"Bad int64 value: {VALUE}"),
        ("Query error: Bad bool value: ana at [3:1]", f"Bad bool value: {VALUE}"),
        ('Invalid datetime string "ana"', f"Invalid datetime string {VALUE}"),
        ('Failed to parse input string "ana"', f"Failed to parse input string {VALUE}"),
        ("Invalid time zone: ana", f"Invalid time zone: {VALUE}"),
        ("Invalid input to PARSE_JSON: of; last read: 'ana'", "Invalid input to PARSE"),
        ("Cannot parse regular expression: missing ): (ana", "Cannot parse regular"),
        ("Could not parse 'ana O'ana' as INT64 for field age", f"{VALUE} as INT64 for"),
        (
            "Error while reading table: p.crm.t, error message: Could not parse 'ana' "
            "as INT64 for field age",
            f"p.crm.t, error message: Could not parse {VALUE} as INT64 for field age",
        ),
        # What is said of the statement itself is kept.
        (
            "No matching signature for function IF for argument types: STRING at [3:1]",
            "argument types: STRING at [3:1]",
        ),
        (
            "Cannot query over table 't' without a filter over column(s) 'as_of' that "
            "can be used for partition elimination",
            "table 't' without a filter over column(s) 'as_of' that can be used",
        ),
        ("Resources exceeded: 124% of limit", "Resources exceeded: 124% of limit"),
    ],
)
def test_a_value_that_a_statement_cannot_read_is_not_repeated(said, kept):
    """An address that an audience's SQL takes for a number, and a text that no date,
    JSON or number can be made of."""
    message = error_of(api.BadRequest(said), GOOGLE, BIGQUERY).message

    assert kept in message
    assert "ana" not in message
