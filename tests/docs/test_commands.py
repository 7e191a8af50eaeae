"""
Commands and requests of the pages, specified: the programs and functions take them.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import shlex
import sys
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime
from urllib.parse import urlsplit

import numpy as np
import pytest
from starlette.requests import Request

from commands import cli
from local.demos import shop
from local.stack.state import FUNCTIONS, ROOT, ports_from
from propensity import errors, tables, usecases
from propensity.events import messages
from propensity.events.catalogue import Catalogue
from propensity.learning import modelcard
from propensity.online import lookup
from propensity.online.question import Question, read_question
from propensity.online.score_request import Reader
from propensity.registry.versions import Published
from propensity.runs.predict import Staged
from tests.docs.pages import (
    CODE,
    FENCE,
    FUNCTION_PAGES,
    PROGRAM,
    SCHEDULED,
    TODAY,
    blocks,
    commands,
    described,
    pages,
    parsed,
    text,
)
from tests.programs import execute

OURS = ("docs", "commands", "local", "deploy", "offline", "benchmarks")

# Run to their ends by tests/docs/test_main.py and tests/benchmarks/test_run.py.
RUN_BY_OTHERS = ("docs.", "benchmarks.")

# What Pub/Sub pushes to, and nobody else calls.
CONSUMERS = {"score_stream"}


def programs() -> list[str]:
    """Return the modules that pages run."""
    modules = {
        module
        for page in pages()
        for module in re.findall(r"python -m ([\w.]+)", text(page))
    }
    return sorted(module for module in modules if module.partition(".")[0] in OURS)


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
            parsed(target, b'{"no_such_field": 1}')
        known = refused.value.message.partition("known are ")[2].split(", ")

        assert known
        assert {*known} <= {*described(FUNCTION_PAGES[target])}

    def test_the_answer_of_a_training_has_the_keys_that_are_told(self):
        """The example's keys are those of an answer."""
        anything: defaultdict[str, object] = defaultdict(
            lambda: None, quality=defaultdict(lambda: None), verdict=defaultdict(str)
        )
        published = Published(version=0, objects={}, checksums={})
        answer = modelcard.answer(anything, published)
        example = _example("model_training")

        assert {*example} == {*answer, *_AROUND, "data_until"}
        assert {*example["holdout"]} == {*answer["holdout"]}
        assert {*example["objects"]} == {
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
        names = re.findall(r'"(\w+)":', answered)

        of_export = {"data_until"}
        of_drift = {"estimated_roc_auc", "drift"}
        scores = Staged(
            users=1, mean_probability=0.5, quantiles=np.zeros(101), log_odds_shift=None
        )
        assert {*_example("predictions")} == {
            *(*names, *_AROUND, *of_export, *of_drift),
            *scores.answer(),
        }

    def test_the_weeks_of_an_evaluation_have_the_columns_of_the_table(self):
        """Every key of the example's week is a column."""
        example = _example("model_evaluation")
        columns = {column.name for column in tables.EVALUATION.columns}

        assert {*example} == {"weeks", "drift", "reports", *_AROUND, "data_until"}
        assert {*example["weeks"][0]} <= columns

    @pytest.mark.parametrize(
        "page", ["README.md", "docs/tour.md", FUNCTION_PAGES["get_proba"]]
    )
    def test_the_answer_of_a_lookup_has_the_keys_that_are_told(self, page):
        """The example is an answer as it is rendered."""
        example = json.loads(blocks(page, "json")[0])
        prediction = lookup.Prediction(
            example["user_id"],
            example["probability"],
            date.fromisoformat(example["prediction_date"]),
            example["percentile"],
            example["model_version"],
        )
        oldest = prediction.as_of.toordinal() + (1 if example["stale"] else 0)

        assert json.loads(
            lookup.rendered(example["user_id"], prediction, oldest=oldest)
        ) == (example)


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
            loaded = [usecases.load(name) for name in usecases.names()]
            reader = Reader(loaded, default="ga4_purchase", maximum_instances=9)
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
            assert parsed(target, curl.body).as_of <= TODAY

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
            result = execute(
                ["make", "--dry-run", *shlex.split(command)[1:]], status=None
            )
            variables = {word.split("=")[0] for word in command.split() if "=" in word}
            assert result.returncode == 0, f"{command}: {result.stderr}"
            assert variables <= known, command

    def test_help_names_the_variables_that_are_explained(self):
        """``make`` alone, the tour and the page on data have the same options."""
        pages_ = text("docs/data.md") + text("docs/tour.md")
        printed = execute(["make"]).stdout

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

    def test_every_program_is_there(self):
        """A module that a page runs can be found."""
        assert [
            program
            for program in programs()
            if importlib.util.find_spec(program) is None
        ] == []

    @pytest.mark.long
    @pytest.mark.parametrize(
        "module",
        [program for program in programs() if not program.startswith(RUN_BY_OTHERS)],
    )
    def test_every_program_explains_itself(self, module):
        """With its usage, wherever it stands."""
        result = execute([sys.executable, "-m", module, "--help"])
        assert result.stdout.startswith("usage:")

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
