"""
The registry: model versions, the champion, and leases of runs.

- ``versions``: versions claimed and stored, each object once; ``Registry`` is all of it
- ``champion``: the pointer to what serves: promote, roll back, pin, shadow
- ``leases``: of runs of one kind and date, one is at work
- ``objects``: the JSON of the latter two, in the bucket
- ``loading``: a version, verified and loaded
- ``serving``: the champion as an instance serves it, refreshed while it does
- ``inference_log``: rows of scores, by stream and by HTTP; which are one inference
- ``announcements``: a change of what serves, published to the topic ``model-updates``
"""
