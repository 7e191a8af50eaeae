"""
The BigQuery emulator: no file of the machine is within reach of a statement.

What else clients see of it is asked by tests/propensity/gcp/test_contract.py.
"""

from __future__ import annotations

import pytest
from google.api_core.exceptions import GoogleAPICallError


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{file}'",
        "EXPORT DATA OPTIONS (uri = '{file}', format = 'PARQUET') AS SELECT 1 AS n",
        "SELECT * FROM read_csv('/etc/hostname')",
        "ATTACH '{file}' AS other",
    ],
)
def test_a_statement_touches_no_file_of_the_machine(emulated, tmp_path, sql):
    """Whoever reaches the port can send one."""
    file = tmp_path / "folder" / "file"
    client = emulated.warehouse.client
    with pytest.raises(GoogleAPICallError):
        client.query(sql.replace("{file}", str(file)), job_retry=None).result(
            job_retry=None
        )

    assert not file.parent.exists()
