"""
Audiences: who is treated, who is held out, and what became of sending them.

- ``run``: the preview, and the delivery; begin here
- ``selection``: the best users, and which of them are held out
- ``members``: the audience of an as-of date, chosen once and stored
- ``requests``: users who are sent at once, and what a destination does with them
- ``destinations``: the bucket, ``http``, ``ga4``; ``templates`` reads their files
- ``posting``: an HTTP request, repeated until it is answered
- ``ledger``: one row per user who is sent: pending, then accepted or rejected
- ``delivery``: requests under way, and what became of their users
"""
