"""
The code that talks to Google's services and to callers.

No other package imports a client. Each call of a service may raise AccessDenied and
Unavailable, and each statement MissingTable, SchemaError and QueryTooExpensive as well;
elsewhere ``Raises`` names what a caller handles.

- ``queries``: BigQuery: statements to rows and Arrow
- ``warehouse``: the same, and writes: rows, tables and views
- ``session``: temporary tables, and queries of them, without a dataset
- ``writes``: the Storage Write API: all rows of a run, once; appends of the stream
- ``artifacts``: Cloud Storage: write once, read, compare and set
- ``pubsub``: publishes messages to topics
- ``data_manager``: sends users to Google's products, and asks what became of them
- ``secrets``: reads secrets of receivers
- ``clients``: opens gRPC clients; the errors of all of these as the project's own
- ``http``: what a failure answers and logs, and bodies in JSON; ``asgi``: the server,
  bodies and answers of the asynchronous functions
- ``log``: log lines, their traces, counts every ten seconds

It may import ``tables`` and the ground. Tests: ``tests/propensity/gcp``.
"""
