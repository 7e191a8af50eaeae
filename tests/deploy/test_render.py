"""
What Terraform reads, specified: as the code has it, now.
"""

from __future__ import annotations

import json
import re

import pytest

from deploy import functions, render
from propensity.tables import every as tables


@pytest.mark.parametrize("file", render.files(), ids=lambda path: path.name)
def test_files_are_as_the_code_has_them(file):
    """``python -m deploy.render`` writes them anew."""
    assert json.loads(file.read_text()) == json.loads(json.dumps(render.files()[file]))


def test_every_file_that_is_read_is_there():
    """What terraform/ names in file(...) exists, beside its alerts."""
    for root in (render.TERRAFORM, render.TERRAFORM / "watch"):
        for file in root.glob("*.tf"):
            for name in re.findall(
                r'file\("\$\{path\.module\}/([^"$]+)"', file.read_text()
            ):
                assert (root / name).is_file(), (file.name, name)


def test_tables_have_every_column_in_its_mode():
    """As BigQuery's API spells types; what is written required is required there."""
    made = json.loads((render.TERRAFORM / "generated" / "tables.json").read_text())
    for table in tables.TABLES:
        schema = {one["name"]: one for one in made[table.stored]["schema"]}
        assert list(schema) == [column.name for column in table.columns]
        for column in table.columns:
            assert (schema[column.name]["mode"] == "REQUIRED") == column.required


def test_rights_are_on_single_things():
    """In the project nothing but to run queries and to read their results."""
    for function in functions.load():
        for right in render.rights(function):
            if right["on"] == "project":
                assert right["role"] in (
                    "roles/bigquery.jobUser",
                    "roles/bigquery.readSessionUser",
                )
            assert right["role"].startswith("roles/") or right["role"] in (
                render.OWN_ROLES
            )
