"""
Privacy end to end: nobody is named where nobody need be.

A registration of somebody with a remarkable name goes through the stream, right and
wrong, with events, scores, compaction and exports; and a shop's user is trained on and
scored. Then everything that was written is searched: every column of every table, every
object, every line of the log.
"""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow.parquet as pq
import pytest

from offline import load_model
from propensity.runs import setup
from tests.events import bet, registration, written
from tests.functions.conftest import LATER, TRAINED
from tests.functions.instances import serving
from tests.functions.streaming import new_site

USER = "player-5f1c9e"
# What nobody may find again; the year of the birth date is the age.
PERSONAL = {
    "name": "Zebediah Quillfeather",
    "street_address": "77 Xylophone Crescent",
    "date_of_birth": "1987-11-23",
}
LOOK_UPS = ({"user_id": USER}, {"user_id": "nobody"}, {USER: "x"})
SCORES = (
    {"user_id": USER, "use_case": "first_day_churn"},
    {"user_id": USER, "features": {}, USER: 1},
)


def text_of(value: Any) -> str:
    """A value as text, bytes as what they say, a Parquet file as its rows."""
    if not isinstance(value, bytes):
        return str(value)
    if value[:4] == b"PAR1":
        return str(pq.read_table(io.BytesIO(value)).to_pylist())
    return value.replace(b"\0", b"").decode("utf-8", "replace")


def test_no_personal_field_is_stored_or_logged_and_no_user_is_logged(emulators, capfd):
    """In no table, where it is accepted or refused, and in no object. The search would
    find: the user's id is in tables and exports."""
    now = datetime.now(UTC)
    at = f"{now - timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}"
    right = registration(user_id=USER, event_time=at, **PERSONAL)
    wrong = [
        written({**right, "label": "perhaps"}),
        written({**right, "event_time": "at noon"}),
        written({**right, "event_type": "new_regstration"}),
        written({**right, "date_of_birth": "23.11.1987"}),
    ]
    bets = [bet(user_id=USER, event_time=at)]
    with new_site(emulators) as site:
        setup.prepare(site.warehouse, site.settings)
        load_model.load(site.warehouse, site.artifacts, site.settings)
        for target in ("stream_features", "score_stream"):
            with serving(target, site.environment) as function:
                for event in (right, *bets, *wrong):
                    assert function.post(event).status_code == 200
        with serving("get_proba", site.environment) as lookups:
            for question in LOOK_UPS:
                lookups.get(**question)
        with serving("score", site.environment) as score:
            for question in SCORES:
                score.ask(question)
        site.compact(now + timedelta(days=2), force=True)
        found = {
            f"{table.table_id}.{name}": " ".join(text_of(row[name]) for row in rows)
            for table in site.warehouse.client.list_tables(site.settings.dataset)
            if (rows := site.rows(f"SELECT * FROM {table.table_id}"))
            for name in rows[0]
        }
        for name in site.artifacts.names(""):
            found[f"gs:{name}"] = text_of(site.artifacts.read(name).data)
    log = capfd.readouterr().err

    for secret in (*(value.split()[-1] for value in PERSONAL.values()), "23.11.1987"):
        assert [name for name, text in found.items() if secret in text] == []
        assert secret not in log
    assert USER not in log
    assert log.count('"function"') > 1
    holding = {name for name, text in found.items() if USER in text}
    assert {
        *("stream_events.user_id", "stream_features_daily.user_id", "dead_letters.raw"),
        *("inference_log.user_id", "stream_features.user_id"),
    } <= holding
    objects = {name.split("/")[0] for name in holding if name.startswith("gs:")}
    assert objects == {"gs:exports"}


@pytest.mark.long
def test_a_shop_names_nobody_outside_its_tables(champion_place, capsys):
    """00, 01 and 03 name no user in a log, an answer or an object."""
    user = "user.004"
    answers = [
        champion_place.run("predictions", TRAINED),
        champion_place.run("model_evaluation", LATER),
        champion_place.run("model_training", LATER),
    ]
    artifacts = champion_place.registry.artifacts
    names = artifacts.names("")

    assert any(name.endswith(".parquet") for name in names)
    assert not [n for n in names if user in text_of(artifacts.read(n).data)]
    assert user not in json.dumps(answers) + "".join(capsys.readouterr())
