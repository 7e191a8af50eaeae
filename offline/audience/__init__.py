"""
Audiences: who is treated, who is held out, and what arrived where.

Read in this order:

- ``selection``: the best so many users, and which of them are held out
- ``members``: the audience of an as-of date, chosen once and stored
- ``destinations``: how users are written for each receiver
- ``posting``: an HTTP request, retried until it is answered
- ``ledger``: what became of every user, to the row
- ``delivery``: requests under way, and what became of their users
- ``run``: the preview, and the delivery, one at a time
- ``account``: what became of users
"""
