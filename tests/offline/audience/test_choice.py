# ruff: noqa: E501
"""Members that SQL chooses are those that Python chose before, row by row."""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from propensity import statements, suppression
from propensity.audience import members, run
from propensity.audience.members import PUBLISHED, Member
from propensity.audience.spelling import coarsest
from propensity.audience.values import as_json
from propensity.schema import rows_of
from propensity.statements import statement
from propensity.usecases import declaration
from tests.audit.conftest import world  # noqa: F401
from tests.audit.machine import Deliveries
from tests.offline.audience.conftest import MONDAY, send
from tests.support.rows import publish

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Candidate(Member):
    is_control: bool = False


def chosen_before(deployment: Any, named: Any, audience: Any) -> list[dict[str, Any]]:
    """Return the members as they were chosen by Python."""
    choice = audience.choice
    parts: dict[str, Any] = {"drawn_by": named.declared.control_by}
    if named.sql_file.is_file():
        lines = statements.lines_of(named.name, folder=named.folder)
        use_case = deployment.use_case
        parts["eligible"] = declaration.reading(lines, use_case.tables("features"))
    sql = statement("audience_candidates", folder=HERE, **parts)
    suppressed = suppression.read(deployment.warehouse)
    declared, control = named.declared, audience.control
    parameters = dict(choice.parameters)
    parameters["most"] = parameters["read"]
    rows = deployment.warehouse.table(sql, parameters)
    names = [
        name if name.lower() != "user_id" else "user_id" for name in rows.column_names
    ]
    order_by = [
        ("is_explored", "descending"),
        ("score", "descending"),
        ("tie", "ascending"),
    ]
    rows = rows.rename_columns(names).drop_columns(["times"]).sort_by(order_by)
    rows = suppressed.without(rows, deployment.use_case.name)
    ours = {*PUBLISHED, "effect", "is_explored", "was_control", "score", "tie"}
    columns = [name for name in rows.column_names if name not in ours]
    fields = [rows.schema.field(name) for name in columns]
    limit = declared.limit(audience.users)
    paid_for = declared.paid_for
    treated = 0
    members = []
    for row in rows_of(rows):
        if treated == paid_for or len(members) == limit:
            break
        text = as_json(row, fields) if fields else None
        by = control.by
        value = json.loads(text).get(by) if text else None
        person = row["user_id"] if by == "user_id" else coarsest(value)
        digest = hmac.digest(control.group_key, person.encode(), "sha256")
        is_drawn = int.from_bytes(digest[:8], "big") < control.share * 2**64
        is_control = row["was_control"] or is_drawn
        treated += not is_control
        member = {name: row[name] for name in PUBLISHED}
        member |= {"effect": row["effect"], "is_explored": row["is_explored"]}
        member |= {"is_control": is_control}
        member["attributes"] = None if is_control or text is None else json.loads(text)
        members.append(member)
    return members


def user_of(row):
    return row["user_id"]


@pytest.fixture
def compared(monkeypatch):
    """Compare each choice that is stored; return how many there were."""
    counts = []
    find = members.find_or_choose
    store = members.store
    known = {}

    def finding(deployment, named, **more):
        audience = find(deployment, named, **more)
        known[audience.name] = named
        return audience

    def storing(deployment, audience):
        before = chosen_before(deployment, known[audience.name], audience)
        store(deployment, audience)
        sql = "SELECT * FROM ma_audience_members WHERE use_case = @use_case AND audience = @audience AND as_of = @as_of"
        found = deployment.warehouse.table(sql, audience.key).to_pylist()
        rows = []
        for row in found:
            kept = {name: row[name] for name in before[0]} if before else {}
            if before and row["attributes"] is not None:
                kept["attributes"] = json.loads(row["attributes"])
            rows.append(kept)

        assert sorted(rows, key=user_of) == sorted(before, key=user_of)
        counts.append(len(before))

    monkeypatch.setattr(run, "find_or_choose", finding)
    monkeypatch.setattr(run, "store", storing)
    return counts


def test_the_auditor_s_weeks(world, compared):  # noqa: F811
    class Here(Deliveries):
        pass

    Here.world = world
    for number in (1, 2):
        many = settings(
            max_examples=6,
            stateful_step_count=8,
            derandomize=False,
            database=None,
            phases=[Phase.generate],
        )
        run_state_machine_as_test(seed(number)(Here), settings=many)
    assert sum(count > 0 for count in compared) > 20


TYPES = """
SELECT
  user_id, CONCAT(IF(user_id < 'u100', ' ', ''), 'P', SUBSTR(user_id, 3), '@Gmail.com') AS email,
  CAST(SUBSTR(user_id, 2) AS INT64) AS number, NUMERIC '19.99' AS spent,
  NUMERIC '20' AS points, 1.5 AS half, 2.0 AS two, 1e16 AS large, 12345678901234567 AS long,
  TRUE AS yes, DATE '2026-01-02' AS day, ['a', 'b'] AS texts, [1, 2] AS numbers,
  STRUCT(1 AS a, 'ü"' AS b) AS both, CAST(NULL AS STRING) AS nothing, 'q"u\\\\ü' AS text
FROM publication
"""


@pytest.mark.parametrize("by", ["user_id", "email", "number"])
@pytest.mark.parametrize(
    "rule",
    [
        {"top": 50},
        {"deciles": 3},
        {"threshold": 0.03},
        {"budget": 40.0, "cost_per_contact": 1.0},
        {"top": 60, "explore": "20%"},
        {"top": 30, "order": "expected_value"},
    ],
)
def test_every_rule_and_every_type_of_a_column(
    deployment, tmp_path, compared, rule, by
):
    users = {f"u{n:03}": (n + 1) // 7 / 400 for n in range(200)}
    values = {user: float(n % 50) for n, user in enumerate(users)}
    publish(deployment.warehouse, MONDAY, users, values=values)
    (tmp_path / "winback.sql").write_text(TYPES)
    deployment.suppress("u150", at=deployment.clock.now())
    deployment.suppress("u199", at=deployment.clock.now())
    send(
        deployment, tmp_path, destination="bucket", control="30%", control_by=by, **rule
    )
    [count] = compared
    assert count > 20
