"""
The list of rules follows the code: what it names is still there.
"""

from __future__ import annotations

import pytest

from tests.mutations.rules import ROOT, Rule, rules

RULES = rules()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.clause)
class TestRule:
    def test_is_in_its_file_exactly_once(self, rule: Rule):
        assert rule.places == 1, f"{rule.file}: {rule.rule!r}"
        assert rule.broken != rule.rule

    def test_names_tests_that_exist(self, rule: Rule):
        assert rule.tests
        for test in rule.tests:
            file, *names = test.split("::")
            text = (ROOT / file).read_text("utf-8")
            for name in names:
                kind = "class" if name.startswith("Test") else "def"
                assert f"{kind} {name}" in text, test


class TestList:
    def test_has_rules_of_every_room(self):
        """A room without one would have no test that was ever seen to hold it."""
        rooms = {
            path.name
            for path in (ROOT / "propensity").iterdir()
            if (path / "__init__.py").is_file() or path.name == "sql"
        }
        found = {
            rule.file.split("/")[1] for rule in RULES if "propensity/" in rule.file
        }
        assert rooms <= found

    def test_names_each_clause_once(self):
        clauses = [rule.clause for rule in RULES]
        assert len(clauses) == len({*clauses})
