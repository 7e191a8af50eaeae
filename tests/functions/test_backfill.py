"""
``propensity backfill``, specified with the function whose runs it makes up for.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

import pytest

from commands.cli import main
from offline import backfill
from propensity import tables
from propensity.edges.warehouse import Warehouse
from propensity.errors import Unavailable
from propensity.index.reader import Index
from propensity.registry import index_writer
from propensity.runs import predict
from tests.functions.conftest import LATER, TRAINED, Place, entered, let_the_lease_end
from tests.functions.predicted import add, state
from tests.shop import WEEK

pytestmark = pytest.mark.runs

FIRST = TRAINED - WEEK
WEEKS = (FIRST, TRAINED, LATER)


def filled(
    place: Place, capfd, *arguments: str, since: date = FIRST, until: date = LATER
) -> tuple[int, dict]:
    """Exit code and answer of the command."""
    capfd.readouterr()
    period = ["--from", str(since), "--to", str(until), "--use-case", "ga4_purchase"]
    with entered(place.environment):
        code = main(["backfill", *period, *arguments, "--json"])
    out = capfd.readouterr().out
    return code, json.loads(out) if out else {}


def drift(place: Place) -> list[tuple]:
    """All that is watched, but for which run has written it."""
    rows = place.rows("SELECT * EXCEPT (run_id, written_at) FROM ma_drift")
    return sorted(
        ((row["as_of"], *map(str, row.values())) for row in rows), key=lambda row: row
    )


def with_two_versions(place: Place) -> Place:
    """Give a place a second version, promoted four weeks after the first."""
    place.warehouse.execute(
        "INSERT INTO ma_model_training_metadata SELECT * REPLACE ("
        "model_version + 1 AS model_version, DATE_ADD(as_of, INTERVAL 7 DAY) AS as_of) "
        "FROM ma_model_training_metadata"
    )
    then = datetime(2026, 4, 27, tzinfo=UTC)
    place.registry.promote(1, model_sha256="", at=then, instead_of=0)
    return place


@pytest.fixture(scope="module")
def runs(new_place, with_champion) -> Place:
    """A place where the function was called for each week."""
    place = with_two_versions(with_champion(new_place()))
    for as_of in WEEKS:
        place.run("predictions", as_of)
    return place


class TestBackfill:
    def test_is_the_runs_of_its_weeks_to_the_last_bit(
        self, runs, champion_place, capfd, monkeypatch
    ):
        """One query for all weeks gives history and current table as single runs do,
        each by the version of its time; a second time as well. So are what is watched
        for drift and its alarms. Each week's publication is recorded with what its own
        statements billed: the meter is that of all."""
        place = with_two_versions(champion_place)
        queries = []
        parts = Warehouse.parts

        def counted(self, sql, *rest, **named):
            queries.append(sql)
            return parts(self, sql, *rest, **named)

        def bill(self, job):
            self.bytes_billed += 1

        monkeypatch.setattr(Warehouse, "parts", counted)
        monkeypatch.setattr(Warehouse, "_count", bill)
        first, report = filled(place, capfd)
        recorded = place.rows("SELECT * FROM ma_publications ORDER BY as_of")
        once = state(place)
        second, _ = filled(place, capfd, since=LATER)

        assert (first, second, len(queries)) == (0, 0, 2)
        assert state(place) == once == state(runs)
        assert drift(place) == drift(runs)
        assert {as_of for as_of, *_ in drift(place)} == {*WEEKS}
        versions = [week["model_version"] for week in report["weeks"]]
        assert versions == [1, 0, 1]
        assert report["weeks"][0]["is_trained_after"]
        assert {week["users"] for week in report["weeks"]} == {160}
        assert [row["as_of"] for row in recorded] == [*WEEKS]
        assert [row["model_version"] for row in recorded] == versions
        assert [row["users"] for row in recorded] == [160] * 3
        billed, *others = [row["bytes_billed"] for row in recorded]
        assert all(abs(other - billed) <= 2 for other in others)

    def test_takes_nobody_s_newer_row(self, runs, capfd):
        """History changes, and the current table stays. A person reads the estimate
        first, and sees a bar on a terminal alone."""
        before = state(runs)
        capfd.readouterr()
        with entered(runs.environment):
            code = main(["backfill", "--from", str(FIRST), "--to", str(FIRST)])
        output = capfd.readouterr()

        assert (code, state(runs)) == (0, before)
        assert "One query of" in output.err
        assert "One query of" not in output.out
        assert "weeks:" not in output.err
        assert f"{FIRST}  160 users by version 1" in output.out

    def test_renews_the_index(self, runs, capfd, monkeypatch):
        """Lookups answer from it for users whose newest row is of a past week. The
        report says where the index was not published."""
        table = "ma_predictions_table"
        before = state(runs)
        runs.warehouse.execute(f"DELETE FROM {table} WHERE user_id = 'user.001'")
        code, report = filled(runs, capfd, since=LATER)
        artifacts = runs.registry.artifacts
        pointer, _ = index_writer.find_pointer(artifacts, "ga4_purchase")
        entry = Index(artifacts.read(pointer.newest.name).data).find("user.001")

        assert (code, report["index_users"]) == (0, 160)
        assert entry
        assert entry[2][0] == LATER
        assert state(runs) == before

        # Also of the week before an interruption.
        runs.warehouse.execute(f"DELETE FROM {table} WHERE user_id = 'user.001'")
        score_shift = predict.score_shift

        def interrupted(run, *arguments, **named):
            if run.as_of == LATER:
                raise KeyboardInterrupt
            return score_shift(run, *arguments, **named)

        monkeypatch.setattr(predict, "score_shift", interrupted)
        filled(runs, capfd, since=TRAINED)
        pointer, _ = index_writer.find_pointer(artifacts, "ga4_purchase")
        entry = Index(artifacts.read(pointer.newest.name).data).find("user.001")
        monkeypatch.undo()

        assert entry
        assert entry[2][0] == TRAINED

        def unavailable(*_, **__):
            raise Unavailable("503")

        monkeypatch.setattr(index_writer, "publish", unavailable)
        code, report = filled(runs, capfd, since=LATER)

        assert (code, report["failed"]) == (1, 1)
        assert "their index was not: 503" in report["index_error"]
        assert state(runs) == before

    def test_says_first_what_it_may_read(self, runs, capfd, monkeypatch):
        """A dry run names weeks and bytes; beyond the limit nothing begins."""
        before = runs.table("ma_predictions_history")
        monkeypatch.setattr(Warehouse, "dry_run", lambda *_: 5000)
        dry, plan = filled(runs, capfd, "--dry-run")
        with entered(runs.environment):
            main(["backfill", "--from", str(LATER), "--to", str(LATER), "--dry-run"])
        output = capfd.readouterr().out
        refused, _ = filled(runs, capfd, "--maximum-bytes", "4999")

        assert (dry, refused) == (0, 1)
        assert [week["as_of"] for week in plan["weeks"]] == list(map(str, WEEKS))
        assert plan["bytes_estimated"] == 5000
        assert output.startswith("ga4_purchase, 1 as-of date\nOne query of")
        assert runs.table("ma_predictions_history") == before

    def test_bills_nothing_where_no_version_could_score(
        self, place, capfd, monkeypatch
    ):
        """The query for the features would be for nothing. A dry run says so, too."""
        queries = []
        monkeypatch.setattr(Warehouse, "parts", lambda *of, **named: queries.append(of))
        for arguments in ([], ["--dry-run"]):
            with entered(place.environment):
                period = ["--from", str(FIRST), "--to", str(LATER)]
                code = main(["backfill", *period, *arguments])

            assert code == 1
            assert "ga4_purchase has no champion yet" in capfd.readouterr().err
        assert queries == []

    def test_limits_the_query_for_the_features_alone(self, runs, capfd, monkeypatch):
        """A low limit must not stop publications behind a query that was billed."""
        limits = {"parts": set(), "execute": set()}

        def record(name: str) -> None:
            original = getattr(Warehouse, name)

            def call(self, *rest, **named):
                limits[name].add(self.settings.maximum_bytes_billed)
                return original(self, *rest, **named)

            monkeypatch.setattr(Warehouse, name, call)

        for name in limits:
            record(name)
        monkeypatch.setattr(Warehouse, "dry_run", lambda *_: 10)
        code, report = filled(runs, capfd, "--maximum-bytes", "11", until=FIRST)

        assert (code, report["maximum_bytes"]) == (0, 11)
        assert limits == {
            "parts": {11},
            "execute": {runs.settings.maximum_bytes_billed},
        }

    @pytest.mark.long
    def test_does_not_publish_scores_that_jumped(self, champion_place, capfd):
        """Such a week stays as it was, unless it is forced."""
        low = {"user_id": "low", "as_of": FIRST - WEEK, "probability": 0.001}
        add(champion_place, tables.PREDICTIONS_HISTORY, **low)
        code, report = filled(champion_place, capfd, until=TRAINED)
        forced, _ = filled(champion_place, capfd, "--force", until=TRAINED)

        assert (code, forced, report["failed"]) == (1, 0, 2)
        assert all("scores moved" in week["error"] for week in report["weeks"])

    def test_wants_a_period_of_dates_that_there_were(self, runs, capfd):
        """Google Analytics has none of 1970."""
        code, _ = filled(runs, capfd, since=date(1970, 1, 1), until=TRAINED)

        assert code == 1

    def test_goes_on_behind_weeks_that_fail(self, champion_place, capfd, monkeypatch):
        """What scikit-learn raises is no error of ours, and of that week alone. Of the
        function and the command one publishes a date at a time."""
        now = datetime.now(UTC)
        champion_place.registry.begin(
            "predict", TRAINED, run_id="other", now=now, duration=WEEK, again=True
        )
        stage = predict.stage

        def refusing(run, *arguments, **named):
            if run.as_of == FIRST:
                raise ValueError("Input X contains infinity")
            return stage(run, *arguments, **named)

        monkeypatch.setattr(predict, "stage", refusing)
        code, report = filled(champion_place, capfd)
        refused, held, published = report["weeks"]

        assert (code, report["failed"]) == (1, 2)
        assert "contains infinity" in refused["error"]
        assert "under way" in held["error"]
        assert (published["users"], published["error"]) == (160, "")

    def test_ends_at_ctrl_c_without_its_lease(self, champion_place, capfd, monkeypatch):
        """Defect: the lease could not be freed, which became the week's error in the
        place of Ctrl-C, and the weeks behind it were published."""
        begun = []

        def interrupted(run, *_, **__):
            begun.append(run.as_of)
            let_the_lease_end(champion_place, "predict", run.as_of)
            run.registry.begin(
                "predict",
                run.as_of,
                run_id="other",
                now=run.now(),
                duration=WEEK,
                again=True,
            )
            raise KeyboardInterrupt

        monkeypatch.setattr(predict, "stage", interrupted)
        with pytest.raises(KeyboardInterrupt), entered(champion_place.environment):
            backfill.run(backfill.Request(since=FIRST, until=LATER, is_quiet=True))

        assert begun == [FIRST]

    def test_says_for_each_week_when_it_was_scored(self, champion_place, capfd):
        """Defect: every week had the start of the command, so that its seconds in the
        table of publications included those of all weeks before it."""
        began = datetime.now(UTC)
        filled(champion_place, capfd, until=TRAINED)
        first, second = champion_place.rows(
            "SELECT as_of, scored_at, seconds FROM ma_publications ORDER BY as_of"
        )
        scored = champion_place.rows(
            "SELECT DISTINCT as_of, scored_at FROM ma_predictions_history ORDER BY 1"
        )
        written = first["scored_at"] + timedelta(seconds=first["seconds"])

        assert began < first["scored_at"] < written <= second["scored_at"]
        assert [tuple(row.values()) for row in scored] == [
            (row["as_of"], row["scored_at"]) for row in (first, second)
        ]
