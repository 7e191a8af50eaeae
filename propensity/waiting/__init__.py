"""
Waiting: what several requests of one instance share.

- ``groups``: one write for all that waits (group commit)
- ``threads``: work that goes on behind the answers
- ``refreshed``: a value that is read anew behind the requests that use it
"""
