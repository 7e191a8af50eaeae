"""Google's services on 127.0.0.1, one process each, run as ``python -m``.

    bigquery/   statements, tables, loads; rows read and appended: the ground, served
    storage.py  buckets, objects, generations, preconditions; secrets
    pubsub/     topics, push, pull, dead letters

The clients are Google's own, pointed here by their usual environment variables.
"""
