"""Syntax of Python 3.12 (PEP 695 and PEP 701), written for Python 3.11."""

REWRITES = {
    "local_bigquery.catalog.metadata": (
        ("[R: Resource](", "("),
        (
            "class Index(Resource):",
            'R = __import__("typing").TypeVar("R")\n\n\nclass Index(Resource):',
        ),
    ),
    "local_bigquery.engine.results": (
        (
            """f"THEN error('{message.replace("'", "''")}') ELSE {expression} END\"""",
            """"THEN error('" + message.replace("'", "''") """
            """+ f"') ELSE {expression} END\"""",
        ),
    ),
}
