"""
The BigQuery emulator as local mode starts it, specified by what clients see of it.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.api_core.exceptions import Conflict, GoogleAPICallError
from google.cloud import bigquery

from local.emulators.bigquery.rewriting import Rewrite
from local.processes import free_ports
from local.stack.starting import answers
from tests.local.emulators.bigquery.conftest import (
    DAY,
    Emulator,
    Scalar,
    command,
    scores,
)
from tests.local.projects import wait_until


@pytest.mark.long
class TestTransactions:
    SCRIPT = """
        BEGIN TRANSACTION;
        DELETE FROM history WHERE day = @day;
        INSERT INTO history (day, user_id, probability)
        SELECT @day, user_id, probability FROM staging;
        MERGE current AS c
        USING staging AS s
        ON c.user_id = s.user_id
        WHEN MATCHED THEN UPDATE SET probability = s.probability
        WHEN NOT MATCHED THEN
          INSERT (user_id, probability) VALUES (s.user_id, s.probability);
        {last}
        COMMIT TRANSACTION;
    """
    PARAMETERS = (Scalar("day", "DATE", DAY),)

    @pytest.fixture
    def published(self, warehouse):
        warehouse.rows("CREATE TABLE current (user_id STRING, probability FLOAT64)")
        warehouse.rows(
            "CREATE TABLE history (day DATE, user_id STRING, probability FLOAT64)"
        )
        warehouse.rows("INSERT INTO current VALUES ('a', 0.5), ('z', 0.9)")
        warehouse.rows("INSERT INTO history VALUES (DATE '2026-03-01', 'a', 0.5)")
        warehouse.load(scores(a=0.1, b=0.2), "staging")
        return warehouse

    def test_commit_together(self, published):
        """DELETE, INSERT and MERGE of one script are seen together or not at all."""
        published.rows(self.SCRIPT.format(last=""), self.PARAMETERS)

        assert published.rows("SELECT * FROM current ORDER BY user_id") == [
            ("a", 0.1),
            ("b", 0.2),
            ("z", 0.9),
        ]
        assert published.rows("SELECT user_id FROM history ORDER BY user_id") == [
            ("a",),
            ("b",),
        ]

    @pytest.mark.parametrize(
        "last", ["SELECT ERROR('stop');", "INSERT INTO current SELECT 1 / 0, 'x';"]
    )
    def test_roll_back_on_an_error(self, published, last):
        """An error in the last statement leaves both tables as they were."""
        with pytest.raises(GoogleAPICallError):
            published.rows(self.SCRIPT.format(last=last), self.PARAMETERS)

        assert published.rows("SELECT * FROM current ORDER BY user_id") == [
            ("a", 0.5),
            ("z", 0.9),
        ]
        assert published.rows("SELECT user_id, probability FROM history") == [
            ("a", 0.5)
        ]


@pytest.mark.long
class TestConcurrency:
    THREADS = 16

    def test_queues_statements_on_one_table(self, warehouse):
        """Sixteen clients merge into one table at once: none fails, none is lost."""
        warehouse.rows("CREATE TABLE t (user_id STRING, n INT64)")
        warehouse.rows("INSERT INTO t VALUES ('shared', 0)")

        def merge(number):
            warehouse.rows(
                """
                MERGE t USING (SELECT @own AS user_id UNION ALL SELECT 'shared') AS s
                ON t.user_id = s.user_id
                WHEN MATCHED THEN UPDATE SET n = t.n + 1
                WHEN NOT MATCHED THEN INSERT (user_id, n) VALUES (s.user_id, 1)
                """,
                [Scalar("own", "STRING", f"u{number}")],
            )
            return warehouse.rows("SELECT COUNT(*) >= 1 FROM t")

        with ThreadPoolExecutor(self.THREADS) as pool:
            answers_ = list(pool.map(merge, range(2 * self.THREADS)))

        assert answers_ == [[(True,)]] * (2 * self.THREADS)
        assert warehouse.rows("SELECT n FROM t WHERE user_id = 'shared'") == [(32,)]
        assert warehouse.rows("SELECT COUNT(*) FROM t") == [(33,)]

    def test_accepts_a_job_id_once(self, warehouse):
        """Of sixteen requests with one job id, one runs and fifteen get 409."""
        warehouse.rows("CREATE TABLE t (n INT64)")
        job_id = f"once-{uuid.uuid4()}"

        def submit(_):
            config = bigquery.QueryJobConfig(default_dataset=warehouse.default)
            try:
                warehouse.client.query(
                    "INSERT INTO t VALUES (1)",
                    job_config=config,
                    job_id=job_id,
                    job_retry=None,
                    retry=None,
                ).result()
            except Conflict as error:
                return error.code
            return 200

        with ThreadPoolExecutor(self.THREADS) as pool:
            codes = sorted(pool.map(submit, range(self.THREADS)))

        assert codes == [200] + [409] * (self.THREADS - 1)
        assert warehouse.rows("SELECT COUNT(*) FROM t") == [(1,)]

    COLUMNS = ", ".join(f"x{number} FLOAT64" for number in range(40))
    REPLACE = """
        MERGE t USING (
          SELECT @owner AS owner, n, @round AS round
          FROM UNNEST(GENERATE_ARRAY(1, 8)) AS n
        ) AS s ON FALSE
        WHEN NOT MATCHED BY SOURCE AND t.owner = @owner THEN DELETE
        WHEN NOT MATCHED THEN INSERT (owner, n, round) VALUES (s.owner, s.n, s.round)
    """

    def test_shows_each_client_all_that_it_has_written(self, tmp_path):
        """
        Each client reads back at once, and whole, what it has just replaced.

        By REST and by the Storage Read API, while others do the same and old results
        are dropped by the hundred.
        """
        clients, rounds = 6, 6
        with Emulator(tmp_path, "--keep-results", "20") as emulator:
            warehouse = emulator.client()
            warehouse.create_dataset("d")
            warehouse.query(
                f"CREATE TABLE d.t (owner STRING, n INT64, round INT64, {self.COLUMNS})"
            ).result()

            def write_and_read(owner):
                own = emulator.client()
                own_reader = emulator.read_client()
                seen = []
                for number in range(rounds):
                    config = bigquery.QueryJobConfig(
                        default_dataset="propensity-local.d",
                        query_parameters=[
                            Scalar("owner", "STRING", owner),
                            Scalar("round", "INT64", number),
                        ],
                    )
                    own.query(self.REPLACE, job_config=config).result()
                    read = "SELECT * FROM t WHERE owner = @owner ORDER BY n"
                    by_rest = own.query(read, job_config=config).result()
                    seen.append([(row.n, row.round) for row in by_rest])
                    by_storage = own.query(read, job_config=config).result()
                    table = by_storage.to_arrow(bqstorage_client=own_reader)
                    columns = (table["n"].to_pylist(), table["round"].to_pylist())
                    seen.append(list(zip(*columns, strict=True)))
                return seen

            with ThreadPoolExecutor(clients) as pool:
                rows = list(pool.map(write_and_read, map(str, range(clients))))

        whole = [
            [(n, number) for n in range(1, 9)]
            for number in range(rounds)
            for _ in ("REST", "Storage")
        ]
        assert rows == [whole] * clients


@pytest.mark.long
class TestRestart:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
    def test_keeps_every_project(self, tmp_path, number):
        """Tables and views of every project are there again, whatever ended it."""
        with Emulator(tmp_path) as emulator:
            for project in ("propensity-local", "other-project"):
                fill(emulator.client(project))
            emulator.stop(number)

        with Emulator(tmp_path) as emulator:
            for project in ("propensity-local", "other-project"):
                rows = emulator.client(project).query("SELECT n FROM kept.v").result()
                assert [row.n for row in rows] == [42]

    def test_says_that_its_folder_is_in_use(self, tmp_path):
        """A second emulator on the same folder ends at once and says why."""
        with Emulator(tmp_path):
            ports = free_ports(2)
            second = subprocess.run(
                command(tmp_path, *ports),
                check=False,
                capture_output=True,
                text=True,
                timeout=60,
            )

        assert second.returncode != 0
        assert "lock" in second.stderr

    def test_ends_with_its_parent(self, tmp_path):
        """An emulator that a program started goes when the program is killed."""
        ports = free_ports(2)
        arguments = command(tmp_path, *ports)
        program = subprocess.Popen(
            [
                *(sys.executable, "-c"),
                "import os, subprocess, sys, time\n"
                "subprocess.Popen([*sys.argv[1:], '--parent', str(os.getpid())])\n"
                "time.sleep(600)",
                *arguments,
            ]
        )
        wait_until(lambda: answers(f"http://127.0.0.1:{ports[0]}/docs"))

        program.kill()
        program.wait()

        wait_until(lambda: not answers(f"http://127.0.0.1:{ports[0]}/docs"))


class TestRewrite:
    def test_refuses_another_release(self):
        """A rewrite that finds nothing to do says so: the release is another one."""
        with pytest.raises(ImportError, match="not that of local-bigquery"):
            Rewrite("old", "new").apply("something else", module="m")


def fill(warehouse: bigquery.Client) -> None:
    warehouse.create_dataset("kept")
    warehouse.query("CREATE TABLE kept.t AS SELECT 42 AS n").result()
    warehouse.query("CREATE VIEW kept.v AS SELECT n FROM kept.t").result()
