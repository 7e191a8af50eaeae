"""
The registry: model versions, the champion, and leases of runs.

- ``deployment``: the clients and the use case that commands and audiences work with;
  it stands here because it opens the registry of a use case
- ``versions``: versions, each stored once; the pointer to the live one: promote, roll
  back, pin; ``announcements``: each change to the topic ``model-updates``
- ``leases``: one run at a time for each kind and as-of date
- ``records``: what training recorded of a version
- ``serving``: a version as training recorded it, with its scorer; the live version in
  an instance's memory, refreshed in the background
- ``index``: what answers lookups: the file of newest predictions and its pointer

It may import ``gcp``, ``usecases`` and what stands below them. Tests:
``tests/propensity/registry``.
"""
