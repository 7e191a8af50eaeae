"""
A bare machine, specified: nothing but what set-up installed, no home, no network.

What a test does in here is done by ``.ci/offline``, through which CI runs the demo and
all tests; so the first class holds that nothing gets out of it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from local.emulators.bigquery import rewriting
from local.stack.state import ROOT
from tests.programs import execute

OFFLINE = ROOT / ".ci" / "offline"
# A system that lets nobody make a network namespace.
UNAVAILABLE = 98
# One that answers everywhere: by its number, so that no name needs to resolve.
CONNECT = "import socket; socket.create_connection(('1.1.1.1', 443), 3)"
RESOLVE = "import socket; socket.getaddrinfo('pypi.org', 443)"
INSTALL = "import duckdb; duckdb.connect().execute('INSTALL spatial')"
SERVE = """
import socket
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
server.accept()[0].sendall(b"reached")
print(client.recv(7).decode())
"""
EMULATORS = """
import sys
from pathlib import Path
from local.processes import free_ports
from local.stack.stack import Stack
from local.stack.state import EMULATOR_PORTS, State
from propensity.settings import Settings
from propensity.edges.warehouse import Warehouse
ports = dict(zip(EMULATOR_PORTS, free_ports(len(EMULATOR_PORTS))))
with Stack(State("bare", Path(sys.argv[1])), ports=ports, functions=()) as stack:
    warehouse = Warehouse.open(Settings.from_environment(stack.environment))
    [row] = warehouse.rows("SELECT 41 + 1 AS answer", {})
    warehouse.close()
    print(row["answer"])
"""


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return execute(
        command,
        env={"PATH": os.environ["PATH"], **environment},
        timeout=200,
        status=None,
    )


def offline(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command with loopback only; the test is skipped where that cannot be."""
    process = run(str(OFFLINE), *command, **environment)
    if process.returncode == UNAVAILABLE:
        pytest.skip(f"NOT CHECKED without a network: {process.stderr.strip()}")
    return process


class TestOffline:
    @pytest.mark.parametrize(
        ("program", "why"),
        [
            (CONNECT, "Network is unreachable"),
            (RESOLVE, "gaierror"),
            (INSTALL, "IOException|IO Error|HTTPException"),
        ],
        ids=["connect", "resolve", "duckdb"],
    )
    def test_fails_whatever_downloads(self, program, why, tmp_path):
        """A connection, a name, an extension of DuckDB: none is to be had."""
        process = offline(sys.executable, "-c", program, HOME=str(tmp_path))

        assert process.returncode != 0
        assert re.search(why, process.stderr)

    def test_fails_an_installation(self, tmp_path):
        """uv finds no package index, and what needs one fails."""
        uv = str(Path(sys.executable).with_name("uv"))
        process = offline(
            *(uv, "pip", "install", "--target", str(tmp_path / "t"), "iniconfig"),
            HOME=str(tmp_path),
            UV_CACHE_DIR=str(tmp_path / "cache"),
            UV_HTTP_RETRIES="0",
        )

        assert process.returncode != 0

    def test_leaves_loopback(self):
        """The emulators listen there."""
        process = offline(sys.executable, "-c", SERVE)

        assert (process.returncode, process.stdout) == (0, "reached\n"), process.stderr

    def test_ends_as_its_command_does(self):
        """Nothing that fails in it passes."""
        assert offline("sh", "-c", "exit 7").returncode == 7
        assert offline("no-such-program").returncode == 1

    def test_says_where_it_cannot_be(self, tmp_path):
        """Without a namespace it runs nothing: whoever calls it decides, loudly."""
        fake = tmp_path / "unshare"
        fake.write_text("#!/bin/sh\nexit 1\n")
        fake.chmod(0o755)
        path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])

        process = run(str(OFFLINE), "echo", "ran", PATH=path)

        assert (process.returncode, process.stdout) == (UNAVAILABLE, "")
        assert "lets nobody make a network namespace" in process.stderr


class TestEmulators:
    @pytest.mark.long
    def test_start_in_an_empty_home_without_a_network(self, tmp_path):
        """What set-up installed is enough: no extension in the home, no cache."""
        home = tmp_path / "home"
        home.mkdir()

        process = offline(
            sys.executable, "-c", EMULATORS, str(tmp_path / "states"), HOME=str(home)
        )

        assert (process.returncode, process.stdout) == (0, "42\n"), process.stderr
        assert [path.name for path in home.rglob("*.duckdb_extension")] == []

    def test_install_no_extension(self):
        """No statement that the BigQuery emulator runs at its start downloads, as it is
        started here; one that is loaded comes as a package."""
        package = Path(find_spec("local_bigquery").origin).parent
        downloads = re.compile(
            r"\bINSTALL\s+\w+|\bload_extension\(|install_extension\("
        )
        names = {
            path.relative_to(package).as_posix()
            for path in [*package.rglob("*.sql"), *package.rglob("*.py")]
            if downloads.search(path.read_text())
        }
        [rewrite] = rewriting.REWRITES["local_bigquery.sql.dialect"]

        assert names == {"sql/functions/geography.sql"}
        assert "geography.sql" in rewrite.replacement
