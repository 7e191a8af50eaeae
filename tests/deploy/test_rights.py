"""
What calls need, specified: what no rule knows proves nothing.

What they do need is specified in ``tests/functions/test_rights.py``, where the calls
that functions make are compared with what the deployment grants: a rule that asks for
too little leaves a grant without a use, and one that asks for too much lacks one.
"""

from __future__ import annotations

import pytest

from tests import rights
from tests.recorder import BIGQUERY, GRPC, STORAGE, Call
from tests.rights import NoRule

SITE = rights.Site(project="p", dataset="d", export="ga", bucket="b", views={})
WRITE = "/google.cloud.bigquery.storage.v1.BigQueryWrite"


@pytest.mark.parametrize(
    "call",
    [
        Call(BIGQUERY, "DELETE", "/bigquery/v2/projects/p/datasets/d/tables/t"),
        Call(STORAGE, "GET", "/storage/v1/b/another/o/x"),
        Call(GRPC, f"{WRITE}/FlushRows", ""),
    ],
)
def test_that_no_rule_knows_are_an_error(call):
    """Another method, another bucket."""
    with pytest.raises(NoRule):
        rights.needs([call], SITE)


@pytest.mark.parametrize(
    "sql", ["CREATE TABLE t (a INT64)", "DROP TABLE t", "TRUNCATE TABLE t"]
)
def test_that_no_rule_of_sql_knows_are_an_error(sql):
    """What is not understood is not proved."""
    with pytest.raises(NoRule):
        list(rights.of_sql(sql, "d", SITE))
