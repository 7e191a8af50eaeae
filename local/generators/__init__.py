"""Generated data whose truth is known: the same arguments give the same data.

shop.py        a shop's visitors, day by day, and what they buy
export.py      ``Shop``: what they do, as a GA4 export
games.py       ``Games``: a gaming operator's players, and who of them churns
players.py     what players write when they register; postcodes
cards.py       card transactions: which are fraud, what is found out, what is sent
card_files.py  real transactions from a file
messages.py    messages as a producer sends them: late, repeated, broken
drawing.py     the random numbers of the streams
"""
