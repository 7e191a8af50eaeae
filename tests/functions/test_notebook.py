"""
The notebook, run: its cells print what it shows.

They run one after another in an environment without this project, on a deployment that
has published a week and scored a stream. That one is smaller than the demo's, whose
figures the notebook has: lines are compared with their numbers left out.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from local.stack.state import ROOT
from tests.docs.pages import worded
from tests.functions.conftest import put_model_into
from tests.functions.evaluated import both_weeks
from tests.functions.instances import serving
from tests.functions.streaming import rows_of
from tests.support.deployment import STREAMED, Deployment
from tests.support.events import bet, registration
from tests.support.programs import execute
from tests.support.shops import LATER

PAGE = "docs/notebook.ipynb"

# Runs cells in one namespace, as a notebook does, and says what each has printed.
RUNNER = """
import contextlib, io, json, sys
names, printed = {"__name__": "__main__"}, []
for cell in json.loads(sys.argv[1]):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(cell, names)
    printed.append(out.getvalue())
assert "propensity" not in sys.modules
json.dump(printed, sys.stdout)
"""


def cells() -> list[tuple[str, str]]:
    """Return each cell of code, and what it prints."""
    written = json.loads((ROOT / PAGE).read_text("utf-8"))["cells"]
    found = []
    for cell in written:
        if cell["cell_type"] == "code":
            printed = [line for output in cell["outputs"] for line in output["text"]]
            found.append(("".join(cell["source"]), "".join(printed)))
    return found


@pytest.fixture(scope="module")
def deployed(emulated_shop) -> Deployment:
    """A week published with a shift of the season, and players scored on the stream."""
    deployment = emulated_shop
    put_model_into(deployment)
    both_weeks(deployment, 0.7)
    deployment.run("predictions", LATER)
    site = deployment.with_settings(
        PROPENSITY_GA4_DATASET="",
        PROPENSITY_USE_CASE=STREAMED,
        PROPENSITY_TOPIC_PREFIX=deployment.name,
    )
    site.create_topic(site.topic("scores"))
    deployment.load_model()
    with serving("score_stream", site.environment) as function:
        for user in ("ana", "ben", "eva"):
            at = "2026-03-01T13:00:00Z"
            events = [
                registration(user_id=user, event_id=f"{user}-0"),
                bet(user_id=user, event_id=f"{user}-1", event_time=at),
            ]
            site.store(rows_of(events, received_at=datetime.now(UTC)))
            assert function.post(events[-1]).status_code == 200
    return deployment


@pytest.mark.long
def test_the_notebook_prints_what_it_says(deployed, tmp_path):
    """In an environment that has more, but not this project."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    code = json.dumps([cell for cell, _ in cells()])
    done = execute(
        [sys.executable, "-I", "-c", RUNNER, code],
        cwd=tmp_path,
        env={**kept, **deployed.environment},
    )
    printed = json.loads(done.stdout)
    for (cell, expected), output in zip(cells(), printed, strict=True):
        assert worded(output) == worded(expected), cell


def test_the_notebook_loads_nothing_whose_bytes_are_others():
    """Write access to the bucket is not enough to run code in a notebook: everything is
    loaded by a function that refuses bytes that were not recorded."""
    code = [cell for cell, _ in cells()]
    [cell] = [one for one in code if "def verified(" in one]
    blob = SimpleNamespace(download_as_bytes=lambda: b"others")
    names: dict[str, Any] = {"bucket": SimpleNamespace(blob=lambda name: blob)}
    exec(cell, names)

    with pytest.raises(ValueError, match="is not what was recorded: do not load"):
        names["verified"]("estimator", hashlib.sha256(b"recorded").hexdigest())
    loads = re.findall(r"(?:joblib\.load|read_parquet)\(\s*(\w+)", "\n".join(code))
    assert set(loads) == {"verified"}
