"""
Runs of days without data: an export that has ended, or has just begun, and a table of
one's own that nobody fills any more. What was published stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from local.exports import sources as tables
from propensity import usecases
from propensity.timeframe import midnight
from propensity.usecases import new
from propensity.usecases.declaration import Events
from tests.deploy.monitoring import raised
from tests.functions.conftest import MONDAY
from tests.support import own_use_cases
from tests.support.deployment import Deployment
from tests.support.rows import publish
from tests.support.shop import DAY, WEEK, event, purchase
from tests.support.shops import FIRST, TRAINED, WEEKS

# The export's last table is that of the last Wednesday.
ENDED = FIRST + (WEEKS - 1) * WEEK + DAY
# The lookback has no day any more, and customers who were away have their history.
LONG_AFTER = ENDED + 61 * DAY
OWN = "shop_own"


@pytest.fixture(scope="module")
def ended(borrow_deployment) -> Deployment:
    """A deployment whose export ended after its newest publication."""
    deployment = borrow_deployment(champion=True)
    deployment.run("predictions", ENDED)
    return deployment


class TestAnExportThatHasEnded:
    @pytest.mark.parametrize(
        ("kind", "as_of"),
        [("predictions", LONG_AFTER), ("model_evaluation", ENDED + 20 * WEEK)],
    )
    def test_nothing_is_done(self, ended, log_lines, kind, as_of):
        """One alert says what is there, and no retry follows. Defect: customers who
        were away got probabilities of today, and each a low one."""
        before = ended.published()
        evaluated = ended.evaluations()
        log_lines()
        answer = ended.post(kind, {"as_of": as_of, "force": True})
        [line] = [line for line in log_lines() if "outcome" in line]

        assert answer.status_code == 424
        assert (answer.json["error"], answer.json["retryable"]) == ("no_data", False)
        assert f"newest day is {ENDED - DAY}" in answer.json["message"]
        assert raised(line) == {"run_failed_ga4_purchase"}
        assert ended.published() == before
        assert ended.evaluations() == evaluated

    def test_no_week_is_evaluated_without_its_outcomes(self, ended):
        """Nobody bought in the week after the last table, as far as anybody knows."""
        answer = ended.run("model_evaluation", ENDED + 13 * DAY, force=True)

        assert str(ENDED) not in [row["week"] for row in answer["weeks"]]


def test_a_week_before_the_export_began_is_never_final(borrow_deployment):
    """As of one that was linked anew: its days may have had purchases."""
    days = [MONDAY + n * DAY for n in range(5, 20)]
    visits = [event(f"user.{n}", day) for day in days for n in range(9)]
    deployment = borrow_deployment([*visits, purchase("user.1", days[0])])
    publish(deployment.warehouse, MONDAY, {f"user.{n}": 0.1 for n in range(9)})
    answer = deployment.run("model_evaluation", days[-1] + DAY, force=True)
    first = answer["weeks"][0]

    assert (first["week"], first["status"]) == (str(MONDAY), "provisional")


class TestATableOfOnesOwn:
    @pytest.fixture
    def owning(self, borrow_deployment, shop_rows, tmp_path) -> Iterator[Deployment]:
        """A deployment with the shop's events in a table, and a published week."""
        events = Events(table="shop.events", user_id="user", time="at", name="type")
        with own_use_cases.in_folder(tmp_path / "own"):
            new.write_use_case(
                OWN,
                label_event="purchase",
                lookback_days=60,
                horizon_days=7,
                events=events,
            )
            deployment = borrow_deployment(dataset="", PROPENSITY_USE_CASE=OWN)
            rows = [self.row(row) for row in shop_rows]
            tables.load(
                deployment.warehouse.client, events, tables.table_of(events, rows)
            )
            deployment.run("model_training", TRAINED)
            deployment.run("predictions", ENDED)
            yield deployment

    def row(self, row: dict[str, Any]) -> dict[str, Any]:
        day = date.fromisoformat(row["event_date"])
        return {
            "user": row["user_pseudo_id"],
            "at": midnight(day),
            "type": row["event_name"],
        }

    def test_what_nobody_fills_is_not_published(self, owning):
        """Neither long after its last event, nor is a week final that has none."""
        before = owning.published()
        answer = owning.post("predictions", {"as_of": LONG_AFTER, "force": True})
        evaluated = owning.run("model_evaluation", ENDED + 3 * WEEK)
        [week] = [row for row in evaluated["weeks"] if row["week"] == str(ENDED)]

        assert (answer.status_code, answer.json["error"]) == (424, "no_data")
        assert owning.published() == before
        assert week["status"] == "provisional"
        assert usecases.load(OWN).knows_presence
