"""
Waiting: groups, threads and values that the requests of an instance share.

- ``groups``: one write for all items that wait (group commit)
- ``threads``: work that goes on behind the answers
- ``refreshed``: a value that is read again in the background
"""
