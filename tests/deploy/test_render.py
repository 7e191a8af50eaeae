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
