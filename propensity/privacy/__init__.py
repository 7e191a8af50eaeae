"""
Privacy: users who have consented, and users whose events are never kept.

- ``consent``: which events of the export the view ``ga_events`` leaves out
- ``suppression``: the list of suppressed users, by keyed hash, and how it is applied
- ``wrapped``: what a payload packs in gzip, Zstandard or base64; ids are looked for
  there, too
- ``published``: the list as an object of the bucket, for lookups
"""
