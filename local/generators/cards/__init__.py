"""Card transactions, run as ``python -m local.generators.cards``.

cards.py         ``Cards``: the process and its true probabilities; start here
transactions.py  transactions, their truths, and how both are sent
files.py         real transactions from a file
"""
