"""
Events that are scored one by one, such as payments that may be fraud.

- ``rows``: the data set of a training on events, from what was scored and became known
- ``alerts``: which events people review, and what that saves
"""
