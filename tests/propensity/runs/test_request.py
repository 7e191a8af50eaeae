"""
What a request to a run may say, specified beside the hostile ones.
"""

from __future__ import annotations

from datetime import date

import flask
import pytest
from werkzeug.test import EnvironBuilder

from propensity.errors import RequestError
from propensity.runs.request import RunRequest, parse


def parsed(body: str) -> RunRequest:
    """The request of a body, on a day."""
    environ = EnvironBuilder(method="POST", data=body.encode()).get_environ()
    return parse(
        flask.Request(environ),
        default_use_case="ga4_purchase",
        today=date(2026, 3, 2),
    )


def test_names_its_fields():
    """In any order, with defaults for what is left out."""
    request = parsed('{"force": true, "as_of": "2026-02-23"}')

    assert request == RunRequest(
        use_case="ga4_purchase", as_of=date(2026, 2, 23), force=True
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"as_of": "2026-02-16", "as_of": "2026-02-23"}', "as_of"),
        ('{"force": false, "as_of": "2026-02-23", "force": true}', "force"),
        ('{"force": true, "force": true}', "force"),
    ],
)
def test_names_each_field_once(body, field):
    """Of two dates nobody knows which one was meant: nothing is published of either."""
    with pytest.raises(RequestError, match="must be given once") as refused:
        parsed(body)

    assert refused.value.field == field
