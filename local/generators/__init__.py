"""Made-up data whose truth is known: same seed, same bytes.

shop/        a shop's GA4 export: a Markov chain of moods
games/       a gaming operator's new players, and the features that must come out
cards/       card transactions with known frauds, and truths that come late
delivery.py  messages as they are sent: repeated, late, spoilt
drawing.py   the random numbers that all streams draw with
"""
