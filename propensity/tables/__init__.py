"""
Every table that the functions share: columns, key, partitioning, clustering.

The only place where a column is typed: Terraform's tables, Arrow's schemas and the page
of all tables are made of it. ``schema`` says what a column and a table are.

- ``models``: model versions, evaluated weeks, drift, uploaded preprocessors; the newest
  probabilities, all of them by run, and publications
- ``audiences``: members, the ledger of what was sent, what acting was worth
- ``stream``: events, sums of them, postcodes, dead letters; scores as they were given,
  outcomes of their events, suppressed users
- ``export``: the digest of the GA4 export, by user and day; ``export_names``: what
  statements call it
- ``every``: all of them, their views, whose statements are here, and how long rows are
  kept

What answers callers imports the modules of its tables, and not all of them.

It may import the ground alone. Tests: ``tests/test_tables.py``.
"""
