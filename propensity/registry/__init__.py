"""
The registry: model versions, the champion, and leases of runs.

- ``deployment``: the clients and the use case that commands and audiences work with
- ``versions``: claims and stores versions, each once; loads verified bytes
- ``champion``: the pointer to the version that serves: promote, roll back, pin; each
  change is published to the topic ``model-updates``
- ``leases``: one run at a time for each kind and as-of date
- ``objects``: objects in the bucket as bytes: JSON and Parquet
- ``loading``: a version as training recorded it, with its scorer
- ``serving``: the champion in an instance's memory, refreshed in the background
- ``index``: the file of newest predictions that answers lookups, and its pointer
- ``inference_log``: rows of scores, from stream and HTTP, and their identity
"""
