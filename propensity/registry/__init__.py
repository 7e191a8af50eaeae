"""
The registry: model versions, the champion, and leases of runs.

- ``versions``: claims and stores versions; ``Registry`` is all of the room
- ``champion``: the pointer to the version that serves: promote, roll back, pin
- ``leases``: one run at a time for each kind and as-of date
- ``objects``: objects in the bucket as bytes: JSON and Parquet
- ``loading``: loads a version and verifies its bytes
- ``serving``: the champion in an instance's memory, refreshed in the background
- ``index``: the file of newest predictions that answers lookups, and its pointer
- ``reports``: the pages of evaluated weeks
- ``inference_log``: rows of scores, from stream and HTTP, and their identity
- ``announcements``: changes of the pointer, published to the topic ``model-updates``
"""
