"""The pages, specified: links lead somewhere, examples work, settings and errors are
described as they are, and what is generated is up to date."""

from __future__ import annotations

import argparse
import inspect
import json
import re
import shlex
import tomllib
from dataclasses import fields
from datetime import date
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import click
import flask
import jsonschema_rs
import pytest

from commands import cli
from deploy import functions
from docs import __main__ as program
from local.stack.state import DEFAULT_PORT_BASE, FUNCTIONS, PORT_OFFSETS, ROOT
from propensity import errors, usecases
from propensity.runs.run import parse_request
from propensity.settings import Settings, variable_of
from propensity.streaming.events import messages
from propensity.streaming.events.types import Catalogue
from propensity.tables import every
from propensity.usecases import declaration
from tests.docs.pages import FENCE, PAGES, blocks, text
from tests.support.described import JSON, path_of, whole

ROW = re.compile(r"^\|(.+)\|$", re.MULTILINE)
CODE = re.compile(r"`([^`]+)`")
PROGRAMS = (".venv/bin/propensity", "propensity")
WHEEL = re.compile(r"propensity-([\d.]+)-py3-none-any\.whl")
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")


def commands(page: str) -> list[str]:
    """Return the lines that a reader can type: those of blocks without a language."""
    lines = "\n".join(blocks(page)).replace("\\\n", " ").splitlines()
    words = ("make", "curl", "python", ".venv/bin/python", *PROGRAMS)
    return [line for line in lines if line.split(" ")[0] in words]


COMMANDS = [(page, command) for page in PAGES for command in commands(page)]
PORTS = {
    target: DEFAULT_PORT_BASE + number
    for target, number in PORT_OFFSETS.items()
    if target in {function.target for function in FUNCTIONS}
}
# A page means this function's address; the one about a deploy ends with a lookup.
OWN = {f"{one.folder}/README.md": one.target for one in reversed(FUNCTIONS)}
OWN["docs/deploy.md"] = "get_proba"


class TestPages:
    @pytest.mark.parametrize("page", PAGES)
    def test_links_lead_somewhere(self, page):
        missing = []
        for link in LINK.findall(FENCE.sub("", text(page))):
            target = urlsplit(link)
            if target.scheme:
                continue
            file = (ROOT / page).parent / target.path if target.path else ROOT / page
            if not file.exists() or (target.fragment and not _has(file, target)):
                missing.append(link)

        assert missing == []

    def test_the_description_of_the_functions_is_openapi_and_up_to_date(self):
        # Each process of a test run imports this module, and one needs the library.
        import schemathesis

        schemathesis.openapi.from_dict(whole()).validate()

        assert {*whole()["paths"]} == {path_of("get_proba"), path_of("score")}
        assert text("docs/openapi.yaml") == program.openapi.page(), "run `make docs`"

    def test_programs_find_the_pages_that_people_find(self):
        """Each page is in the list, but those of a deployment's own repository."""
        listed = program.llms.page()
        folders = ("deploy/", ".github/")
        pages = {page for page in PAGES if not page.startswith(folders)}

        assert text("llms.txt") == listed, "run `make docs`"
        assert pages - {*LINK.findall(listed)} == {"docs/README.md", "SECURITY.md"}

    @pytest.mark.parametrize(("page", "part"), program.PARTS)
    def test_a_generated_part_of_a_page_is_up_to_date(self, page, part):
        written = program.PARTS[page, part]()
        whole = text(f"docs/{page}")

        assert whole == program.with_part(whole, part, written), "run `make docs`"


def _has(file: Path, target) -> bool:
    headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
    anchors = [
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    ]
    return target.fragment in anchors


class TestSettings:
    @pytest.mark.parametrize("field", fields(Settings), ids=lambda field: field.name)
    def test_settings_are_described_with_their_bounds(self, field):
        variable = variable_of(field.name)
        default, bounds = _default_and_bounds(variable)

        if field.default not in ("", None) and field.name != "project":
            assert default.replace("`", "") == str(field.default)
        if field.name == "budget":
            assert default.startswith(f"the use case's, {declaration.BUDGET};")
        if field.type in ("int", "float"):
            least, most = map(
                int if field.type == "int" else float, bounds.split(" to ")
            )
            assert getattr(_read(variable, least), field.name) == least
            assert getattr(_read(variable, most), field.name) == most
            for beyond in (least - 1, most + 1):
                with pytest.raises(errors.SettingsError, match=variable):
                    _read(variable, beyond)


def _default_and_bounds(variable: str) -> list[str]:
    """Return what the heading of a setting says, or a row of the emulators."""
    rows = [row.split("|") for row in ROW.findall(text("docs/settings.md"))]
    for emulator in (row for row in rows if f"`{variable}`" in row[0]):
        return ["", emulator[2].strip()]
    below = text("docs/settings.md").partition(f"\n### `{variable}`\n")[2]
    return re.findall(r"^Default: (.+)\. Allowed: (.+)\.$", below, re.M)[0]


def _read(variable: str, value: float) -> Settings:
    environment = {"GOOGLE_CLOUD_PROJECT": "p", variable: str(value)}
    return Settings.from_environment(environment)


CLASSES = [
    member
    for _, member in inspect.getmembers(errors, inspect.isclass)
    if issubclass(member, Exception)
]


@pytest.mark.parametrize("error", CLASSES, ids=lambda one: one.__name__)
def test_every_error_is_described_as_it_is(error):
    """An entry point catches all by one name; a caller tells them apart by the code."""
    errors_ = text("docs/operate.md").partition("\n## Errors\n")[2]
    _, _, below = errors_.partition("\n## ")[0].partition(f"\n### `{error.code}`\n")

    retry = ", retry" if error.retryable else ""
    assert below.startswith(f"\nStatus {error.status}{retry}.\n")
    assert issubclass(error, errors.PropensityError)
    assert [other.code for other in CLASSES].count(error.code) == 1


CURL = argparse.ArgumentParser()
CURL.add_argument("-X", dest="method")
CURL.add_argument("-H", dest="headers", action="append", default=[])
CURL.add_argument("-d", dest="body", default="")
CURL.add_argument("url")


@pytest.mark.parametrize(
    ("page", "command"), [one for one in COMMANDS if one[1].startswith("curl")]
)
def test_a_documented_request_is_one_that_its_function_takes(page, command):
    base = f"http://127.0.0.1:{PORTS[OWN[page]]}" if page in OWN else ""
    curl, _ = CURL.parse_known_args(shlex.split(command.replace("$URL", base))[1:])
    url = urlsplit(curl.url)
    [target] = [target for target, port in PORTS.items() if port == url.port]
    method = curl.method or ("POST" if curl.body else "GET")
    if curl.body:
        assert f"Content-Type: {JSON}" in curl.headers
    if target == "stream_features":
        loaded = [usecases.load(name) for name in usecases.names()]
        message = messages.message(curl.body.encode())
        assert Catalogue(loaded).read(message.data)[0].user_id
        return
    if path_of(target) not in whole()["paths"]:
        app = flask.Flask("f")
        with app.test_request_context("/", method=method, data=curl.body):
            assert parse_request(
                flask.request, default_use_case="", today=date(2026, 7, 1)
            )
        return
    operation = whole()["paths"][path_of(target)][method.lower()]

    if method == "GET":
        names = {one["name"] for one in operation["parameters"]}
        assert {"user_id"} <= {*parse_qs(url.query)} <= names
        return
    schema = operation["requestBody"]["content"][JSON]["schema"]
    components = {"components": whole()["components"]}
    jsonschema_rs.validate(schema | components, json.loads(curl.body))


@pytest.mark.parametrize(
    ("page", "command"), [one for one in COMMANDS if one[1].startswith(PROGRAMS)]
)
def test_a_documented_command_is_taken(page, command):
    typed = re.split(" [<>] ", command)[0]
    _, *words = shlex.split(typed, comments=True)
    taker = cli.root
    while isinstance(taker, click.Group) and "--help" not in words:
        taker, *words = taker.commands[words[0]], *words[1:]

    if "--help" not in words:
        taker.make_context(taker.name, words)


# Where code, scripts, templates and advices call a command by its words, or name it.
NAMING = [
    path.relative_to(ROOT).as_posix()
    for folder in ("commands", "deploy", "local", "offline", "propensity")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".py", ".sh", ".toml", ".html", ".tf", ".yaml"}
]
NAMED = re.compile(r"(?<![\w/.-])propensity ([a-z][a-z-]+)(?: ([a-z][a-z-]+))?")
CALLED = re.compile(
    r'(?:\bcommand\((?:\w[\w.]*, )?|words = \()"([a-z][a-z-]+)"(?:, "([a-z][a-z-]+)")?'
)
# An import, and prose.
NO_COMMANDS = {"import", "in", "from", "for"}


def test_a_command_that_is_called_or_named_is_one():
    """Also those that the demo and scripts call."""
    unknown = []
    for file in NAMING:
        written = re.sub(r"\s+", " ", (ROOT / file).read_text("utf-8"))
        for name, below in [*NAMED.findall(written), *CALLED.findall(written)]:
            if name in NO_COMMANDS:
                continue
            taker = cli.root.commands.get(name)
            if isinstance(taker, click.Group) and below:
                taker = taker.commands.get(below)
            if taker is None:
                unknown.append((file, name, below))

    assert unknown == []


VARIABLE = re.compile(r"\b(?:PROPENSITY|DEPLOY)_[A-Z]\w*[A-Z0-9]\b")
PAGE_NAMED = re.compile(r"\b(docs/[a-z-]+\.md)(#[\w-]+)?")


def test_a_setting_or_a_page_that_is_named_exists_and_a_setting_is_read():
    """In docstrings, scripts and templates, too. A variable may be read by
    Google's client itself."""
    described = set(VARIABLE.findall(text("docs/settings.md")))
    sources = {file: (ROOT / file).read_text("utf-8") for file in NAMING}
    named = set()
    for file, source in sources.items():
        named |= {(file, name) for name in VARIABLE.findall(source)}
        for page, anchor in PAGE_NAMED.findall(source):
            assert (ROOT / page).exists(), (file, page)
            assert not anchor or _has(ROOT / page, urlsplit(page + anchor)), (
                file,
                anchor,
            )
    unknown = {(file, name) for file, name in named if name not in described}
    code = "\n".join(sources.values())
    unread = [
        one.name
        for one in fields(Settings)
        if f".{one.name}" not in code and variable_of(one.name) not in code
    ]
    for name in sorted(described):
        short = name.removeprefix("DEPLOY_").lower()
        if short != name.lower() and not re.search(rf"\b{short}\b", code):
            unread.append(name)

    assert unknown == set()
    assert unread == []


def test_no_page_names_a_package_that_is_not_there():
    """Whoever registered the name could run code with a reader's login. The README's
    status is the switch, which the page of releases turns."""
    is_published = "not on PyPI yet" not in text("README.md")
    bare = re.compile(r"(uvx|pip install)( -\S+)* ['\"]?propensity\b(?!-)")
    named = [page for page in PAGES if bare.search(text(page))]
    for file in (*ROOT.glob("propensity/**/*.py"), *ROOT.glob("commands/**/*.py")):
        if bare.search(file.read_text("utf-8")):
            named.append(str(file))
    project = tomllib.loads(text("pyproject.toml"))["project"]
    wheels = {version for page in PAGES for version in WHEEL.findall(text(page))}

    assert is_published or named == ["CONTRIBUTING.md"]
    assert wheels == {project["version"]}


def test_the_record_of_processing_is_complete():
    """Also of addresses of members, in tables and files. Folders without users are
    named below it."""
    section = (
        text("docs/privacy.md").partition("## What is kept")[2].partition("\n- ")[0]
    )
    record, _, below = section.partition("The bucket's other folders")
    assert below
    tables = {table.name for table in every.holding_users()}
    folders = set[str]()
    for function in functions.load():
        for right in function.objects:
            names = [name for name in right.values() if isinstance(name, str)]
            folders.update(name.partition("/")[0] + "/" for name in names)

    assert tables - {*CODE.findall(record)} == set()
    assert folders - {*CODE.findall(section)} == set()


def test_the_documented_preprocessor_can_be_uploaded(monkeypatch, capsys):
    file = ROOT / "docs" / "my_preprocessor.py"
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")

    status = cli.main(["build-preprocessor", "--from", str(file), "--dry-run"])

    assert status == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("page", "words", "right"),
    [
        ("docs/crm.md", "read just this table", "reads_sources"),
        ("docs/own-events.md", "read this table", "reads_export"),
    ],
)
def test_a_page_names_all_readers_of_a_table(page, words, right):
    [sentence] = re.findall(rf"[^.]*\b{words}", text(page))
    named = {*re.findall(r"\d\d-\w+", sentence)}

    assert named == {one.folder for one in functions.load() if getattr(one, right)}
