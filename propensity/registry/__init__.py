"""
The registry: model versions, the champion, and leases of runs.

- ``versions``: versions claimed and stored; the champion's pointer; leases
- ``serving``: the champion as an instance serves it, refreshed while it does
- ``inference_log``: rows of scores, by stream and by HTTP; which are one inference
- ``announcements``: a change of what serves, told on the topic ``model-updates``
"""
