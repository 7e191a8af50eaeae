"""
Least privilege, specified: a function is granted what it does, no more and no less.

Every function is served from its staged source, behind endpoints of its own that record
what it asks of BigQuery, Cloud Storage and Pub/Sub. They do all that they can do, for
all use cases, by every path that touches another table, object or topic. What the calls
need on Google Cloud is compared with what the deployment's commands grant.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from deploy import functions
from tests import rights
from tests.functions.recorded import FUNCTIONS, Recorded, recorded, site
from tests.grants import narrower, unused, wider
from tests.partitions import unfiltered
from tests.recorder import GRPC

# Fixtures.
__all__ = ["recorded", "site"]

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


def runs_queries(target: str) -> bool:
    """Return whether a function asks BigQuery, beside reading and appending rows."""
    return {function.target: function for function in functions.load()}[
        target
    ].runs_queries


def without(recorded: Recorded, target: str, field: str, right: Any) -> list[str]:
    """What a function lacks once a right is taken from a line of its entry."""
    [entry] = [each for each in recorded.deployment.functions if each.target == target]
    rights_left = tuple(each for each in getattr(entry, field) if each != right)
    granted = recorded.granted(**{target: {field: rights_left}})[target]
    return narrower(recorded.needed[target], granted)


class TestRights:
    def test_are_of_every_function_that_is_deployed(self, recorded):
        """No function is left out, and each has sent requests."""
        assert {function.target for function in recorded.deployment.functions} == {
            *FUNCTIONS
        }
        assert all(recorded.calls[target] for target in FUNCTIONS)

    @pytest.mark.parametrize("target", FUNCTIONS)
    def test_are_not_narrower_than_what_is_done(self, recorded, target):
        """Every call of a function finds all permissions that Google asks for it."""
        granted = recorded.granted()[target]

        assert narrower(recorded.needed[target], granted) == []

    @pytest.mark.parametrize("target", FUNCTIONS)
    def test_are_not_wider_than_what_is_done(self, recorded, target):
        """Without a grant, by a weaker role or a longer prefix some call would fail."""
        granted = recorded.granted()[target]

        assert wider(recorded.needed[target], granted) == []

    def test_of_own_roles_are_all_used(self, recorded):
        """A role of the deployment's own permits what somebody does with it."""
        assert unused(recorded.needed, recorded.granted()) == {}

    def test_to_create_tables_and_views_are_nobodys(self, recorded):
        """No function makes a table, a view, a bucket or a topic: the set-up does."""
        permissions = Counter(
            need.permission for needs in recorded.needed.values() for need in needs
        )

        assert not [name for name in permissions if name.endswith("tables.create")]
        assert permissions["bigquery.tables.update"] == 1


class TestCost:
    @pytest.mark.parametrize(
        "target", [target for target in FUNCTIONS if runs_queries(target)]
    )
    def test_of_every_query_is_bounded(self, recorded, target):
        """BigQuery refuses what would bill more, and reads the days that are meant of
        every large table."""
        queries = list(rights.queries(recorded.calls[target]))

        assert queries
        assert [
            query for query in queries if int(query.get("maximumBytesBilled", 0)) < 1
        ] == []
        assert [query for query in queries if unfiltered(query["query"])] == []


class TestTheProof:
    def test_has_seen_every_service(self, recorded):
        """A function that appends or publishes was seen to over gRPC."""
        for function in recorded.deployment.functions:
            over_grpc = [
                call for call in recorded.calls[function.target] if call.api == GRPC
            ]
            assert bool(over_grpc) == bool(
                function.appends or function.publishes or function.large_results
            )

    @pytest.mark.parametrize("field", ["reads", "appends", "writes", "views"])
    def test_misses_every_table_that_is_taken_away(self, recorded, field):
        """For each table the message names the table, the permission and its line."""
        for function in recorded.deployment.functions:
            for table in getattr(function, field):
                missing = without(recorded, function.target, field, table)
                assert missing, (function.target, table)
                assert any(f".{table} is not granted (" in text for text in missing)
                assert all(field in text for text in missing)

    @pytest.mark.parametrize("field", ["objects", "publishes"])
    def test_misses_every_object_and_topic_that_is_taken_away(self, recorded, field):
        """For each object or topic the message names it and its line."""
        for function in recorded.deployment.functions:
            for right in getattr(function, field):
                name = right if isinstance(right, str) else right[1].partition("*")[0]
                missing = without(recorded, function.target, field, right)
                assert missing, (function.target, right)
                assert all(f"({field}" in text for text in missing)
                assert all(name in text for text in missing)

    @pytest.mark.parametrize("field", ["reads_export", "large_results"])
    def test_misses_what_is_taken_away_as_a_whole(self, recorded, field):
        """The export's dataset, and the streams of results."""
        for function in recorded.deployment.functions:
            granted = recorded.granted(**{function.target: {field: False}})[
                function.target
            ]
            missing = narrower(recorded.needed[function.target], granted)
            assert bool(missing) == getattr(function, field)
            assert all(field in text for text in missing)

    @pytest.mark.parametrize(
        ("target", "field", "more", "message"),
        [
            ("get_proba", "reads", "stream_events", "may read stream_events"),
            ("score", "appends", "truth_events", "may append to truth_events"),
            (
                "predictions",
                "writes",
                "ma_model_evaluation",
                "may change ma_model_eval",
            ),
            ("score", "objects", ("replace", "models/"), "may replace objects models/"),
            ("stream_features", "publishes", "scores", "may publish to scores"),
            ("get_proba", "large_results", True, "is bigquery.readSessionUser"),
            ("compact_features", "reads_export", True, "has bigquery.dataViewer on"),
        ],
    )
    def test_finds_every_right_that_is_given_beside(
        self, recorded, target, field, more, message
    ):
        """A table, an object, a topic or a project's role too many is named."""
        [entry] = [
            function
            for function in recorded.deployment.functions
            if function.target == target
        ]
        value = more if more is True else (*getattr(entry, field), more)
        granted = recorded.granted(**{target: {field: value}})[target]
        messages = wider(recorded.needed[target], granted)

        name = recorded.deployment.name(target)
        assert any(text.startswith(name) and message in text for text in messages), (
            messages
        )

    def test_finds_what_could_be_less(self, recorded):
        """A weaker role, a longer prefix."""
        target = "compact_features"
        [entry] = [
            function
            for function in recorded.deployment.functions
            if function.target == target
        ]
        objects = tuple(
            ("replace", "ex") if object_ == ("replace", "exports/") else object_
            for object_ in entry.objects
        )
        granted = recorded.granted(**{target: {"objects": objects}})[target]
        [longer] = wider(recorded.needed[target], granted)

        target, changed = "score", {"appends": (), "writes": ("inference_log",)}
        granted = recorded.granted(**{target: changed})[target]
        [weaker] = wider(recorded.needed[target], granted)

        assert longer.endswith("objects ex: only exports/ was touched")
        assert weaker.endswith("may change inference_log: table_appender would do")
