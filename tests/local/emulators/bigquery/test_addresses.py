"""Where the emulator's REST API is found, specified by what clients ask."""

from __future__ import annotations

import pytest
import requests


@pytest.fixture
def base(warehouse) -> str:
    """The emulator's address, as BIGQUERY_EMULATOR_HOST has it."""
    return str(warehouse.client._connection.API_BASE_URL)


class TestAddresses:
    @pytest.mark.parametrize("prefix", ["", "/bigquery/v2"])
    def test_serve_clients_of_each_language(self, warehouse, base, prefix):
        """Google's client for Node asks at the bare address, the others behind the
        API's path; each gets answers, and errors as BigQuery has them."""
        at = f"{base}{prefix}/projects/{warehouse.client.project}"
        query = {"query": "SELECT 'é' AS word", "useLegacySql": False}
        answer = requests.post(f"{at}/queries", json=query, timeout=60).json()
        missing = requests.get(f"{at}/datasets/nowhere/tables/t", timeout=60)

        assert answer["rows"] == [{"f": [{"v": "é"}]}]
        assert missing.status_code == 404
        assert missing.json()["error"]["errors"][0]["reason"] == "notFound"
