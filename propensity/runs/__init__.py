"""
Scheduled runs: 00, 01, 03 and the compaction of 04.

- ``endpoint``: a request to a run, its lease, its answer and its log line
- ``steps``: the steps of training, prediction and evaluation
- ``compaction``: tiles, users, exports and the watermark of the stream
- ``ages``: how old what is published is, for the alerts
"""
