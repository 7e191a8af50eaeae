"""
deploy/terraform, specified without Terraform: parsed, and held against the schema.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from deploy.render import TERRAFORM
from tests.deploy.terraform.arguments import blocks, parsed, wrong

ROOTS = (TERRAFORM, TERRAFORM / "watch")
# Of a root, how many resources and data sources of Google's it has.
COUNTS = {"terraform": 36, "watch": 3}

pytestmark = [pytest.mark.installs, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def main(npm) -> dict[str, Any]:
    return parsed(npm, sorted(TERRAFORM.glob("*.tf")))


@pytest.mark.parametrize("root", ROOTS, ids=["main", "watch"])
def test_every_argument_is_one_of_the_schema(npm, schema, root):
    """By name, type, and what is required; of every resource, data source and block
    within; and what is referred to is there."""
    files = parsed(npm, sorted(root.glob("*.tf")))

    assert len(list(blocks(files))) == COUNTS[root.name]
    assert wrong(files, schema) == []


def test_every_variable_has_a_type_and_says_what_it_is(npm):
    """And an output what it holds."""
    for root in ROOTS:
        for text in parsed(npm, sorted(root.glob("*.tf"))).values():
            for [variable] in text.get("variable", {}).values():
                assert variable["type"]
                assert variable["description"].endswith(".")
            for [output] in text.get("output", {}).values():
                assert output["description"].endswith(".")


def test_what_the_code_knows_is_read_and_not_listed_twice(main):
    """No table, topic or right is named in a resource: all come by each.value."""
    known = json.loads((TERRAFORM / "generated" / "functions.json").read_text())
    tables = json.loads((TERRAFORM / "generated" / "tables.json").read_text())
    # The view, whose text the compaction keeps, is called as the function is.
    names = "|".join({*tables, *known} - {"stream_features"})
    for file, _, type_name, name, body in blocks(main):
        listed = re.findall(rf'\\?"(?:{names})\\?"', json.dumps(body))
        assert listed == [], (file, type_name, name)
