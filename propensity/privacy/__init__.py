"""
Privacy: users who have consented, and users whose events are never kept.

- ``consent``: which events of the export the view ``ga_events`` leaves out
- ``suppression``: the list of suppressed users, by keyed hash, and how it is applied
"""
