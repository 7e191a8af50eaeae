"""A gaming operator's events, run as ``python -m local.generators.games``.

games.py     ``Games``: players, what they play, what is sent; start here
towns.py     made-up postcodes
messages.py  events as messages, and how one is spoilt
features.py  the stream's features by the textbook
"""
