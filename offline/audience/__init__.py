"""
Audiences: who is treated, who is held out, and what arrived where.

Read in this order:

- ``selection``: the best so many users, and which of them are held out
- ``members``: the audience of an as-of date, chosen once and stored
- ``destinations``: how users are written for each receiver
- ``posting``: an HTTP request, retried until it is answered
- ``ledger``: what became of every user, to the row
- ``doubt``: who may have been sent without a record
- ``delivery``: requests under way, and what became of their users
- ``turn``: one delivery of an audience at a time
- ``run``: the preview, and the delivery in its turn
- ``account``: what became of users, and of requests that are worked on later
"""
