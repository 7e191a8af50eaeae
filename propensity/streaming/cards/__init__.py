"""
Events that are scored one by one, such as payments that may be fraud.

Read in this order. Nothing here reads or writes outside the process.

- ``dataset``: the rows of a training, from what was scored and became known
- ``alerts``: which events are alerts, and what these save
- ``trained``: what a training on events has beyond one on users
- ``split``, ``trees``, ``training``: such a training
- ``card``: the card of a version
"""
