"""A shop's GA4 export.

export.py   ``Shop``: visits as events, and their shards; start here
process.py  moods, visits, and the true probabilities
world.py    its figures: moods, channels, devices, products
columns.py  Arrow columns of the export
"""
