"""
The code that talks to Google's services and to callers.

No other room imports a client. Start with ``warehouse``.

BigQuery:

- ``warehouse``: statements to rows and Arrow, loads, appends; the object of a run
- ``definitions``: create, change and drop tables, views and datasets
- ``bigquery``: the clients under both, their limits, bytes billed
- ``bigquery_errors``: BigQuery's errors as the project's own
- ``columns``: schemas, query parameters, rows of a table
- ``appends``: the Storage Write API for the stream: Arrow batches, at least once
- ``writes``: the Storage Write API for runs: all rows or none

Other services:

- ``artifacts``: Cloud Storage: write once, read verified, compare and set
- ``memory``: the memory of an instance
- ``pubsub``: publishes messages to topics
- ``clients``: Google's gRPC clients, or of an emulator; why their calls failed
- ``rights``: errors of missing permissions: permission, resource, account
- ``unanswered``: errors of a service that did not answer: who was asked, what to do

Callers and logs:

- ``asgi``: requests and JSON answers of the asynchronous functions
- ``bodies``: bodies in JSON that say each thing once
- ``failures``: an error as an answer and as a log line
- ``server``: what the functions need of functions-framework's server
- ``log``, ``tracing``, ``counts``: log lines, their traces, counts every ten seconds
"""
