"""
What Terraform reads, specified: as the code has it, now.
"""

from __future__ import annotations

import json

import pytest

from deploy import functions, render


@pytest.mark.parametrize("file", render.files(), ids=lambda path: path.name)
def test_files_are_as_the_code_has_them(file):
    """``python -m deploy.render`` writes them anew."""
    assert json.loads(file.read_text()) == json.loads(json.dumps(render.files()[file]))


def test_rights_are_on_single_things():
    """In the project nothing but to run queries and to read their results."""
    rights = [one for each in functions.load() for one in render.rights(each)]

    assert {one["role"] for one in rights if one["on"] == "project"} == {
        "roles/bigquery.jobUser",
        "roles/bigquery.readSessionUser",
    }
