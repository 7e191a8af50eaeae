"""What ``make demo`` plays and prints; ``local/play.py`` is its command.

shop.py          a shop's weeks: train, predict, evaluate, look up; start here
stream.py        players' events through the stream
cards.py         card fraud, with ``cards_tables.py`` for what it prints
comparison.py    the published probabilities against simple models
calls.py         calls of functions, and figures in columns
"""
