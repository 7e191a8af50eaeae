"""What ``make demo`` plays and prints; ``local/play.py`` is its command.

shop.py          a shop's weeks: train, predict, evaluate, look up; start here
source.py        the export that is played: generated, or the user's, checked
audience.py      its best users, sent and held out, and what that did
stream.py        players' events through the stream
cards.py         card fraud: transactions, delayed truth, new versions under traffic
comparison.py    all weeks together, against outcomes and the truth
producer.py      publishes events, as a producer does
calls.py         calls of functions, and tables
"""
