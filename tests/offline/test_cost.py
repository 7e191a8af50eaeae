"""
cost, specified: what is used follows from the code, what it costs from one table.
"""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from datetime import date

import pytest

from commands.cli import main
from deploy import functions
from docs import cost as cost_page
from local.stack.state import ROOT
from offline import limits, volumes
from offline.cost import lookups
from offline.cost.page import summary
from offline.cost.prices import TIB, UNITS, Line, charges, prices
from offline.cost.usage import (
    FEATURE_ROWS,
    IDLE_S,
    IMAGE_BYTES,
    clocked,
    conditions,
    days_retained,
    exceeded,
    feature_files,
    gib_of,
    kept_s,
    pushes,
    up_s,
    usage,
)
from offline.partitions import Size
from propensity.online import indexed
from propensity.online.question import MAXIMUM_USERS
from propensity.registry import feature_sets
from propensity.settings import Settings

SMALL = Size(users=50_000, events_a_day=100_000, lookups=30_000)


def usd(size: Size) -> float:
    return sum(charge.usd for charge in charges(usage(size)))


def scanned(size: Size, function: str) -> float:
    return TIB * sum(
        line.amount
        for line in usage(size)
        if (line.price, line.function) == ("query_tib", function)
    )


class TestUse:
    def test_scans_are_those_of_the_statements(self):
        """What is scanned is what offline/volumes.py says of each statement."""
        training = [
            reading.bound
            for reading in volumes.readings(SMALL)
            if reading.function == "model_training"
            and reading.statement.name in ("training_rows", "converter_amounts")
        ]
        others = 8 * 10 * volumes.MIB

        assert scanned(SMALL, "model_training") == pytest.approx(
            sum(training), abs=others
        )

    @pytest.mark.parametrize("users", [50_000, 50_000_000])
    def test_of_lookups_from_the_index_is_no_query(self, users):
        """The index answers: no byte is scanned, whatever the users and lookups."""
        size = replace(SMALL, users=users, lookups=100 * 86_400 * 30)

        assert scanned(size, "get_proba") == 0
        assert scanned(replace(size, has_index=False), "get_proba") > 0
        assert usd(size) < usd(replace(size, has_index=False))

    def test_of_an_index_are_its_files_and_reads(self):
        """Two files of 18.1 bytes a user and use case; a look at the pointer every ten
        seconds at most, and one read a lookup where no instance has room for it."""
        size = Size(users=1_000_000, events_a_day=1, lookups=10**6, returning=1.0)
        kept, looks = (
            [line.amount for line in lookups.lines(size) if line.price == price]
            for price in ("object_gib_month", "object_read_thousand")
        )
        large = replace(size, users=50_000_000)

        assert kept == [pytest.approx(2 * 18.1e6 / 2**30)]
        assert looks == [limits.MONTH_S / 10 / 1e3]
        assert [line.amount for line in lookups.lines(large)][-1] == 1_000.0
        # Indexes of use cases share the memory.
        alone = replace(size, users=9_000_000)
        assert lookups.is_loaded(alone)
        assert not lookups.is_loaded(replace(alone, use_cases=2))

    def test_an_instance_has_room_for_the_index_as_the_function_does(self):
        """The memory of deploy.sh, without what is reserved, for two indexes."""
        [function] = [
            function for function in functions.load() if function.target == "get_proba"
        ]
        room = gib_of(function.memory) * 2**30 - indexed.RESERVED_BYTES

        assert room / 2 == lookups.INDEX_MEMORY
        assert indexed.LOOK_S == lookups.INDEX_LOOK_S

    def test_logs_are_a_line_a_push(self):
        """An event is pushed to three functions, and each push is logged."""
        game = Size(users=5_000_000, events_a_day=0, stream_events_a_day=20_000_000)
        usd = {charge.price: charge.usd for charge in charges(usage(game))}

        assert pushes() == 3
        assert usd["log_gib"] == pytest.approx(485, abs=3)

    def test_topics_keep_what_is_published(self):
        """Events, enriched events and scores, for the days that the set-up says."""
        game = Size(users=5, events_a_day=0, stream_events_a_day=20_000_000)
        [kept] = [
            line for line in usage(game) if line.price == "kept_message_gib_month"
        ]

        assert days_retained() == 7
        assert kept.amount == 20_000_000 * 7 * 3 * 500 / 2**30

    def test_features_are_in_parts_as_the_function_writes_them(self):
        """So many rows a file; with the manifest that are the objects written."""
        assert FEATURE_ROWS == feature_sets.PART_ROWS
        assert feature_files(FEATURE_ROWS) == 2
        assert feature_files(FEATURE_ROWS + 1) == 3

    @pytest.mark.parametrize(
        "size",
        [SMALL, Size(users=5_000, events_a_day=0, stream_events_a_day=20_000)],
        ids=["a shop", "a game"],
    )
    def test_all_that_the_clock_calls_is_counted(self, size):
        """A training, predictions and evaluations of the use case, and the compaction,
        which tells of missed runs where there is no stream, too."""
        used = usage(size)
        [schedules] = [line.amount for line in used if line.price == "job_month"]
        clocks = {function.target for function in functions.load() if function.schedule}
        fraud = replace(size, events_a_day=0, scores_users=False)

        assert schedules == len(clocks) == 4
        assert clocks <= {line.function for line in used if line.price == "vcpu_s"}
        assert "predictions" not in clocked(fraud)

    def test_alerts_are_those_of_the_set_up(self):
        """Each policy's conditions count, with those of the stream where it is."""
        everything = conditions(is_streaming=True)
        policies = [*(ROOT / "deploy/terraform/watch/alerts").glob("*.json")]

        assert len(everything) >= len(policies) > 0
        assert len(conditions(is_streaming=False)) < len(everything)

    def test_images_are_of_every_folder(self):
        """No function is without an image."""
        assert {*IMAGE_BYTES} == {function.folder for function in functions.load()}


class TestCharges:
    @pytest.mark.parametrize(
        "field", ["users", "events_a_day", "lookups", "scorings", "stream_events_a_day"]
    )
    def test_never_fall_where_there_is_more(self, field):
        """More of anything costs no less."""
        many = Size(users=10**6, events_a_day=10**7, lookups=10**7, scorings=10**7,
                    stream_events_a_day=10**7)  # fmt: skip
        more = replace(many, **{field: 2 * getattr(many, field)})

        assert usd(more) > usd(many)

    def test_leave_out_what_is_free(self):
        """Only what has no free tier costs something, and a fourth schedule."""
        tiny = Size(users=100, events_a_day=100)
        charged = charges(usage(tiny))

        without = {"Cloud Monitoring", "Cloud Storage", "Artifact Registry"}
        paid = {charge.service for charge in charged if charge.usd >= 0.005}
        assert paid <= without | {"Cloud Scheduler"}
        assert all(
            charge.usd == 0 for charge in charged if charge.amount <= charge.free
        )

    def test_begin_where_the_free_tier_ends(self):
        """Only what is beyond is charged."""
        line = Line("query_tib", "", amount=3.0)
        [charge] = [charge for charge in charges([line]) if charge.price == "query_tib"]

        assert (charge.free, charge.usd) == (1.0, 12.5)

    def test_are_of_every_function(self):
        """Each function of a deployment that has all is computed."""
        size = Size(users=10, events_a_day=10, lookups=10, scorings=10,
                    stream_events_a_day=10)  # fmt: skip
        computed = {
            line.function
            for line in usage(size)
            if line.price in ("vcpu_s", "kept_vcpu_s")
        }

        assert computed == {function.target for function in functions.load()}


class TestInstances:
    ONLINE = Size(users=50_000, events_a_day=0, scorings=100_000)

    def test_are_billed_while_up_where_they_keep_their_processor(self):
        """What has a processor between requests is charged idle, too."""
        [score] = [function for function in functions.load() if function.keeps_cpu]
        used = {
            line.price: line.amount
            for line in usage(self.ONLINE)
            if line.function == score.target
        }
        price = prices()["kept_vcpu_s"]

        assert used["kept_vcpu_s"] == limits.MONTH_S * score.cpu
        assert used["kept_gib_s"] == limits.MONTH_S * gib_of(score.memory)
        # Neither by request, nor for requests.
        assert not used.keys() & {"vcpu_s", "gib_s", "request_million"}
        assert (
            usd(self.ONLINE)
            > price.usd * (used["kept_vcpu_s"] - price.free)
            == pytest.approx(90.35, abs=0.01)
        )

    @pytest.mark.parametrize("requests", [1, 100, 1_000, 2_900, 10**5, 10**7, 10**9])
    def test_are_up_no_less_than_chance_keeps_them(self, requests):
        """Requests of a Poisson process keep one up no longer, by its own formula."""
        by_chance = limits.MONTH_S * -math.expm1(-requests / limits.MONTH_S * IDLE_S)
        instances = limits.PEAK * requests / limits.MONTH_S / 150

        assert kept_s(requests, 150) >= max(1.0, instances) * by_chance
        assert kept_s(requests, 150) <= math.ceil(instances) * limits.MONTH_S

    def test_are_up_only_where_there_are_scorings(self, capsys):
        """Who does not use score pays nothing for it, and who does is told."""
        without = replace(self.ONLINE, scorings=0)

        assert up_s(without) == {}
        assert not [line for line in usage(without) if line.function == "score"]
        assert "is billed while" not in summary(without)
        assert "`score` is billed while an instance of it is up" in summary(self.ONLINE)
        assert "without scorings nothing is up" in summary(self.ONLINE)

    def test_of_score_ask_for_features_of_users(self):
        """Each scoring pays a query, unless events are scored by their own fields."""
        by_event = replace(self.ONLINE, scores_users=False)

        assert scanned(self.ONLINE, "score") >= 100_000 * 20 * 1024**2
        assert scanned(by_event, "score") < 20 * 1024**3


class TestLimits:
    MIDDLE = Size(users=2_000_000, events_a_day=5_000_000, use_cases=2)

    def test_are_told_where_a_default_is_too_low(self):
        """A query that is refused, a run and a day that alert, and what to set."""
        by_setting = {limit.setting: limit for limit in exceeded(self.MIDDLE)}
        query = by_setting["PROPENSITY_MAXIMUM_BYTES_BILLED"]

        assert query.value == Settings(project="p").maximum_bytes_billed
        assert "`training_rows.sql` of `model_training`" in query.what
        assert by_setting["DEPLOY_ALERT_RUN_BYTES"].value == limits.RUN_BYTES
        assert by_setting["DEPLOY_ALERT_DAY_BYTES"].value == limits.DAY_BYTES
        # All that is scheduled, on a first of the month that is a Monday.
        assert by_setting["DEPLOY_ALERT_DAY_BYTES"].needed > 2 * query.needed

    def test_are_settings_that_would_be_taken(self):
        """What is told can be set as it stands, and is enough."""
        for limit in exceeded(self.MIDDLE):
            assert limit.set_to > limit.needed > limit.value
            assert f"| `{limit.setting}` |" in summary(self.MIDDLE)
            assert f"| {limit.set_to} |" in summary(self.MIDDLE)
            if limit.setting.startswith("PROPENSITY_"):
                settings = Settings.from_environment(
                    {
                        "GOOGLE_CLOUD_PROJECT": "project",
                        limit.setting: str(limit.set_to),
                    }
                )
                assert settings.maximum_bytes_billed == limit.set_to
            else:
                example = (ROOT / "deploy/settings.env.example").read_text("utf-8")
                assert f"#{limit.setting}={limit.value}\n" in example

    def test_are_none_for_a_small_site(self):
        """Then that is said."""
        assert exceeded(SMALL) == []
        assert "No default limit on bytes is too low" in summary(SMALL)


class TestPrices:
    def test_each_have_a_source_and_a_day(self):
        """No price without where it is from, and when it was seen there."""
        for price in prices().values():
            assert price.source.startswith("https://cloud.google.com/")
            assert date(2024, 1, 1) <= price.checked <= date(2026, 12, 31)
            assert price.usd > 0
            assert price.note

    def test_are_all_used(self):
        """What is charged has a price and a unit, and no price is idle."""
        size = Size(users=10, events_a_day=10, lookups=10, scorings=10,
                    stream_events_a_day=10)  # fmt: skip

        assert {line.price for line in usage(size)} == {*prices()}
        assert {*UNITS} == {*prices()}


class TestCommand:
    def test_prints_what_the_page_shows(self, capsys):
        """docs/cost.md has what the command prints for its sizes."""
        page = (ROOT / "docs/cost.md").read_text("utf-8")

        for _, _, size in cost_page.SIZES:
            words = []
            for field in fields(Size):
                value = getattr(size, field.name)
                if field.name == "scores_users":
                    words += [] if value else ["--stream-scores-events"]
                elif field.name == "has_index":
                    words += [] if value else ["--lookups-by-query"]
                # What a single run reads is nobody's choice.
                elif field.name != "sums_all_days":
                    words += [f"--{field.name.replace('_', '-')}", str(value)]
            assert main(["cost", *words]) == 0
            assert capsys.readouterr().out.strip() in page

    def test_comes_to_what_is_computed_by_hand(self):
        """The worked example on the page, computed again from what stands there, is
        what the calculator says of the same size."""
        page = (ROOT / "docs/cost.md").read_text("utf-8")
        [(_, _, game)] = [size for size in cost_page.SIZES if size[0] == "A large game"]
        charged = {charge.price: charge for charge in charges(usage(game))}
        by_hand = {name: what for what, _, name in cost_page.BY_HAND if name}
        rows = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in page.splitlines()
            if line.count("|") == 5 and "`" in line
        ]
        usd = {row[0]: row[3].rpartition("= ")[2] for row in rows if row[3:]}
        values = {row[0]: eval(row[1].strip("`")) for row in rows if row[0] in usd}

        for name, what in by_hand.items():
            assert values[what] == pytest.approx(charged[name].amount, rel=1e-4)
            assert usd[what] == f"{charged[name].usd:,.2f}"
        queries = [value for what, value in values.items() if "queries a month" in what]
        assert queries == [limits.queries("score_stream", game)[0]]

    def test_knows_that_clustering_does_not_count_for_a_limit(self, capsys):
        """A lookup reads a few blocks, and is refused by the size of the table."""
        few = ["--events-a-day=9000", "--lookups=1000", "--returning=1"]
        few += ["--lookups-by-query"]

        for users, is_told in ((6_000_000, False), (30_000_000, True)):
            assert main(["cost", f"--users={users}", *few]) == 0
            output = capsys.readouterr().out
            assert ("PROPENSITY_LOOKUP_MAXIMUM_BYTES_BILLED" in output) == is_told

    def test_prints_json(self, capsys):
        """All figures for a program, what must be raised and what is up among them."""
        small, large = (
            ["--users=50000", "--events-a-day=100000"],
            ["--users=9", "--events-a-day=9000000", "--scorings=9000"],
        )
        assert main(["cost", *small, "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["usd"] == pytest.approx(sum(report["usd_by_service"].values()))
        assert (report["limits"], report["seconds_up"]) == ([], {})

        assert main(["cost", *large, "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        [query] = [
            limit
            for limit in report["limits"]
            if limit["setting"] == "PROPENSITY_MAXIMUM_BYTES_BILLED"
        ]
        assert query["set_to"] > query["needed"]
        assert report["seconds_up"] == {"score": limits.MONTH_S}

    @pytest.mark.parametrize(
        ("option", "message"),
        [
            ("--users=-5", "'-5' is not a whole number of 0 or more"),
            ("--use-cases=0", "'0' is not a whole number of 1 or more"),
            ("--days-kept=x", "'x' is not a whole number of 1 to 36,500"),
            ("--late-days=999999999999", "is not a whole number of 0 to 36,500"),
            ("--use-cases=1_0", "'1_0' is not a whole number of 1 or more"),
            ("--returning=2", "'2' is not a share from 0 to 1"),
            ("--lookups-a-query=5000", "'5000' is not a whole number of 1 to 1,000"),
        ],
    )
    def test_refuses_what_cannot_be(self, option, message, capsys):
        """A value out of bounds ends as a wrong option does, with the bound."""
        assert main(["cost", "--users=1", "--events-a-day=1", option]) == 2
        assert message in capsys.readouterr().err

    def test_takes_as_many_lookups_a_query_as_the_function(self, capsys):
        """The largest POST is one that can be asked about."""
        words = ["--users=1", "--events-a-day=1", "--lookups=1000000"]
        words += ["--lookups-by-query"]

        assert main(["cost", *words, f"--lookups-a-query={MAXIMUM_USERS}"]) == 0
        assert "× `lookup` for 1,000 users |" in capsys.readouterr().out
        assert main(["cost", *words]) == 0
        assert "× `lookup` for 1 users |" in capsys.readouterr().out

    def test_prints_no_table_of_scans_without_scans(self, capsys):
        """A head with nothing below it says nothing."""
        assert main(["cost", "--users=50000", "--events-a-day=0"]) == 0
        assert "scans a month" not in capsys.readouterr().out
