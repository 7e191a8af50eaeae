"""Generated data whose truth is known: the same arguments give the same data.

shop.py        ``Shop``: a shop's visitors, day by day, and their GA4 export
games.py       ``Games``: a gaming operator's players, and who churns; postcodes
cards.py        card transactions: drawn or from a file, outcomes, messages
streams.py     random numbers, and messages as a producer sends them
"""
