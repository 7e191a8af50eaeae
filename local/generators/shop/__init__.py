"""A shop's GA4 export.

export.py   ``Shop``: the process, the truth, the events; start here
world.py    its figures: moods, channels, devices, products
columns.py  Arrow columns of the export
"""
