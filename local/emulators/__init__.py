"""Google's services on 127.0.0.1, one process each, run as ``python -m``.

    bigquery/   the package local-bigquery, and what this project needs beyond it
    storage.py  our own: buckets, objects, generations, preconditions; secrets
    pubsub/     our own: topics, push, pull, dead letters

The clients are Google's own, pointed here by their usual environment variables.
"""
