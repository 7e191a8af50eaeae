"""
Destinations: how users are written for each receiver.

A destination is a TOML file, with its ``kind`` and a name in the ledger; ``bucket``
needs no file.

- ``base``: a request, and what every destination does
- ``http``: any endpoint, by a template
- ``bucket``: Parquet files in the bucket
- ``ga4``: events of Google Analytics, and a file for its data import
- ``templates``: what the files of all have in common
- ``opened``: the destination of a file
"""
