"""Pub/Sub on this machine, for the unmodified clients of google-cloud-pubsub.

python -m local.emulators.pubsub --port 8093
PUBSUB_EMULATOR_HOST=127.0.0.1:8093 python …

server.py        gRPC: which calls there are; the command of Google's own emulator
broker.py        topics and subscriptions by name
subscription.py  the messages of one subscription: ready, leased, backing off
push.py          posts them to an endpoint, as fast as it bears
pull.py          hands them to who asks
messages.py      what all of these speak
"""
