"""What calls and literals mean by the types of their operands, specified."""

from __future__ import annotations

import pytest

from tests.local.emulators.bigquery.conftest import Warehouse


def kind_and_text(shared: Warehouse, expression: str) -> tuple[str, str]:
    """Return the type of an expression over a few values, and its value as a text."""
    source = (
        "SELECT NUMERIC '4' AS money, 2.0 AS size, "
        "TIMESTAMP '2026-03-01 18:00:00+00' AS later, "
        "TIMESTAMP '2026-02-28 20:30:00+00' AS earlier"
    )
    sql = f"SELECT {expression} AS x FROM ({source})"
    result = shared.client.query_and_wait(sql)
    [(value,)] = [tuple(row.values()) for row in result]
    return result.schema[0].field_type, str(value)


@pytest.mark.parametrize(
    "expression",
    [
        "COALESCE(NULLIF(money, 4), 0.5) * 8",
        "IF(money > 9, money, 0.5) * 8",
        "CASE WHEN money > 9 THEN money ELSE 0.5 END * 8",
        "SUM(COALESCE(money, 0.5))",
        "GREATEST(LEAST(money, 9.5), 0.5)",
        "SQRT(money) * 2",
        "POW(money, 2) / 4",
        "POW(money, 0.5) + 2",
        "LOG(money, 2) * 2",
        "SIGN(money) * 4",
        "ROUND(EXP(LN(money)), 2)",
    ],
)
def test_a_literal_beside_a_numeric_is_one(shared, expression):
    """And so are roots, powers and logarithms of it: a model reads no NUMERIC."""
    kind, text = kind_and_text(shared, expression)

    assert kind == "NUMERIC"
    assert float(text) == 4


@pytest.mark.parametrize(
    "expression",
    [
        "COALESCE(money, size, 0.5)",
        "IF(TRUE, size, 0.5) * 2",
        "POW(money, size) / 4",
        "SQRT(size * 8)",
    ],
)
def test_a_float_beside_a_numeric_makes_a_float(shared, expression):
    """As in BigQuery: NUMERIC becomes FLOAT64, and not the other way about."""
    assert kind_and_text(shared, expression) == ("FLOAT", "4.0")


@pytest.mark.parametrize(
    ("expression", "kind", "text"),
    [
        # Whole days of 24 hours, and not midnights between.
        ("DATE_DIFF(later, earlier, DAY)", "INTEGER", "0"),
        ("DATE_DIFF(DATE(later), DATE(earlier), DAY)", "INTEGER", "1"),
        ("DATE_ADD(earlier, INTERVAL 1 DAY)", "TIMESTAMP", "2026-03-01 20:30:00+00:00"),
        ("DATE_SUB(later, INTERVAL 2 HOUR)", "TIMESTAMP", "2026-03-01 16:00:00+00:00"),
        ("DATE_TRUNC(later, DAY)", "TIMESTAMP", "2026-03-01 00:00:00+00:00"),
        ("DATE_TRUNC(MAX(earlier), MONTH)", "TIMESTAMP", "2026-02-01 00:00:00+00:00"),
        ("DATE_TRUNC(DATE(later), MONTH)", "DATE", "2026-03-01"),
        ("DATE_ADD(DATE(later), INTERVAL 1 DAY)", "DATE", "2026-03-02"),
    ],
)
def test_of_a_moment_functions_of_dates_are_its_own(shared, expression, kind, text):
    """DATE_DIFF of two TIMESTAMPs is TIMESTAMP_DIFF, and so on."""
    assert kind_and_text(shared, expression) == (kind, text)
