"""
The code that talks to Google's services and to callers.

No other room imports a client.

- ``queries``: BigQuery, to read: statements to rows and Arrow
- ``warehouse``: BigQuery, to write and to set up: appends, tables and views
- ``columns``: the tables' columns as BigQuery's: schemas, query parameters
- ``writes``: the Storage Write API: appends of the stream, and of runs
- ``artifacts``: Cloud Storage: write once, read verified, compare and set
- ``pubsub``: publishes messages to topics
- ``clients``: opens gRPC clients of Google, or of an emulator
- ``errors``: the errors of all of these as the project's own
- ``http``: bodies, JSON answers and failures of the functions; the server
- ``log``: log lines, their traces, counts every ten seconds
"""
