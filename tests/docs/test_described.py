"""
The documentation, specified: all that there is is described, and what is said is so.

Pages are compared with the code they describe; nothing here knows a page by heart.
"""

from __future__ import annotations

import re
from dataclasses import fields
from datetime import date
from http import HTTPStatus

import pytest

from commands import cli
from docs import tables as tables_page
from local.stack.state import READY_VARIABLE, ROOT, ports_from
from propensity import errors, usecases
from propensity.edges.warehouse import Warehouse
from propensity.learning import candidates
from propensity.settings import Settings
from tests.docs.pages import (
    CODE,
    ERRORS,
    FUNCTION_PAGES,
    TODAY,
    blocks,
    described,
    pages,
    rows,
    text,
)


class TestSettings:
    @pytest.mark.parametrize("field", fields(Settings), ids=lambda field: field.name)
    def test_every_setting_is_described_with_its_default(self, field):
        """docs/settings.md has each variable, and the default that the code has."""
        row = described("docs/settings.md")[_variable(field.name)]
        default = row[1].replace("`", "")

        if field.default in ("", None) or field.name == "project":
            assert default.startswith(("none", "the use case's", "Google's own"))
        else:
            assert default == str(field.default)

    @pytest.mark.parametrize(
        "field",
        [field for field in fields(Settings) if field.type in ("int", "float")],
        ids=lambda field: field.name,
    )
    def test_the_bounds_are_those_that_are_accepted(self, field):
        """Both ends are accepted, and nothing beyond them."""
        variable = _variable(field.name)
        kind = int if field.type == "int" else float
        bounds = described("docs/settings.md")[variable][2].split(" to ")
        least, most = map(kind, bounds)

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
    # What bounds another setting is at its own bound, so that it does not.
    above = {"PROPENSITY_MAXIMUM_TRAINING_ROWS": "50000000"}
    return Settings.from_environment(
        {"GOOGLE_CLOUD_PROJECT": "p", **above, variable: str(value)}
    )


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
                estimator = candidates.estimator(candidate, {}, seed=1)
                assert type(estimator).__name__ == algorithm

    def test_every_parameter_of_a_statement_is_described(self):
        """What a use case's statements are given is on the page."""
        use_case = usecases.load("ga4_purchase")
        parameters = use_case.window(Settings(project="p"), [TODAY])
        named = {name.removeprefix("@") for name in described("docs/use-cases.md")}

        assert {*parameters} <= named

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

    def test_every_column_of_the_export_is_described(self):
        """As the view has them, in its order, with their types; and what to cast."""
        page = text("docs/use-cases.md")

        assert "\n".join(tables_page.export_rows()) in page
        assert "`NUMERIC`" in page
        assert "AS FLOAT64)" in page

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

        def rows_of(sql: str, *chosen: date) -> list[dict[str, object]]:
            parameters = use_case.window(settings, chosen)
            rows = [dict(row.items()) for row in warehouse.rows(sql, parameters)]
            return sorted(rows, key=lambda row: (row["as_of"], row["user_id"]))

        assert rows_of(features, *as_ofs) == [
            row for as_of in as_ofs for row in rows_of(features, as_of)
        ]
        assert [
            (row["as_of"].day, row["user_id"], row["recency_days"], row["page_views"])
            for row in rows_of(features, *as_ofs)
        ] == [(3, "ana", 1.5, 1), (5, "ana", 1.5, 2), (5, "ben", 0.25, 0)]
        assert {*use_case.features} <= {*rows_of(features, *as_ofs)[0]}
        assert [
            (row["as_of"].day, row["user_id"]) for row in rows_of(labels, *as_ofs)
        ] == [(3, "ben"), (3, "cid"), (5, "cid")]
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
        output = capsys.readouterr()

        assert status == 0, output.err
        assert "It fits the use case's features." in output.out


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
