"""Days of an export that come late and anew bring nobody back who was forgotten."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import ClassVar

import pyarrow as pa
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from commands.cli import main
from local.exports.ga4_schema import ARROW_SCHEMA
from propensity.runs import digest, digest_state, setup
from propensity.tables.export_names import VIEW
from tests.propensity.runs.test_digest import run_of
from tests.support import shop
from tests.support.deployment import KEY
from tests.support.in_process import InProcess
from tests.support.shop import microseconds

FIRST = date(2026, 3, 1)
DAYS = [FIRST + timedelta(days=n) for n in range(6)]
BROWSERS = [f"browser-{n}" for n in range(4)]
browsers = st.sampled_from(BROWSERS)


class Digests(RuleBasedStateMachine):
    """An export, the runs that digest it, and people who are forgotten."""

    deployment: ClassVar[InProcess]

    def __init__(self) -> None:
        super().__init__()
        self.deployment.empty()
        dataset = self.deployment.ga4_dataset
        for table in self.deployment.warehouse.tables_of(f"my-project.{dataset}"):
            name = f"{dataset}.{table}"
            self.deployment.warehouse.client.delete_table(name)
        # Who was there on a day, and when its table was changed last.
        self.visits = dict[date, Sequence[str]]()
        self.forgotten = set[str]()

    @rule(day=st.sampled_from(DAYS), users=st.lists(browsers, min_size=1))
    def day_comes(self, day: date, users: Sequence[str]) -> None:
        """Write the table of a day, late or anew."""
        self.visits[day] = users
        self._write(day)

    @rule(user=browsers)
    def leaves_the_export(self, user: str) -> None:
        """Delete a browser from the export, as its owner does."""
        for day, users in self.visits.items():
            if user in users:
                self.visits[day] = [one for one in users if one != user]
                self._write(day)

    @rule(last=st.sampled_from(DAYS))
    def run(self, last: date) -> None:
        """Let a run bring the digest up to date."""
        run = run_of(self.deployment, last)
        warehouse = run.warehouse
        view = warehouse.view_text(VIEW)
        tables = digest_state.read_export_tables(warehouse, view)
        digest.bring_up_to_date(run, view, tables, oldest=FIRST, last=last)
        self.check()

    @rule(user=browsers)
    def forget(self, user: str) -> None:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            status = main(["forget", user, "--json"])
        assert status == 0, printed.getvalue()
        self.forgotten.add(user)
        self.check()

    def teardown(self) -> None:
        """Let another run come."""
        self.run(DAYS[-1])

    def check(self) -> None:
        """Nobody who was forgotten is in the digest."""
        for table in ("ga_user_days", "ga_conversions", "ga_refusals"):
            rows = self.deployment.warehouse.table(f"SELECT * FROM {table}").to_pylist()
            there = self.forgotten & {row["user_pseudo_id"] for row in rows}
            assert not there, f"{there} came back into {table}"

    def _write(self, day: date) -> None:
        """Load the table of a day, which may have no row any more."""
        rows = []
        for place, user in enumerate(self.visits[day]):
            rows.append(shop.purchase(user, microseconds(day) + place, 5.0))
        table = pa.Table.from_pylist(rows, ARROW_SCHEMA)
        shop.load_shards(self.deployment, {f"events_{day:%Y%m%d}": table})


@pytest.fixture(scope="module")
def deployment() -> Iterator[None]:
    """A deployment with an empty export."""
    deployment = InProcess(
        PROPENSITY_GA4_DATASET="analytics_1", PROPENSITY_SUPPRESSION_KEY=KEY
    )
    Digests.deployment = deployment
    shop.load(deployment, [shop.event("u", FIRST)])
    with deployment.installed():
        setup.prepare_export(deployment.warehouse, deployment.settings)
        yield


def test_forgotten_users_stay_out_of_the_digest(deployment):
    """A failure is not made smaller here."""
    is_hunt = settings.get_current_profile_name() == "hunt"
    many = settings().max_examples if is_hunt else 5
    chosen = settings(
        max_examples=many,
        stateful_step_count=8,
        derandomize=not is_hunt,
        phases=[Phase.generate],
    )
    run_state_machine_as_test(Digests, settings=chosen)
