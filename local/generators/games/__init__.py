"""A gaming operator's events, run as ``python -m local.generators.games``.

games.py     ``Games``: players, what they play, what is sent; start here
world.py     the players' figures
towns.py     made-up postcodes
messages.py  events as messages, and how one is spoilt
registrations.py
             what players write when they register
sending.py   late, repeated and spoilt messages
"""
