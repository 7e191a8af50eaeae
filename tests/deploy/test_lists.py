"""Lists of users in the deployment's bucket, specified: how long each is kept."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Any

from deploy.render import TERRAFORM
from local.ground.storage import Storage
from propensity.audience import control
from propensity.audience.control import Control
from propensity.audience.destination import ADD, Request
from propensity.audience.files import CsvFiles, ParquetFiles
from propensity.audience.members import Audience, Member
from propensity.gcp.artifacts import Artifacts
from propensity.settings import Settings

RULE = re.compile(r"lifecycle_rule \{(.*?)\n  \}", re.S)
BUCKET: Any = Artifacts(Storage().create_bucket("bucket"), Settings(project="p"))


def is_deleted(name: str) -> bool:
    """Return whether a rule of the bucket deletes an object after 400 days."""
    for rule in RULE.findall((TERRAFORM / "bucket.tf").read_text()):
        parts = dict(re.findall(r"(\w+) += \[(.*)\]", rule))
        starts = tuple(re.findall('"(.*?)"', parts.get("matches_prefix", "")))
        ends = tuple(re.findall('"(.*?)"', parts.get("matches_suffix", '""')))
        is_old = '"Delete"' in rule and re.search(r"\bage += 400\n", rule)
        if is_old and name.startswith(starts) and name.endswith(ends):
            return True
    return False


def test_every_list_of_users_is_deleted_and_the_key_of_control_groups_stays():
    """Defect: lists for people, with addresses, were kept for ever."""
    audience = Audience(
        use_case="ga4_purchase",
        name="winback",
        as_of=date(2026, 3, 2),
        control=Control(group="winback", share=0.0, key=b"k"),
        selection="",
        source=None,
        is_stored=True,
        chosen_at=datetime(2026, 3, 2, tzinfo=UTC),
    )
    for files in (ParquetFiles(BUCKET), CsvFiles(BUCKET, "probability")):
        members = [Member("u1", 0.5)]
        kind = type(files).name
        files.send(
            Request(audience=audience, destination=kind, action=ADD, members=members)
        )
    names = BUCKET.names("audiences/")

    assert len(names) == 2
    assert [name for name in names if not is_deleted(name)] == []
    assert not is_deleted(control.KEY)
