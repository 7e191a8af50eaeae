"""
The edges: all that talks to Google's services or to a caller.

Nothing else in the package imports a client. Start with ``warehouse``.

- ``warehouse``: statements to rows and Arrow, loads, appends; what a run has in hand
- ``definitions``: tables, views and datasets, made and changed
- ``bigquery``: the clients under both, their limits, statements run, bytes billed
- ``bigquery_errors``: what BigQuery says went wrong, as the project's errors
- ``columns``: schemas, query parameters, rows of a table
- ``artifacts``: Cloud Storage: write once, read verified, compare and set
- ``appends``: the Storage Write API: Arrow batches onto tables, for the stream
- ``pubsub``: messages published to topics
- ``failures``: what a caller is told of an error, and what the log says of it
- ``asgi``: requests and JSON answers of the asynchronous functions
- ``writes``: the Storage Write API for runs: rows of a table, all of them or none
- ``rights``: what a refusal says: permission, resource, account
- ``protocol``: the asynchronous server: what it refuses by itself is JSON, too
- ``channels``: gRPC clients of Google's services, or of an emulator
- ``counts``: what an instance counted, as a log line every ten seconds
- ``collector``: keeps Python's garbage collector off what stays
- ``log`` and ``tracing``: one line of JSON, under the trace of its request
"""
