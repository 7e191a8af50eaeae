"""Pub/Sub on this machine, for the unmodified clients of google-cloud-pubsub.

    python -m local.emulators.pubsub --port 8093
    PUBSUB_EMULATOR_HOST=127.0.0.1:8093 python …

    broker.py    topics and subscriptions; messages ready, leased, backing off
    push.py      posts them to an endpoint
    __main__.py  the calls that there are, by gRPC

A message is delivered at least once. A lease ends with an acknowledgement, or with a
nack or its deadline; then the message is delivered again, or is a dead letter. What is
not there (filters, seek, ordering, …) is answered with UNIMPLEMENTED.
Messages are in memory and go with the process. One event loop runs all: no locks.
"""
