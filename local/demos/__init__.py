"""What ``make demo`` plays and prints; ``local/play.py`` is its command.

shop.py     a shop's weeks: train, predict, evaluate, look up; start here
choice.py   the options
source.py   the export that is played: generated, or the user's, checked
loyalty.py  what a table of the shop's own adds
audience.py its best users, sent and held out, and what that did
stream.py   players' events through the stream
cards.py    card fraud: transactions, delayed truth, new versions under traffic
calls.py    calls of functions, published events, tables
"""
