"""Pub/Sub on this machine, for the unmodified clients of google-cloud-pubsub.

    python -m local.emulators.pubsub --port 8093
    PUBSUB_EMULATOR_HOST=127.0.0.1:8093 python …

    server.py  gRPC: which calls there are; the command of Google's own emulator
    broker.py  topics and subscriptions; messages ready, leased, backing off
    messages.py what all of these speak
    push.py    posts them to an endpoint, as fast as it bears

A message is delivered at least once. A lease ends with an acknowledgement, or with a
nack or its deadline; then the message is delivered again, or is a dead letter. Errors
have the codes of Google's own emulator. What is not served (filters, seek, snapshots,
schemas, ordering, exactly-once, export subscriptions) is refused as UNIMPLEMENTED.
Messages are in memory and go with the process. One event loop runs all: no locks.
"""
