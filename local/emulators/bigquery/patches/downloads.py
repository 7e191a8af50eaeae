"""
The functions of geography need an extension of DuckDB that is in no package: every
first start would download it. Nothing here uses them.
"""

REWRITES = {
    "local_bigquery.sql.dialect": (
        (
            """(pathlib.Path(__file__).parent / "functions").glob("*.sql")""",
            """set((pathlib.Path(__file__).parent / "functions").glob("*.sql")) """
            """- {pathlib.Path(__file__).parent / "functions/geography.sql"}""",
        ),
    ),
}
