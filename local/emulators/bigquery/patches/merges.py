"""
MERGE began a transaction to find out whether it is in one, which ends that one with an
error. Outside of any, each statement has a number of its own.
"""

REWRITES = {
    "local_bigquery.jobs.merge": (
        (
            """        cur.execute("BEGIN")
        owned = True
""",
            """        number = "SELECT txid_current()"
        owned = cur.execute(number).fetchone() != cur.execute(number).fetchone()
        if owned:
            cur.execute("BEGIN")
""",
        ),
    ),
}
