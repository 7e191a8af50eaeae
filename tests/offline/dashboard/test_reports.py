"""
Links from the dashboard to the reports of weeks, specified on the emulators: each leads
to a report that is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.exits import Exit
from offline.dashboard import reports
from offline.dashboard.cases import Known
from offline.dashboard.parts import ROWS
from offline.dashboard.site import site as pages_of
from offline.dashboard.writing import in_order, way_up
from propensity.registry.reports import report_name, write_report
from tests.offline.dashboard.rows import WINDOW, evaluation, fraud_day, readings
from tests.offline.dashboard.test_run import DAY, WEEK, Site
from tests.offline.dashboard.test_site import Read

NEWEST = DAY - WEEK
REPORT = report_name("ga4_purchase", NEWEST)
PAGE = "use-case-ga4_purchase.html"
FOLDER = st.text("abcdefgh-._0123456789", min_size=1).filter(
    lambda name: name not in (".", "..")
)


@pytest.fixture(scope="module")
def site(module_workplace) -> Iterator[Site]:
    """Two evaluated weeks, the newest with a report; and one of no week at all."""
    deployment = Site(module_workplace)
    deployment.fill()
    for week in (NEWEST, DAY - 9 * WEEK):
        write_report(
            deployment.artifacts,
            "ga4_purchase",
            week=week,
            page=f"<p>the week of {week}</p>",
        )
    yield deployment
    deployment.warehouse.close()
    deployment.artifacts.close()


def links(page: str) -> list[str]:
    return [link for link in Read(page).links if "reports/" in link]


class TestFolder:
    def test_has_a_copy_of_each_report_that_is_linked(self, site, tmp_path, capsys):
        """So that a link works from the file system, and from any server. That of a
        week without a row, to which nothing leads, stays where it is."""
        assert site.run("--out", str(tmp_path), "--as-of", str(DAY)) == Exit.DONE

        (link,) = links((tmp_path / PAGE).read_text())
        assert link == REPORT
        copy = (tmp_path / link).read_text()
        assert copy == f"{reports.FIRST}<p>the week of {NEWEST}</p>"
        assert "1 report beside them" in capsys.readouterr().out
        copied = [file for file in (tmp_path / "reports").rglob("*") if file.is_file()]
        assert copied == [tmp_path / REPORT]


class TestBucket:
    @pytest.mark.parametrize("prefix", ["", "/shown/here/"])
    def test_of_the_reports_leads_to_them_where_they_are(self, site, prefix):
        """By a relative address, without a copy."""
        bucket = f"gs://{site.settings.bucket}"
        before = site.artifacts.generations("reports/")
        out = f"{bucket}{prefix}"
        assert site.run("--out", out, "--as-of", str(DAY)) == Exit.DONE

        page = f"{out.rstrip('/')}/{PAGE}".removeprefix(f"{bucket}/")
        (link,) = links(site.artifacts.read(page).data.decode())
        assert urljoin(f"http://x/b/{page}", link) == f"http://x/b/{REPORT}"
        assert site.artifacts.generations("reports/") == before
        assert not site.artifacts.names("shown/reports/")

    @given(st.lists(FOLDER, max_size=4))
    def test_is_reached_from_any_prefix(self, folders):
        """Whatever it is called."""
        out = "/".join(["gs://bkt", *folders])
        page = "/".join(["http://x/b", *folders, "index.html"])

        up = way_up(out, "bkt")
        assert up is not None
        assert urljoin(page, f"{up}reports/a.html") == "http://x/b/reports/a.html"

    @pytest.mark.parametrize(
        "out", ["site", "/bkt/site", "gs://bkt2/site", "gs://abc/bkt"]
    )
    def test_of_another_name_is_another_place(self, out):
        """Nor is a folder the bucket."""
        assert way_up(out, "bkt") is None


class TestFind:
    def test_is_bounded_by_the_rows_that_a_page_lists(self, site):
        """However many days have reports."""
        days = [fraud_day(n) for n in range(1, ROWS + 4)]
        for row in days:
            write_report(site.artifacts, "card_fraud", week=row["week"], page="x")
        result = reports.find(days, site.artifacts, as_of=DAY)

        newest = {row["week"] for row in days[:ROWS]}
        assert {*result.links["card_fraud"]} == newest
        assert len(result.copies) == ROWS

    def test_leaves_names_alone_that_no_folder_has(self, site):
        """A row may hold anything as the name of its use case."""
        rows = [evaluation(use_case=name) for name in ("../x", "", "a/b", "A B")]

        assert reports.find(rows, site.artifacts, as_of=DAY) == reports.Reports()

    def test_without_a_bucket_that_answers_says_so(
        self, site, tmp_path, capsys, monkeypatch
    ):
        """The pages are written, without a link."""
        gone = {**site.environment, "PROPENSITY_BUCKET": "nobody-made-this"}
        monkeypatch.setattr(site, "environment", gone)
        assert site.run("--out", str(tmp_path), "--as-of", str(DAY)) == Exit.DONE

        assert links((tmp_path / PAGE).read_text()) == []
        assert not (tmp_path / "reports").exists()
        assert "  reports: " in capsys.readouterr().out


class TestPages:
    def test_lead_from_a_day_of_fraud(self):
        """From the newest days on the page of fraud, and from all of the use case's."""
        rows = [fraud_day(n) for n in range(1, 12)]
        known = {
            "card_fraud": Known(
                is_of_events=True,
                champion=3,
                reports={row["week"]: f"reports/{row['week']}.html" for row in rows},
            )
        }
        files = pages_of(readings({"evaluations": rows}), known, WINDOW, place="p.d")

        expected = [f"reports/{row['week']}.html" for row in rows]
        assert links(files["use-case-card_fraud.html"]) == expected
        assert links(files["fraud.html"]) == expected[:7]

    def test_have_no_link_where_there_is_no_report(self):
        """Of a week that was evaluated before there were reports."""
        known = {"ga4_purchase": Known(champion=3)}
        rows = [evaluation(1), evaluation(2)]
        files = pages_of(readings({"evaluations": rows}), known, WINDOW, place="p.d")

        assert links(files[PAGE]) == []
        assert "leads to its report" not in files[PAGE]


def test_copies_are_written_before_what_leads_to_them():
    """Nobody finds a link to a report that is not there yet."""
    names = ["index.html", "sql.html", "reports/x/2026-03-02.html", "a.html"]
    assert in_order(names) == [
        *("reports/x/2026-03-02.html", "a.html", "sql.html", "index.html")
    ]
