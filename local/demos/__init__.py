"""What ``make demo`` plays and prints; ``local/play.py`` is its command.

shop.py          a shop's weeks: train, predict, evaluate, look up; start here
source.py        the export that is played: generated, or the user's, checked
audience.py      its best users, sent and held out, and what that did
stream.py        players' events through the stream
cards.py         card fraud: ``cards_plan.py`` lays it out, ``cards_online.py`` scores
                 beside it, ``cards_tables.py`` prints
comparison.py    the published probabilities against simple models
producer.py      publishes events, as a producer does
calls.py         calls of functions, and figures in columns
"""
