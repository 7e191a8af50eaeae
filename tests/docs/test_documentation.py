"""
The documentation, specified: all that there is is described, and what is said is so.

Pages are compared with the code they describe, commands with the programs that take
them; nothing here knows a page by heart.
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections import defaultdict
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from functools import cache
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

import flask
import numpy as np
import pytest
import sqlglot
from starlette.requests import Request

from commands import cli
from deploy import functions
from deploy.render import OWN_ROLES
from docs import security as security_page
from docs import tables as tables_page
from local.demos import shop
from local.stack.state import FUNCTIONS, READY_VARIABLE, ROOT, ports_from
from offline.audience.destinations import ga4, google_ads, http
from propensity import errors, tables, usecases
from propensity.edges.warehouse import Warehouse
from propensity.events import messages
from propensity.events.catalogue import Catalogue
from propensity.learning import candidates, modelcard
from propensity.online import lookup
from propensity.online.question import Question, read_question
from propensity.online.score_request import Reader
from propensity.registry.versions import Published
from propensity.runs.predict import Staged
from propensity.runs.request import RunRequest, parse
from propensity.settings import Settings

OURS = ("docs", "commands", "local", "deploy", "offline", "benchmarks")
SKIPPED = {"node_modules", "__pycache__"}
TODAY = date(2026, 3, 1)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
ROW = re.compile(r"^\|(.+)\|$", re.MULTILINE)
CODE = re.compile(r"`([^`]+)`")
PROGRAM = ".venv/bin/propensity"


@cache
def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def pages() -> list[str]:
    found = (path.relative_to(ROOT) for path in ROOT.rglob("*.md"))
    return sorted(
        path.as_posix()
        for path in found
        if not any(part.startswith(".") or part in SKIPPED for part in path.parts)
    )


def blocks(page: str, language: str = "") -> list[str]:
    return [body for kind, body in FENCE.findall(text(page)) if kind == language]


def rows(page: str) -> list[list[str]]:
    """Return the cells of every table's rows."""
    return [
        [cell.strip() for cell in row.split("|")] for row in ROW.findall(text(page))
    ]


def described(page: str) -> dict[str, list[str]]:
    """Return rows by the names that their first cell has in code."""
    return {name: row for row in rows(page) for name in CODE.findall(row[0])}


def commands(page: str) -> list[str]:
    """Return the lines that a reader can type: those of blocks without a language."""
    lines = "\n".join(blocks(page)).replace("\\\n", " ").splitlines()
    words = ("make", "curl", "python", ".venv/bin/python", PROGRAM)
    return [line for line in lines if line.split(" ")[0] in words]


def descendants(error: type) -> list[type]:
    found = [error]
    for below in error.__subclasses__():
        found += descendants(below)
    return found


ERRORS = {
    error.__name__: error
    for error in descendants(errors.PropensityError)
    if error.__module__.startswith("propensity.")
}
SCHEDULED = [one.target for one in FUNCTIONS if not one.is_asynchronous]
# What Pub/Sub pushes to, and nobody else calls.
CONSUMERS = {"score_stream", "archive_events"}
FUNCTION_PAGES = {
    function.target: f"{function.folder}/README.md" for function in FUNCTIONS
}


class TestPages:
    @pytest.mark.parametrize("page", pages())
    def test_links_lead_somewhere(self, page):
        """Every relative link of a page is a file of the project, or a heading."""
        missing = []
        for link in LINK.findall(FENCE.sub("", text(page))):
            target = urlsplit(link)
            if target.scheme:
                assert target.scheme == "https"
                continue
            file = (ROOT / page).parent / target.path if target.path else ROOT / page
            if not file.exists() or (target.fragment and not _has(file, target)):
                missing.append(link)

        assert missing == []

    @pytest.mark.parametrize("page", pages())
    def test_nothing_is_left_open_or_of_one_machine(self, page):
        """No page has a placeholder, or a path of the machine it was written on."""
        found = re.findall(
            r"\b(?:TODO|FIXME|XXX|TBD|DEMO_\w+)\b|/(?:home|root|work|Users|tmp)/\S*",
            text(page),
        )

        assert found == []

    @pytest.mark.parametrize("page", pages())
    def test_json_and_code_blocks_are_what_they_say(self, page):
        """JSON parses, TOML is a use case or a destination, SQL is BigQuery's."""
        for block in blocks(page, "json"):
            json.loads(block)
        for block in blocks(page, "toml"):
            if block.startswith("kind"):
                check_destination(block)
            else:
                usecases.parse("documented", block)
        for block in blocks(page, "sql"):
            sqlglot.parse_one(block, dialect="bigquery")

    @pytest.mark.parametrize("page", pages())
    def test_tables_are_tables(self, page):
        """Each has its line of dashes, and as many cells in every row."""
        prose = FENCE.sub("", text(page))
        for table in re.findall(r"(?:^\|.*\n)+", prose + "\n", re.MULTILINE):
            rows = table.splitlines()
            cells = [len(re.findall(r"(?<!\\)\|", row)) for row in rows]

            assert re.fullmatch(r"(\|[ :-]+)+\|", rows[1]), rows[0]
            assert set(cells) == {cells[0]}, rows[0]

    def test_the_licence_is_apache_2(self):
        """LICENSE holds the whole standard text."""
        licence = text("LICENSE")

        assert "Version 2.0, January 2004" in licence
        assert "END OF TERMS AND CONDITIONS" in licence
        assert "Copyright [yyyy] [name of copyright owner]" in licence


def check_destination(block: str) -> None:
    """Read the file of a destination as ``propensity audience`` does."""
    template = tomllib.loads(block)
    variables = dict.fromkeys(re.findall(r"\$\{(\w+)\}", block), "set")
    given = {"poster": lambda rate, at_once: None, "variables": variables}
    if template["kind"] == "http":
        http.Http(template, **given)
    elif template["kind"] == "ga4":
        ga4.MeasurementProtocol(template, now=None, **given)
    else:
        assert template["kind"] == "google-ads"
        google_ads.CustomerMatch(template, contacts=None, **given)


def _has(file: Path, target) -> bool:
    headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
    anchors = [
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    ]
    return target.fragment in anchors


class TestSettings:
    @pytest.mark.parametrize("field", fields(Settings), ids=lambda field: field.name)
    def test_every_setting_is_described_with_its_default(self, field):
        """docs/settings.md has each variable, and the default that the code has."""
        row = described("docs/settings.md")[_variable(field.name)]
        given = row[1].replace("`", "")

        if field.default in ("", None) or field.name == "project":
            assert given.startswith(("none", "the use case's", "Google's own"))
        else:
            assert given == str(field.default)

    @pytest.mark.parametrize(
        "field",
        [field for field in fields(Settings) if field.type in ("int", "float")],
        ids=lambda field: field.name,
    )
    def test_the_bounds_are_those_that_are_accepted(self, field):
        """Both ends are accepted, and nothing beyond them."""
        variable = _variable(field.name)
        kind = int if field.type == "int" else float
        told = described("docs/settings.md")[variable][2].split(" to ")
        least, most = map(kind, told)

        for number in (least, most):
            assert getattr(_read(variable, number), field.name) == number
        for number in (least - 1, most + 1):
            with pytest.raises(errors.SettingsError, match=variable):
                _read(variable, number)

    def test_the_use_cases_defaults_are_told(self):
        """The defaults of the user column and the label event are the use case's."""
        page = described("docs/settings.md")

        for name, default in usecases.load("ga4_purchase").parameters.items():
            assert f"`{default}`" in page[_variable(name)][1]

    @pytest.mark.parametrize("page", pages())
    def test_no_page_names_a_setting_that_does_not_exist(self, page):
        """A variable that a page names is one that something reads."""
        known = {_variable(field.name) for field in fields(Settings)}
        ports = {f"PROPENSITY_PORT_{name.upper()}" for name in ports_from({})}
        known |= ports | {"PROPENSITY_DATA", "PROPENSITY_PORT_BASE"}
        known.add(READY_VARIABLE)

        assert set(re.findall(r"\bPROPENSITY_[A-Z0-9_]+\b", text(page))) <= known

    def test_every_variable_of_a_deployment_is_described(self):
        """docs/settings.md has those that deploy/ reads, and no others."""
        read = set(re.findall(r"DEPLOY_[A-Z_]+", text("deploy/configuration.py")))
        page = described("docs/settings.md")

        assert {name for name in page if name.startswith("DEPLOY_")} == read

    def test_every_port_variable_is_described(self):
        """docs/settings.md has the variable of every service's port."""
        page = described("docs/settings.md")

        assert {f"PROPENSITY_PORT_{name.upper()}" for name in ports_from({})} <= {*page}


def _variable(name: str) -> str:
    """Return a setting's variable, as the refusal of an odd value names it."""
    return {
        "project": "GOOGLE_CLOUD_PROJECT",
        "bigquery_endpoint": "BIGQUERY_EMULATOR_HOST",
        "bigquery_storage_endpoint": "BIGQUERY_STORAGE_EMULATOR_HOST",
        "pubsub_endpoint": "PUBSUB_EMULATOR_HOST",
        "storage_endpoint": "STORAGE_EMULATOR_HOST",
    }.get(name, f"PROPENSITY_{name.upper()}")


def _read(variable: str, value: int) -> Settings:
    return Settings.from_environment(
        {"GOOGLE_CLOUD_PROJECT": "p", variable: str(value)}
    )


class TestTables:
    def test_the_page_is_written_from_the_tables(self):
        """docs/tables.md is what ``python -m docs.tables`` writes now."""
        assert text("docs/tables.md") == tables_page.page()

    def test_every_table_and_column_is_in_it(self):
        """Each table has a heading, each column and field a row."""
        page = text("docs/tables.md")

        for table in tables.TABLES:
            section = page.partition(f"## {table.name}\n")[2].partition("\n## ")[0]
            named = {row.partition("|")[0].strip(" `") for row in ROW.findall(section)}
            inner = {f"{c.name}.{f.name}" for c in table.columns for f in c.fields}

            assert {column.name for column in table.columns} | inner <= named


class TestSecurity:
    def test_the_page_is_written_from_the_rights(self):
        """docs/security.md is what ``python -m docs.security`` writes now."""
        assert text("docs/security.md") == security_page.page()

    def test_every_right_is_in_it(self):
        """Each right of functions.toml is in the row of its resource and the column of
        its function, and nothing else is."""
        [columns] = [row for row in rows("docs/security.md") if "`score`" in row]
        told = {
            (row[0].removeprefix("topic ").strip("`"), target.strip("`"), right)
            for row in rows("docs/security.md")
            if len(row) == len(columns)
            for target, cell in zip(columns[1:], row[1:], strict=True)
            for right in filter(None, cell.split(", "))
            if target.strip("`") != right.strip("`") and set(right) != {"-"}
        }
        given = {
            (name, one.target, right)
            for one in functions.load()
            for right, names in (
                ("read", one.reads),
                ("append", one.appends),
                ("change", one.writes),
                ("replace text", one.views),
                ("publish", one.publishes),
                ("run queries", ["project"] * one.runs_queries),
                ("read streams", ["project"] * one.large_results),
                ("read", ["the GA4 export"] * one.reads_export),
                ("run models", ["dataset"] * one.models),
                *(
                    ("list names", ["bucket"]) if verb == "list" else (verb, [names])
                    for verb, names in one.objects
                ),
            )
            for name in names
        }

        assert told == given

    def test_every_own_role_is_in_it_with_its_permissions(self):
        """What a right permits is what the deployment's roles are made of."""
        described_ = described("docs/security.md")
        for name, (_, permissions) in OWN_ROLES.items():
            [row] = [r for r in rows("docs/security.md") if f"_{name}`" in r[1]]
            assert CODE.findall(row[2]) == [*permissions]
        assert "propensity-scheduler" in described_


class TestErrors:
    @pytest.mark.parametrize("name", sorted(ERRORS))
    def test_every_error_is_described_as_it_is(self, name):
        """docs/errors.md has each class with its status, word, retry and advice."""
        error = ERRORS[name]
        row = described("docs/errors.md")[name]

        assert row[1:4] == [
            str(error.status),
            f"`{error.code}`",
            "yes" if error.retryable else "no",
        ]
        assert all(row[4:6])

    @pytest.mark.parametrize("page", FUNCTION_PAGES.values())
    def test_a_functions_failures_are_those_that_exist(self, page):
        """A word in a function's table of failures belongs to its status."""
        known = {(str(error.status), error.code) for error in ERRORS.values()}
        known.add(("404", "unknown_user"))
        failures = [row for row in rows(page) if re.fullmatch(r"[45]\d\d", row[0])]

        assert failures
        for status, words, *_ in failures:
            assert {(status, word) for word in CODE.findall(words)} <= known
            assert HTTPStatus(int(status))


class TestArchitecture:
    def test_every_statement_is_described(self):
        """Each .sql file, shared or of a use case, has a row."""
        statements = {path.stem for path in (ROOT / "propensity").rglob("*.sql")}

        assert statements <= {*described("docs/architecture.md")}

    def test_every_module_is_described(self):
        """Each module of the package has a row."""
        package = ROOT / "propensity"
        modules = {path.stem for path in package.glob("*.py")} | {
            path.parent.name for path in package.glob("*/__init__.py")
        }

        assert modules - {"__init__"} <= {*described("docs/architecture.md")}

    def test_every_folder_is_described(self):
        """Each folder of code at the top has a row."""
        folders = {path.parent.name for path in ROOT.glob("[!.]*/*.py")}
        named = {name.rstrip("/") for name in described("docs/architecture.md")}

        assert folders - {"docs"} <= named

    def test_the_defaults_of_the_windows_are_those_of_the_use_case(self):
        """The spans that the page tells are those that are computed with."""
        use_case = usecases.load("ga4_purchase")
        page = text("docs/architecture.md")

        assert f": {use_case.lookback_days} days by default" in page
        assert f": {use_case.horizon_days} days by default" in page
        assert f"settle {Settings(project='p').settle_days} d" in page


class TestUseCases:
    def test_documented_candidates_can_be_trained(self):
        """Every algorithm that the page names makes an estimator."""
        page = text("docs/use-cases.md")
        [toml] = blocks("docs/use-cases.md", "toml")
        sentence = next(
            line for line in page.splitlines() if line.startswith("Algorithms are")
        )
        named = [word for word in CODE.findall(sentence) if word[0].isupper()]
        averaged = usecases.parse("documented", toml).candidates[-1]

        assert averaged.algorithm in named
        for algorithm in named:
            if algorithm != averaged.algorithm:
                candidate = usecases.Candidate("one", algorithm)
                made = candidates.estimator(candidate, {}, seed=1)
                assert type(made).__name__ == algorithm

    def test_every_parameter_of_a_statement_is_described(self):
        """What a use case's statements are given is on the page."""
        use_case = usecases.load("ga4_purchase")
        given = use_case.window(Settings(project="p"), [TODAY])
        named = {name.removeprefix("@") for name in described("docs/use-cases.md")}

        assert {*given} <= named

    @pytest.mark.parametrize("name", ["ga4_purchase", "first_day_churn"])
    def test_every_parameter_of_a_use_case_that_comes_along_is_described(self, name):
        """Those of its own, and those that single statements are given."""
        files = (ROOT / "propensity/usecases" / name).glob("*.sql")
        used = {
            parameter
            for file in files
            for parameter in re.findall(r"@(\w+)", file.read_text("utf-8"))
        }
        named = {name.removeprefix("@") for name in described("docs/use-cases.md")}

        assert used | {*usecases.load(name).parameters} <= named

    @pytest.mark.parametrize("page", ["docs/use-cases.md", "docs/tables.md"])
    def test_every_column_of_the_export_is_described(self, page):
        """As the view has them, in its order, with their types; and what to cast."""
        assert "\n".join(tables_page.export_rows()) in text(page)
        assert "`NUMERIC`" in text(page)
        assert "AS FLOAT64)" in text(page)

    def test_says_when_the_shipped_model_must_be_made_again(self):
        """A changed feature makes it another model's input."""
        page = text("docs/use-cases.md")

        assert "propensity ship-model" in page

    def test_the_documented_statements_give_the_documented_columns(
        self, workplace, environment
    ):
        """Run as they are, they give each date the rows that it would have alone."""
        [toml] = blocks("docs/use-cases.md", "toml")
        use_case = usecases.parse("documented", toml)
        features, labels, first_day = blocks("docs/use-cases.md", "sql")
        settings = Settings.from_environment(environment)
        warehouse = Warehouse.open(settings)
        warehouse.execute(EVENTS)
        as_ofs = [date(2026, 2, 3), date(2026, 2, 5)]

        def found(sql: str, *chosen: date) -> list[dict[str, object]]:
            given = use_case.window(settings, chosen)
            rows = [dict(row.items()) for row in warehouse.rows(sql, given)]
            return sorted(rows, key=lambda row: (row["as_of"], row["user_id"]))

        assert found(features, *as_ofs) == [
            row for as_of in as_ofs for row in found(features, as_of)
        ]
        assert [
            (row["as_of"].day, row["user_id"], row["recency_days"], row["page_views"])
            for row in found(features, *as_ofs)
        ] == [(3, "ana", 1.5, 1), (5, "ana", 1.5, 2), (5, "ben", 0.25, 0)]
        assert {*use_case.features} <= {*found(features, *as_ofs)[0]}
        assert [
            (row["as_of"].day, row["user_id"]) for row in found(labels, *as_ofs)
        ] == [
            (3, "ben"),
            (3, "cid"),
            (5, "cid"),
        ]
        assert warehouse.rows(first_day)[0]["first_day"] == date(2026, 2, 1)

    def test_the_documented_preprocessor_can_be_uploaded(
        self, tmp_path, monkeypatch, capsys
    ):
        """It passes the check of the command that uploads it."""
        [source] = blocks("docs/use-cases.md", "python")
        file = tmp_path / "my_preprocessor.py"
        file.write_text(source)
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")

        status = cli.main(["build-preprocessor", "--from", str(file), "--dry-run"])
        told = capsys.readouterr()

        assert status == 0, told.err
        assert "It fits the use case's features." in told.out


EVENTS = """
CREATE TABLE ga_events AS
SELECT
  FORMAT_TIMESTAMP('%Y%m%d', event_time) AS table_suffix,
  UNIX_MICROS(event_time) AS event_timestamp,
  *,
  'Malta' AS country
FROM
  UNNEST([
    STRUCT(
      'ana' AS user_pseudo_id,
      'page_view' AS event_name,
      TIMESTAMP '2026-02-01 12:00:00' AS event_time
    ),
    STRUCT('ana', 'page_view', TIMESTAMP '2026-02-03 12:00:00'),
    STRUCT('ben', 'begin_checkout', TIMESTAMP '2026-02-04 18:00:00'),
    STRUCT('cid', 'begin_checkout', TIMESTAMP '2026-02-09 23:59:59')
  ])
"""


class TestEndpoints:
    @pytest.mark.parametrize("target", FUNCTION_PAGES)
    def test_every_function_has_a_page(self, target):
        """It names the target, and has the same sections as the others."""
        page = text(FUNCTION_PAGES[target])
        headings = re.findall(r"^## (.+)$", page, re.MULTILINE)

        assert f"target `{target}`" in page
        assert headings[:3] == ["Trigger", "Contract", "Failure modes"]
        assert any(heading.startswith("Cost of") for heading in headings)
        assert FUNCTION_PAGES[target] in text("README.md")

    @pytest.mark.parametrize("target", SCHEDULED)
    def test_every_field_of_a_scheduled_request_is_described(self, target):
        """The fields that a refusal of an unknown one lists have a row each."""
        with pytest.raises(errors.RequestError) as refused:
            _parsed(target, b'{"no_such_field": 1}')
        known = refused.value.message.partition("known are ")[2].split(", ")

        assert known
        assert {*known} <= {*described(FUNCTION_PAGES[target])}

    def test_the_answer_of_a_training_has_the_keys_that_are_told(self):
        """The example's keys are those of an answer."""
        anything: defaultdict[str, object] = defaultdict(
            lambda: None, quality=defaultdict(lambda: None), verdict=defaultdict(str)
        )
        published = Published(version=0, objects={}, checksums={})
        made = modelcard.answer(anything, published)
        told = _example("model_training")

        assert {*told} == {*made, *_AROUND, "data_until"}
        assert {*told["holdout"]} == {*made["holdout"]}
        assert {*told["objects"]} == {
            modelcard.MODEL,
            modelcard.PREPROCESSOR,
            modelcard.DATASET,
            modelcard.CARD,
            modelcard.REPORT,
            modelcard.GRAPH,
            modelcard.ESTIMATOR,
            modelcard.VALUE,
        }

    def test_the_answer_of_predictions_has_the_keys_that_are_told(self):
        """The example's keys are those that ``main.py`` answers."""
        answered = text("01-Predictions/main.py").partition("return {")[2]
        made = re.findall(r'"(\w+)":', answered)

        of_export = {"data_until", "export_days_read"}
        of_drift = {"estimated_roc_auc", "drift"}
        scores = Staged(
            users=1, mean_probability=0.5, quantiles=np.zeros(101), log_odds_shift=None
        )
        assert {*_example("predictions")} == {
            *(*made, *_AROUND, *of_export, *of_drift),
            *scores.answer(),
        }

    def test_the_weeks_of_an_evaluation_have_the_columns_of_the_table(self):
        """Every key of the example's week is a column."""
        told = _example("model_evaluation")
        columns = {column.name for column in tables.EVALUATION.columns}

        assert {*told} == {"weeks", "drift", "reports", *_AROUND, "data_until"}
        assert {*told["weeks"][0]} <= columns

    @pytest.mark.parametrize(
        "page", ["README.md", "docs/tour.md", FUNCTION_PAGES["get_proba"]]
    )
    def test_the_answer_of_a_lookup_has_the_keys_that_are_told(self, page):
        """The example is an answer as it is rendered."""
        told = json.loads(blocks(page, "json")[0])
        found = lookup.Prediction(
            told["user_id"],
            told["probability"],
            date.fromisoformat(told["prediction_date"]),
            told["percentile"],
            told["model_version"],
        )
        oldest = found.as_of.toordinal() + (1 if told["stale"] else 0)

        assert json.loads(lookup.rendered(told["user_id"], found, oldest=oldest)) == (
            told
        )


_AROUND = ("use_case", "as_of", "bytes_billed", "repeated")


def _example(target: str):
    return json.loads(blocks(FUNCTION_PAGES[target], "json")[0])


@dataclass(frozen=True)
class Curl:
    """A curl command, as far as the documents use it."""

    url: str
    method: str
    content_type: str
    body: bytes

    @classmethod
    def of(cls, command: str, base: str) -> Curl:
        words = shlex.split(command.replace("$URL", base))[1:]
        url, method, content_type, body = "", "", "", b""
        while words:
            word = words.pop(0)
            if word == "-X":
                method = words.pop(0)
            elif word == "-H":
                name, _, value = words.pop(0).partition(": ")
                # A token is Cloud Run's business, and no function sees it.
                assert name in ("Content-Type", "Authorization")
                content_type = value if name == "Content-Type" else content_type
            elif word == "-d":
                body = words.pop(0).encode()
            else:
                assert not word.startswith("-"), f"{word} in {command}"
                assert not url, command
                url = word
        return cls(url, method or ("POST" if body else "GET"), content_type, body)


def _parsed(target: str, body: bytes) -> RunRequest:
    with flask.Flask(target).test_request_context("/", method="POST", data=body):
        return parse(
            flask.request,
            default_use_case="ga4_purchase",
            today=TODAY,
            can_be_full=target == "predictions",
        )


def _question(curl: Curl) -> Question:
    parts = urlsplit(curl.url)

    async def receive():
        return {"type": "http.request", "body": curl.body, "more_body": False}

    scope = {
        "type": "http",
        "method": curl.method,
        "path": parts.path or "/",
        "query_string": parts.query.encode(),
        "headers": [(b"content-type", curl.content_type.encode())],
    }
    return asyncio.run(read_question(Request(scope, receive)))


def _catalogue() -> Catalogue:
    return Catalogue([usecases.load(name) for name in usecases.names()])


def _curls() -> list[tuple[str, str]]:
    return [
        (page, command)
        for page in pages()
        for command in commands(page)
        if command.startswith("curl")
    ]


class TestCommands:
    def test_the_tour_has_a_request_of_each_kind(self):
        """A lookup by GET and one by POST, and a request to every function that takes
        one from a person."""
        curls = [Curl.of(line, "") for page, line in _curls() if page == "docs/tour.md"]
        ports = {urlsplit(curl.url).port for curl in curls}

        assert {curl.method for curl in curls} == {"GET", "POST"}
        called = {function.target for function in FUNCTIONS} - CONSUMERS
        assert ports == {ports_from({})[target] for target in called}

    @pytest.mark.parametrize(("page", "command"), _curls())
    def test_a_curl_command_is_understood_by_its_function(self, page, command):
        """Its port is the function's, and the function reads its request."""
        # The page about a deploy ends with a lookup.
        own: dict[str, str] = {"docs/deploy.md": "get_proba"}
        for target, path in FUNCTION_PAGES.items():
            own.setdefault(path, target)
        ports = ports_from({})
        base = f"http://127.0.0.1:{ports[own[page]]}" if page in own else ""
        curl = Curl.of(command, base)
        by_port = {ports[function.target]: function.target for function in FUNCTIONS}
        target = by_port[urlsplit(curl.url).port]

        if target == "get_proba":
            assert _question(curl).user_ids
        elif target == "score":
            asked = [usecases.load(name) for name in usecases.names()]
            reader = Reader(asked, default="ga4_purchase", maximum_instances=9)
            latest = datetime.max.replace(tzinfo=UTC)
            assert reader.question(curl.body, latest=latest).instances
        elif target == "stream_features":
            pushed = messages.message(curl.body)
            read = _catalogue().decode(pushed.data)
            assert read.user_id
            assert pushed.message_id
        else:
            assert curl.method == "POST"
            assert curl.content_type == "application/json"
            assert _parsed(target, curl.body).as_of <= TODAY

    def test_every_target_of_make_is_described(self):
        """README.md names each, as ``make help`` does."""
        targets = re.findall(r"^([a-z-]+):.*## ", text("Makefile"), re.MULTILINE)
        listed = next(
            line
            for line in text("README.md").splitlines()
            if line.startswith("`make` alone")
        )

        assert {*CODE.findall(listed)} - {"make"} == {*targets}

    def test_every_make_command_exists(self):
        """make takes every one, and reads no variable that it does not know."""
        typed = {
            command
            for page in pages()
            for line in [*commands(page), *CODE.findall(FENCE.sub("", text(page)))]
            if re.match(r"make [a-z]", command := line.partition("#")[0].strip())
        }
        known = {
            "PUBSUB",
            "CARDS",
            "DATA",
            "STATE",
            "USER_COLUMN",
            "LABEL_EVENT",
            "WEEKS",
            "PYTHON",
            "VENV",
            "PROPENSITY_DATA",
            "PROPENSITY_PORT_BASE",
            "ONLY",
            "OUT",
        }

        assert {"make demo", "make test", "make up", "make down"} <= typed
        for command in typed:
            made = subprocess.run(
                ["make", "--dry-run", *shlex.split(command)[1:]],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            variables = {word.split("=")[0] for word in command.split() if "=" in word}
            assert made.returncode == 0, f"{command}: {made.stderr}"
            assert variables <= known, command

    def test_help_names_the_variables_that_are_explained(self):
        """``make`` alone, the tour and the page on data have the same options."""
        pages_ = text("docs/data.md") + text("docs/tour.md")
        printed = subprocess.run(
            ["make"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout

        for variable in (
            "DATA=",
            "USER_COLUMN=",
            "LABEL_EVENT=",
            "WEEKS=",
            "PROPENSITY_PORT_BAS",
            "PUBSUB=",
            "CARDS=",
        ):
            assert variable in printed
            assert variable in pages_

    @pytest.mark.parametrize(
        ("page", "command"),
        [
            (page, command)
            for page in pages()
            for command in commands(page)
            if command.startswith(PROGRAM)
        ],
    )
    def test_propensity_takes_every_command_of_a_page(self, page, command):
        """Its name, options and arguments are read without a complaint."""
        _, name, *arguments = shlex.split(command, comments=True)

        if "--help" not in arguments:
            cli.root.commands[name].make_context(name, arguments)

    def test_the_readme_lists_every_command(self):
        """As ``propensity --help`` does."""
        section = text("README.md").partition("## One command")[2].partition("\n## ")[0]

        assert {*cli.root.commands} <= {*CODE.findall(section)}

    @pytest.mark.long
    @pytest.mark.parametrize(
        "module",
        sorted(
            {
                module
                for page in pages()
                for module in re.findall(r"python -m ([\w.]+)", text(page))
                if module.partition(".")[0] in OURS
            }
        ),
    )
    def test_every_program_exists(self, module):
        """A module that a page runs explains itself, or writes its page."""
        told = subprocess.run(
            [sys.executable, "-m", module, "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

        assert told.returncode == 0, told.stderr
        assert told.stdout.startswith(("usage:", "# "))

    @pytest.mark.parametrize("page", pages())
    def test_every_file_that_is_named_exists(self, page):
        """Files of the project in code are there."""
        named = {
            word
            for word in CODE.findall(FENCE.sub("", text(page)))
            if re.fullmatch(
                rf"(?:propensity|tests|{'|'.join(OURS)}|0\d-\w+)/[\w./]+", word
            )
        }

        assert [word for word in sorted(named) if not (ROOT / word).exists()] == []

    @pytest.mark.parametrize("page", ["README.md", "docs/tour.md"])
    @pytest.mark.parametrize("table", [shop.week_table, shop.selection_table])
    def test_the_demos_tables_are_as_the_pages_show_them(self, page, table):
        """The tables of weeks have the columns that the demo prints."""
        header = table([]).splitlines()[0]
        columns = re.split(r"\s{2,}", header.strip())
        lines = [
            re.split(r"\s{2,}", line.strip())
            for language in ("", "text")
            for block in blocks(page, language)
            for line in block.splitlines()
        ]

        assert columns in lines

    def test_the_readme_shows_lines_of_the_tour(self):
        """Its weeks are among those of the whole output."""
        weeks = re.findall(r"^2025-.*$", "".join(blocks("README.md")), re.MULTILINE)
        tour = "".join(blocks("docs/tour.md", "text")).splitlines()

        assert weeks
        assert {*weeks} <= {*tour}


class TestReadme:
    def test_is_read_in_a_few_minutes(self):
        """150 lines at most; the rest is in docs/."""
        assert len(text("README.md").splitlines()) <= 150

    def test_opens_with_a_picture_and_two_commands(self):
        """Before the first heading: what it is, what comes out, and how to try it."""
        first = text("README.md").partition("\n## ")[0]

        assert "![" in first
        assert [line.partition("#")[0].strip() for line in _typed(first)] == [
            "make demo",
            "make test",
        ]

    def test_leads_to_every_page(self):
        """Every page of docs/ is one link away."""
        links = LINK.findall(text("README.md"))
        pages_ = {page for page in pages() if page.startswith("docs/")}

        assert pages_ <= {*links}


class TestPicture:
    def test_says_in_words_what_it_shows(self):
        """Title and description are there for whoever does not see it."""
        picture = ElementTree.fromstring(text("docs/picture.svg"))
        names = [child.tag.rpartition("}")[2] for child in picture]

        assert names[:2] == ["title", "desc"]

    def test_is_for_light_and_dark_pages(self):
        """Every colour has another one for dark pages."""
        style = text("docs/picture.svg").partition("</style>")[0]
        light, _, dark = style.partition("@media (prefers-color-scheme: dark)")
        selectors = [
            {name.strip() for name in re.findall(r"([.\w, ]+) \{[^}]*#\w{6}", part)}
            for part in (light, dark)
        ]

        assert selectors[0]
        assert selectors[0] == selectors[1]

    def test_has_the_figures_of_a_week_of_the_tour(self):
        """Users, ROC AUC, calibration error and lift of its week are those printed."""
        drawn = text("docs/picture.svg")
        tour = "".join(blocks("docs/tour.md", "text"))
        week, chosen = (
            re.split(r"\s{2,}", line)
            for line in tour.splitlines()
            if re.match(r"2025-06-17  +[\d.]+  ", line)
        )
        _, _, users, rate, mean, _, roc_auc, error, _ = week
        *_, lift = chosen

        assert "Week of 17 June 2025" in drawn
        for shown in (
            f"{users} users",
            f"ROC AUC {roc_auc}",
            f"calibration error {error}",
            f"mean probability {float(mean):.1%}",
            f"{float(rate):.1%} bought",
            f"{float(lift):.1f} times",
        ):
            assert shown in drawn, shown


def _typed(prose: str) -> list[str]:
    return [line for _, body in FENCE.findall(prose) for line in body.splitlines()]
