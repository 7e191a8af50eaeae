"""
The list of rules follows the code: what it names is still there.
"""

from __future__ import annotations

from functools import cache

from tests.mutations.rules import ROOT, rules

RULES = rules()


@cache
def text_of(file: str) -> str:
    return (ROOT / file).read_text("utf-8")


class TestRules:
    def test_are_in_their_files_exactly_once(self):
        assert {rule.clause: rule.places for rule in RULES if rule.places != 1} == {}
        assert [rule.clause for rule in RULES if rule.broken == rule.rule] == []

    def test_name_tests_that_exist(self):
        for rule in RULES:
            assert rule.tests, rule.clause
            for test in rule.tests:
                file, *names = test.split("::")
                for name in names:
                    kind = "class" if name.startswith("Test") else "def"
                    assert f"{kind} {name}" in text_of(file), test


class TestList:
    def test_has_rules_of_every_room(self):
        """A room without one would have no test that was ever seen to hold it."""
        rooms = {
            path.name
            for path in (ROOT / "propensity").iterdir()
            if (path / "__init__.py").is_file() or path.name == "sql"
        }
        named = {
            rule.file.split("/")[1] for rule in RULES if "propensity/" in rule.file
        }
        assert rooms <= named

    def test_names_each_clause_once(self):
        clauses = [rule.clause for rule in RULES]
        assert len(clauses) == len({*clauses})
